"""Part-sensitive warping: the score of a box, read at the places of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.models.model_utils.norm import NORM, ImageNorm
from pcdet.models.model_utils.voxel_grid import VoxelGrid
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils import loss_utils
from pcdet.utils.box_utils import BOX, LABEL, RZ, L, W, X, Y


@dataclass
class PSWarpLossWeights:
    """Weight of the loss, named as in the yaml.

    Attributes:
        psw_cls_weight: of the focal loss of guided boxes.
    """

    psw_cls_weight: float = 1.0


class PSWarpHead(nn.Module):
    """A map for each part of a box; its score is the mean of what the maps show at their parts.

    The parts are the points of a grid that spans the box seen from above, edges included. The score
    tells how well the box fits, whatever its class: it replaces that of the anchor, which stands in
    another place.
    """

    def __init__(
        self,
        num_input_features: int,
        num_class: int,
        cells: VoxelGrid,
        loss_weights: PSWarpLossWeights,
        window: Sequence[int] = (4, 7),
        guide_score_thresh: float = 0.1,
        matched_threshold: float | Sequence[float] = 0.7,
    ):
        """Build the layers.

        Args:
            num_input_features: channels of the features from above.
            num_class: K.
            cells: of the features from above.
            loss_weights: weights of the loss terms.
            window: parts along the width and along the length.
            guide_score_thresh: class probability of an anchor above which its box is scored.
            matched_threshold: 3D IoU from which a box counts as found; one for each class or one
                for all.

        Raises:
            ValueError: the window has another length or less than 2 parts along a side, or there
                are more or fewer thresholds than classes.
        """
        super().__init__()
        if len(window) != 2 or min(window) < 2:
            raise ValueError(f"window: two numbers, 2 or more each, expected, got {list(window)}")
        several = isinstance(matched_threshold, Sequence)
        thresholds = list(matched_threshold) if several else [matched_threshold] * num_class
        if len(thresholds) != num_class:
            raise ValueError(
                f"matched_threshold: a number, or one for each of {num_class} classes expected, "
                f"got {thresholds}"
            )
        self.loss_weights = loss_weights
        self.guide_score_thresh = guide_score_thresh
        across, along = (torch.arange(n) / (n - 1) - 0.5 for n in window)
        constants = {
            # (P, 2) places of the parts in widths and lengths, those along the length fastest.
            "places": torch.cartesian_prod(across, along),
            "thresholds": torch.tensor([0.0, *map(float, thresholds)]),  # by label
            "minimum": torch.tensor(cells.minimum[:2]),
            "cell_size": torch.tensor(cells.voxel_size[:2]),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        parts = len(self.places)
        self.convs = nn.Sequential(
            nn.Conv2d(num_input_features, parts, 3, padding=1, bias=False),
            ImageNorm(parts, **NORM),
            nn.ReLU(),
            nn.Conv2d(parts, parts, 1, bias=False),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) features from above to (B, P, H, W), a map for each part."""
        return self.convs(features)

    def scores(self, maps: torch.Tensor, boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits of boxes. The gradient reaches the maps and, through the places, the boxes.

        Args:
            maps: (B, P, H, W), what `forward` returned.
            boxes: for each frame (n, 7) LiDAR boxes.

        Returns:
            (sum of n,), frame after frame.
        """
        last_row, last_column = (max(size - 1, 1) for size in maps.shape[2:])
        scores = []
        for frame_maps, frame_boxes in zip(maps.to(boxes[0].dtype), boxes):
            column, row = self.pixels(frame_boxes).unbind(2)
            # From -1 to 1 over the middles of the pixels; beyond, the maps are zero.
            grid = torch.stack((2 * column / last_column - 1, 2 * row / last_row - 1), dim=2)
            sampled = F.grid_sample(frame_maps[:, None], grid[:, :, None], align_corners=True)
            scores.append(sampled.flatten(1).mean(dim=0))
        return torch.cat(scores)

    def pixels(self, boxes: torch.Tensor) -> torch.Tensor:
        """Where the parts of boxes lie on the maps; cell k shows the place of its lower edge.

        Args:
            boxes: (n, 7) LiDAR boxes.

        Returns:
            (P, n, 2) columns and rows.
        """
        u = self.places[:, :1] * boxes[:, W]  # (P, n)
        v = self.places[:, 1:] * boxes[:, L]
        cos, sin = torch.cos(boxes[:, RZ]), torch.sin(boxes[:, RZ])
        x = boxes[:, X] + u * cos + v * sin
        y = boxes[:, Y] - u * sin + v * cos
        return (torch.stack((x, y), dim=2) - self.minimum) / self.cell_size

    def with_ground_truth(
        self, guided: Sequence[dict[str, torch.Tensor]], ground_truth: Sequence[torch.Tensor]
    ) -> list[dict[str, torch.Tensor]]:
        """Guided boxes with the ground truth in front, as examples of boxes that fit.

        Args:
            guided: for each frame boxes (n, 7) and labels (n,).
            ground_truth: for each frame (m, 8) LiDAR boxes and label.

        Returns:
            For each frame boxes, labels, and gt_boxes (m, 8).
        """
        frames = []
        for own, truth in zip(guided, ground_truth):
            truth = truth.to(own["boxes"].dtype)
            frames.append(
                {
                    "boxes": torch.cat((truth[:, BOX], own["boxes"])),
                    "labels": torch.cat((truth[:, LABEL].long(), own["labels"])),
                    "gt_boxes": truth,
                }
            )
        return frames

    @torch.no_grad()
    def assign_targets(self, frames: Sequence[dict[str, torch.Tensor]]) -> torch.Tensor:
        """Which boxes fit a ground truth of their class.

        Args:
            frames: what `with_ground_truth` returned.

        Returns:
            (sum of n,) bool, frame after frame: the 3D IoU reaches the threshold of the class, or
            no other box overlaps some ground truth more.
        """
        return torch.cat([self._fits(**frame) for frame in frames])

    def _fits(
        self, boxes: torch.Tensor, labels: torch.Tensor, gt_boxes: torch.Tensor
    ) -> torch.Tensor:
        if not len(gt_boxes) or not len(boxes):
            return torch.zeros_like(labels, dtype=torch.bool)
        iou = iou3d_nms_utils.boxes_iou3d_gpu(boxes, gt_boxes[:, BOX].contiguous())
        iou = iou * (labels.unsqueeze(1) == gt_boxes[:, LABEL])
        best_of_gt = iou.amax(dim=0)
        forced = ((iou == best_of_gt) & (best_of_gt > 0)).any(dim=1)
        return (iou.amax(dim=1) >= self.thresholds[labels]) | forced

    def get_loss(
        self, scores: torch.Tensor, fits: torch.Tensor, batch_size: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Focal loss, divided by the boxes of the batch that fit, a mean over frames.

        Args:
            scores: (n,) logits of all boxes of the batch.
            fits: (n,) bool, what `assign_targets` returned.
            batch_size: number of frames.

        Returns:
            The loss, and its terms by name (detached).
        """
        focal = loss_utils.sigmoid_focal_loss(scores, fits.to(scores.dtype)).sum()
        divisor = loss_utils.divisor(fits.sum()) * loss_utils.whole_batch(batch_size)
        loss = self.loss_weights.psw_cls_weight * focal / divisor
        numbers = {"psw_fg_num": fits.sum(), "psw_bg_num": (~fits).sum()}
        return loss, {"psw_loss_cls": loss.detach(), **numbers}
