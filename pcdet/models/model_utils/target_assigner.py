"""Which anchor has to find which ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.models.model_utils.anchor_generator import AnchorGeneratorRange
from pcdet.utils import box_utils
from pcdet.utils.box_utils import BOX, LABEL


class TargetAssigner(nn.Module):
    """Labels and regression targets of all anchors of a batch, on the model's device.

    An anchor sees only ground truth of its class. Its overlap with one is the IoU of the two
    axis-aligned rectangles nearest to the boxes in bird's-eye view. It is positive if its greatest
    overlap reaches the class's matched threshold, or if no anchor overlaps some ground truth more
    (all that tie for the best are taken); it is ignored if the greatest overlap lies between the
    thresholds.

    Anchors stand on a grid, so overlaps are products of overlaps along x and along y, and an
    object overlaps few anchors: only those pairs, Q of them, are looked at. A GPU's host waits four
    times: for the numbers of objects with the anchor shapes of their class, of the rows of anchors
    that these overlap, of the pairs, and of positive anchors.
    """

    def __init__(
        self,
        generators: Sequence[AnchorGeneratorRange],
        class_names: Sequence[str],
        feature_map_size: Sequence[int],
        box_coder,
    ):
        """Lay out the anchors.

        Args:
            generators: one for each class that has anchors.
            class_names: all classes; label k means class_names[k - 1].
            feature_map_size: H, W.
            box_coder: encodes boxes with respect to anchors.
        """
        super().__init__()
        self.box_coder = box_coder
        self.feature_map_size = tuple(feature_map_size)
        anchors = torch.cat([g.generate(feature_map_size) for g in generators], dim=2)
        nearest = box_utils.boxes3d_to_nearest_bev_boxes(anchors)  # (H, W, A, 4)
        repeats = torch.tensor([g.num_anchors_per_location for g in generators])

        def per_anchor(values: list) -> torch.Tensor:
            return torch.tensor(values).repeat_interleave(repeats)

        constants = {
            "anchors": anchors,
            "anchor_label": per_anchor([class_names.index(g.class_name) + 1 for g in generators]),
            "matched": per_anchor([g.matched_threshold for g in generators]),
            "unmatched": per_anchor([g.unmatched_threshold for g in generators]),
            # Edges of the anchors: [low, high] x (A, W), and the same along y (A, H).
            "x_edges": nearest[0, :, :, 0::2].permute(2, 1, 0).contiguous(),
            "y_edges": nearest[:, 0, :, 1::2].permute(2, 1, 0).contiguous(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self, gt_boxes: torch.Tensor, mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Assign.

        Args:
            gt_boxes: (B, M, 8) LiDAR boxes and label; rows with label 0 are padding.
            mask: (B, N) bool, which anchors take part; the others are ignored. None for all.

        Returns:
            box_cls_labels (B, N) int64: 0 background, -1 ignored, else the class;
            box_reg_targets (B, N, 7): residuals of positive anchors, zero elsewhere;
            positive_anchors (P,): their indices into the B * N anchors, so that the loss has no
            need to wait for their number; N = H * W * A in this order.
        """
        batch_size, max_gt = gt_boxes.shape[:2]
        anchors = self.anchors.view(-1, self.anchors.shape[-1])  # (N, 7)
        num_anchors = len(anchors)
        labels = torch.zeros(batch_size * num_anchors, dtype=torch.long, device=anchors.device)
        targets = anchors.new_zeros(batch_size * num_anchors, self.box_coder.code_size)
        boxes = gt_boxes.reshape(-1, gt_boxes.shape[-1]).to(anchors.dtype)  # (B * M, 8)
        # P pairs of a box and an anchor shape of its class: gt (P,) in B * M, slot (P,) in A.
        gt, slot = torch.nonzero(boxes[:, LABEL, None] == self.anchor_label, as_tuple=True)
        chosen = gt  # where there is no ground truth, none is positive
        if len(gt):
            pair, site, overlap = self._overlaps(boxes[gt], slot)  # (Q,) each
            gt, slot = gt[pair], slot[pair]  # (Q,) each
            site = site + gt // max_gt * num_anchors  # (Q,) in B * N
            if mask is not None:
                overlap = overlap * mask.reshape(-1)[site]
            # (B * M,) the greatest overlap of each box with any anchor
            best_of_gt = overlap.new_zeros(len(boxes)).scatter_reduce(0, gt, overlap, "amax")
            forced = (overlap == best_of_gt[gt]) & (overlap > 0)
            positive = self._label_(labels, site, slot, overlap, forced)
            chosen, owner = _owners(labels, site, gt, positive)  # (K,) positive anchors in B * N
            targets[chosen] = self.box_coder.encode(
                boxes[owner][:, BOX], anchors[chosen % num_anchors]
            )
        if mask is not None:
            labels = labels.masked_fill(~mask.reshape(-1), -1)
        return {
            "box_cls_labels": labels.view(batch_size, num_anchors),
            "box_reg_targets": targets.view(batch_size, num_anchors, -1),
            "positive_anchors": chosen,
        }

    def _overlaps(
        self, boxes: torch.Tensor, slot: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Anchors that overlap P pairs of a ground truth and an anchor shape.

        Args:
            boxes: (P, 8) ground truth of each pair.
            slot: (P,) which of the A anchors of a cell.

        Returns:
            For Q overlaps which pair (Q,), index (Q,) of the anchor within its frame, IoU (Q,).
        """
        nearest = box_utils.boxes3d_to_nearest_bev_boxes(boxes[:, BOX])  # (P, 4) x1, y1, x2, y2
        x_overlap, x_size = _along(nearest[:, 0::2], self.x_edges[:, slot])  # (P, W) each
        y_overlap, y_size = _along(nearest[:, 1::2], self.y_edges[:, slot])  # (P, H) each
        pair, row = torch.nonzero(y_overlap, as_tuple=True)
        entry, column = torch.nonzero(x_overlap[pair], as_tuple=True)
        pair, row = pair[entry], row[entry]  # (Q,) each, as are all that follow
        intersection = y_overlap[pair, row] * x_overlap[pair, column]
        area = (nearest[:, 2:] - nearest[:, :2]).prod(dim=1)[pair]
        anchor_area = y_size[pair, row] * x_size[pair, column]
        union = (anchor_area + area - intersection).clamp(min=1e-6)
        cell = row * self.feature_map_size[1] + column
        return pair, cell * len(self.anchor_label) + slot[pair], intersection / union

    def _label_(
        self,
        labels: torch.Tensor,
        site: torch.Tensor,
        slot: torch.Tensor,
        overlap: torch.Tensor,
        forced: torch.Tensor,
    ) -> torch.Tensor:
        """Write the labels of all anchors.

        Args:
            labels: (B * N,) zeros, written to.
            site: (Q,) index of the anchor in the batch.
            slot: (Q,) which of the A anchors of a cell.
            overlap: (Q,) its IoU with a ground truth.
            forced: (Q,) bool, no anchor overlaps that ground truth more.

        Returns:
            (Q,) bool: the overlap is that of a positive anchor with the box it should find.
        """
        # (Q,) the greatest overlap of the anchor that each overlap is of
        best = overlap.new_zeros(len(labels)).scatter_reduce(0, site, overlap, "amax")[site]
        is_forced = torch.zeros_like(labels, dtype=torch.uint8)
        is_forced = is_forced.scatter_reduce(0, site, forced.byte(), "amax")[site] > 0
        positive = (best >= self.matched[slot]) | is_forced
        ignored = (best >= self.unmatched[slot]) & ~positive
        # Overlaps of one anchor all write the same.
        labels.scatter_(0, site, torch.where(positive, self.anchor_label[slot], -ignored.long()))
        return positive & (overlap == best)


def _owners(
    labels: torch.Tensor, site: torch.Tensor, gt: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The positive anchors, and the ground truth that each should find.

    Of several ground truths with the same overlap the first one owns the anchor.

    Args:
        labels: (B * N,) of all anchors.
        site: (Q,) index of the anchor in the batch.
        gt: (Q,) index of the ground truth in the batch.
        wanted: (Q,) bool, the ground truth is one that its anchor may find.
    """
    nobody = torch.iinfo(labels.dtype).max
    owner = torch.full_like(labels, nobody)
    owner = owner.scatter_reduce(0, site, torch.where(wanted, gt, nobody), "amin")
    index = torch.nonzero(labels > 0).squeeze(1)
    return index, owner[index]


def _along(edges: torch.Tensor, anchor_edges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlaps of P boxes with the anchors along one axis of S cells.

    Args:
        edges: (P, 2) low and high end of the ground truth.
        anchor_edges: (2, P, S) low and high ends of the anchors along the axis.

    Returns:
        Overlaps (P, S), sizes of the anchors (P, S).
    """
    low = torch.maximum(anchor_edges[0], edges[:, :1])
    high = torch.minimum(anchor_edges[1], edges[:, 1:])
    return (high - low).clamp(min=0), anchor_edges[1] - anchor_edges[0]
