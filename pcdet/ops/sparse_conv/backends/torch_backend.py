"""Plain torch on any device: the gathered inputs of some outputs as a matrix, times the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.plan import Tables

# Bytes of gathered inputs at a time. A layer needs twice as much at most besides its input with a
# row of zeros, its output and the weights: the other half are the indices as torch takes them.
CHUNK_BYTES = 2**27


class TorchBackend(Backend):
    """Gathers (im2col) and multiplies chunk by chunk; the same result each time."""

    name = "torch"

    def convolve(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`."""
        rows, matrix = _with_zeros(features), weight.flatten(0, 1)
        output = features.new_empty(neighbours.sources.shape[1], weight.shape[2])
        for chunk in _chunks(features, neighbours.sources):
            output[chunk] = _gathered(rows, neighbours.sources[:, chunk]) @ matrix
        return output

    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`; chunks are added in float32 at least."""
        rows, sources = _with_zeros(features), neighbours.sources
        shape = (len(sources), features.shape[1], grad.shape[1])
        total = grad.new_zeros(
            shape[0] * shape[1], shape[2], dtype=torch.promote_types(grad.dtype, torch.float32)
        )
        for chunk in _chunks(features, sources):
            total += _gathered(rows, sources[:, chunk]).t() @ grad[chunk]
        return total.view(shape).to(grad.dtype)


def _with_zeros(features: torch.Tensor) -> torch.Tensor:
    """(N + 1, C): a last row of zeros, which the index -1 names."""
    return F.pad(features, (0, 0, 0, 1))


def _chunks(features: torch.Tensor, sources: torch.Tensor) -> Iterator[slice]:
    """Ranges of outputs whose gathered inputs, or 8-byte indices, take CHUNK_BYTES or less."""
    bytes_of_output = len(sources) * max(8, features.shape[1] * features.element_size())
    length = max(1, CHUNK_BYTES // bytes_of_output)
    for begin in range(0, sources.shape[1], length):
        yield slice(begin, begin + length)


def _gathered(rows: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """(M, K * C) from (N + 1, C) and (K, M)."""
    return rows[sources.t()].flatten(1)
