"""The anchor head of SECOND, PointPillar and Part-A2: BEV network, predictions, loss, decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.model_utils.target_assigner import TargetAssigner
from pcdet.ops.sparse_conv import SparseTensor
from pcdet.utils import box_coder_utils, loss_utils
from pcdet.utils.box_utils import RZ


@dataclass
class DirectionConfig:
    """How the direction classifier divides the circle.

    Attributes:
        num_direction_bins: number of sectors.
        dir_offset: angle in radians where the first begins.
        dir_limit_offset: which representative of an angle modulo a sector decoding uses.
    """

    num_direction_bins: int = 2
    dir_offset: float = 0.78539
    dir_limit_offset: float = 0.0


@dataclass
class AnchorLossWeights:
    """Weights of the terms of the loss, named as in the yaml.

    Attributes:
        rpn_cls_weight: of the focal loss.
        rpn_loc_weight: of the residuals.
        rpn_dir_weight: of the direction classifier, or of each class's anchors in it.
        code_weights: factors of the seven residuals' differences.
    """

    rpn_cls_weight: float = 1.0
    rpn_loc_weight: float = 2.0
    rpn_dir_weight: float | Sequence[float] = 0.2
    code_weights: Sequence[float] = (1.0,) * 7

    def __post_init__(self) -> None:
        box_coder_utils.check_code_weights(self.code_weights)


class RPNV2(BEVNetwork):
    """BEV network with, on top, a class, a box and a direction for each anchor.

    Outputs have the layout (B, H, W, A * n), the n numbers of an anchor side by side; flattened,
    anchors are in the order of the assigner.
    """

    def __init__(
        self,
        num_class: int,
        target_assigner: TargetAssigner,
        network: dict,
        direction: DirectionConfig | None,
        loss_weights: AnchorLossWeights,
        concat_input: bool = False,
    ):
        """Build the layers.

        Args:
            num_class: K.
            target_assigner: holds the anchors.
            network: arguments of `BEVNetwork`.
            direction: None for a head without direction classifier.
            loss_weights: weights of the loss terms.
            concat_input: stack the input image onto the BEV features.
        """
        super().__init__(**network)
        self.num_class = num_class
        self.target_assigner = target_assigner
        self.box_coder = target_assigner.box_coder
        self.direction = direction
        self.loss_weights = loss_weights
        self.concat_input = concat_input
        if concat_input and self.feature_map_stride != 1:
            raise ValueError("concat_input needs an output of the input's size")
        channels = self.num_bev_features + concat_input * network["num_input_features"]
        num_anchors = len(target_assigner.anchor_label)
        self.conv_cls = nn.Conv2d(channels, num_anchors * num_class, 1)
        self.conv_box = nn.Conv2d(channels, num_anchors * self.box_coder.code_size, 1)
        if direction is not None:
            self.conv_dir_cls = nn.Conv2d(channels, num_anchors * direction.num_direction_bins, 1)
        self._init_outputs()
        code_weights = torch.tensor(loss_weights.code_weights, dtype=torch.float32)
        self.register_buffer("code_weights", code_weights, persistent=False)
        dir_weights = torch.tensor(loss_weights.rpn_dir_weight, dtype=torch.float32)
        dir_weights = dir_weights.expand(num_class).contiguous()
        self.register_buffer("dir_weights", dir_weights, persistent=False)

    def _init_outputs(self) -> None:
        """Let all anchors start out at a class probability of 1 %, and at their own box.

        The many background anchors then do not swamp the first steps (Lin et al., Focal Loss for
        Dense Object Detection, 2017, sections 3.3 and 4.1). The small weights matter as much as the
        bias: features of the few occupied cells are tens of standard deviations large at first.
        """
        nn.init.constant_(self.conv_cls.bias, -math.log((1 - 0.01) / 0.01))
        nn.init.normal_(self.conv_cls.weight, std=0.01)
        nn.init.normal_(self.conv_box.weight, std=0.001)
        if self.direction is not None:
            nn.init.normal_(self.conv_dir_cls.weight, std=0.01)

    @property
    def anchors(self) -> torch.Tensor:
        """(N, 7) all anchors as LiDAR boxes."""
        return self.target_assigner.anchors.view(-1, self.box_coder.code_size)

    def forward(self, spatial_features: torch.Tensor | SparseTensor) -> dict[str, torch.Tensor]:
        """Predict.

        Args:
            spatial_features: (B, C, H, W) image from the backbone, or its cells, see `levels`.

        Returns:
            cls_preds (B, H, W, A * K) logits, box_preds (B, H, W, A * 7) residuals and, with a
            direction classifier, dir_cls_preds (B, H, W, A * bins) logits.
        """
        return self.predict(self.levels(spatial_features), spatial_features)

    def predict(
        self, levels: list[torch.Tensor], spatial_features: torch.Tensor | SparseTensor
    ) -> dict[str, torch.Tensor]:
        """What `forward` returns, from the pyramid of the BEV network and its input."""
        convs = {"cls_preds": self.conv_cls, "box_preds": self.conv_box}
        if self.direction is not None:
            convs["dir_cls_preds"] = self.conv_dir_cls
        # One matrix product over the cells instead of a convolution for each output: the result
        # has its final layout, and torch has no quick 1x1 convolution of one frame on one thread.
        weight = torch.cat([conv.weight.flatten(1) for conv in convs.values()])
        bias = torch.cat([conv.bias for conv in convs.values()])
        if self.concat_input:
            x = torch.cat((self.upsample(levels), spatial_features), dim=1)
            outputs = F.linear(x.permute(0, 2, 3, 1), weight, bias)
        else:
            outputs = self.upsample_and_multiply(levels, weight, bias)
        sizes = [conv.out_channels for conv in convs.values()]
        return {name: part.contiguous() for name, part in zip(convs, outputs.split(sizes, dim=-1))}

    def assign_targets(self, gt_boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Labels and residuals of all anchors for (B, M, 8) ground truth."""
        return self.target_assigner(gt_boxes)

    def get_loss(
        self, predictions: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Weighted sum of the loss terms, each a mean over frames.

        Terms of a frame are divided by its number of positive anchors.

        Args:
            predictions: what `forward` returned.
            targets: what `assign_targets` returned.

        Returns:
            The loss, and its terms by name (detached).
        """
        labels = targets["box_cls_labels"]
        batch_size = labels.shape[0]
        positive = labels > 0
        per_frame = 1 / positive.sum(dim=1, keepdim=True).clamp(min=1).to(
            self.anchors.dtype
        )  # (B, 1)
        chosen = targets["positive_anchors"]
        frame, anchor = chosen // labels.shape[1], chosen % labels.shape[1]
        weight = per_frame[frame, 0] / batch_size  # (P,)
        picked = {
            name: value.view(batch_size, labels.shape[1], -1)[frame, anchor].to(self.anchors.dtype)
            for name, value in predictions.items()
            if name != "cls_preds"
        }
        residuals = targets["box_reg_targets"][frame, anchor]
        terms = {
            "rpn_loss_cls": self._cls_loss(predictions["cls_preds"], labels, per_frame),
            "rpn_loss_loc": self._box_loss(picked["box_preds"], residuals, weight),
        }
        if self.direction is not None:
            angles = residuals[:, RZ] + self.anchors[anchor, RZ]
            weight = weight * self.dir_weights[labels[frame, anchor].long() - 1]
            terms["rpn_loss_dir"] = self._dir_loss(picked["dir_cls_preds"], angles, weight)
        loss = sum(terms.values())
        tb_dict = {name: term.detach() for name, term in terms.items()}
        tb_dict["rpn_loss"] = loss.detach()
        return loss, tb_dict

    def _cls_loss(
        self, cls_preds: torch.Tensor, labels: torch.Tensor, per_frame: torch.Tensor
    ) -> torch.Tensor:
        logits = cls_preds.view(*labels.shape, self.num_class).to(self.anchors.dtype)
        one_hot = torch.zeros_like(logits)
        one_hot.scatter_(
            2, (labels - 1).clamp(min=0).unsqueeze(-1), (labels > 0).to(logits.dtype).unsqueeze(-1)
        )
        loss = loss_utils.sigmoid_focal_loss(logits, one_hot).sum(dim=-1)
        cared = (labels >= 0) * per_frame
        return self.loss_weights.rpn_cls_weight * (loss * cared).sum() / len(labels)

    def _box_loss(
        self, box_preds: torch.Tensor, residuals: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        pair = loss_utils.add_sin_difference(box_preds, residuals)
        loss = loss_utils.smooth_l1_loss(*pair, code_weights=self.code_weights).sum(dim=-1)
        return self.loss_weights.rpn_loc_weight * (loss * weight).sum()

    def _dir_loss(
        self, logits: torch.Tensor, angles: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        bins = box_coder_utils.direction_bin(
            angles, self.direction.dir_offset, self.direction.num_direction_bins
        )
        loss = F.cross_entropy(logits, bins, reduction="none")
        return (loss * weight).sum()

    def decode(
        self, predictions: dict[str, torch.Tensor], frame: int, anchor: torch.Tensor
    ) -> torch.Tensor:
        """Boxes of some anchors of a frame.

        Args:
            predictions: what `forward` returned.
            frame: index in the batch.
            anchor: (n,) indices of anchors.

        Returns:
            (n, 7) LiDAR boxes.
        """
        residuals = predictions["box_preds"][frame].reshape(len(self.anchors), -1)[anchor]
        boxes = self.box_coder.decode(residuals.to(self.anchors.dtype), self.anchors[anchor])
        if self.direction is not None:
            logits = predictions["dir_cls_preds"][frame].reshape(len(self.anchors), -1)[anchor]
            angles = self.resolve_direction(boxes[:, RZ], logits.argmax(dim=-1))
            boxes = torch.cat((boxes[:, :RZ], angles.unsqueeze(-1)), dim=-1)
        return boxes

    def resolve_direction(self, angles: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
        """Angles (n,), known up to a sector, put into the sectors (n,) of the classifier."""
        d = self.direction
        return box_coder_utils.resolve_direction(
            angles, bins, d.dir_offset, d.dir_limit_offset, d.num_direction_bins
        )
