"""Checkpoints of other code bases: their names and layouts of weights, translated to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from pcdet.utils import openpcdet_weights
from pcdet.utils.checkpoint_reading import unwrapped


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
        title: of the code base.
        mark: found in the name of some entry if a checkpoint is of this format.
        rules: the first one that fits an entry holds; entries that none fits keep their names.
        finish: converts what depends on more than one entry or on the model: (state in our names,
            the model, the file's name, strict) to the state; None where nothing does.
    """

    title: str
    mark: re.Pattern[str]
    rules: Sequence[Rule]
    finish: Callable[[dict[str, Any], nn.Module, str, bool], dict[str, Any]] | None = None


def _rule(
    pattern: str, name: str, layout: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Rule:
    return Rule(re.compile(pattern), lambda match: match.expand(name), layout)


def _transposed_convolution(weight: torch.Tensor) -> torch.Tensor:
    """(out, in, 1, 1) as the weight (in, out, 1, 1) of a transposed convolution."""
    return weight.transpose(0, 1)


# github.com/skyhehe123/SA-SSD. Its stages are flat lists of convolution, norm and ReLU, ours lists
# of blocks of three; its last convolution is the deblock of our BEV network.
SA_SSD = Format(
    title="SA-SSD",
    mark=re.compile(r"^neck\.backbone\."),
    rules=(
        Rule(
            re.compile(r"neck\.backbone\.(conv\d)\.(\d+)\.(\w+)"),
            lambda m: f"rpn_net.{m[1]}.{int(m[2]) // 3}.{int(m[2]) % 3}.{m[3]}",
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
# github.com/open-mmlab/OpenPCDet.
OPENPCDET = Format(
    title="OpenPCDet",
    mark=re.compile(r"^(backbone_[23]d|dense_head|point_head|roi_head)\."),
    rules=(
        _rule(r"backbone_3d\.(.+)", r"rpn_net.\1"),
        _rule(r"backbone_2d\.(.+)", r"rpn_head.\1"),
        _rule(r"dense_head\.(conv_(?:cls|box|dir_cls)\..+)", r"rpn_head.\1"),
        _rule(r"point_head\.cls_layers\.0\.(.+)", r"rpn_net.seg_cls_layer.\1"),
        _rule(r"point_head\.part_reg_layers\.0\.(.+)", r"rpn_net.seg_reg_layer.\1"),
    ),
    finish=openpcdet_weights.to_ours,
)
FORMATS = (SA_SSD, OPENPCDET)
# How sparse weights lie in a file: the axes of our (out, kd, kh, kw, in) in the file's order.
SPARSE_LAYOUTS = {
    "spconv 2": (0, 1, 2, 3, 4),
    "spconv 1": (4, 0, 1, 2, 3),  # (kd, kh, kw, in, out)
    "spconv 2.0 Native": (3, 0, 1, 2, 4),  # (kd, kh, kw, out, in)
}


# Part-A2's second stage: layers and dropout in turn.
_SHARED_LAYERS = "rcnn_net.shared_fc_layer."


def format_of(state: Mapping[str, Any]) -> Format | None:
    """The other code base whose names a model's state has; None if they are ours or unknown."""
    names = [name for name in state if isinstance(name, str)]
    return next((f for f in FORMATS if any(f.mark.search(name) for name in names)), None)


def translate(
    state: Mapping[str, Any],
    model: nn.Module | None = None,
    source: str = "the checkpoint",
    strict: bool = True,
) -> dict[str, Any]:
    """A model's state in our names and layouts, whichever known format it is in.

    Sparse weights stay as they are: `to_our_sparse_layout` converts them.

    Args:
        state: of a checkpoint; one that is ours comes back unchanged.
        model: that will take it; without it names alone are translated.
        source: the file, for messages.
        strict: False if it may fit in part.

    Raises:
        CheckpointError: the model cannot take such a checkpoint, or would compute something else.
    """
    state = _with_dropout_counted(unwrapped(state))
    known = format_of(state)
    if known is None or not all(isinstance(name, str) for name in state):
        return state
    translated = dict(_translated(name, value, known.rules) for name, value in state.items())
    if known.finish is None or not hasattr(model, "rpn_head"):
        return translated
    return known.finish(translated, model, source, strict)


def _with_dropout_counted(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state in whose lists dropout has its numbers; PCDet v0.1 has none where DP_RATIO is 0."""
    names = [name for name in state if isinstance(name, str)]
    if not any(name.startswith(f"{_SHARED_LAYERS}1.") for name in names):
        return state
    pattern = re.compile(re.escape(_SHARED_LAYERS) + r"(\d+)\.(.+)")
    rule = Rule(pattern, lambda match: f"{_SHARED_LAYERS}{2 * int(match[1])}.{match[2]}")
    return dict(
        _translated(name, value, [rule]) if isinstance(name, str) else (name, value)
        for name, value in state.items()
    )


def _translated(name: str, value: torch.Tensor, rules: Sequence[Rule]) -> tuple[str, torch.Tensor]:
    for rule in rules:
        match = rule.pattern.fullmatch(name)
        if match:
            fits = rule.layout is not None and _is_dense(value) and value.dim() >= 4
            return rule.name(match), rule.layout(value) if fits else value
    return name, value


def to_our_sparse_layout(
    state: Mapping[str, Any], own: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """A state whose sparse weights lie as the model's, (out, kd, kh, kw, in).

    Those of a convolution of size 1 become the matrix (out, in) where the model has a product. The
    layout is decided for the whole file: of a square layer, the two that begin with the kernel
    have the same shape. Weights that fit in no layout stay as they are.

    Args:
        state: of a checkpoint, in our names.
        own: the model's.
    """
    sparse = {
        name: value
        for name, value in state.items()
        if name in own and own[name].dim() in (2, 5) and _is_dense(value) and value.dim() == 5
    }

    def fits(name: str, axes: tuple[int, ...]) -> bool:
        first, *kernel, last = own[name].shape
        wanted = (first, *(kernel or (1, 1, 1)), last)
        return tuple(sparse[name].shape[k] for k in axes) == wanted

    layouts = sorted(  # a stable sort: of equals, the order of the table holds
        SPARSE_LAYOUTS.values(), key=lambda axes: -sum(fits(name, axes) for name in sparse)
    )
    converted = dict(state)
    for name, value in sparse.items():
        axes = next((axes for axes in layouts if fits(name, axes)), None)
        if axes is not None:
            converted[name] = value.permute(axes).reshape(own[name].shape)
    return converted


def _is_dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided
