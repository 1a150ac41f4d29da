"""Sparse convolution of CPU tensors: which voxels the kernel brings together, and the products.

Other devices have other ways, see `backends`. A voxel is a row
`[batch index, z, y, x]`; sizes are in the order z, y, x. The offsets of a kernel are numbered with
x running fastest. Arguments that do not fit raise a RuntimeError that names them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pcdet.ops.common import load_extension

load_extension("pcdet.ops.sparse_conv.sparse_conv_ext")
_ops = torch.ops.pcdet_sparse_conv
BFLOAT16_CHANNELS = 16  # channels of bfloat16, in and out, are multiples of this


def has_matrix_units() -> bool:
    """Whether bfloat16 is multiplied in matrix units (AMX): by torch, on a processor with them.

    Without them, it is computed in a way that is right and slow.
    """
    return _ops.has_matrix_units()


def submanifold_pairs(
    indices: torch.Tensor,
    spatial_shape: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of a submanifold convolution, whose outputs are the voxels themselves.

    Args:
        indices: (V, 4) int32 voxels.
        spatial_shape: of the grid.
        kernel_size: odd sizes; its centre lies on the output.
        dilation: voxels from one offset to the next.

    Returns:
        (2, K, V) int32 and (K,) int32: `sources` and `targets` as `convolve` takes them, and how
        many there are in each list.

    Raises:
        IndexError: a voxel lies outside the grid.
        ValueError: a voxel is there twice.
    """
    return _ops.submanifold_pairs(indices, spatial_shape, kernel_size, dilation)


def strided_pairs(
    indices: torch.Tensor,
    spatial_shape: Sequence[int],
    out_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of a convolution that has outputs wherever its kernel touches a voxel.

    Offset k of output o reaches the input at `o * stride - padding + k * dilation` along each axis.

    Args:
        indices: (V, 4) int32 voxels, none twice.
        spatial_shape: of the grid of inputs.
        out_shape: of the grid of outputs.
        kernel_size: of the kernel.
        stride: inputs from one output to the next.
        padding: inputs beyond the grid that the first output reaches.
        dilation: inputs from one offset to the next.

    Returns:
        (M, 4) int32 voxels of the output, in the order of their keys; and pairs and counts as those
        of `submanifold_pairs`, but (2, K, P), P the pairs of the longest list.

    Raises:
        IndexError: a voxel lies outside the grid.
    """
    return _ops.strided_pairs(
        indices, spatial_shape, out_shape, kernel_size, stride, padding, dilation
    )


def convolve(
    features: torch.Tensor,
    weight: torch.Tensor,
    sources: torch.Tensor,
    targets: torch.Tensor,
    num_targets: int,
    bias: torch.Tensor | None = None,
    relu: bool = False,
) -> torch.Tensor:
    """Sum over the offsets of the kernel: features of the paired voxel times the offset's weight.

    Args:
        features: (N, Cin) float32 or float64, on the CPU, or bfloat16, of which channels in and out
            are multiples of BFLOAT16_CHANNELS; sums are float32 then.
        weight: (K, Cin, Cout) of the same dtype, one matrix for each offset.
        sources: (K, P) int32. Row k lists the features' rows of the pairs of offset k from its
            front, no row twice in a list; -1 after the last pair.
        targets: (K, P) int32, the outputs' rows of the same pairs.
        num_targets: M rows of the output.
        bias: (Cout,) of the same dtype, added to each row.
        relu: whether to replace negative sums by zero.

    Returns:
        (M, Cout), zero or the bias in rows that no pair names; `gather_conv` gives it gradients.
        Where the targets of each offset ascend, it is found faster, with the same result.

    Raises:
        IndexError: a pair names a row that is not there.
        RuntimeError: shapes or dtypes do not fit.
    """
    return _ops.convolve(features, weight, sources, targets, num_targets, bias, relu)


def convolve_weight_grad(
    features: torch.Tensor, grad: torch.Tensor, sources: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """(K, Cin, Cout) gradient of the weight from that of the output (M, Cout); see `convolve`."""
    return _ops.convolve_weight_grad(features, grad, sources, targets)
