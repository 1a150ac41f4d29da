"""Batch normalisation of rows of channels on the CPU: voxels, and images in channels_last memory.

torch sums the rows of such an image one after the other in float32, and so loses three digits of a
mean on maps that are mostly constant, as bird's-eye views are; in the usual layout it sums well.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.autograd.function import once_differentiable

from pcdet.ops.common import load_extension

load_extension("pcdet.ops.batch_norm.batch_norm_ext")
_ops = torch.ops.pcdet_batch_norm


class Normalised(NamedTuple):
    """Rows after batch normalisation, and by what they were normalised.

    Attributes:
        rows: (N, C), with gradient.
        mean: (C,) of each channel.
        variance: (C,) likewise, biased.
        count: of how many rows these are.
    """

    rows: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    count: int


def batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    all_ranks: bool = False,
    relu: bool = False,
    counts: torch.Tensor | None = None,
) -> Normalised:
    """Normalise each channel by its own mean and variance (Ioffe and Szegedy, 2015).

    Args:
        x: (N, C) float32, float64 or bfloat16, on the CPU; N at least 1, unless `all_ranks`.
        weight: (C,) factor after the normalisation; float32 for bfloat16 rows, else of their dtype.
        bias: (C,) summand after it, likewise.
        eps: added to the variance.
        all_ranks: by the mean and variance of the rows of all processes of torch.distributed,
            which must all call this, and later its gradient.
        relu: set what is negative afterwards to 0, in the same pass.
        counts: (N,) how many equal rows each of x stands for, 1 or more; by default 1. The gradient
            of a row is the sum of theirs.

    Returns:
        The rows in the dtype of x, and their statistics.

    Raises:
        RuntimeError: shapes or dtypes do not fit, or there is no row and no other rank.
    """
    x = x.contiguous()
    if counts is not None:
        counts = counts.to(weight.dtype)
    mean, variance, count = _moments(x, counts, all_ranks)
    rows = _BatchNorm.apply(x, counts, weight, bias, mean, variance, eps, count, all_ranks, relu)
    return Normalised(rows, mean, variance, count)


def fixed_norm(
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    relu: bool = False,
) -> torch.Tensor:
    """Normalise rows (N, C) by a mean and a variance (C,) that do not depend on them.

    All else as in `batch_norm`; there is no gradient of mean and variance.
    """
    # Of infinitely many rows these few have no weight.
    return _BatchNorm.apply(
        x.contiguous(), None, weight, bias, mean, variance, eps, math.inf, False, relu
    )


@torch.no_grad()
def _moments(
    x: torch.Tensor, counts: torch.Tensor | None, all_ranks: bool
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and biased variance of the rows, of one rank or all, and their number."""
    own_count = len(x) if counts is None else int(counts.sum(dtype=torch.float64))
    if not all_ranks:
        return *_ops.moments(x, counts), own_count
    every = torch.zeros(dist.get_world_size(), 3, x.shape[1], dtype=torch.float64)
    if len(x):
        own = every[dist.get_rank()]
        own[0], (own[1], own[2]) = own_count, _ops.moments(x, counts)
    dist.all_reduce(every)  # each row has zeros of all ranks but one
    by_rank, means, variances = every.unbind(1)
    count = int(by_rank[:, 0].sum())
    shares = by_rank / max(count, 1)
    mean = (shares * means).sum(0)
    # Not the mean of squares less the square of the mean: the moments were rounded.
    variance = (shares * (variances + (means - mean).square())).sum(0)
    dtype = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    return mean.to(dtype), variance.to(dtype), count


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, counts, weight, bias, mean, variance, eps, count, all_ranks, relu):
        inverse_std = (variance.double() + eps).rsqrt().to(mean.dtype)
        ctx.save_for_backward(counts, x, mean, inverse_std, weight, bias)
        ctx.count, ctx.all_ranks, ctx.relu = count, all_ranks, relu
        return _ops.normalise(x, mean, inverse_std, weight, bias, relu)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        counts, *by = ctx.saved_tensors  # the rows and all that they were normalised by
        _, mean, inverse_std, _, _ = by
        grad = grad.contiguous()
        own = _ops.gradient_sums(grad, *by, ctx.relu)
        sums = own.clone()
        if ctx.all_ranks:
            dist.all_reduce(sums)
        means = sums / max(ctx.count, 1)
        grad_x = _ops.gradient(grad, *by, means, counts, ctx.relu)
        # Those of the layer are of a rank's own rows, as all gradients of weights are.
        grad_weight, grad_bias = (own[1] * inverse_std).to(mean.dtype), own[0].to(mean.dtype)
        return grad_x, None, grad_weight, grad_bias, *[None] * 6
