"""Points grouped into voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcdet.ops.points.points_utils import group_points
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
        return group_points(
            points.astype(np.float32, copy=False),
            self.voxel_size,
            self.point_cloud_range[:3],
            self.grid_size,
            self.max_num_points,
            self.max_voxels if max_voxels is None else max_voxels,
        )

    def voxel_centers(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the (V, 3) float64 centres in metres of voxels (V, 3) [z, y, x]."""
        centers = np.empty((len(coordinates), 3))
        for axis in range(3):  # one column at a time is three times as fast as all at once
            size, minimum = float(self.voxel_size[axis]), float(self.point_cloud_range[axis])
            centers[:, axis] = (coordinates[:, 2 - axis] + 0.5) * size + minimum
        return centers
