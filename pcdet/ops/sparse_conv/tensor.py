"""Features at the voxels of a batch, and nothing elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence

import torch

from pcdet.ops.sparse_conv.plan import LayerPlan
from pcdet.ops.sparse_conv.sites import Sites


class SparseTensor:
    """A sparse tensor, and the plans of the layers that it has met or will meet.

    Attributes:
        features: (V, C).
        sites: their places.
        plans: plans by `indice_key`, or by the layer itself where that has none; all tensors that
            come from one another share them.
    """

    def __init__(
        self,
        features: torch.Tensor,
        indices: torch.Tensor,
        spatial_shape: Sequence[int],
        batch_size: int,
    ):
        """Put features at voxels.

        Args:
            features: (V, C).
            indices: (V, 4) batch index, z, y, x, none twice; any integer type. What is wrong with
                them is found when the first plan is made.
            spatial_shape: sizes of the grid along z, y, x.
            batch_size: number of frames, empty ones included.

        Raises:
            ValueError: shapes do not fit.
        """
        if features.dim() != 2 or len(features) != len(indices):
            raise ValueError(
                f"features must have shape ({len(indices)}, C), one row for each voxel, got "
                f"{tuple(features.shape)}"
            )
        self.features = features
        self.sites = Sites(indices, spatial_shape, batch_size)
        self.plans: dict[Hashable, LayerPlan] = {}

    @property
    def indices(self) -> torch.Tensor:
        """(V, 4) int32 batch index, z, y, x."""
        return self.sites.indices

    @property
    def spatial_shape(self) -> list[int]:
        """Sizes of the grid along z, y, x."""
        return self.sites.spatial_shape

    @property
    def batch_size(self) -> int:
        """Number of frames."""
        return self.sites.batch_size

    def replace_feature(self, features: torch.Tensor) -> SparseTensor:
        """Other features (V, C) at the same sites."""
        return self.moved_to(self.sites, features)

    def moved_to(self, sites: Sites, features: torch.Tensor) -> SparseTensor:
        """Other features at the sites of a layer's output; the plans stay shared."""
        other = copy.copy(self)
        other.sites, other.features = sites, features
        return other

    def dense(self) -> torch.Tensor:
        """(B, C, D, H, W) grid that is zero elsewhere.

        Raises:
            IndexError: a voxel lies outside of the grid (on the CPU).
        """
        grid = self.features.new_zeros(self.batch_size, *self.spatial_shape, self.features.shape[1])
        grid[_places(self)] = self.features
        return grid.permute(0, 4, 1, 2, 3)


SparseConvTensor = SparseTensor  # its name in spconv


def dense_bev(tensor: SparseTensor) -> torch.Tensor:
    """A sparse tensor as a bird's-eye-view image, the height folded into the channels.

    Returns:
        (B, C * D, H, W), channel c * D + z, in channels_last memory: a voxel's features then lie
        side by side, and the convolutions that follow on the CPU are faster in this layout.

    Raises:
        IndexError: a voxel lies outside of the grid (on the CPU).
    """
    depth, height, width = tensor.spatial_shape
    features = tensor.features
    image = features.new_zeros(tensor.batch_size, height, width, features.shape[1], depth)
    b, z, y, x = _places(tensor)
    image[b, y, x, :, z] = features
    return image.flatten(3).permute(0, 3, 1, 2)


def _places(tensor: SparseTensor) -> tuple[torch.Tensor, ...]:
    """int64 batch indices, z, y and x; negative ones, which would count from the end, far out."""
    return (tensor.indices.long() & 0xFFFFFFFF).unbind(dim=1)
