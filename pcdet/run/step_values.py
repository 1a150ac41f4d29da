"""The losses of a training's steps: kept on the device, brought to the host now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pcdet.utils.errors import NonFiniteLossError

# Batches are kept until their loss was looked at, so it is looked at this often at least.
_MAX_PENDING = 16


@dataclass
class _Step:
    it: int
    batch: dict[str, Any]
    values: dict[str, Any]
    halted: torch.Tensor


class StepValues:
    """Keeps the losses of the last steps, and their batches until the losses are looked at.

    Args:
        dump: called with the number, the batch and the values of the first step that is not
            finite; returns a sentence on where it put them.
        several_ranks: gradients are averaged, so that all ranks halt when one does.
    """

    def __init__(
        self,
        dump: Callable[[int, dict[str, Any], dict[str, float]], str],
        several_ranks: bool = False,
    ):
        self._dump = dump
        self._several_ranks = several_ranks
        self._pending: list[_Step] = []

    def add(
        self, it: int, batch: dict[str, Any], values: dict[str, Any], halted: torch.Tensor
    ) -> None:
        """Keep the values of step `it`: scalars on any device, or numbers."""
        self._pending.append(_Step(it, batch, values, halted))

    @property
    def full(self) -> bool:
        """Whether it is time to `collect`."""
        return len(self._pending) >= _MAX_PENDING

    def collect(self) -> dict[str, float]:
        """Look at all steps since the last time, with one transfer from the device.

        Returns:
            The values of the last step; empty if there was none.

        Raises:
            NonFiniteLossError: the training halted; its first bad batch was dumped.
        """
        steps, self._pending = self._pending, []
        if not steps:
            return {}
        flags = [step.halted.double() for step in steps]
        numbers = torch.stack([*flags, *_scalars(steps[-1], flags[0])]).tolist()
        halted, numbers = numbers[: len(steps)], numbers[len(steps) :]
        if any(halted):
            self._raise(steps[halted.index(1.0)])
        return dict(zip(steps[-1].values, numbers))

    def _raise(self, step: _Step) -> None:
        numbers = torch.stack(_scalars(step, step.halted)).tolist()
        values = dict(zip(step.values, numbers))
        bad = {name: value for name, value in values.items() if not abs(value) < float("inf")}
        ids = ", ".join(str(k) for k in step.batch.get("sample_idx", ["unknown"]))
        message = (
            f"iteration {step.it}: not finite: {bad} on the samples {ids}; stopped before changing "
            f"any weight; {self._dump(step.it, step.batch, values)}"
        )
        if self._several_ranks and bad.keys() == {"grad_norm"}:
            message += (
                "; as the loss of these samples is finite, the fault may be in those of another "
                "rank, see its bad_batch.pth (rank 0) or bad_batch_rank_N.pth"
            )
        raise NonFiniteLossError(message)


def _scalars(step: _Step, like: torch.Tensor) -> list[torch.Tensor]:
    """The values of a step as double scalars on the device of `like`."""
    return [
        value.detach().to(like.device, torch.double)
        if isinstance(value, torch.Tensor)
        else torch.tensor(value, dtype=torch.double, device=like.device)
        for value in step.values.values()
    ]
