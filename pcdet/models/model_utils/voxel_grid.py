"""Where the voxels of a grid stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class VoxelGrid(NamedTuple):
    """A regular grid of voxels, or of coarser cells, in the LiDAR frame.

    Attributes:
        minimum: x, y, z of the first voxel's lowest corner, metres.
        voxel_size: sides along x, y, z, metres.
        size: voxels along x, y, z.
    """

    minimum: Sequence[float]
    voxel_size: Sequence[float]
    size: Sequence[int]

    def coarser(self, stride: int) -> VoxelGrid:
        """The grid of cells of `stride` voxels along each side; an incomplete last one counts."""
        return VoxelGrid(
            self.minimum,
            [stride * length for length in self.voxel_size],
            [-(-count // stride) for count in self.size],
        )
