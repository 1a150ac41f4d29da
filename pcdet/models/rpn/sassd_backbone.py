"""SA-SSD's sparse backbone (He et al., Structure Aware Single-stage 3D Object Detection, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from pcdet.models.model_utils.norm import NORM, VoxelNorm
from pcdet.models.rpn.blocks import down_block, subm_block
from pcdet.models.rpn.sassd_auxiliary import AuxiliaryNetwork
from pcdet.ops.sparse_conv import SparseSequential, SparseTensor, dense_bev, plan_ahead


class SASSDOutputs(NamedTuple):
    """What the backbone gives.

    Attributes:
        spatial_features: (B, num_bev_features, H, W) image.
        levels: sparse features at 1/2, 1/4 and 1/8 of the voxel grid; none if no frame has voxels.
    """

    spatial_features: torch.Tensor
    levels: list[SparseTensor]

    @property
    def cells(self) -> torch.Tensor | None:
        """(M, 2) rows and columns of the image's occupied cells, of all frames; None for none."""
        return self.levels[-1].indices[:, 2:] if self.levels else None


class SASSDBackbone(nn.Module):
    """Sparse 3D convolutions down to 1/8 of the voxel grid in x, y and z, heights into channels.

    Attributes:
        bev_shape: H, W of the output image.
        bev_stride: voxels along a side of its cells.
        num_bev_features: channels of the output image.
        level_channels: of the levels at 1/2, 1/4 and 1/8 of the voxel grid.
        aux: learns where objects are from the features of three levels, in training; or None.
    """

    bev_stride = 8

    def __init__(
        self,
        input_channels: int,
        grid_size: Sequence[int],
        num_filters: Sequence[int] = (16, 32, 64, 64),
    ):
        """Build the layers.

        Args:
            input_channels: C of the voxel features.
            grid_size: voxels along x, y, z.
            num_filters: channels at 1, 1/2, 1/4 and 1/8 of the voxel grid.
        """
        super().__init__()
        x, y, z = (int(size) for size in grid_size)
        c1, c2, c3, c4 = num_filters
        self.sparse_shape = [z, y, x]
        self.conv0 = SparseSequential(
            subm_block(input_channels, c1, "subm0"), subm_block(c1, c1, "subm0")
        )
        self.down0 = down_block(c1, c2, "down0")
        self.conv1 = SparseSequential(*(subm_block(c2, c2, "subm1") for _ in range(2)))
        self.down1 = down_block(c2, c3, "down1")
        self.conv2 = SparseSequential(*(subm_block(c3, c3, "subm2") for _ in range(3)))
        self.down2 = down_block(c3, c4, "down2")
        self.conv3 = SparseSequential(*(subm_block(c4, c4, "subm3") for _ in range(3)))
        # A sparse convolution of size 1 is a product of each site's features.
        self.extra_conv = nn.Sequential(
            nn.Linear(c4, c4, bias=False), VoxelNorm(c4, **NORM), nn.ReLU()
        )
        self.level_channels = (c2, c3, c4)
        self.aux: AuxiliaryNetwork | None = None
        # Each of the three strided layers halves the grid and rounds up.
        depth, *self.bev_shape = (-(-size // self.bev_stride) for size in self.sparse_shape)
        self.bev_shape = tuple(self.bev_shape)
        self.num_bev_features = c4 * depth

    def forward(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> SASSDOutputs:
        """Sparse features to a dense image.

        Args:
            voxel_features: (V, C).
            coordinates: (V, 4) batch index, z, y, x.
            batch_size: number of frames; those without voxels give zeros.

        Returns:
            The image, in channels_last memory, and the levels that it comes from.
        """
        # In a training the layers run all the same: normalisation over all ranks waits for them.
        if not (self.training or len(voxel_features)):
            shape = (batch_size, *self.bev_shape, self.num_bev_features)
            return SASSDOutputs(voxel_features.new_zeros(shape).permute(0, 3, 1, 2), [])
        x = SparseTensor(voxel_features, coordinates, self.sparse_shape, batch_size)
        plan_ahead(x, self)
        x = self.conv0(x)
        x2 = self.conv1(self.down0(x))
        x4 = self.conv2(self.down1(x2))
        x8 = self.conv3(self.down2(x4))
        last = x8.replace_feature(self.extra_conv(x8.features))
        return SASSDOutputs(dense_bev(last), [x2, x4, x8])
