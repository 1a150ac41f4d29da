"""Checkpoints: written whole or not at all, read without running code, matched key by key."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pcdet.utils import checkpoint_formats
from pcdet.utils.checkpoint_reading import load_checkpoint
from pcdet.utils.errors import CheckpointError, CheckpointMismatch
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.network_settings import CLASSES, differences, network_settings

__all__ = [
    "AVERAGED",
    "checkpoint_state",
    "finished_count",
    "load_checkpoint",
    "load_matching_state",
    "load_optimizer_state",
    "load_weights",
    "restore_training",
    "save_checkpoint",
    "stored_weights",
]

# The entry of a checkpoint with the weights averaged over the steps of the training.
AVERAGED = "ema_state"
# Options of an optimiser that learning-rate schedules move.
_SCHEDULED = ("lr", "betas")
# Entries that no detection depends on; PCDet's files and those of old versions of torch lack some.
_COUNTERS = ("num_batches_tracked", "global_step")
# The order of the classes in the yaml files of PCDet, OpenPCDet and SA-SSD.
_PUBLISHED_ORDER = ("Car", "Pedestrian", "Cyclist")
# First x and y, last x and y of the anchors of PCDet v0.1's PointPillar.
_PCDET_ANCHORS = [0, -40, 70.4, 40]
# Of what does not fit, in a message, and characters of each: names in a file may be anything.
_MOST_LISTED, _LONGEST = 10, 160


def checkpoint_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    epoch: int,
    it: int,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Gather what a checkpoint holds: weights, optimiser, finished epochs and iterations.

    Args:
        model: alone or in DistributedDataParallel.
        optimizer: or None.
        epoch: finished epochs.
        it: finished iterations, which is the position of the learning-rate schedule, too.
        extra: further entries: tensors and plain data.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    return {
        "epoch": epoch,
        "it": it,
        "model_state": model.state_dict(),
        "optimizer_state": optimizer.state_dict() if optimizer is not None else None,
        **(extra or {}),
    }


def save_checkpoint(
    state: dict[str, Any], filename: str | os.PathLike, old_format: bool = False
) -> None:
    """Write a checkpoint to `filename` atomically and wait until it is on the disk.

    Args:
        state: its content.
        filename: the file to write or replace.
        old_format: as torch wrote before version 1.6, which PCDet's users may have.

    Raises:
        OSError: it could not be written; a file that was there before is as it was.
    """
    try:
        with atomic_write(filename, durable=True) as file:
            torch.save(state, file, _use_new_zipfile_serialization=not old_format)
    except RuntimeError as error:
        # torch's writer reports a failing disk in its own way.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def stored_weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights that a checkpoint is used by: averaged ones if it has them, else the last."""
    averaged = checkpoint.get(AVERAGED)
    return averaged if isinstance(averaged, Mapping) else checkpoint["model_state"]


def load_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    source: str,
    logger: logging.Logger,
    strict: bool = True,
    finite: bool = True,
) -> None:
    """Copy a checkpoint's weights into a model: the one place that decides whether it fits.

    Args:
        model: a detector of `build_network`, or any module.
        checkpoint: what `load_checkpoint` returned; if it holds averaged weights, they are taken.
        source: its file, for messages.
        logger: takes a line for each thing that was left out.
        strict: every entry must fit, and what the stored configuration says of the network must be
            so; else what fits is taken, as for fine-tuning, and the rest is told.
        finite: see `load_matching_state`.

    Raises:
        CheckpointMismatch: it belongs to another network.
        CheckpointError: it holds numbers that are not finite.
    """
    state = stored_weights(checkpoint)
    if state is not checkpoint["model_state"]:
        logger.info("%s: the weights averaged over the training (MODEL.TRAIN.EMA)", source)
    state = checkpoint_formats.translate(state, model, source, strict)
    other_classes = _compare_settings(model, checkpoint, source, logger, strict)
    if other_classes:
        # Their shapes may fit, but not what their rows mean.
        of_classes = tuple(getattr(model, "class_layers", ()))
        dropped = [name for name in state if of_classes and str(name).startswith(of_classes)]
        logger.warning("%s: left out, as they are of other classes: %s", source, dropped)
        state = {name: value for name, value in state.items() if name not in dropped}
    load_matching_state(model, state, source, logger, strict, finite)


def _compare_settings(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    source: str,
    logger: logging.Logger,
    strict: bool,
) -> bool:
    """Compare the stored configuration with the model's; return whether the classes are others."""
    own, config = getattr(model, "settings", None), checkpoint.get("config")
    if own is None:
        return False
    if not isinstance(config, Mapping):
        of_others = checkpoint_formats.format_of(checkpoint["model_state"]) is not None
        doubt = _unusual_order(own) or ("" if of_others else _anchors_of_pcdet(own))
        if doubt or not of_others:
            logger.log(
                logging.WARNING if doubt else logging.INFO,
                "%s: it stores no configuration: that classes, range and anchors of the yaml are "
                "those it was trained with is not known%s",
                *(source, doubt),
            )
        return False
    try:
        changed = differences(network_settings(config), own)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its entry 'config' is no configuration") from error
    if CLASSES in changed and strict:
        stored, wanted = (str(names)[:_LONGEST] for names in changed[CLASSES])
        raise CheckpointMismatch(
            f"{source}: its classes are {stored}, in this order; CLASS_NAMES is {wanted}; test "
            "with its own, or train from it with --pretrained_model"
        )
    told = [f"{key} was {old!r}, is {new!r}" for key, (old, new) in sorted(changed.items())]
    if told and strict:
        raise CheckpointMismatch(
            f"{source}: it was trained with other settings of the network: {_listed(told)}; use "
            "its own, or train from it with --pretrained_model"
        )
    for line in told:
        logger.warning("%s: %s", source, line)
    return CLASSES in changed


def _unusual_order(own: Mapping[str, Any]) -> str:
    """A word on the order of the classes, where rows of a published head would change places."""
    anchors = [v for k, v in own.items() if ".ANCHOR_GENERATOR." in k and k.endswith(".class_name")]
    for key, names in ((CLASSES, own.get(CLASSES) or []), ("ANCHOR_GENERATOR", anchors)):
        places = [_PUBLISHED_ORDER.index(name) for name in names if name in _PUBLISHED_ORDER]
        if places != sorted(places):
            return (
                f"; {key} is in the order {names}, published checkpoints have "
                f"{', '.join(_PUBLISHED_ORDER)}: classes change places unless it was trained so"
            )
    return ""


def _anchors_of_pcdet(own: Mapping[str, Any]) -> str:
    """A word on PointPillar's anchors, where a checkpoint of PCDet v0.1 would get wrong boxes."""
    first = "MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR.0.anchor_range"
    spread = own.get(first) or [0] * 6
    if own.get("MODEL.NAME") != "PointPillar" or [*spread[:2], *spread[3:5]] == _PCDET_ANCHORS:
        return ""
    return (
        "; PCDet v0.1's PointPillar has anchors over x 0 to 70.4 and y -40 to 40 m: with this "
        "yaml's its boxes are shifted, use pointpillar.yaml"
    )


def load_matching_state(
    model: nn.Module,
    state: Mapping[str, Any],
    source: str,
    logger: logging.Logger,
    strict: bool = False,
    finite: bool = True,
) -> None:
    """Copy the entries of `state` that fit into `model` and report each one that does not.

    Args:
        model: takes them.
        state: names and tensors; sparse weights may lie as in any version of spconv.
        source: their file, for messages.
        logger: takes a warning for each entry that does not fit.
        strict: each must fit but for counters, which decide nothing.
        finite: refuse NaN and infinity; False to look for where they come from.

    Raises:
        CheckpointMismatch: less than half of the model's entries are there with the right shape,
            or, if it is to be strict, not all.
        CheckpointError: an entry that fits is not finite in the model's precision.
    """
    own = model.state_dict()
    fitting, problems = {}, []
    # Those that are no part of the state in evaluation mode are of no interest then.
    of_training = {name for name, _ in model.named_parameters()} - own.keys()
    for name, value in checkpoint_formats.to_our_sparse_layout(state, own).items():
        if name in of_training:
            continue
        problem = _problem(name, value, own)
        if problem is None:
            fitting[name] = value
        else:
            problems.append(problem)
    missing = [name for name in own if name not in state]
    problems += [f"{name}: not in the file" for name in missing if not name.endswith(_COUNTERS)]
    if 2 * len(fitting) < len(own):
        raise CheckpointMismatch(
            f"{source}: only {len(fitting)} of the model's {len(own)} entries fit; is this a "
            f"checkpoint of another model? {_listed(problems)}"
        )
    if problems and strict:
        raise CheckpointMismatch(
            f"{source}: it does not fit this network: {_listed(problems)}; give the yaml and --set "
            "that it was trained with, or train from it with --pretrained_model"
        )
    broken = [k for k, v in fitting.items() if finite and not v.to(own[k].dtype).isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{source}: {len(broken)} of its entries hold NaN or infinity, as {broken[0]}: take an "
            "earlier checkpoint of its training"
        )
    for problem in problems:
        logger.warning("%s: %s", source, problem)
    model.load_state_dict(fitting, strict=False)
    logger.info("%s: loaded %d of %d entries", source, len(fitting), len(own))


def _problem(name: str, value: Any, own: Mapping[str, torch.Tensor]) -> str | None:
    """Why an entry does not fit into the model, or None if it does."""
    if name not in own:
        return f"{name}: not in the model"
    if not isinstance(value, torch.Tensor):
        return f"{name}: expected a tensor, got {type(value).__name__}"
    if value.layout != torch.strided or value.is_complex() or value.is_meta:
        return f"{name}: expected a dense tensor of real numbers"
    if own[name].is_floating_point() and not value.is_floating_point():
        return f"{name}: expected floating-point numbers, got {value.dtype}"
    if value.shape != own[name].shape:
        shapes = f"{tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model"
        return f"{name}: shape {shapes}"
    return None


def _listed(problems: list[str]) -> str:
    more = f"; and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
    return "; ".join(problem[:_LONGEST] for problem in problems[:_MOST_LISTED]) + more


def load_optimizer_state(
    optimizer: torch.optim.Optimizer,
    checkpoint: dict[str, Any],
    source: str,
    logger: logging.Logger,
) -> None:
    """Copy the optimiser's state from a checkpoint; one without it gives a warning.

    Options such as the weight decay stay those that the optimiser was made with; those that a
    schedule moves at each step are the checkpoint's.

    Raises:
        CheckpointError: the state belongs to another optimiser or model.
    """
    state = checkpoint.get("optimizer_state")
    if state is None:
        logger.warning("%s: it holds no optimiser state; the optimiser starts afresh", source)
        return
    try:
        optimizer.load_state_dict(_with_options_of(optimizer, state))
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if torch.is_tensor(value) and value.dim() and value.shape != parameter.shape:
                    shapes = f"{tuple(value.shape)} for {tuple(parameter.shape)}"
                    raise ValueError(f"{name} of shape {shapes}")
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{source}: its optimiser state does not fit: {error}; to train from its weights "
            "alone, give it to --pretrained_model, with another --extra_tag"
        ) from error


def _with_options_of(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with another optimiser's options, but for those of the schedule.

    Before it is loaded and not after: torch moves what is loaded to where `fused` needs it.
    """
    saved, own = state["param_groups"], optimizer.param_groups
    if len(saved) != len(own):
        raise ValueError(f"{len(saved)} groups of parameters for {len(own)}")
    groups = []
    for ours, theirs in zip(own, saved):
        if ("betas" in ours) != ("betas" in theirs):
            kinds = ("adam", "sgd") if "betas" in theirs else ("sgd", "adam")
            raise ValueError("it is of {}, MODEL.TRAIN.OPTIMIZATION asks for {}".format(*kinds))
        kept = {key: theirs[key] for key in _SCHEDULED if key in ours and key in theirs}
        groups.append({**ours, **kept, "params": theirs["params"]})
    return {**state, "param_groups": groups}


def restore_training(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    checkpoint: dict[str, Any],
    source: str,
    logger: logging.Logger,
) -> tuple[int, int]:
    """Copy weights and optimiser from a checkpoint; return its iterations and epochs.

    Raises:
        CheckpointError: it belongs to another model, optimiser or code base.
    """
    known = checkpoint_formats.format_of(checkpoint["model_state"])
    if known is not None:
        raise CheckpointError(
            f"{source}: a checkpoint of {known.title}, of which only the weights can be taken "
            "over; train from it with --pretrained_model"
        )
    load_weights(model, {**checkpoint, AVERAGED: None}, source, logger)
    if optimizer is not None:
        load_optimizer_state(optimizer, checkpoint, source, logger)
    return finished_count(checkpoint, "it", source), finished_count(checkpoint, "epoch", source)


def finished_count(checkpoint: Mapping[str, Any], key: str, source: str | os.PathLike) -> int:
    """Read a number of finished iterations or epochs; PCDet stored None or a float for some.

    Raises:
        CheckpointError: the entry is anything else; without it the number is 0.
    """
    number = checkpoint.get(key) or 0
    if not isinstance(number, (int, float)) or not 0 <= number < 2**53:
        raise CheckpointError(f"{source}: expected a number in the entry {key!r}")
    return int(number)
