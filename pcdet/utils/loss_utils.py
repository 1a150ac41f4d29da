"""Losses of the region-proposal heads, per element; the caller weighs and sums."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F

from pcdet.utils.box_utils import RZ


def sigmoid_focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> torch.Tensor:
    """Focal loss on independent classes (Lin et al., Focal Loss for Dense Object Detection, 2017).

    Args:
        logits: (..., K).
        targets: (..., K) 0 or 1.
        alpha: weight of the positive class, 1 - alpha of the negative.
        gamma: how fast the weight of well-classified ones falls.

    Returns:
        (..., K).
    """
    probability = torch.sigmoid(logits)
    wrong = torch.where(targets > 0, 1 - probability, probability)
    weight = torch.where(targets > 0, alpha, 1 - alpha)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return weight * wrong.pow(gamma) * entropy


def smooth_l1_loss(
    predictions: torch.Tensor,
    targets: torch.Tensor,
    sigma: float = 3.0,
    code_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Quadratic up to a difference of 1 / sigma^2, linear from there (Girshick, Fast R-CNN, 2015).

    Args:
        predictions: (...).
        targets: (...).
        sigma: inverse square root of where the two parts meet.
        code_weights: (n,) factors of the differences along the last axis, as in PCDet: where the
            loss is quadratic it grows by their squares.

    Returns:
        (...).
    """
    if code_weights is not None:
        predictions, targets = predictions * code_weights, targets * code_weights
    return F.smooth_l1_loss(predictions, targets, reduction="none", beta=1 / sigma**2)


def add_sin_difference(
    predictions: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace angles by sin(p) cos(t) and cos(p) sin(t): their difference is sin(p - t).

    Boxes that differ by half a turn then cost nothing (SECOND, eq. 2); the direction classifier
    tells them apart.

    Args:
        predictions: (..., 7) residuals.
        targets: (..., 7) residuals.
    """
    p, t = predictions[..., RZ:], targets[..., RZ:]
    return (
        torch.cat((predictions[..., :RZ], torch.sin(p) * torch.cos(t)), dim=-1),
        torch.cat((targets[..., :RZ], torch.cos(p) * torch.sin(t)), dim=-1),
    )


def divisor(count: torch.Tensor) -> torch.Tensor:
    """Return what to divide a sum over a batch by, to make it a mean over `count` items.

    In a training of several processes each has a part of the batch, and their gradients are
    averaged. The mean over the whole batch then needs the mean of all processes' counts: with each
    one's own, items would weigh more where there are few.

    Args:
        count: scalar, items of this process; all processes must call this at the same point.

    Returns:
        Scalar; at least 1 divided by the number of processes.
    """
    if _num_ranks() == 1:
        return count.clamp(min=1)
    total = count.detach().to(torch.float32, copy=True)
    dist.all_reduce(total)
    return total.clamp(min=1) / _num_ranks()


def whole_batch(batch_size: int) -> int:
    """Return the number of frames of a step, over all processes of which each has `batch_size`."""
    return batch_size * _num_ranks()


def _num_ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
