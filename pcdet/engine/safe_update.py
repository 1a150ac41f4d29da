"""Backward pass, clipping and the optimiser's step, with no effect once something is not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import clip_grad_norm_

# Below this loss scale float16 overflows only where the gradient itself is out of its range.
_LEAST_SCALE = 1.0


class SafeUpdate:
    """Updates weights from losses until the first loss that is not finite.

    All decisions are made on the device, so that no step waits for it: a loss that is not finite
    makes every gradient NaN, on all ranks, and the optimiser's kernel leaves weights and state
    alone when it is told of such gradients. All later updates are skipped, too, so the weights
    stay those that gave the bad loss. Whoever has time to look asks `halted`.

    With float16, a gradient that overflows is normal: the scaler lowers its scale and only this
    update is skipped. Ranks, which average their gradients, skip together, and halt together:
    all must be called at the same point.

    Args:
        optimizer: one with `fused=True` needs no wait for the device.
        scaler: of float16 training, or None.

    Attributes:
        halted: scalar bool tensor on the device of the loss, or None before the first update.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None = None
    ):
        self.optimizer = optimizer
        self.scaler = scaler
        self.halted: torch.Tensor | None = None
        self._decides_on_device = all(g.get("fused") for g in optimizer.param_groups)
        if isinstance(optimizer, torch.optim.SGD) and self._decides_on_device:
            _begin_momentum(optimizer)

    def __call__(
        self, loss: torch.Tensor, parameters: Iterable[nn.Parameter], max_norm: float
    ) -> torch.Tensor:
        """Update once.

        Args:
            loss: scalar with gradient.
            parameters: those whose gradients are clipped together.
            max_norm: greatest norm of all gradients.

        Returns:
            The norm before clipping, a scalar on the device.
        """
        bad = ~torch.isfinite(loss.detach())
        if self.halted is not None:
            bad = bad | self.halted
        # The loss itself may be NaN and its gradient finite; this factor reaches every gradient.
        loss = loss * torch.where(bad, torch.nan, 1.0).to(loss.dtype)
        if self.scaler is not None:
            return self._scaled_step(loss, bad, parameters, max_norm)
        loss.backward()
        norm = clip_grad_norm_(parameters, max_norm)
        self.halted = bad | ~torch.isfinite(norm)
        if self._decides_on_device:
            self.optimizer.found_inf = self.halted.float()
            self.optimizer.step()
        elif not self.halted:
            self.optimizer.step()
        return norm

    def _scaled_step(
        self,
        loss: torch.Tensor,
        bad: torch.Tensor,
        parameters: Iterable[nn.Parameter],
        max_norm: float,
    ) -> torch.Tensor:
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(parameters, max_norm)
        scale = self.scaler.scale(torch.ones_like(norm))
        if dist.is_initialized():
            # The gradients tell a rank that another one's are bad, not that its loss is: that no
            # lower scale would help.
            on_any = bad.to(norm.dtype)
            dist.all_reduce(on_any, dist.ReduceOp.MAX)
            bad = on_any > 0
        self.halted = bad | (~torch.isfinite(norm) & (scale < _LEAST_SCALE))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm


def _begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Make SGD's buffers, which are zero before the first step.

    Its kernel makes them in the first step: if that is skipped they hold what was in the memory,
    and parameters that get a gradient later than others are refused.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
