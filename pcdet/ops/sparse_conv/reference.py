"""The same answers as sparse_conv_utils in plain torch: slow and obvious, for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch


def strided_pairs(
    indices: torch.Tensor,
    out_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[set[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Voxels of input and output, (batch index, z, y, x), that each offset brings together."""
    voxels = {tuple(row) for row in indices.tolist()}
    pairs = []
    for offset in product(*map(range, kernel_size)):
        pairs.append(set())
        for batch in {voxel[0] for voxel in voxels}:
            for output in product(*map(range, out_shape)):
                steps = zip(output, stride, padding, offset, dilation)
                reached = tuple(o * s - p + k * d for o, s, p, k, d in steps)
                if (batch, *reached) in voxels:
                    pairs[-1].add(((batch, *reached), (batch, *output)))
    return pairs


def indice_conv(
    features: torch.Tensor, weight: torch.Tensor, indice_pairs: torch.Tensor, num_out: int
) -> torch.Tensor:
    """(M, Cout) from (N, Cin) features, (K, Cin, Cout) weights and (2, K, P) pairs."""
    output = features.new_zeros(num_out, weight.shape[2])
    for matrix, sources, targets in zip(weight, *indice_pairs.long()):
        used = sources >= 0
        output = output.index_add(0, targets[used], features[sources[used]] @ matrix)
    return output
