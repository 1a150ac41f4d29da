"""SA-SSD's anchor head: only anchors over voxels take part, and some of their boxes are guided."""

from __future__ import annotations

import torch

from pcdet.models.bbox_heads.bev_window import WindowedStack
from pcdet.models.bbox_heads.rpn_head import RPNV2, AnchorLossWeights, DirectionConfig
from pcdet.models.model_utils.anchor_mask import AnchorMask
from pcdet.models.model_utils.target_assigner import TargetAssigner
from pcdet.utils import box_utils


class SASSDHead(RPNV2):
    """`RPNV2` with a mask of its anchors, and the features that part-sensitive warping reads.

    Attributes:
        anchor_mask: tells which anchors stand over enough voxels.
    """

    def __init__(
        self,
        num_class: int,
        target_assigner: TargetAssigner,
        anchor_mask: AnchorMask,
        network: dict,
        direction: DirectionConfig | None,
        loss_weights: AnchorLossWeights,
        concat_input: bool = False,
    ):
        """Build the layers.

        Args:
            num_class: K.
            target_assigner: holds the anchors.
            anchor_mask: of these anchors.
            network: arguments of `BEVNetwork`.
            direction: of two bins, or None for a head without direction classifier.
            loss_weights: weights of the loss terms.
            concat_input: stack the input image onto the BEV features.

        Raises:
            ValueError: the bins are not those of `resolve_half_turn`.
        """
        if direction is not None and direction.num_direction_bins != 2:
            raise ValueError(f"num_direction_bins: 2 expected, got {direction.num_direction_bins}")
        if direction is not None and abs(direction.dir_offset + torch.pi) > 1e-3:
            raise ValueError(
                f"dir_offset: -3.14159265 expected, as SA-SSD's directions are told by the sign of "
                f"the angle, got {direction.dir_offset}"
            )
        super().__init__(num_class, target_assigner, network, direction, loss_weights, concat_input)
        self.anchor_mask = anchor_mask

    def forward(
        self, spatial_features: torch.Tensor, cells: torch.Tensor | None = None
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Predict.

        Args:
            spatial_features: (B, C, H, W) image from the backbone.
            cells: (M, 2) rows and columns of the cells that are occupied in some frame, if the
                empty ones may be left out where that gives the same result.

        Returns:
            Predictions as of `RPNV2`, and (B, C', H, W) features of the last level.
        """
        levels = None if cells is None else self._levels_around(spatial_features, cells)
        levels = levels or self.levels(spatial_features)
        return self.predict(levels, spatial_features), levels[-1]

    def _levels_around(
        self, spatial_features: torch.Tensor, cells: torch.Tensor
    ) -> list[torch.Tensor] | None:
        """What `levels` gives, computed around the occupied cells; None if that is of no use.

        For the CPU in evaluation mode: a GPU's host would wait for the window, and statistics of a
        batch are over all cells.
        """
        on_cpu = spatial_features.device.type == "cpu"
        keeps_size = len(self.blocks) == 1 and self.level_stride == 1 == self.feature_map_stride
        if self.training or not on_cpu or not keeps_size:
            return None
        stack = WindowedStack(self.blocks[0])
        window = stack.window(cells, *spatial_features.shape[2:])
        return None if window is None else [stack(spatial_features, window)]

    def assign_targets(
        self, gt_boxes: torch.Tensor, occupied: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Labels and residuals of all anchors for (B, M, 8) ground truth.

        Args:
            gt_boxes: LiDAR boxes and label.
            occupied: (B, N) what `anchor_mask` gave; the other anchors are ignored.
        """
        return self.target_assigner(gt_boxes, occupied)

    def resolve_direction(self, angles: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
        """Angles (n,), known up to half a turn, as the classifier's bins (n,) have them."""
        return resolve_half_turn(angles, bins)

    def guide(
        self, predictions: dict[str, torch.Tensor], occupied: torch.Tensor, score_thresh: float
    ) -> list[dict[str, torch.Tensor]]:
        """The boxes that a second look is worth.

        Args:
            predictions: of the head.
            occupied: (B, N) what `anchor_mask` gave.
            score_thresh: class probability above which an anchor's box is guided on.

        Returns:
            For each frame boxes (n, 7), with gradient, labels (n,) 1-based and the indices of their
            anchors, anchors (n,) ascending.
        """
        guided = []
        for frame, mask in enumerate(occupied):
            logits = predictions["cls_preds"][frame].detach().reshape(-1, self.num_class)
            score, label = logits.to(self.anchors.dtype).sigmoid().max(dim=1)
            anchors = torch.nonzero(mask & (score > score_thresh)).squeeze(1)
            boxes = self.decode(predictions, frame, anchors)
            guided.append({"boxes": boxes, "labels": label[anchors] + 1, "anchors": anchors})
        return guided

    def without_unoccupied(
        self, predictions: dict[str, torch.Tensor], occupied: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The predictions, with minus infinity for all classes of anchors outside the mask."""
        scores = predictions["cls_preds"]
        by_anchor = scores.reshape(*occupied.shape, self.num_class)
        masked = by_anchor.masked_fill(~occupied.unsqueeze(2), -torch.inf)
        return {**predictions, "cls_preds": masked.view_as(scores)}


def resolve_half_turn(angles: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Angles turned by half where their sign is not that of the bin; SA-SSD's rule.

    An angle counts as it was decoded, which for one beyond half a turn is not the sine's sign.

    Args:
        angles: (n,) radians, of anchors and residuals.
        bins: (n,) 1 for angles above 0, else 0.

    Returns:
        (n,) radians in [-pi, pi).
    """
    turned = torch.where((angles > 0) == (bins > 0), angles, angles + torch.pi)
    return box_utils.limit_period(turned, 0.5, 2 * torch.pi)
