"""Inputs of an encoder multiplied by fixed numbers, so that all of them spread alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

STATE_NAME = "vfe.input_scales.scales"  # in the state dict of a detector
_FIRST_LAYERS = ("vfe.pfn_layers.0.linear.weight", "rpn_net.conv_input.0.weight")


class InputScales(nn.Module):
    """Multiplies each input of a network by a number of its own.

    In metres, places along x spread ten times as much as heights. The normalisation after the first
    layer divides both by the same, and a short training then learns little of heights. A layer that
    follows could hold the numbers in its weights: they change how a network learns, not what it can
    compute.

    They are part of the state dict, so that weights which learnt with other numbers do not fit in
    silence.

    Attributes:
        scales: (C,) the numbers.
    """

    scales: torch.Tensor

    def __init__(self, scales: Sequence[float], num_inputs: int):
        """Keep the numbers.

        Args:
            scales: one number for each input.
            num_inputs: C.

        Raises:
            ValueError: there are more or fewer numbers than inputs.
        """
        super().__init__()
        if len(scales) != num_inputs:
            raise ValueError(
                f"input_scales: {num_inputs} numbers expected, one for each input, "
                f"got {len(scales)}: {list(scales)}"
            )
        self.register_buffer("scales", torch.tensor(scales, dtype=torch.float32))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C)."""
        return inputs * self.scales


def make_input_scales(scales: Sequence[float], num_inputs: int) -> nn.Module:
    """`InputScales`, or what leaves inputs as they are if `scales` is empty."""
    return InputScales(scales, num_inputs) if scales else nn.Identity()


def without_input_scales(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A detector's weights for one that has no `InputScales` and computes the same.

    Args:
        state: names and weights, sparse ones as (out, kd, kh, kw, in); its first layer multiplies
            what the scales did. Without scales it comes back as it is.
    """
    state = dict(state)
    scales = state.pop(STATE_NAME, None)
    if scales is not None:
        first = next(name for name in _FIRST_LAYERS if name in state)
        state[first] = state[first] * scales
    return state
