"""PointPillar's backbone: pillar features onto a bird's-eye-view image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.ops.sparse_conv import SparseConv3d, SparseTensor


class PointPillarsScatter(nn.Module):
    """Puts the feature vector of each pillar at its place in an image that is zero elsewhere.

    Attributes:
        bev_shape: H, W of the image.
        bev_stride: voxels along a side of its cells.
        num_bev_features: channels of the image.
        convolution: the first of the network that gets the image, if it is computed here.
    """

    bev_stride = 1

    def __init__(self, input_channels: int, grid_size: Sequence[int]):
        """Keep the sizes.

        Args:
            input_channels: C of the pillar features.
            grid_size: voxels along x, y, z.

        Raises:
            ValueError: the voxels are no pillars: there is more than one along z.
        """
        super().__init__()
        x, y, z = (int(size) for size in grid_size)
        if z != 1:
            raise ValueError(f"one voxel along z expected, got {z}; make VOXEL_SIZE as high as "
                             "POINT_CLOUD_RANGE")  # fmt: skip
        self.bev_shape = (y, x)
        self.num_bev_features = input_channels
        self.convolution: SparseConv3d | None = None

    def forward(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        """Scatter.

        Args:
            voxel_features: (V, C).
            coordinates: (V, 4) batch index, z, y, x.
            batch_size: number of frames; those without pillars give zeros.

        Returns:
            (B, C, H, W), H along y and W along x, in channels_last memory.
        """
        if self.convolution is None:
            empty = voxel_features.new_zeros(self.num_bev_features)
            return _scattered(voxel_features, coordinates, batch_size, self.bev_shape, empty)
        pillars = SparseTensor(voxel_features, coordinates, (1, *self.bev_shape), batch_size)
        cells = self.convolution(pillars)
        empty = self.convolution.bias.relu().to(cells.features.dtype)
        shape = cells.spatial_shape[1:]
        return _scattered(cells.features, cells.indices, batch_size, shape, empty)

    def convolve_(self, convolution: nn.Conv2d) -> None:
        """Let `forward` return what a convolution with a bias and ReLU make of the image.

        The convolution is computed around the pillars alone: everywhere else it gives its bias. For
        a test.
        """
        by_axis = ((1, *size) for size in (convolution.kernel_size, convolution.stride))
        sparse = SparseConv3d(
            convolution.in_channels,
            convolution.out_channels,
            *by_axis,
            padding=(0, *convolution.padding),
            bias=False,
        )
        weight = convolution.weight.permute(0, 2, 3, 1).unsqueeze(1).contiguous()
        sparse.weight, sparse.bias = nn.Parameter(weight, requires_grad=False), convolution.bias
        sparse.relu = True
        self.convolution = sparse


def _scattered(
    features: torch.Tensor,
    coordinates: torch.Tensor,
    batch_size: int,
    shape: Sequence[int],
    empty: torch.Tensor,
) -> torch.Tensor:
    """(B, C, H, W) image of features (V, C) at [b, z, y, x], and of `empty` (C,) elsewhere."""
    image = empty.expand(batch_size, *shape, -1).contiguous()
    b, _, y, x = coordinates.long().unbind(dim=1)
    image[b, y, x] = features
    return image.permute(0, 3, 1, 2)
