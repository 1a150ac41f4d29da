"""PointPillar's backbone: pillar features onto a bird's-eye-view image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.ops.sparse_conv import SparseTensor


class PointPillarsScatter(nn.Module):
    """Puts the feature vector of each pillar at its place in an image that is zero elsewhere.

    Attributes:
        bev_shape: H, W of the image.
        bev_stride: voxels along a side of its cells.
        num_bev_features: channels of the image.
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
        image = voxel_features.new_zeros(batch_size, *self.bev_shape, self.num_bev_features)
        b, _, y, x = coordinates.long().unbind(dim=1)
        image[b, y, x] = voxel_features
        return image.permute(0, 3, 1, 2)

    def cells(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> SparseTensor:
        """The same image by its cells that are not empty, with a depth of 1."""
        return SparseTensor(voxel_features, coordinates, (1, *self.bev_shape), batch_size)
