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
    object overlaps a small window of the grid only: the work is done there.
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

    def forward(self, gt_boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Assign.

        Args:
            gt_boxes: (B, M, 8) LiDAR boxes and label; rows with label 0 are padding.

        Returns:
            box_cls_labels (B, N) int64: 0 background, -1 ignored, else the class;
            box_reg_targets (B, N, 7): residuals of positive anchors, zero elsewhere;
            N = H * W * A in this order.
        """
        batch_size, max_gt = gt_boxes.shape[:2]
        anchors = self.anchors.view(-1, self.anchors.shape[-1])
        num_anchors = len(anchors)
        labels = torch.zeros(batch_size * num_anchors, dtype=torch.long, device=anchors.device)
        targets = anchors.new_zeros(batch_size * num_anchors, self.box_coder.code_size)
        boxes = gt_boxes.reshape(-1, gt_boxes.shape[-1]).to(anchors.dtype)
        gt, slot = torch.nonzero(boxes[:, LABEL, None] == self.anchor_label, as_tuple=True)
        if len(gt):
            site, overlap = self._overlaps(boxes[gt], slot)  # (P, K) each
            site += (gt // max_gt * num_anchors)[:, None]
            positive, owner = self._match_(labels, site, overlap, gt, slot)
            targets[positive] = self.box_coder.encode(
                boxes[owner][:, BOX], anchors[positive % num_anchors]
            )
        return {
            "box_cls_labels": labels.view(batch_size, num_anchors),
            "box_reg_targets": targets.view(batch_size, num_anchors, -1),
        }

    def _overlaps(
        self, boxes: torch.Tensor, slot: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """IoU of P pairs of a ground truth and an anchor shape, in the window where it is not 0.

        Args:
            boxes: (P, 8) ground truth of each pair.
            slot: (P,) which of the A anchors of a cell.

        Returns:
            Index (P, K) of the anchor within its frame, and IoU (P, K).
        """
        nearest = box_utils.boxes3d_to_nearest_bev_boxes(boxes[:, BOX])
        x_start, x_overlap, x_size = _window(nearest[:, 0::2], self.x_edges[:, slot])
        y_start, y_overlap, y_size = _window(nearest[:, 1::2], self.y_edges[:, slot])
        intersection = y_overlap[:, :, None] * x_overlap[:, None, :]  # (P, Ky, Kx)
        area = (nearest[:, 2:] - nearest[:, :2]).prod(dim=1)
        anchor_area = y_size[:, :, None] * x_size[:, None, :]
        union = (anchor_area + area[:, None, None] - intersection).clamp(min=1e-6)
        row = y_start[:, None, None] + torch.arange(y_overlap.shape[1], device=slot.device)[:, None]
        column = x_start[:, None, None] + torch.arange(x_overlap.shape[1], device=slot.device)
        cell = row * self.feature_map_size[1] + column
        site = cell * len(self.anchor_label) + slot[:, None, None]
        return site.flatten(1), (intersection / union).flatten(1)

    def _match_(
        self,
        labels: torch.Tensor,
        site: torch.Tensor,
        overlap: torch.Tensor,
        gt: torch.Tensor,
        slot: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the labels of all anchors, and return the positive ones with their ground truth.

        Args:
            labels: (B * N,) zeros, written to.
            site: (P, K) index of the anchor in the batch.
            overlap: (P, K) its IoU with the pair's ground truth.
            gt: (P,) index of the ground truth in the batch, ascending.
            slot: (P,) which of the A anchors of a cell.
        """
        # Pairs of one ground truth follow each other.
        present, pair_gt = gt.unique_consecutive(return_inverse=True)
        best_of_gt = overlap.new_zeros(len(present))
        best_of_gt = best_of_gt.scatter_reduce(0, pair_gt, overlap.amax(dim=1), "amax")
        forced = overlap == best_of_gt[pair_gt].unsqueeze(1)
        touched = overlap > 0
        pair = torch.arange(len(gt), device=gt.device).unsqueeze(1).expand_as(site)[touched]
        site, overlap, forced = site[touched], overlap[touched], forced[touched]

        best = overlap.new_zeros(len(labels)).scatter_reduce(0, site, overlap, "amax")[site]
        slot = slot[pair]
        is_best = overlap == best
        is_forced = torch.zeros_like(labels, dtype=torch.bool).index_fill_(0, site[forced], True)
        positive = (best >= self.matched[slot]) | is_forced[site]
        ignored = (best >= self.unmatched[slot]) & ~positive
        labels[site[ignored]] = -1
        labels[site[positive]] = self.anchor_label[slot[positive]]

        # Of several ground truths with the same overlap the first one owns the anchor.
        chosen = positive & is_best
        owner = torch.full_like(labels, torch.iinfo(labels.dtype).max)
        owner = owner.scatter_reduce(0, site[chosen], gt[pair[chosen]], "amin")
        index = torch.nonzero(labels > 0).squeeze(1)
        return index, owner[index]


def _window(
    edges: torch.Tensor, anchor_edges: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Overlaps along one axis, in the smallest common window that holds all that are not zero.

    Args:
        edges: (P, 2) low and high end of the ground truth.
        anchor_edges: (2, P, S) low and high ends of the anchors along the axis.

    Returns:
        First index (P,) of the window, overlaps (P, K), sizes of the anchors (P, K).
    """
    low = torch.maximum(anchor_edges[0], edges[:, :1])
    high = torch.minimum(anchor_edges[1], edges[:, 1:])
    overlap = (high - low).clamp(min=0)
    hit = overlap > 0
    width = max(int(hit.sum(dim=1).max()), 1)
    start = hit.int().argmax(dim=1).clamp(max=overlap.shape[1] - width)
    index = start[:, None] + torch.arange(width, device=edges.device)
    size = anchor_edges[1] - anchor_edges[0]
    return start, overlap.gather(1, index), size.gather(1, index)
