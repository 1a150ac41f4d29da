"""The two operations of sparse layers on features, for all backends: a sum and a maximum."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from pcdet.ops.sparse_conv.backends import backend_for
from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.plan import Pairs, Tables


def gather_conv(
    features: torch.Tensor,
    weight: torch.Tensor,
    neighbours: Tables | Pairs,
    backend: Backend | None = None,
    bias: torch.Tensor | None = None,
    relu: bool = False,
) -> torch.Tensor:
    """Sum over the offsets of the kernel: features of the neighbour times the offset's weight.

    Under autocast it computes in autocast's type and returns it, as torch's own convolutions do;
    `cpu` does so in bfloat16 on processors with matrix units, and else computes in the type of the
    weight.

    Args:
        features: (N, Cin) of the input.
        weight: (K, Cin, Cout), one matrix for each offset.
        neighbours: of a plan, in the form that the backend takes.
        backend: by default that of the features' device.
        bias: (Cout,) added to each row.
        relu: whether to replace negative sums by zero.

    Returns:
        (M, Cout), zero or the bias in rows without neighbours. The gradient reaches `features`,
        `weight` and `bias`; where none is asked for, the last two steps are part of the first.

    Raises:
        ValueError: shapes do not fit.
        RuntimeError: dtypes do not fit.
    """
    backend = backend or backend_for(features.device)
    if isinstance(neighbours, Pairs) != backend.takes_pairs:
        wanted = Pairs if backend.takes_pairs else Tables
        raise ValueError(
            f"neighbours must be {wanted.__name__} for the backend {backend.name}, got "
            f"{type(neighbours).__name__}: the plan was made for another one"
        )
    _check(features, weight, neighbours)
    device_type = features.device.type
    if torch.is_autocast_enabled(device_type) and weight.dtype != torch.float64:
        dtype = backend.autocast_dtype(torch.get_autocast_dtype(device_type), weight)
        features, weight = features.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(features.dtype)
    if not (torch.is_grad_enabled() and _any_requires_grad(features, weight, bias)):
        return backend.convolve_fused(features, weight, neighbours, bias, relu)
    output = backend.gather_conv(features, weight, neighbours)
    output = output if bias is None else output + bias
    return output.relu() if relu else output


def _any_requires_grad(*tensors: torch.Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _check(features: torch.Tensor, weight: torch.Tensor, neighbours: Tables | Pairs) -> None:
    offsets = len(neighbours.sources)
    if weight.dim() != 3 or len(weight) != offsets:
        raise ValueError(
            f"weight must have shape ({offsets}, Cin, Cout), one matrix for each offset, got "
            f"{tuple(weight.shape)}"
        )
    expected = (neighbours.num_inputs, weight.shape[1])
    if features.shape != expected:
        raise ValueError(f"features must have shape {expected}, got {tuple(features.shape)}")


def gather_max(features: torch.Tensor, neighbours: Tables | Pairs) -> torch.Tensor:
    """The largest feature of all neighbours and 0, channel by channel.

    The gradient goes to every neighbour that is as large as the maximum.

    Args:
        features: (N, C) of the input.
        neighbours: of a plan.

    Returns:
        (M, C).
    """
    kind = _PairMax if isinstance(neighbours, Pairs) else _GatherMax
    return kind.apply(features, neighbours)


class _GatherMax(torch.autograd.Function):
    """By `Tables`; a missing neighbour is the row of zeros."""

    @staticmethod
    def forward(ctx, features, tables) -> torch.Tensor:
        rows = F.pad(features, (0, 0, 0, 1))
        output = features.new_zeros(tables.sources.shape[1], features.shape[1])
        for sources in tables.sources:
            output = torch.maximum(output, rows[sources])
        ctx.save_for_backward(features, output)
        ctx.tables = tables
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        features, output = ctx.saved_tensors
        output, grad = F.pad(output, (0, 0, 0, 1)), F.pad(grad, (0, 0, 0, 1))
        result = torch.zeros_like(features)
        for targets in ctx.tables.targets:
            result += torch.where(features == output[targets], grad[targets], 0)
        return result, None


class _PairMax(torch.autograd.Function):
    """By `Pairs`, which on the CPU are fewer than the entries of tables."""

    @staticmethod
    def forward(ctx, features, pairs) -> torch.Tensor:
        output = features.new_zeros(pairs.num_outputs, features.shape[1])
        for source, target in pairs.lists():
            largest = torch.maximum(
                output.index_select(0, target), features.index_select(0, source)
            )
            output.index_copy_(0, target, largest)
        ctx.save_for_backward(features, output)
        ctx.pairs = pairs
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        features, output = ctx.saved_tensors
        result = torch.zeros_like(features)
        for source, target in ctx.pairs.lists():
            smaller = features.index_select(0, source) != output.index_select(0, target)
            result.index_add_(0, source, grad.index_select(0, target).masked_fill_(smaller, 0))
        return result, None
