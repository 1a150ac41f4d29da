"""Which points lie in which box, on CPU and CUDA tensors.

Points and boxes are in the LiDAR frame, metres and radians. A box is `[x, y, z, w, l, h, rz]`, z at
the bottom face. A point is in a box if it is strictly inside along the box's length and width, and
inside or on the boundary along z. The test is computed in the type of the arguments, float32 or
float64 (all arguments alike). Arguments that do not fit raise a RuntimeError that names them.
"""

from __future__ import annotations

import torch

from pcdet.ops.common import load_extension

load_extension("pcdet.ops.roiaware_pool3d.roiaware_pool3d_ext")
_ops = torch.ops.pcdet_roiaware_pool3d


def points_in_boxes_cpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Tell for each box which points lie in it.

    The name is PCDet's; the tensors may be on CUDA as well.

    Args:
        points: (N, 3) x, y, z.
        boxes: (M, 7) LiDAR boxes.

    Returns:
        (M, N) int32, 1 where the box holds the point, else 0.
    """
    return _ops.points_in_boxes(points.detach(), boxes.detach())


def points_in_boxes_gpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Tell for each point in which box of its frame it lies.

    The name is PCDet's; the tensors may be on the CPU as well.

    Args:
        points: (B, N, 3) x, y, z.
        boxes: (B, M, 7) LiDAR boxes; rows of zeros, which pad a short frame, hold no point.

    Returns:
        (B, N) int32 index of the first box that holds the point, -1 if there is none.
    """
    return _ops.first_box_of_point(points.detach(), boxes.detach())
