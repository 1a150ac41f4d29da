"""Resume a training from a checkpoint as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pcdet
from pcdet.engine.train_loop import Position
from pcdet.engine.weight_average import WeightAverage
from pcdet.run.checkpoint_folder import full_path, newest_checkpoint, remove_leftovers
from pcdet.run.session import Run
from pcdet.utils.checkpoint_utils import AVERAGED, finished_count, load_checkpoint, restore_training
from pcdet.utils.errors import CheckpointError, ConfigError

# What differs from process to process or machine to machine, and decides nothing.
_NOT_SETTINGS = ("ROOT_DIR", "LOCAL_RANK")
_POSITION = ("epoch", "it", "epoch_it")
_RECIPE = ("EPOCHS", "BATCH_SIZE", "AMP", "PRECISE_BN", "FREEZE_BN", "SYNC_BN")
# What a run began with, which is compared in its own way.
_ORIGINS = {"ckpt", "pretrained_model"}
_NOT_THERE = object()


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a configuration into dicts, lists and plain values, as a checkpoint can hold."""
    return {key: _plain(value) for key, value in config.items() if key not in _NOT_SETTINGS}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def find_start(run: Run) -> tuple[str | None, dict[str, Any] | None]:
    """Find the checkpoint to resume from: on all ranks the one that rank 0 finds.

    Returns:
        Its file and its content; None and None if there is none.

    Raises:
        CheckpointError: no training can go on from it.
    """
    checkpoint = None

    def newest() -> str | None:
        nonlocal checkpoint
        remove_leftovers(run.ckpt_dir)
        path, checkpoint = newest_checkpoint(run.ckpt_dir, run.logger, full_path(run.args.ckpt))
        if path is not None and checkpoint.get("it") is None:
            raise CheckpointError(
                f"{path}: expected a checkpoint of this training, got one without 'it', such as "
                "pcdet-release writes: move it to another folder, and give it to --pretrained_model"
            )
        if path is None and run.args.ckpt is not None:
            path, checkpoint = run.args.ckpt, load_checkpoint(run.args.ckpt)
            if checkpoint.get("epoch") is not None and checkpoint.get("it") is None:
                raise CheckpointError(
                    f"--ckpt {path}: expected a checkpoint of a training, got one without 'it', "
                    "such as pcdet-release writes: give it to --pretrained_model"
                )
        return path and str(path)

    path = run.from_rank0(newest)
    if path is not None and checkpoint is None:  # on the other ranks
        checkpoint = load_checkpoint(path)
    return path, checkpoint


def ckpt_of(given: str | None, checkpoint: Mapping[str, Any] | None) -> str | None:
    """The file that --ckpt names now, or else named when the run began; None for none.

    Checkpoints hold it, so that the same command finds what it has led to.

    Args:
        given: what --ckpt names.
        checkpoint: content of the one that the run goes on from; None if it begins.
    """
    return full_path(given) if given is not None else (checkpoint or {}).get("ckpt")


def pretrained_of(
    given: str | None, path: str | None, checkpoint: Mapping[str, Any] | None
) -> str | None:
    """The pretrained weights that a run began with, or begins with now; None for none.

    Args:
        given: what --pretrained_model names.
        path: the checkpoint that the run goes on from, for messages; None if it begins.
        checkpoint: its content.

    Raises:
        CheckpointError: the run begins, and the file is not there.
        ConfigError: the run goes on, and did not begin with these weights.
    """
    if checkpoint is None:
        if given is not None and not Path(given).is_file():
            raise CheckpointError(f"--pretrained_model {given}: there is no such checkpoint")
        return full_path(given)
    began_with = checkpoint.get("pretrained_model")
    if given is not None and full_path(given) != full_path(began_with):
        raise ConfigError(
            f"--pretrained_model {given}: this run goes on from {path}, which did not begin with "
            "it; give another --extra_tag to begin with it, or leave it out to go on"
        )
    return began_with


def resume(
    checkpoint: dict[str, Any],
    source: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    stored: Mapping[str, Any],
    logger: logging.Logger,
) -> Position:
    """Copy a checkpoint into model, optimiser and scaler.

    Args:
        checkpoint: its content.
        source: its file, for messages.
        model: takes its weights.
        optimizer: takes its state.
        scaler: takes its state, if there is one; or None.
        stored: the `stored_entries` of this start.
        logger: takes a warning for each thing that is not as it was.

    Returns:
        Where the training stands.
    """
    at = Position(*start_position(checkpoint, stored, source, logger))
    restore_training(model, optimizer, checkpoint, source, logger)
    if scaler is not None and "scaler_state" in checkpoint:
        scaler.load_state_dict(checkpoint["scaler_state"])
    logger.info("resuming from %s: epoch %d, iteration %d", source, at.epoch, at.it)
    return at


def resume_average(
    checkpoint: Mapping[str, Any],
    source: str,
    model: nn.Module,
    decay: float,
    logger: logging.Logger,
) -> WeightAverage:
    """The average of the weights that a checkpoint holds, or one that begins at its weights.

    Raises:
        CheckpointError: the average is not of this model.
    """
    average, stored = WeightAverage(model, decay), checkpoint.get(AVERAGED)
    if stored is None:
        logger.warning("%s: it holds no averaged weights; the average begins here", source)
        return average
    shapes = {name: value.shape for name, value in average.state.items()}
    if not isinstance(stored, Mapping) or shapes != {
        name: getattr(value, "shape", None) for name, value in stored.items()
    }:
        raise CheckpointError(f"{source}: its averaged weights ({AVERAGED}) are not of this model")
    average.load(stored)
    return average


def stored_entries(
    seed: int,
    config: Mapping[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Gather what checkpoints hold besides the state.

    Args:
        seed: of the training.
        config: the whole configuration.
        settings: options of the command that decide the result.
    """
    return {
        "seed": seed,
        "config": plain_config(config),
        "settings": settings,
        "version": {"pcdet": pcdet.__version__, "torch": str(torch.__version__)},
    }


def start_position(
    checkpoint: Mapping[str, Any], now: Mapping[str, Any], source: str, logger: logging.Logger
) -> tuple[int, int, int]:
    """Tell where a checkpoint stands, and warn of each thing that is not as it was.

    Args:
        checkpoint: the one to resume from.
        now: the `stored_entries` of the new start.
        source: the file of the checkpoint, for messages.
        logger: where warnings go.

    Returns:
        Finished epochs, finished iterations, and batches done of the epoch under way.

    Raises:
        ConfigError: the checkpoint lies within an epoch, whose batches now would be others.
        CheckpointError: its epoch or iteration is no number.
    """
    epoch, it, batches_done = (finished_count(checkpoint, k, source) for k in _POSITION)
    changed = _changes(checkpoint, now)
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
        told = (_told(old), _told(new), _effect(name))
        logger.warning("%s: %s was %s, is %s now%s", source, _shown(name), *told)
    it_now = epoch * now["settings"]["iterations_per_epoch"]
    if checkpoint.get("epoch") is not None and not batches_done and it != it_now:
        if "settings.iterations_per_epoch" not in changed:
            told = (epoch, it, it_now, _effect("settings.iterations_per_epoch"))
            logger.warning("%s: epoch %d and iteration %d; it ends at %d here%s", source, *told)
        it = it_now
    return epoch, it, batches_done


def statistics_are_due(
    checkpoint: Mapping[str, Any], settings: Mapping[str, Any], at: Position
) -> bool:
    """Whether PRECISE_BN should have measured before, and no step of the past did.

    Args:
        checkpoint: that the training goes on from.
        settings: of this command, as `stored_entries` takes them.
        at: where the training stands.
    """

    def measured(by: Mapping[str, Any]) -> bool:
        last = by.get("epochs", float("inf")) - by.get("freeze_bn", 0)
        return bool(by.get("precise_bn")) and at.epoch >= last

    return measured(settings) and not measured(checkpoint.get("settings") or {})


def _changes(checkpoint: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple]:
    """Old and new value of what differs, by its dotted path.

    A part that the checkpoint lacks as a whole, as PCDet's do, or a setting of the command that an
    older version did not store, is not known to differ; a key of the yaml that came or went is.
    """
    old, new = (
        _flat({key: tree[key] for key in now.keys() & checkpoint.keys() - _ORIGINS})
        for tree in (checkpoint, now)
    )
    pairs = {
        name: (old.get(name, _NOT_THERE), new.get(name, _NOT_THERE))
        for name in old.keys() | new.keys()
        if (name in old and name in new) or name.startswith("config.")
    }
    for name in _RECIPE:  # what counts of these is among the settings, wherever it comes from
        pairs.pop(f"config.MODEL.TRAIN.OPTIMIZATION.{name}", None)
    return {name: (before, after) for name, (before, after) in pairs.items() if before != after}


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists, by their dotted path; a list without dicts is a leaf."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    leaves = {}
    for key, value in items:
        name = f"{path}.{key}" if path else str(key)
        sections = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
        if (isinstance(value, Mapping) and value) or sections:
            leaves.update(_flat(value, name))
        else:
            leaves[name] = value
    return leaves


def _told(value: Any) -> str:
    return "not there" if value is _NOT_THERE else repr(value)


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
