"""The same answers as roiaware_pool3d_utils in plain torch: slow and obvious, for the tests."""

from __future__ import annotations

import math

import torch


def local_points(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """(N, 3) places in the (7,) box: along its length and width from its centre, up from below."""
    angle = box[6] + math.pi / 2
    dx, dy = points[:, 0] - box[0], points[:, 1] - box[1]
    along_length = dx * torch.cos(angle) - dy * torch.sin(angle)
    along_width = dx * torch.sin(angle) + dy * torch.cos(angle)
    return torch.stack((along_length, along_width, points[:, 2] - box[2]), dim=1)


def inside_box(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """(N,) whether each of the (N, 3) points lies in the (7,) box."""
    along_length, along_width, _ = local_points(points, box).unbind(1)
    half_width, half_length, half_height = box[3:6] / 2
    in_height = (points[:, 2] - (box[2] + half_height)).abs() <= half_height
    return in_height & (along_length.abs() < half_length) & (along_width.abs() < half_width)


def points_in_boxes_cpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(M, N) int32, 1 where the box holds the point."""
    inside = torch.zeros((len(boxes), len(points)), dtype=torch.int32)
    for i, box in enumerate(boxes):
        inside[i] = inside_box(points, box)
    return inside


def points_in_boxes_gpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(B, N) int32 index of the first box that holds the point, or -1."""
    found = torch.full(points.shape[:2], -1, dtype=torch.int32)
    for frame in range(len(points)):
        for i in reversed(range(boxes.shape[1])):
            found[frame][inside_box(points[frame], boxes[frame, i])] = i
    return found


def roiaware_pool3d(
    rois: torch.Tensor,
    pts: torch.Tensor,
    pts_feature: torch.Tensor,
    out_size: tuple[int, int, int],
    max_pts_each_voxel: int,
    pool_method: str,
) -> torch.Tensor:
    """(R, ox, oy, oz, C) pooled features; differentiable by torch's own rules."""
    sizes = torch.tensor(out_size)
    rows = []
    for roi in rois:
        inside = inside_box(pts, roi).nonzero()[:, 0]
        shift = torch.stack((roi[4] / 2, roi[3] / 2, torch.zeros_like(roi[5])))
        parts = roi[[4, 3, 5]] / sizes
        cells = ((local_points(pts[inside], roi) + shift) / parts).long()
        cells = torch.minimum(cells.clamp(min=0), sizes - 1)
        members: dict[tuple[int, ...], list[int]] = {}
        for point, cell in zip(inside.tolist(), cells.tolist()):
            members.setdefault(tuple(cell), []).append(point)
        pooled = pts_feature.new_zeros((*out_size, pts_feature.shape[1]))
        for cell, points in members.items():
            values = pts_feature[points[:max_pts_each_voxel]]
            pooled[cell] = values.max(dim=0).values if pool_method == "max" else values.mean(dim=0)
        rows.append(pooled)
    if not rows:
        return pts_feature.new_zeros((0, *out_size, pts_feature.shape[1]))
    return torch.stack(rows)
