"""Points grouped into voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from pcdet.utils.errors import ConfigError


class VoxelGenerator:
    """Groups points into the voxels of a regular grid.

    Attributes:
        voxel_size: (3,) float32, metres along x, y, z.
        point_cloud_range: (6,) float32 x_min, y_min, z_min, x_max, y_max, z_max.
        grid_size: (3,) int64, voxels along x, y, z.
        max_num_points: P, points kept of a voxel.
        max_voxels: V, voxels kept of a frame.
    """

    def __init__(
        self,
        voxel_size: Sequence[float],
        point_cloud_range: Sequence[float],
        max_num_points: int,
        max_voxels: int = 20000,
    ) -> None:
        self.voxel_size = np.asarray(voxel_size, dtype=np.float32)
        self.point_cloud_range = np.asarray(point_cloud_range, dtype=np.float32)
        self.max_num_points = max_num_points
        self.max_voxels = max_voxels
        for name, value in (("max_num_points", max_num_points), ("max_voxels", max_voxels)):
            if value < 1:
                raise ConfigError(f"VoxelGenerator: {name} must be at least 1, got {value}")
        extent = self.point_cloud_range[3:] - self.point_cloud_range[:3]
        if not (self.voxel_size > 0).all() or not (extent > 0).all():
            raise ConfigError(
                "VoxelGenerator: expected positive voxel sizes and a range whose minima are below "
                f"its maxima, got {list(voxel_size)} and {list(point_cloud_range)}"
            )
        self.grid_size = np.round(extent / self.voxel_size).astype(np.int64)
        if (self.grid_size < 1).any():
            raise ConfigError(
                f"VoxelGenerator: voxels of {list(voxel_size)} m are larger than the range "
                f"{list(point_cloud_range)}"
            )

    def generate(
        self, points: np.ndarray, max_voxels: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group points into voxels, both in the order of the points.

        A voxel keeps its first P points. Once `max_voxels` voxels are open, points open no
        further one, but still fill the open ones. Points outside the range are skipped.

        Args:
            points: (N, C) float32, the first columns x, y, z in metres.
            max_voxels: replaces the number given at construction.

        Returns:
            voxels: (V, P, C) float32, unused rows are zero.
            coordinates: (V, 3) int32 [z, y, x].
            num_points: (V,) int32, the used rows of each voxel.
        """
        points = np.ascontiguousarray(points, dtype=np.float32)
        limit = min(self.max_voxels if max_voxels is None else max_voxels, len(points))
        slots, coordinates, num_points = _assign(
            points,
            self.voxel_size,
            self.point_cloud_range,
            self.grid_size,
            self.max_num_points,
            limit,
        )
        voxels = np.zeros((len(num_points), self.max_num_points, points.shape[1]), np.float32)
        _scatter(points, slots, voxels.reshape(-1, points.shape[1]))
        return voxels, coordinates, num_points

    def voxel_centers(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the (V, 3) float64 centres in metres of voxels (V, 3) [z, y, x]."""
        centers = np.empty((len(coordinates), 3))
        for axis in range(3):  # one column at a time is three times as fast as all at once
            size, minimum = float(self.voxel_size[axis]), float(self.point_cloud_range[axis])
            centers[:, axis] = (coordinates[:, 2 - axis] + 0.5) * size + minimum
        return centers


@numba.njit(cache=True, error_model="numpy")
def _assign(points, voxel_size, point_cloud_range, grid_size, max_num_points, max_voxels):
    """Give every point a row of the voxels array, and every voxel its coordinates.

    Voxels are found by an open-addressing hash table of the occupied ones: a dense table of the
    grid would have 90 million cells for SECOND, of which a frame occupies some 15 thousand.

    Returns:
        slots (N,) int64 row in the (V * P) rows of the voxels array, -1 for a skipped point;
        coordinates (V, 3) int32 [z, y, x]; num_points (V,) int32.
    """
    num_slots = 1
    while num_slots < 2 * max_voxels:
        num_slots *= 2
    table = np.full(num_slots, -1, np.int32)
    keys = np.empty(max_voxels, np.int64)
    coordinates = np.empty((max_voxels, 3), np.int32)
    num_points = np.zeros(max_voxels, np.int32)
    slots = np.full(len(points), -1, np.int64)
    x_min, y_min, z_min = point_cloud_range[0], point_cloud_range[1], point_cloud_range[2]
    num_voxels = 0
    for i in range(len(points)):
        # In float32, and compared before the cast, so that NaN and far points fall out too.
        x = np.floor((points[i, 0] - x_min) / voxel_size[0])
        y = np.floor((points[i, 1] - y_min) / voxel_size[1])
        z = np.floor((points[i, 2] - z_min) / voxel_size[2])
        inside = (
            (x >= 0)
            & (x < grid_size[0])
            & (y >= 0)
            & (y < grid_size[1])
            & (z >= 0)
            & (z < grid_size[2])
        )
        if not inside:
            continue
        key = (np.int64(z) * grid_size[1] + np.int64(y)) * grid_size[0] + np.int64(x)
        # The golden ratio spreads neighbouring keys; the high bits are the well mixed ones.
        slot = ((key * 0x9E3779B1) >> 16) & (num_slots - 1)
        while table[slot] >= 0 and keys[table[slot]] != key:
            slot = (slot + 1) & (num_slots - 1)
        voxel = table[slot]
        if voxel < 0:
            if num_voxels == max_voxels:
                continue
            voxel = num_voxels
            num_voxels += 1
            table[slot] = voxel
            keys[voxel] = key
            coordinates[voxel, 0] = np.int32(z)
            coordinates[voxel, 1] = np.int32(y)
            coordinates[voxel, 2] = np.int32(x)
        if num_points[voxel] < max_num_points:
            slots[i] = np.int64(voxel) * max_num_points + num_points[voxel]
            num_points[voxel] += 1
    return slots, coordinates[:num_voxels].copy(), num_points[:num_voxels].copy()


@numba.njit(cache=True)
def _scatter(points, slots, rows):
    """Copy every point to its row."""
    for i in range(len(points)):
        if slots[i] >= 0:
            for k in range(points.shape[1]):
                rows[slots[i], k] = points[i, k]
