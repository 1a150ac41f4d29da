"""Batch normalisation of rows of channels on the CPU: voxels, and images in channels_last memory.

torch sums the rows of such an image one after the other in float32, and so loses three digits of a
mean on maps that are mostly constant, as bird's-eye views are; in the usual layout it sums well.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from pcdet.ops.common import load_extension

load_extension("pcdet.ops.batch_norm.batch_norm_ext")
_ops = torch.ops.pcdet_batch_norm


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise each channel by its own mean and variance (Ioffe and Szegedy, 2015).

    Args:
        x: (N, C) float32, float64 or bfloat16, on the CPU; N at least 1.
        weight: (C,) factor after the normalisation; float32 for bfloat16 rows, else of their dtype.
        bias: (C,) summand after it, likewise.
        eps: added to the variance.

    Returns:
        (N, C) of the dtype of x; and, without gradient, mean and biased variance (C,).

    Raises:
        RuntimeError: shapes or dtypes do not fit, or there is no row.
    """
    return _BatchNorm.apply(x.contiguous(), weight, bias, eps)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        mean, variance = _ops.moments(x)
        inverse_std = (variance.double() + eps).rsqrt().to(mean.dtype)
        ctx.save_for_backward(x, mean, inverse_std, weight)
        ctx.mark_non_differentiable(mean, variance)
        return _ops.normalise(x, mean, inverse_std, weight, bias), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        return *_ops.gradients(grad.contiguous(), *ctx.saved_tensors), None
