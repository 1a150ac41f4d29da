"""SA-SSD's auxiliary network: points say from sparse features whether and where an object is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pcdet.models.model_utils.voxel_grid import VoxelGrid
from pcdet.ops.roiaware_pool3d.roiaware_pool3d_utils import points_in_boxes_gpu
from pcdet.ops.sparse_conv import SparseTensor
from pcdet.ops.three_nn.three_nn_utils import (
    inverse_distance_weights,
    three_interpolate,
    three_nn,
)
from pcdet.utils import loss_utils
from pcdet.utils.box_utils import BOX, CENTER, LABEL, H, W, Z

# Which size of a box, halved, lies between its bottom and the centre that points learn.
CENTER_HEIGHTS = {"h": H, "w": W}


@dataclass
class AuxiliaryLossWeights:
    """Weights of the terms of the loss, named as in the yaml.

    Attributes:
        aux_cls_weight: of the focal loss of points in objects.
        aux_reg_weight: of their offsets to the objects' centres.
    """

    aux_cls_weight: float = 1.0
    aux_reg_weight: float = 1.0


class AuxiliaryNetwork(nn.Module):
    """Features of three levels at points, and two predictions from them; for training alone.

    In evaluation mode it is no part of the model's state: weights saved then do not hold it, and
    weights without it load strictly.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        grid: VoxelGrid,
        loss_weights: AuxiliaryLossWeights,
        num_features: int = 64,
        center_target_z: str = "h",
    ):
        """Build the layers.

        Args:
            level_channels: channels at 1/2, 1/4 and 1/8 of the voxel grid.
            grid: of the voxels.
            loss_weights: weights of the loss terms.
            num_features: of a point.
            center_target_z: "h" for the middle of a box; "w" for half a width above its bottom, the
                slip of the original code that its published weights were trained with.

        Raises:
            ValueError: `center_target_z` is neither.
        """
        super().__init__()
        if center_target_z not in CENTER_HEIGHTS:
            raise ValueError(
                f"center_target_z must be one of {sorted(CENTER_HEIGHTS)}, got {center_target_z!r}"
            )
        self.level_channels = tuple(level_channels)
        self.loss_weights = loss_weights
        self._height = CENTER_HEIGHTS[center_target_z]
        self.point_fc = nn.Linear(sum(level_channels), num_features, bias=False)
        self.point_cls = nn.Linear(num_features, 1, bias=False)
        self.point_reg = nn.Linear(num_features, 3, bias=False)
        for name in ("voxel_size", "minimum"):
            self.register_buffer(name, torch.tensor(getattr(grid, name)), persistent=False)
        self.register_load_state_dict_pre_hook(_keep_weights_in_evaluation)

    def state_dict(self, *args, destination=None, prefix: str = "", keep_vars: bool = False):
        """As of any module in training mode; empty in evaluation mode."""
        if self.training:
            own = {"destination": destination, "prefix": prefix, "keep_vars": keep_vars}
            return super().state_dict(*args, **own)
        return {} if destination is None else destination

    def forward(
        self, points: torch.Tensor, coordinates: torch.Tensor, levels: Sequence[SparseTensor]
    ) -> dict[str, torch.Tensor]:
        """Predict for each point.

        Args:
            points: (V, 3) x, y, z, LiDAR frame, metres.
            coordinates: (V, 4), the frame of each point first.
            levels: at 1/2, 1/4 and 1/8 of the voxel grid; may be empty if V is 0.

        Returns:
            point_cls (V,) logits of lying in an object, point_reg (V, 3) offsets from the centre of
            that object, metres.
        """
        features = points.new_zeros(len(points), sum(self.level_channels))
        if levels:
            features = torch.cat(
                [
                    self.interpolate(points, coordinates[:, 0], level, stride)
                    for level, stride in zip(levels, (2, 4, 8))
                ],
                dim=1,
            )
        features = self.point_fc(features)
        return {
            "point_cls": self.point_cls(features).squeeze(1).to(points.dtype),
            "point_reg": self.point_reg(features).to(points.dtype),
        }

    def interpolate(
        self, points: torch.Tensor, frames: torch.Tensor, level: SparseTensor, stride: int
    ) -> torch.Tensor:
        """(V, C) features of a level at points (V, 3) of frames (V,), from the three next sites."""
        sites = self.places(level.indices, stride)
        distances, nearest = three_nn(
            points, sites.to(points.dtype), frames, level.indices[:, 0], level.batch_size
        )
        weights = inverse_distance_weights(distances)
        return three_interpolate(level.features.to(points.dtype), nearest, weights)

    def places(self, indices: torch.Tensor, stride: int) -> torch.Tensor:
        """Where the features of sites stand: in the middle of the `stride` voxels from their own.

        What a site has seen lies (stride - 1) / 2 voxels lower; SA-SSD has it so.

        Args:
            indices: (M, 4) frame, z, y, x.
            stride: voxels along a side of the level's cells.

        Returns:
            (M, 3) x, y, z, metres.
        """
        size = stride * self.voxel_size
        return indices[:, 1:].flip(1) * size + self.minimum + size / 2

    @torch.no_grad()
    def assign_targets(
        self, points: torch.Tensor, coordinates: torch.Tensor, gt_boxes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What to predict.

        Args:
            points: (V, 3).
            coordinates: (V, 4), the frame of each point first.
            gt_boxes: (B, M, 8) LiDAR boxes and label; rows with label 0 are padding.

        Returns:
            point_labels (V,): whether some box holds the point; point_offsets (V, 3): from the
            centre of that box, of the last one that holds it, to the point; metres.
        """
        labels = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        offsets = torch.zeros_like(points)
        for frame, boxes in enumerate(gt_boxes.to(points.dtype)):
            boxes = boxes.flip(0)[:, : LABEL + 1]
            sizes = boxes[:, BOX] * (boxes[:, LABEL:] > 0)
            owner = points_in_boxes_gpu(points[None], sizes[None])[0].long()
            inside = (owner >= 0) & (coordinates[:, 0] == frame)
            if not len(boxes):
                continue
            centers = boxes[:, CENTER].clone()
            centers[:, Z] += boxes[:, self._height] / 2
            own = points - centers[owner.clamp(min=0)]
            labels |= inside
            offsets = torch.where(inside.unsqueeze(1), own, offsets)
        return {"point_labels": labels, "point_offsets": offsets}

    def get_loss(
        self,
        predictions: dict[str, torch.Tensor],
        targets: dict[str, torch.Tensor],
        batch_size: int,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Focal loss of all points and smooth L1 of those in objects, a mean over frames.

        Both sums are divided by the points in objects of the whole batch.

        Args:
            predictions: what `forward` returned.
            targets: what `assign_targets` returned.
            batch_size: number of frames.

        Returns:
            The loss, and its terms by name (detached).
        """
        labels, weights = targets["point_labels"], self.loss_weights
        logits = predictions["point_cls"]
        divisor = loss_utils.divisor(labels.sum()) * loss_utils.whole_batch(batch_size)
        focal = loss_utils.sigmoid_focal_loss(logits, labels.to(logits.dtype))
        distance = loss_utils.smooth_l1_loss(predictions["point_reg"], targets["point_offsets"])
        distance = torch.where(labels.unsqueeze(1), distance, 0)
        terms = {
            "aux_loss_cls": weights.aux_cls_weight * focal.sum() / divisor,
            "aux_loss_reg": weights.aux_reg_weight * distance.sum() / divisor,
        }
        tb_dict = {name: term.detach() for name, term in terms.items()}
        return sum(terms.values()), tb_dict


def _keep_weights_in_evaluation(module: nn.Module, state: dict, prefix: str, *args) -> None:
    """Let a state that lacks the auxiliary weights load strictly in evaluation mode."""
    if not module.training:
        for name, value in module.named_parameters():
            state.setdefault(prefix + name, value)
