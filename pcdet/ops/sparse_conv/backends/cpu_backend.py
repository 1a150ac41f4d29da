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
        return convolve(
            features, weight, neighbours.sources, neighbours.targets, neighbours.num_outputs
        )

    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Pairs
    ) -> torch.Tensor:
        """See `Backend`."""
        return convolve_weight_grad(features, grad, neighbours.sources, neighbours.targets)
