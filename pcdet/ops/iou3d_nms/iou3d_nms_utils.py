"""Overlap of rotated boxes and non-maximum suppression, on CPU and CUDA tensors.

A BEV box is `[x1, y1, x2, y2, rz]`: the corners before the turn, in metres, and the turn about the
centre in radians. A LiDAR box is `[x, y, z, w, l, h, rz]`, z at the bottom face. In both a positive
rz turns clockwise seen from above, and at rz = 0 the width lies along x and the length along y.

All functions take float32 or float64 (both arguments alike), compute in that type, and give no
gradient. A box with a size that is not positive, or with a number that is not finite, overlaps
nothing. Arguments that do not fit raise a RuntimeError that names them.
"""

from __future__ import annotations

import torch

from pcdet.ops.common import Operators, load_extension

load_extension("pcdet.ops.iou3d_nms.iou3d_nms_ext")
_ops = Operators("pcdet_iou3d_nms")


def boxes_overlap_bev(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Area shared by each pair of BEV boxes.

    Args:
        boxes_a: (N, 5) BEV boxes.
        boxes_b: (M, 5) BEV boxes.

    Returns:
        (N, M) square metres.
    """
    return _ops.overlap_bev(boxes_a.detach(), boxes_b.detach())


def boxes_iou_bev(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of each pair of BEV boxes.

    Args:
        boxes_a: (N, 5) BEV boxes.
        boxes_b: (M, 5) BEV boxes.

    Returns:
        (N, M) in [0, 1]; 0 for a pair of empty boxes.
    """
    return _ops.iou_bev(boxes_a.detach(), boxes_b.detach())


def boxes_iou3d_gpu(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of each pair of LiDAR boxes, by volume.

    The name is PCDet's; the boxes may be on the CPU as well.

    Args:
        boxes_a: (N, 7) LiDAR boxes.
        boxes_b: (M, 7) LiDAR boxes.

    Returns:
        (N, M) in [0, 1]; 0 for a pair of empty boxes.
    """
    return _ops.iou3d(boxes_a.detach(), boxes_b.detach())


def nms_gpu(boxes: torch.Tensor, scores: torch.Tensor, thresh: float) -> torch.Tensor:
    """Non-maximum suppression of rotated boxes.

    From the best score down, a box is kept unless its IoU with a box kept before is above the
    threshold. Of equal scores the lower index comes first. The name is PCDet's; the boxes may be
    on the CPU as well.

    Args:
        boxes: (N, 5) BEV boxes.
        scores: (N,) on the same device.
        thresh: IoU above which the lower score is dropped, 0 or more.

    Returns:
        (K,) int64 indices of the kept boxes, best score first.
    """
    return _ops.nms(boxes.detach(), scores.detach(), float(thresh), True)


def nms_normal_gpu(boxes: torch.Tensor, scores: torch.Tensor, thresh: float) -> torch.Tensor:
    """Non-maximum suppression as `nms_gpu`, of the boxes before their turn: rz is ignored.

    Args:
        boxes: (N, 5) BEV boxes.
        scores: (N,) on the same device.
        thresh: IoU above which the lower score is dropped, 0 or more.

    Returns:
        (K,) int64 indices of the kept boxes, best score first.
    """
    return _ops.nms(boxes.detach(), scores.detach(), float(thresh), False)
