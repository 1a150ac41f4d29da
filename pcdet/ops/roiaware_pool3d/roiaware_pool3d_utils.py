"""Which points lie in which box, and pooling of point features, on CPU and CUDA tensors.

Points and boxes are in the LiDAR frame, metres and radians. A box is `[x, y, z, w, l, h, rz]`, z at
the bottom face. A point is in a box if it is strictly inside along the box's length and width, and
inside or on the boundary along z. The test is computed in the type of the points, float32 or
float64. Arguments that do not fit raise a RuntimeError that names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from pcdet.ops.common import Operators, load_extension

load_extension("pcdet.ops.roiaware_pool3d.roiaware_pool3d_ext")
_ops = Operators("pcdet_roiaware_pool3d")


def points_in_boxes_cpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Tell for each box which points lie in it.

    The name is PCDet's; the tensors may be on CUDA as well.

    Args:
        points: (N, 3) x, y, z.
        boxes: (M, 7) LiDAR boxes, of either floating type: infos hold float64.

    Returns:
        (M, N) int32, 1 where the box holds the point, else 0.
    """
    return _ops.points_in_boxes(points.detach(), _in_type_of(points, boxes))


def points_in_boxes_gpu(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Tell for each point in which box of its frame it lies.

    The name is PCDet's; the tensors may be on the CPU as well.

    Args:
        points: (B, N, 3) x, y, z.
        boxes: (B, M, 7) LiDAR boxes; rows of zeros, which pad a short frame, hold no point.

    Returns:
        (B, N) int32 index of the first box that holds the point, -1 if there is none.
    """
    return _ops.first_box_of_point(points.detach(), _in_type_of(points, boxes))


def _in_type_of(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Boxes of a floating type in the type of the points; others, which the operator refuses."""
    return boxes.detach().to(points.dtype) if boxes.is_floating_point() else boxes


def roiaware_pool3d(
    rois: torch.Tensor,
    pts: torch.Tensor,
    pts_feature: torch.Tensor,
    out_size: int | Sequence[int],
    max_pts_each_voxel: int = 128,
    pool_method: str = "max",
) -> torch.Tensor:
    """Cut each RoI into voxels and pool the features of the points in each; one frame at a time.

    A point in several RoIs counts in each of them. The gradient reaches `pts_feature` alone.

    Args:
        rois: (R, 7) LiDAR boxes.
        pts: (N, 3) x, y, z, of the dtype of `rois`.
        pts_feature: (N, C) float32 or float64.
        out_size: voxels along the length, width and height of a RoI; one number for all three.
        max_pts_each_voxel: points that count in a voxel, the first in the order of `pts`.
        pool_method: "max", or "avg" for the mean.

    Returns:
        (R, ox, oy, oz, C) of the dtype of `pts_feature`, zero in voxels without a point.

    Raises:
        ValueError: `pool_method` is neither "max" nor "avg".
    """
    listed = list_points_of_rois(rois, pts, out_size, max_pts_each_voxel)
    return pool_listed_points(listed, pts_feature, pool_method)


class ListedPoints(NamedTuple):
    """Which points lie in which voxel of which RoI.

    Attributes:
        sizes: voxels along the length, width and height of a RoI.
        lists: what the operator list_points returned.
    """

    sizes: list[int]
    lists: tuple[torch.Tensor, ...]


def list_points_of_rois(
    rois: torch.Tensor,
    pts: torch.Tensor,
    out_size: int | Sequence[int],
    max_pts_each_voxel: int = 128,
) -> ListedPoints:
    """The first half of `roiaware_pool3d`, which features pooled in the same RoIs can share.

    Args:
        rois: (R, 7) LiDAR boxes.
        pts: (N, 3) x, y, z, of the dtype of `rois`.
        out_size: voxels along the length, width and height of a RoI; one number for all three.
        max_pts_each_voxel: points that count in a voxel, the first in the order of `pts`.
    """
    sizes = [out_size] * 3 if isinstance(out_size, Integral) else list(out_size)
    lists = _ops.list_points(rois.detach(), pts.detach(), sizes, max_pts_each_voxel)
    return ListedPoints(sizes, tuple(lists))


def pool_listed_points(
    listed: ListedPoints, pts_feature: torch.Tensor, pool_method: str = "max"
) -> torch.Tensor:
    """The second half of `roiaware_pool3d`.

    Args:
        listed: what `list_points_of_rois` returned for the N points.
        pts_feature: (N, C) float32 or float64.
        pool_method: "max", or "avg" for the mean.

    Returns:
        (R, ox, oy, oz, C), see `roiaware_pool3d`.

    Raises:
        ValueError: `pool_method` is neither "max" nor "avg".
    """
    if pool_method not in _POOLS:
        raise ValueError(f"pool_method must be one of {sorted(_POOLS)}, got {pool_method!r}")
    return _POOLS[pool_method].apply(pts_feature, *listed.lists).unflatten(1, listed.sizes)


class _MaxPool(torch.autograd.Function):
    """(N, C) features to (R, voxels, C), by the lists of points of each RoI."""

    @staticmethod
    def forward(ctx, features: torch.Tensor, *lists: torch.Tensor) -> torch.Tensor:
        pooled, argmax = _ops.max_pool(features, *lists)
        ctx.save_for_backward(argmax, *lists)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        argmax, *lists = ctx.saved_tensors
        return _ops.max_pool_backward(grad, argmax, *lists), None, None, None, None


class _AveragePool(torch.autograd.Function):
    """(N, C) features to (R, voxels, C), by the lists of points of each RoI."""

    @staticmethod
    def forward(ctx, features: torch.Tensor, *lists: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*lists)
        return _ops.average_pool(features, *lists)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _ops.average_pool_backward(grad, *ctx.saved_tensors), None, None, None, None


_POOLS = {"max": _MaxPool, "avg": _AveragePool}


class RoIAwarePool3d(nn.Module):
    """`roiaware_pool3d` with its grid kept.

    Args:
        out_size: voxels along the length, width and height of a RoI; one number for all three.
        max_pts_each_voxel: points that count in a voxel, the first in their order.
    """

    def __init__(self, out_size: int | Sequence[int], max_pts_each_voxel: int = 128):
        super().__init__()
        self.out_size = out_size
        self.max_pts_each_voxel = max_pts_each_voxel

    def list_points(self, rois: torch.Tensor, pts: torch.Tensor) -> ListedPoints:
        """The points (N, 3) in the voxels of the RoIs (R, 7), for `pool_listed_points`."""
        return list_points_of_rois(rois, pts, self.out_size, self.max_pts_each_voxel)

    def forward(
        self,
        rois: torch.Tensor,
        pts: torch.Tensor,
        pts_feature: torch.Tensor,
        pool_method: str = "max",
    ) -> torch.Tensor:
        """Pool the features of the points in each voxel of each RoI; see `roiaware_pool3d`.

        Args:
            rois: (R, 7) LiDAR boxes.
            pts: (N, 3) x, y, z, of the dtype of `rois`.
            pts_feature: (N, C) float32 or float64.
            pool_method: "max", or "avg" for the mean.

        Returns:
            (R, ox, oy, oz, C), zero in voxels without a point.
        """
        return roiaware_pool3d(
            rois, pts, pts_feature, self.out_size, self.max_pts_each_voxel, pool_method
        )
