"""Where a sparse tensor has values: the voxels of a batch, and their order along the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

# Keys of a grid that is padded to less than twice its size along each axis stay below 2^63.
_MOST_CELLS = 2**60


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
            ValueError: indices have another shape, or the grids too many cells to number.
        """
        if indices.dim() != 2 or indices.shape[1] != 4:
            raise ValueError(f"indices must have shape (V, 4), got {tuple(indices.shape)}")
        self.indices = indices.int().contiguous()
        self.spatial_shape = [int(size) for size in spatial_shape]
        self.batch_size = batch_size
        self._order = order
        self._checked = order is not None
        if len(self.spatial_shape) != 3 or min(self.spatial_shape) < 1:
            raise ValueError(f"spatial_shape must be 3 sizes (z, y, x), got {self.spatial_shape}")
        if batch_size * math.prod(self.spatial_shape) > _MOST_CELLS:
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

    def faults(self) -> torch.Tensor:
        """(2,) int64 rows of the first voxel outside of the grid and of the first repeated one.

        On the sites' device; V for none.
        """
        rows = torch.arange(len(self), device=self.indices.device)
        if self._checked or not len(self):
            return rows.new_full((2,), len(self))
        outside = torch.zeros_like(rows, dtype=torch.bool)
        sizes = (self.batch_size, *self.spatial_shape)
        for column, size in zip(self.indices.unbind(1), sizes):
            outside |= (column < 0) | (column >= size)
        keys = self.sorted_keys(self.spatial_shape)
        twice = F.pad(keys[1:] == keys[:-1], (1, 0))
        return torch.stack([
            torch.where(outside, rows, len(self)).amin(),
            torch.where(twice, self.order, len(self)).amin(),
        ])  # fmt: skip

    def accept(self, outside: int, twice: int) -> None:
        """Take what `faults` found.

        Raises:
            IndexError: a voxel lies outside of the grid.
            ValueError: a voxel is there twice.
        """
        if outside < len(self):
            raise IndexError(
                f"indices must lie in the grid {self.spatial_shape}, batch index below "
                f"{self.batch_size}; row {outside} is {tuple(self.indices[outside].tolist())}"
            )
        if twice < len(self):
            raise ValueError(f"indices must not hold a voxel twice, row {twice} is another's")
        self._checked = True

    def check(self) -> None:
        """Raise what `accept` raises; on a GPU this waits for it, once for the same sites."""
        if not self._checked:
            self.accept(*self.faults().cpu().tolist())


def number_cells(cells: Sequence[torch.Tensor | int], shape: Sequence[int]) -> torch.Tensor:
    """int64 keys of cells, given as int64 batch indices, z, y and x, in grids of `shape`."""
    batch, z, y, x = cells
    return ((batch * shape[0] + z) * shape[1] + y) * shape[2] + x
