"""What a backend has to offer, and the gradient that all but spconv's share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch.autograd.function import once_differentiable

from pcdet.ops.sparse_conv.plan import Pairs, Tables


class Backend(ABC):
    """Computes sparse convolutions.

    Attributes:
        name: of the backend.
        takes_pairs: whether it wants its neighbours as `Pairs` instead of `Tables`.
    """

    name: str
    takes_pairs = False

    @abstractmethod
    def convolve(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables | Pairs
    ) -> torch.Tensor:
        """(M, Cout) sums over the offsets k of features (N, Cin) at its sources times weight[k].

        `weight` is (K, Cin, Cout) of the features' dtype, often a view that is not contiguous.
        """

    @abstractmethod
    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Tables | Pairs
    ) -> torch.Tensor:
        """(K, Cin, Cout) gradient of the weight from features (N, Cin) and grad (M, Cout)."""

    def autocast_dtype(self, dtype: torch.dtype, weight: torch.Tensor) -> torch.dtype:
        """What a layer of this weight, (K, Cin, Cout), computes in under autocast to `dtype`."""
        return dtype

    def convolve_fused(
        self,
        features: torch.Tensor,
        weight: torch.Tensor,
        neighbours: Tables | Pairs,
        bias: torch.Tensor | None,
        relu: bool,
    ) -> torch.Tensor:
        """`convolve`, then a bias (Cout,) of the same dtype, then ReLU; without gradients."""
        output = self.convolve(features, weight, neighbours)
        if bias is not None:
            output += bias
        return output.relu_() if relu else output

    def gather_conv(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables | Pairs
    ) -> torch.Tensor:
        """`convolve` with gradients."""
        return _GatherConv.apply(features, weight, neighbours, self)


class _GatherConv(torch.autograd.Function):
    """Gathers in both directions: no two threads ever add to one number."""

    @staticmethod
    def forward(ctx, features, weight, neighbours, backend) -> torch.Tensor:
        ctx.save_for_backward(features, weight)
        ctx.neighbours, ctx.backend = neighbours, backend
        return backend.convolve(features, weight, neighbours)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        grad = grad.contiguous()
        features_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            transposed = ctx.neighbours.transposed()
            features_grad = ctx.backend.convolve(grad, weight.transpose(1, 2), transposed)
        if ctx.needs_input_grad[1]:
            weight_grad = ctx.backend.weight_grad(features, grad, ctx.neighbours)
        return features_grad, weight_grad, None, None
