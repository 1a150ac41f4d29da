"""Targets of Part-A2's first stage: which points belong to an object, and where in it they lie."""

from __future__ import annotations

import torch

from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.utils import box_utils
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, Z


def part_targets(
    points: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, extra_width: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Label the points of a frame. Where boxes overlap, the later one has the last word.

    Args:
        points: (N, 3) LiDAR frame, metres.
        boxes: (M, 7) LiDAR boxes, of the dtype and on the device of the points.
        labels: (M,) 1-based classes of the boxes.
        extra_width: metres around a box in which points are ignored.

    Returns:
        (N,) int32 class of the box around each point, 0 background, -1 ignored: outside the box,
        but inside the box grown by `extra_width`; and (N, 3) place in the box along its w, l, h as
        fractions from the corner (-w/2, -l/2, bottom), zero for points in no box.
    """
    seg_labels = torch.zeros(len(points), dtype=torch.int32, device=points.device)
    part_labels = torch.zeros_like(points)
    if not len(points) or not len(boxes):
        return seg_labels, part_labels
    grown = box_utils.enlarge_box3d(boxes, extra_width=extra_width)
    near = roiaware_pool3d_utils.points_in_boxes_cpu(points, grown) > 0  # (M, N)
    nearby = near.any(dim=0).nonzero().squeeze(1)  # few: the rest is background
    inside = roiaware_pool3d_utils.points_in_boxes_cpu(points[nearby], boxes) > 0
    last_near, last_inside = _last(near[:, nearby]), _last(inside)
    foreground = inside.gather(0, last_near.unsqueeze(0)).squeeze(0)
    seg_labels[nearby] = torch.where(foreground, labels[last_near].int(), -1)
    held = inside.any(dim=0)
    nearby, own = nearby[held], boxes[last_inside[held]]
    part_labels[nearby] = _place_in_box(points[nearby], own)
    return seg_labels, part_labels


def box_targets(
    points: torch.Tensor, boxes: torch.Tensor, mean_sizes: torch.Tensor
) -> torch.Tensor:
    """What leads from each point of an object to its box; the later box has the last word.

    Args:
        points: (N, 3) LiDAR frame, metres.
        boxes: (M, 7) LiDAR boxes, of the dtype and on the device of the points.
        mean_sizes: (M, 3) mean w, l, h of each box's class.

    Returns:
        (N, 7) vector to the box's middle in metres, its size relative to the mean one, and its rz;
        zero for points in no box.
    """
    targets = points.new_zeros(len(points), 7)
    inside = roiaware_pool3d_utils.points_in_boxes_cpu(points, boxes) > 0
    held = inside.any(dim=0).nonzero().squeeze(1)
    if not len(held):
        return targets
    last = _last(inside[:, held])
    own, mean_sizes = boxes[last], mean_sizes[last]
    middle = own[:, CENTER].clone()
    middle[:, Z] += own[:, H] / 2
    residuals = (
        middle - points[held],
        (own[:, DIMS] - mean_sizes) / mean_sizes,
        own[:, RZ : RZ + 1],
    )
    targets[held] = torch.cat(residuals, dim=1)
    return targets


def _last(flags: torch.Tensor) -> torch.Tensor:
    """(N,) the last row of the (M, N) flags that is set in each column; the last row if none is."""
    return len(flags) - 1 - flags.int().flip(0).argmax(dim=0)


def _place_in_box(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(N, 3) points of the LiDAR frame as fractions of the w, l, h of their boxes (N, 7)."""
    shifted = (points - boxes[:, CENTER]).unsqueeze(1)
    turned = box_utils.rotate_points_along_z(shifted, -boxes[:, RZ]).squeeze(1)
    fractions = turned / boxes[:, DIMS]
    fractions[:, :2] += 0.5  # z is counted from the bottom already
    return fractions.clamp(0, 1)
