"""An average of the weights over the steps of a training (MODEL.TRAIN.EMA).

Each step the average moves by a share of 1 - decay towards the weights (Polyak and Juditsky, 1992,
with the weights of the steps falling off exponentially). It is tested and released, not trained on.
So that it soon forgets the weights that it began with, which are random, the decay of step n is at
most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """The average of a model's weights and of its running statistics.

    Args:
        model: alone or in DistributedDataParallel; the average begins as its state. It is on its
            device for good: its tensors are looked up once.
        decay: of the weights of earlier steps, between 0 and 1.

    Attributes:
        state: the average, by the names of the model's state; counters are the model's.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        now = _state(model)
        self.state = {name: value.clone() for name, value in now.items()}
        averaged = [name for name, value in now.items() if value.is_floating_point()]
        counters = [name for name in now if name not in averaged]
        # Each the average's tensors, then the model's.
        self._averaged = _side_by_side(self.state, now, averaged)
        self._counters = _side_by_side(self.state, now, counters)

    @torch.no_grad()
    def update(self, it: int) -> None:
        """Take the weights after step `it` of the training into the average."""
        torch._foreach_lerp_(*self._averaged, 1 - min(self.decay, (1 + it) / (10 + it)))
        if self._counters[0]:
            torch._foreach_copy_(*self._counters)

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from an average that a checkpoint holds."""
        for name, value in self.state.items():
            value.copy_(state[name])

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the average for a while; what becomes of it there is kept."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    @torch.no_grad()
    def _exchange(self, model: nn.Module) -> None:
        for name, value in _state(model).items():
            kept = value.clone()
            value.copy_(self.state[name])
            self.state[name].copy_(kept)


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return getattr(model, "module", model).state_dict()


def _side_by_side(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], names: Sequence[str]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [one[name] for name in names], [other[name] for name in names]
