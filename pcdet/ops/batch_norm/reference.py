"""Batch normalisation in plain torch and float64, for tests."""

from __future__ import annotations

import torch


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, mean and variance as of `batch_norm_utils.batch_norm`, in float64 throughout."""
    x = x.double()
    mean = x.mean(dim=0)
    variance = (x - mean).square().mean(dim=0)
    y = (x - mean) / (variance + eps).sqrt() * weight.double() + bias.double()
    return y, mean.detach(), variance.detach()
