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
) -> torch.Tensor:
    """Sum over the offsets of the kernel: features of the neighbour times the offset's weight.

    Under autocast it computes in autocast's type and returns it, as torch's own convolutions do, if
    the backend knows that type; `cpu` does not, and computes in the type of the weight.

    Args:
        features: (N, Cin) of the input.
        weight: (K, Cin, Cout), one matrix for each offset.
        neighbours: of a plan, in the form that the backend takes.
        backend: by default that of the features' device.

    Returns:
        (M, Cout), zero in rows without neighbours. The gradient reaches `features` and `weight`.

    Raises:
        RuntimeError: shapes or dtypes do not fit.
    """
    backend = backend or backend_for(features.device)
    device_type = features.device.type
    if torch.is_autocast_enabled(device_type) and weight.dtype != torch.float64:
        half = torch.get_autocast_dtype(device_type) if backend.knows_half else weight.dtype
        features, weight = features.to(half), weight.to(half)
    return backend.gather_conv(features, weight, neighbours)


def gather_max(features: torch.Tensor, neighbours: Tables | Pairs) -> torch.Tensor:
    """The largest feature of all neighbours and 0, channel by channel.

    The gradient goes to every neighbour that is as large as the maximum.

    Args:
        features: (N, C) of the input.
        neighbours: of a plan.

    Returns:
        (M, C).
    """
    return _GatherMax.apply(features, neighbours.tables())


class _GatherMax(torch.autograd.Function):
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
