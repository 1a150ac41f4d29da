"""The native operators of the CPU."""

from __future__ import annotations

import math

import torch

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.self_test import matrix_units_work
from pcdet.ops.sparse_conv.plan import Pairs
from pcdet.ops.sparse_conv.sparse_conv_utils import (
    BFLOAT16_CHANNELS,
    convolve,
    convolve_weight_grad,
)

# Of a pair of rows: with fewer, to gather two rows takes as long as to multiply them in float32.
_LEAST_PRODUCTS = 16 * 32


class CpuBackend(Backend):
    """Loops over the pairs of each offset; under autocast bfloat16 where that is faster."""

    name = "cpu"
    takes_pairs = True

    def autocast_dtype(self, dtype: torch.dtype, weight: torch.Tensor) -> torch.dtype:
        """See `Backend`: bfloat16 by matrix units if that pays, else as without autocast."""
        channels = weight.shape[1:]
        pays = math.prod(channels) >= _LEAST_PRODUCTS and not any(
            number % BFLOAT16_CHANNELS for number in channels
        )
        return dtype if dtype == torch.bfloat16 and pays and matrix_units_work() else weight.dtype

    def convolve(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Pairs
    ) -> torch.Tensor:
        """See `Backend`."""
        return self.convolve_fused(features, weight, neighbours, None, False)

    def convolve_fused(
        self,
        features: torch.Tensor,
        weight: torch.Tensor,
        neighbours: Pairs,
        bias: torch.Tensor | None,
        relu: bool,
    ) -> torch.Tensor:
        """See `Backend`; bias and ReLU while the sums are in the cache."""
        lists = (neighbours.sources, neighbours.targets, neighbours.num_outputs)
        return convolve(features, weight, *lists, bias, relu)

    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Pairs
    ) -> torch.Tensor:
        """See `Backend`."""
        return convolve_weight_grad(features, grad, neighbours.sources, neighbours.targets)
