"""Whether a training can go on from a checkpoint as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import pcdet
from pcdet.utils.errors import ConfigError

# What differs from process to process or machine to machine, and decides nothing.
_NOT_SETTINGS = ("ROOT_DIR", "LOCAL_RANK")


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as dicts, lists and plain values, as a checkpoint can hold."""
    return {key: _plain(value) for key, value in config.items() if key not in _NOT_SETTINGS}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def stored_entries(seed: int, config: Mapping[str, Any], settings: dict[str, Any]) -> dict:
    """What checkpoints hold besides the state: seed, config, settings of the command, version."""
    return {
        "seed": seed,
        "config": plain_config(config),
        "settings": settings,
        "version": {"pcdet": pcdet.__version__, "torch": str(torch.__version__)},
    }


def start_position(
    checkpoint: Mapping[str, Any], now: Mapping[str, Any], source: str, logger: logging.Logger
) -> tuple[int, int, int]:
    """Where a training goes on, and a warning for each thing that is not as it was.

    Args:
        checkpoint: what it goes on from.
        now: the `stored_entries` of the new start.
        source: the file of the checkpoint, for messages.
        logger: where warnings go.

    Returns:
        Finished epochs, finished iterations, and batches done of the epoch under way.

    Raises:
        ConfigError: the checkpoint lies within an epoch, whose batches now would be others.
    """
    epoch, it = int(checkpoint.get("epoch", 0)), int(checkpoint.get("it", 0))
    batches_done = int(checkpoint.get("epoch_it", 0))
    then = _flat({key: checkpoint[key] for key in now if key in checkpoint})
    changed = {
        name: (then[name], value)
        for name, value in _flat(now).items()
        if name in then and then[name] != value
    }
    others = sorted(
        changed.keys() & {"seed", "settings.batch_size", "settings.iterations_per_epoch"}
    )
    if batches_done and others:
        told = "; ".join(f"{_shown(k)} was {changed[k][0]}, is {changed[k][1]}" for k in others)
        raise ConfigError(
            f"{source}: it was saved within epoch {epoch + 1}, whose batches would be others now: "
            f"{told}. Start as before, or give a checkpoint_epoch_N.pth with --ckpt"
        )
    for name, (old, new) in sorted(changed.items()):
        logger.warning("%s: %s was %r, is %r now%s", source, _shown(name), old, new, _effect(name))
    if "settings.iterations_per_epoch" in changed:
        it = epoch * now["settings"]["iterations_per_epoch"]
    return epoch, it, batches_done


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists, by their dotted path."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    leaves = {}
    for key, value in items:
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, (Mapping, list)) and len(value):
            leaves.update(_flat(value, name))
        else:
            leaves[name] = value
    return leaves


def _shown(name: str) -> str:
    if name == "settings.iterations_per_epoch":
        return "the number of iterations of an epoch"
    section, _, rest = name.partition(".")
    return {"seed": "--seed", "settings": f"--{rest}", "config": f"cfg.{rest}"}.get(section, name)


def _effect(name: str) -> str:
    if name in ("settings.epochs", "settings.iterations_per_epoch"):
        return "; the learning rate follows the schedule of the new length from here on"
    if name.startswith("version"):
        return "; results may differ in the last digits"
    return ""
