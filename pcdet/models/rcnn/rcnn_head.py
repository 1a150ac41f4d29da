"""What second stages share: fully connected layers, targets, loss, refined boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.models.model_utils import roi_frame
from pcdet.models.model_utils.norm import VoxelNorm
from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer
from pcdet.utils import box_coder_utils, loss_utils


@dataclass
class RCNNLossWeights:
    """Weights of the terms of the loss, named as in the yaml.

    Attributes:
        rcnn_cls_weight: of the scores.
        rcnn_reg_weight: of the residuals.
        rcnn_corner_weight: of the corners' distances, 0 for a loss without them.
        code_weights: factors of the seven residuals' differences.
    """

    rcnn_cls_weight: float = 1.0
    rcnn_reg_weight: float = 1.0
    rcnn_corner_weight: float = 1.0
    code_weights: Sequence[float] = (1.0,) * 7

    def __post_init__(self) -> None:
        box_coder_utils.check_code_weights(self.code_weights)


@dataclass
class RCNNLayers:
    """Sizes of the layers, named as in the yaml.

    Attributes:
        shared_fc: channels of the features that are flattened, then of the layers after that.
        cls_fc: channels of the layers before the score, of which there may be none.
        reg_fc: channels of the layers before the residuals, likewise.
        dp_ratio: share of the features that dropout leaves out.
    """

    shared_fc: Sequence[int]
    cls_fc: Sequence[int]
    reg_fc: Sequence[int]
    dp_ratio: float = 0.0

    def __post_init__(self) -> None:
        if not self.shared_fc:
            raise ValueError("shared_fc: at least one size expected, got []")


class FullyConnected(nn.Module):
    """A linear layer on the features of each RoI; with `norm`, batch normalisation and ReLU.

    Its weight is stored as that of a convolution of length 1, as in PCDet's checkpoints.
    """

    runs_in_order = True

    def __init__(self, in_channels: int, out_channels: int, norm: bool = True):
        super().__init__()
        # The first layer has tens of millions of weights: they are drawn once, not twice.
        self.conv = nn.utils.skip_init(nn.Conv1d, in_channels, out_channels, 1, bias=not norm)
        nn.init.xavier_normal_(self.conv.weight)
        if norm:
            self.bn = nn.Sequential(OrderedDict(bn=VoxelNorm(out_channels)))
            self.relu = nn.ReLU()
        else:
            nn.init.zeros_(self.conv.bias)
            self.bn = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(R, in_channels) to (R, out_channels)."""
        x = F.linear(x, self.conv.weight.squeeze(2), self.conv.bias)
        return x if self.bn is None else self.relu(self.bn(x))


class RCNNHead(nn.Module):
    """Base of the second stages: a subclass gives features of RoIs, this class does the rest.

    Residuals are those of the refined box in the frame of the RoI, see `roi_frame`.
    """

    def __init__(
        self,
        num_roi_features: int,
        layers: RCNNLayers,
        target_layer: ProposalTargetLayer,
        loss_weights: RCNNLossWeights,
        box_coder: box_coder_utils.ResidualCoder,
    ):
        """Build the layers after the flattened features.

        Args:
            num_roi_features: F, length of a RoI's flattened features.
            layers: their sizes.
            target_layer: chooses and labels RoIs in training.
            loss_weights: weights of the loss terms.
            box_coder: encodes boxes with respect to RoIs.
        """
        super().__init__()
        self.target_layer = target_layer
        self.loss_weights = loss_weights
        self.box_coder = box_coder
        shared: list[nn.Module] = []
        channels = num_roi_features
        for size in layers.shared_fc[1:]:
            shared += [FullyConnected(channels, size), nn.Dropout(layers.dp_ratio)]
            channels = size
        self.shared_fc_layer = nn.Sequential(*shared[:-1])
        self.cls_layer = _branch(channels, layers.cls_fc, 1, layers.dp_ratio)
        self.reg_layer = _branch(channels, layers.reg_fc, box_coder.code_size, layers.dp_ratio)
        # Refinement begins with boxes that stay as they are.
        nn.init.normal_(self.reg_layer[-1].conv.weight, mean=0, std=0.001)
        code_weights = torch.tensor(loss_weights.code_weights, dtype=torch.float32)
        self.register_buffer("code_weights", code_weights, persistent=False)

    def predict(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """rcnn_cls (R,) logits and rcnn_reg (R, 7) residuals from flattened features (R, F)."""
        shared = self.shared_fc_layer(features)
        outputs = {
            "rcnn_cls": self.cls_layer(shared).squeeze(1),
            "rcnn_reg": self.reg_layer(shared),
        }
        return {name: value.to(features.dtype) for name, value in outputs.items()}

    def assign_targets(
        self, proposals: Sequence[dict[str, torch.Tensor]], gt_boxes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Choose RoIs of a batch and label them.

        Args:
            proposals: boxes (N, 7) and labels (N,) for each frame.
            gt_boxes: (B, M, 8).

        Returns:
            What `ProposalTargetLayer` returns for each frame, joined: frame b has the rows from
            b * R to (b + 1) * R.
        """
        frames = [
            self.target_layer(frame["boxes"], frame["labels"], boxes)
            for frame, boxes in zip(proposals, gt_boxes)
        ]
        return {name: torch.cat([frame[name] for frame in frames]) for name in frames[0]}

    def get_loss(
        self, predictions: dict[str, Any], targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Weighted sum of the terms for scores, residuals and corners.

        Args:
            predictions: what `forward` returned for the RoIs of `targets`; where its cells are made
                up, no RoI has a label.
            targets: what `assign_targets` returned.

        Returns:
            The loss, and its terms by name (detached).
        """
        labels, valid = targets["rcnn_cls_labels"], targets["reg_valid_mask"]
        if predictions["made_up"]:
            labels, valid = torch.full_like(labels, -1), torch.zeros_like(valid)
        weights = self.loss_weights
        cared = (labels >= 0).to(labels.dtype)
        entropy = F.binary_cross_entropy_with_logits(
            predictions["rcnn_cls"], labels.clamp(min=0), reduction="none"
        )
        terms = {
            "rcnn_loss_cls": weights.rcnn_cls_weight
            * ((entropy * cared).sum() / loss_utils.divisor(cared.sum()))
        }
        index = torch.nonzero(valid).squeeze(1)  # once: a GPU's host waits for its length
        residuals = predictions["rcnn_reg"][index]
        rois, gt_boxes = targets["rois"][index], targets["gt_of_rois"][index]
        count = loss_utils.divisor(valid.sum())
        wanted = self.box_coder.encode(
            roi_frame.boxes_to_roi_frame(gt_boxes, rois), roi_frame.anchors_of_rois(rois)
        )
        distance = loss_utils.smooth_l1_loss(residuals, wanted, code_weights=self.code_weights)
        terms["rcnn_loss_reg"] = weights.rcnn_reg_weight * (distance.sum() / count)
        if weights.rcnn_corner_weight:
            corners = roi_frame.corner_loss(self.refine(residuals, rois), gt_boxes)
            terms["rcnn_loss_corner"] = weights.rcnn_corner_weight * (corners.sum() / count)
        loss = sum(terms.values())
        tb_dict = {name: term.detach() for name, term in terms.items()}
        tb_dict.update(
            rcnn_loss=loss.detach(),
            rcnn_fg_num=valid.sum(),
            rcnn_bg_num=(labels == 0).sum(),
        )
        return loss, tb_dict

    def refine(self, residuals: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """(R, 7) LiDAR boxes from residuals (R, 7) and their RoIs (R, 7)."""
        boxes = self.box_coder.decode(residuals, roi_frame.anchors_of_rois(rois))
        return roi_frame.boxes_from_roi_frame(boxes, rois)


def _branch(in_channels: int, sizes: Sequence[int], outputs: int, dp_ratio: float) -> nn.Sequential:
    """Layers of the sizes with dropout after the first, and a last one without normalisation."""
    channels = [in_channels, *sizes]
    modules: list[nn.Module] = [FullyConnected(*pair) for pair in pairwise(channels)]
    if modules:
        modules.insert(1, nn.Dropout(dp_ratio))
    return nn.Sequential(*modules, FullyConnected(channels[-1], outputs, norm=False))
