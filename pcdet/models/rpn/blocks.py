"""Building blocks of the sparse 3D backbones."""

from __future__ import annotations

from torch import nn

from pcdet.utils.spconv_utils import SparseConv3d, SparseSequential, SubMConv3d

# Batch normalisation as PCDet's published models were trained with.
NORM = {"eps": 1e-3, "momentum": 0.01}


def subm_block(in_channels: int, out_channels: int, indice_key: str) -> SparseSequential:
    """Submanifold 3x3x3 convolution, batch normalisation, ReLU; layers with one key share sites."""
    return SparseSequential(
        SubMConv3d(in_channels, out_channels, 3, padding=1, bias=False, indice_key=indice_key),
        nn.BatchNorm1d(out_channels, **NORM),
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
        nn.BatchNorm1d(out_channels, **NORM),
        nn.ReLU(),
    )
