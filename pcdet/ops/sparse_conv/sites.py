"""Where a sparse tensor has values: the voxels of a batch, and their order along the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

# Keys of a grid that is padded to less than twice its size along each axis stay below 2^63.
MOST_CELLS = 2**60
_LONGEST_SIDE = 2**24  # plans keep small tables of the places along a side


class Sites:
    """Voxels of a batch of grids, each there once.

    Attributes:
        indices: (V, 4) int32 batch index, z, y, x.
        spatial_shape: sizes of the grid along z, y, x.
        batch_size: number of grids, those without voxels included.
    """

    def __init__(
        self,
        indices: torch.Tensor,
        spatial_shape: Sequence[int],
        batch_size: int,
        order: torch.Tensor | None = None,
    ):
        """Keep the voxels; `check` looks at them.

        Args:
            indices: (V, 4) batch index, z, y, x; any integer type.
            spatial_shape: sizes along z, y, x.
            batch_size: number of grids.
            order: (V,) int64 rows in the order of their keys, of voxels that need no check.

        Raises:
            ValueError: indices have another shape or are no integers, or the grids too many cells
                to number.
        """
        if indices.dim() != 2 or indices.shape[1] != 4:
            raise ValueError(f"indices must have shape (V, 4), got {tuple(indices.shape)}")
        if not torch.can_cast(indices.dtype, torch.int32):
            raise ValueError(f"indices must be integers, got {indices.dtype}")
        if not 0 <= batch_size < 2**31:
            raise ValueError(f"batch_size must be 0 or more and below 2^31, got {batch_size}")
        if indices.dtype.itemsize > 4:  # what an int32 does not hold would become another number
            indices = indices.clamp(-(2**31), 2**31 - 1)
        self.indices = indices.int().contiguous()
        self.spatial_shape = [int(size) for size in spatial_shape]
        self.batch_size = batch_size
        self._order = order
        self._checked = order is not None
        sizes = self.spatial_shape
        if len(sizes) != 3 or not all(1 <= size <= _LONGEST_SIDE for size in sizes):
            raise ValueError(
                f"spatial_shape must be 3 sizes (z, y, x) of 1 to at most 2^24 each, got {sizes}"
            )
        if batch_size * math.prod(self.spatial_shape) > MOST_CELLS:
            raise ValueError(
                f"{batch_size} grids of {self.spatial_shape} have more than 2^60 cells, so that "
                "voxels cannot be numbered: make the grid smaller"
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def order(self) -> torch.Tensor:
        """(V,) int64 rows in the order of their keys, the same for every padding of the grid."""
        if self._order is None:
            keys = number_cells(self.indices.long().unbind(1), self.spatial_shape)
            self._order = keys.argsort(stable=True)
        return self._order

    def sorted_keys(self, shape: Sequence[int]) -> torch.Tensor:
        """(V,) int64 ascending keys of the voxels in grids of `shape`, no smaller than their own.

        Row n is the key of voxel `order[n]`.
        """
        return number_cells(self.indices[self.order].long().unbind(1), shape)

    @property
    def is_checked(self) -> bool:
        """Whether all voxels are known to lie in the grid, each once."""
        return self._checked

    def facts(self) -> torch.Tensor:
        """(9,) int64 on the sites' device, by which `accept` judges at least one voxel.

        Least and largest entries of the four columns, and how many voxels are repeated.
        """
        keys = self.sorted_keys(self.spatial_shape)
        repeated = (keys[1:] == keys[:-1]).sum().view(1)
        return torch.cat((self.indices.amin(0).long(), self.indices.amax(0).long(), repeated))

    def accept(self, facts: Sequence[int]) -> None:
        """Take what `facts` found.

        Raises:
            IndexError: a voxel lies outside of the grid.
            ValueError: a voxel is there twice.
        """
        sizes = (self.batch_size, *self.spatial_shape)
        if min(facts[:4]) < 0 or any(most >= size for most, size in zip(facts[4:8], sizes)):
            rows = self.indices.tolist()
            row = next(
                n for n, r in enumerate(rows) if not all(0 <= c < m for c, m in zip(r, sizes))
            )
            raise IndexError(
                f"indices must lie in the grid {self.spatial_shape}, batch index below "
                f"{self.batch_size}; row {row} is {tuple(rows[row])}"
            )
        if facts[8]:
            keys = self.sorted_keys(self.spatial_shape)
            row = int(self.order[1:][keys[1:] == keys[:-1]].min())
            raise ValueError(f"indices must not hold a voxel twice, row {row} is another's")
        self._checked = True

    def check(self) -> None:
        """Raise what `accept` raises; on a GPU this waits for it, once for the same sites."""
        if not self._checked and len(self):
            self.accept(self.facts().cpu().tolist())

    def trust(self) -> None:
        """Take the voxels as they are: something else has checked them."""
        self._checked = True


def number_cells(cells: Sequence[torch.Tensor | int], shape: Sequence[int]) -> torch.Tensor:
    """int64 keys of cells, given as int64 batch indices, z, y and x, in grids of `shape`."""
    batch, z, y, x = cells
    return ((batch * shape[0] + z) * shape[1] + y) * shape[2] + x
