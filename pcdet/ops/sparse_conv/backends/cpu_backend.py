"""The native operators of the CPU."""

from __future__ import annotations

import torch

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.plan import Pairs
from pcdet.ops.sparse_conv.sparse_conv_utils import convolve, convolve_weight_grad


class CpuBackend(Backend):
    """Loops over the pairs of each offset; float32 and float64, under autocast, too."""

    name = "cpu"
    takes_pairs = True
    knows_half = False

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
