"""Checkpoints of other code bases: their names and layouts of weights, translated to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch


class Rule(NamedTuple):
    """How one kind of entry is called here.

    Attributes:
        pattern: of the whole name there.
        name: the name here, made from what the pattern found.
        layout: turns the tensor there into the one here; None where they are alike.
    """

    pattern: re.Pattern[str]
    name: Callable[[re.Match[str]], str]
    layout: Callable[[torch.Tensor], torch.Tensor] | None = None


class Format(NamedTuple):
    """A code base's way of naming its weights.

    Attributes:
        mark: found in the name of some entry if a checkpoint is of this format.
        rules: the first one that fits an entry holds; entries that none fits keep their names.
    """

    mark: re.Pattern[str]
    rules: Sequence[Rule]


def _rule(
    pattern: str, name: str, layout: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Rule:
    return Rule(re.compile(pattern), lambda match: match.expand(name), layout)


def _product_of_sites(weight: torch.Tensor) -> torch.Tensor:
    """A sparse convolution of size 1, (1, 1, 1, in, out), as the weight (out, in) of a product."""
    return weight.flatten(0, -2).T


def _transposed_convolution(weight: torch.Tensor) -> torch.Tensor:
    """(out, in, 1, 1) as the weight (in, out, 1, 1) of a transposed convolution."""
    return weight.transpose(0, 1)


# github.com/skyhehe123/SA-SSD. Its stages are flat lists of convolution, norm and ReLU, ours lists
# of blocks of three; its last convolution is the deblock of our BEV network.
SA_SSD = Format(
    mark=re.compile(r"^neck\.backbone\."),
    rules=(
        Rule(
            re.compile(r"neck\.backbone\.(conv\d)\.(\d+)\.(\w+)"),
            lambda m: f"rpn_net.{m[1]}.{int(m[2]) // 3}.{int(m[2]) % 3}.{m[3]}",
        ),
        _rule(
            r"neck\.backbone\.extra_conv\.0\.weight",
            "rpn_net.extra_conv.0.weight",
            _product_of_sites,
        ),
        _rule(r"neck\.backbone\.(.+)", r"rpn_net.\1"),
        _rule(r"neck\.(point_.+)", r"rpn_net.aux.\1"),
        _rule(r"neck\.fcn\.conv7\.weight", "rpn_head.deblocks.0.0.weight", _transposed_convolution),
        _rule(r"neck\.fcn\.bn7\.(\w+)", r"rpn_head.deblocks.0.1.\1"),
        Rule(
            re.compile(r"neck\.fcn\.(conv|bn)(\d)\.(\w+)"),
            lambda m: f"rpn_head.blocks.0.{3 * int(m[2]) + (1 if m[1] == 'conv' else 2)}.{m[3]}",
        ),
    ),
)
FORMATS = (SA_SSD,)
# What torch's wrappers for several devices put in front of each name.
_WRAPPER = "module."


def translate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model's state in our names and layouts, whichever known format it is in.

    Sparse weights of spconv 1 stay as they are: `load_matching_state` converts them.

    Args:
        state: of a checkpoint; one that is ours comes back unchanged.
    """
    if not all(isinstance(name, str) for name in state):
        return dict(state)
    names = list(state)
    if names and all(name.startswith(_WRAPPER) for name in names):
        names = [name[len(_WRAPPER) :] for name in names]
        state = dict(zip(names, state.values()))
    for known in FORMATS:
        if any(known.mark.search(name) for name in names):
            return dict(_translated(name, state[name], known.rules) for name in names)
    return dict(state)


def _translated(name: str, value: torch.Tensor, rules: Sequence[Rule]) -> tuple[str, torch.Tensor]:
    for rule in rules:
        match = rule.pattern.fullmatch(name)
        if match:
            known = isinstance(value, torch.Tensor) and value.layout == torch.strided
            fits = rule.layout is not None and known and value.dim() >= 4
            return rule.name(match), rule.layout(value) if fits else value
    return name, value
