"""Learning rates as functions of the number of the iteration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def _cosine(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) / 2 * (math.cos(math.pi * fraction) + 1)


def _set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float | None = None) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
        if momentum is not None:
            group["betas"] = (momentum, group["betas"][1])


class OneCycle:
    """The one-cycle policy (Smith, Super-Convergence, 2018), in fastai's cosine form.

    The rate rises from lr_max / div_factor to lr_max and falls to lr_max / div_factor / 10^4,
    while Adam's first beta goes from moms[0] to moms[1] and back.

    Args:
        optimizer: what the rates are set in.
        total_step: iterations of the whole training.
        lr_max: the greatest rate.
        moms: first beta at the ends and in the middle.
        div_factor: lr_max over the first rate.
        pct_start: part of the training in which the rate rises.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_step: int,
        lr_max: float,
        moms: Sequence[float],
        div_factor: float,
        pct_start: float,
    ):
        self.optimizer = optimizer
        self.total_step = total_step
        self.lr_max = lr_max
        self.moms = tuple(moms)
        self.div_factor = div_factor
        self.rise = int(total_step * pct_start)

    def rates(self, it: int) -> tuple[float, float]:
        """Learning rate and first beta of iteration `it`, counted from 0."""
        low = self.lr_max / self.div_factor
        if it < self.rise:
            fraction = it / self.rise
            return _cosine(low, self.lr_max, fraction), _cosine(*self.moms, fraction)
        fraction = min((it - self.rise) / max(self.total_step - self.rise, 1), 1.0)
        return _cosine(self.lr_max, low / 1e4, fraction), _cosine(*self.moms[::-1], fraction)

    def step(self, it: int) -> None:
        """Set the rates of iteration `it`, before the optimiser's step."""
        _set_rate(self.optimizer, *self.rates(it))


class StepDecay:
    """A constant rate, multiplied by `decay` at each of `decay_steps`, never below `lr_clip`.

    Args:
        optimizer: what the rate is set in.
        lr: the first rate.
        decay_steps: iterations from which the rate is multiplied once more.
        decay: the factor.
        lr_clip: the least rate.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        lr: float,
        decay_steps: Sequence[int],
        decay: float,
        lr_clip: float,
    ):
        self.optimizer = optimizer
        self.lr = lr
        self.decay_steps = list(decay_steps)
        self.decay = decay
        self.lr_clip = lr_clip

    def step(self, it: int) -> None:
        """Set the rate of iteration `it`, before the optimiser's step."""
        passed = sum(it >= step for step in self.decay_steps)
        _set_rate(self.optimizer, max(self.lr * self.decay**passed, self.lr_clip))


class CosineWarmupLR:
    """A rise from lr / div_factor to lr in the first `T_max` iterations, along half a cosine.

    Args:
        optimizer: what the rate is set in.
        T_max: iterations of the rise.
        lr: the rate at its end.
        div_factor: lr over the first rate.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_max: int,
        lr: float,
        div_factor: float,
    ):
        self.optimizer = optimizer
        self.T_max = T_max
        self.lr = lr
        self.div_factor = div_factor

    def step(self, it: int) -> None:
        """Set the rate of iteration `it`, before the optimiser's step."""
        fraction = min(it / max(self.T_max, 1), 1.0)
        _set_rate(self.optimizer, _cosine(self.lr / self.div_factor, self.lr, fraction))
