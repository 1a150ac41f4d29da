"""The voxel of each point of a scan, and whether the camera sees it, of NumPy arrays.

The functions are plain C, in float32 throughout: the first scan need not wait until a compiler has
loaded. An argument that does not fit raises a ValueError that names it.
"""

from __future__ import annotations

import ctypes
import math
import operator

import numpy as np

from pcdet.ops.extension_file import extension_file
from pcdet.ops.plain_functions import call, checked, load_functions

_library = load_functions(
    extension_file("pcdet.ops.points.points_ext"),
    {
        "pcdet_assign_voxels": ctypes.c_int64,
        "pcdet_fill_voxels": None,
        "pcdet_points_in_view": None,
    },
)


def group_points(
    points: np.ndarray,
    voxel_size: np.ndarray,
    minimum: np.ndarray,
    grid_size: np.ndarray,
    max_num_points: int,
    max_voxels: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group points into the voxels of a grid; `VoxelGenerator.generate` tells by which rules.

    Args:
        points: (N, C) float32, x, y, z first, metres.
        voxel_size: (3,) float32 along x, y, z, metres.
        minimum: (3,) float32 x, y, z of the grid's lowest corner.
        grid_size: (3,) int64 voxels along x, y, z.
        max_num_points: P.
        max_voxels: most voxels.

    Returns:
        voxels (V, P, C) float32, unused rows zero; coordinates (V, 3) int32 [z, y, x];
        num_points (V,) int32, the used rows of each.
    """
    points = _checked_points(points)
    grid_size = checked("grid_size", grid_size, np.int64, (3,))
    if grid_size.max() > 2**31 or math.prod(grid_size.tolist()) > 2**63:
        raise ValueError(
            f"grid_size must be at most 2^31 each way and 2^63 voxels, got {grid_size.tolist()}"
        )
    limit = min(operator.index(max_voxels), len(points))
    table = np.full(2 << limit.bit_length(), -1, np.int32)
    keys, slots = np.empty(limit, np.int64), np.empty(len(points), np.int64)
    coordinates, num_points = np.empty((limit, 3), np.int32), np.zeros(limit, np.int32)
    num_voxels = call(
        _library.pcdet_assign_voxels,
        points,
        *points.shape,
        checked("voxel_size", voxel_size, np.float32, (3,)),
        checked("minimum", minimum, np.float32, (3,)),
        grid_size,
        max_num_points,
        limit,
        table,
        len(table),
        keys,
        slots,
        coordinates,
        num_points,
    )
    voxels = np.empty((num_voxels, max_num_points, points.shape[1]), np.float32)
    call(
        _library.pcdet_fill_voxels,
        points,
        *points.shape,
        slots,
        num_points,
        num_voxels,
        max_num_points,
        voxels,
    )
    return voxels, coordinates[:num_voxels].copy(), num_points[:num_voxels].copy()


def points_in_view(
    points: np.ndarray, to_rect: np.ndarray, p2: np.ndarray, image_shape: tuple[int, int]
) -> np.ndarray:
    """Tell which points are seen in the image.

    Args:
        points: (N, C) float32, x, y, z of the LiDAR frame first, metres.
        to_rect: (4, 3) float32, LiDAR to rectified camera frame, for rows of points.
        p2: (3, 4) float32, rectified camera frame to pixels.
        image_shape: height, width.

    Returns:
        (N,) bool.
    """
    points = _checked_points(points)
    seen = np.empty(len(points), np.bool_)
    call(
        _library.pcdet_points_in_view,
        points,
        *points.shape,
        checked("to_rect", to_rect, np.float32, (4, 3)),
        checked("p2", p2, np.float32, (3, 4)),
        np.array(image_shape[:2], np.float32),
        seen,
    )
    return seen


def _checked_points(points: np.ndarray) -> np.ndarray:
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"points must have shape (N, 3 or more), got {points.shape}")
    return checked("points", points, np.float32, points.shape)
