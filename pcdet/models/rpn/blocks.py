"""Building blocks of the sparse 3D backbones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from pcdet.models.model_utils.norm import NORM, VoxelNorm
from pcdet.ops.sparse_conv import (
    SparseConv3d,
    SparseInverseConv3d,
    SparseModule,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
)


def subm_block(in_channels: int, out_channels: int, indice_key: str) -> SparseSequential:
    """Submanifold 3x3x3 convolution, batch normalisation, ReLU; layers with one key share sites."""
    return SparseSequential(
        SubMConv3d(in_channels, out_channels, 3, padding=1, bias=False, indice_key=indice_key),
        VoxelNorm(out_channels, **NORM),
        nn.ReLU(),
    )


def down_block(
    in_channels: int,
    out_channels: int,
    indice_key: str,
    kernel_size: int | tuple[int, int, int] = 3,
    stride: int | tuple[int, int, int] = 2,
    padding: int | tuple[int, int, int] = 1,
) -> SparseSequential:
    """Strided sparse convolution, batch normalisation, ReLU; sizes along z, y, x."""
    return SparseSequential(
        SparseConv3d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            bias=False,
            indice_key=indice_key,
        ),
        VoxelNorm(out_channels, **NORM),
        nn.ReLU(),
    )


def up_block(in_channels: int, out_channels: int, indice_key: str) -> SparseSequential:
    """Back onto the sites before the `down_block` with this key; batch normalisation, ReLU."""
    return SparseSequential(
        SparseInverseConv3d(in_channels, out_channels, 3, bias=False, indice_key=indice_key),
        VoxelNorm(out_channels, **NORM),
        nn.ReLU(),
    )


class SparseBasicBlock(SparseModule):
    """Two submanifold convolutions with a connection around them (He et al., ResNet, 2016)."""

    runs_in_order = True

    def __init__(self, channels: int, indice_key: str):
        super().__init__()
        self.conv1 = SubMConv3d(channels, channels, 3, padding=1, bias=False, indice_key=indice_key)
        self.bn1 = VoxelNorm(channels, **NORM)
        self.relu = nn.ReLU()
        self.conv2 = SubMConv3d(channels, channels, 3, padding=1, bias=False, indice_key=indice_key)
        self.bn2 = VoxelNorm(channels, **NORM)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Sites and number of channels stay."""
        out = self.conv1(x)
        out = self.conv2(out.replace_feature(self.relu(self.bn1(out.features))))
        return out.replace_feature(F.relu(self.bn2(out.features) + x.features, inplace=True))
