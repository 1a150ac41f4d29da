"""Weights to begin with that were learned for other classes: what of the head can be kept.

The outputs of an anchor head are rows of three 1x1 convolutions: for each anchor the logits of all
classes, the residuals of a box, and the logits of its direction. Those of anchors of a class that
both networks know mean the same in both, wherever they stand; all others begin anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pcdet.models.vfe.input_scales import STATE_NAME
from pcdet.utils import checkpoint_utils
from pcdet.utils.errors import CheckpointError

_CONVS = ("conv_cls", "conv_box", "conv_dir_cls")


@dataclass(frozen=True)
class HeadLayout:
    """What the rows of a head stand for.

    Attributes:
        classes: names, in the order of the logits.
        anchors: class of each anchor of a cell, and its number among those of the class.
    """

    classes: tuple[str, ...]
    anchors: tuple[tuple[str, int], ...]


def layout_of_config(config: Mapping[str, Any]) -> HeadLayout | None:
    """The layout that a configuration describes; None if it has no anchor head."""
    try:
        classes = tuple(config["CLASS_NAMES"])
        generators = config["MODEL"]["RPN"]["RPN_HEAD"]["TARGET_CONFIG"]["ANCHOR_GENERATOR"]
        anchors = [
            (generator["class_name"], k)
            for generator in generators
            if generator["class_name"] in classes
            for k in range(len(generator["sizes"]) * len(generator["rotations"]))
        ]
    except (KeyError, TypeError):
        return None
    return HeadLayout(classes, tuple(anchors))


def load_pretrained(
    model: nn.Module,
    path: str | os.PathLike,
    config: Mapping[str, Any],
    logger: logging.Logger,
) -> None:
    """Load the weights of a checkpoint to begin with, as far as they fit.

    If the checkpoint is of other classes or anchors, rows of the head are kept for anchors of
    classes that both have, by their names; the rest of the head stays as it was drawn.

    Args:
        model: a detector with an anchor head.
        path: of the checkpoint.
        config: the configuration of the model.
        logger: told what was kept.

    Raises:
        CheckpointError: it cannot be read, hardly anything of it fits, or its inputs were
            multiplied, and those of the model are not.
    """
    stored = checkpoint_utils.load_checkpoint(path, to_cpu=True)
    before, now = layout_of_config(stored.get("config") or {}), layout_of_config(config)
    drawn = {name: value.clone() for name, value in _head_rows(model).items()}
    state = checkpoint_utils.stored_weights(stored)
    scales = _fitting_input_scales(model, state, path, logger)
    checkpoint_utils.load_weights(model, stored, str(path), logger, strict=False)
    if scales is not None:
        model.get_buffer(STATE_NAME).copy_(scales)
    if before is None or now is None or before == now:
        return
    head = _head_rows(model)
    for name, rows in head.items():
        rows.copy_(drawn[name])
        old = state.get(f"rpn_head.{name}")
        if isinstance(old, torch.Tensor):
            _keep_rows_(rows, old, name, before, now)
    kept = sorted(set(before.classes) & set(now.classes), key=now.classes.index)
    new = [name for name in now.classes if name not in kept]
    logger.info(
        "%s: head rows of %s kept, of %s drawn anew; its classes were %s",
        *(path, kept or "no class", new or "no class", list(before.classes)),
    )


def _fitting_input_scales(
    model: nn.Module, state: Mapping[str, Any], path: str | os.PathLike, logger: logging.Logger
) -> torch.Tensor | None:
    """What the inputs are multiplied by, so that weights meet numbers like those they learnt with.

    Returns:
        The model's own, which are for the units of its data; 1 for weights that learnt without.

    Raises:
        CheckpointError: the weights learnt with scales, and the model has none.
    """
    own, stored = dict(model.named_buffers()).get(STATE_NAME), state.get(STATE_NAME)
    if own is None and isinstance(stored, torch.Tensor):
        raise CheckpointError(
            f"{path}: its inputs were multiplied by {[round(v, 6) for v in stored.tolist()]}; give "
            "MODEL.VFE.ARGS.input_scales these numbers"
        )
    if own is not None and stored is None:
        logger.info("%s: it has learnt without input_scales, which are 1 now", path)
        return torch.ones_like(own)
    return own if own is None else own.clone()


def _head_rows(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and biases of the head's outputs by name, their first dimension the rows."""
    return {
        f"{name}.{kind}": getattr(conv, kind).data
        for name in _CONVS
        if (conv := getattr(model.rpn_head, name, None)) is not None
        for kind in ("weight", "bias")
    }


def _keep_rows_(
    rows: torch.Tensor, old: torch.Tensor, name: str, before: HeadLayout, now: HeadLayout
) -> None:
    """Copy the rows that mean the same from `old` into `rows`."""
    per_anchor = {
        "new": len(rows) // len(now.anchors),
        "old": len(old) // max(len(before.anchors), 1),
    }
    of_classes = name.startswith("conv_cls")
    fits = old.shape[1:] == rows.shape[1:] and len(old) == per_anchor["old"] * len(before.anchors)
    if not fits or not (of_classes or per_anchor["new"] == per_anchor["old"]):
        return
    if of_classes:
        pairs = [
            (k, before.classes.index(other))
            for k, other in enumerate(now.classes)
            if other in before.classes
        ]
    else:
        pairs = [(k, k) for k in range(per_anchor["new"])]
    for a, anchor in enumerate(now.anchors):
        source = _partner(anchor, before.anchors)
        for k, other in pairs if source is not None else ():
            rows[a * per_anchor["new"] + k] = old[source * per_anchor["old"] + other].to(rows)


def _partner(anchor: tuple[str, int], anchors: Sequence[tuple[str, int]]) -> int | None:
    """The old anchor of the class with the same number, counted anew after its last one."""
    same = [k for k, (name, _) in enumerate(anchors) if name == anchor[0]]
    return same[anchor[1] % len(same)] if same else None
