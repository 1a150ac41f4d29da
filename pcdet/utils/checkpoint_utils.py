"""Checkpoints: written whole or not at all, read without running code, matched key by key."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pcdet.utils.errors import CheckpointError
from pcdet.utils.io_utils import atomic_write

# Options of an optimiser that learning-rate schedules move.
_SCHEDULED = ("lr", "betas")


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


def save_checkpoint(state: dict[str, Any], filename: str | os.PathLike) -> None:
    """Write a checkpoint to `filename` atomically and wait until it is on the disk.

    Raises:
        OSError: it could not be written; a file that was there before is as it was.
    """
    try:
        with atomic_write(filename, durable=True) as file:
            torch.save(state, file)
    except RuntimeError as error:
        # torch's writer reports a failing disk in its own way.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load_checkpoint(filename: str | os.PathLike, to_cpu: bool = True) -> dict[str, Any]:
    """Read a checkpoint of this project or of PCDet; nothing in the file can run code.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no `model_state`.
    """
    path = Path(filename)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        check_archive(path)
        checkpoint = torch.load(path, map_location="cpu" if to_cpu else None, weights_only=True)
    except Exception as error:  # a damaged archive may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model_state"), dict):
        raise CheckpointError(f"{path}: expected a checkpoint with the entry 'model_state'")
    return checkpoint


def check_archive(path: Path) -> None:
    """Raise a ValueError if a zip archive holds anything but intact files as torch stores them.

    torch trusts an archive: it does not compare checksums, and unpacks compressed entries to
    whatever size they claim. Files that are no zip archives, as of old versions of torch, pass.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its entries are compressed, which torch does not do")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries claim to be larger than the file")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its entry {damaged} is wrong")


def load_matching_state(
    model: nn.Module,
    state: dict[str, torch.Tensor],
    source: str,
    logger: logging.Logger,
) -> None:
    """Copy the entries of `state` that fit into `model` and report each one that does not.

    Raises:
        CheckpointError: less than half of the model's entries are there with the right shape.
    """
    own = model.state_dict()
    # Those that are no part of the state in evaluation mode are of no interest then.
    of_training = {name for name, _ in model.named_parameters()} - own.keys()
    fitting, problems = {}, []
    for name, value in state.items():
        if name not in own:
            if name not in of_training:
                problems.append(f"{name}: not in the model")
            continue
        expected = own[name].shape
        if not isinstance(value, torch.Tensor):
            problems.append(f"{name}: expected a tensor, got {type(value).__name__}")
        elif value.layout != torch.strided or value.is_complex() or value.is_meta:
            problems.append(f"{name}: expected a dense tensor of real numbers")
        elif value.shape == expected:
            fitting[name] = value
        elif (adapted := adapt_sparse_weight(value, expected)) is not None:
            fitting[name] = adapted
        else:
            problems.append(
                f"{name}: shape {tuple(value.shape)} in the file, {tuple(expected)} in the model"
            )
    problems += [f"{name}: not in the file" for name in own if name not in state]
    if 2 * len(fitting) < len(own):
        shown = "\n  ".join(problems[:10]) + ("\n  ..." if len(problems) > 10 else "")
        raise CheckpointError(
            f"{source}: only {len(fitting)} of the model's {len(own)} entries fit; "
            f"is this a checkpoint of another model?\n  {shown}"
        )
    for problem in problems:
        logger.warning("%s: %s", source, problem)
    model.load_state_dict(fitting, strict=False)
    logger.info("%s: loaded %d of %d entries", source, len(fitting), len(own))


def adapt_sparse_weight(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Convert a stored sparse weight to our layout, or return None if it does not fit.

    spconv 1.x, and so PCDet's published checkpoints, store (kd, kh, kw, in, out); spconv 2.2 and
    later, and our own layers, hold (out, kd, kh, kw, in).
    """
    if weight.dim() == 5 and weight.permute(4, 0, 1, 2, 3).shape == shape:
        return weight.permute(4, 0, 1, 2, 3).contiguous()
    return None


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
        raise CheckpointError(f"{source}: its optimiser state does not fit: {error}") from error


def _with_options_of(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with another optimiser's options, but for those of the schedule.

    Before it is loaded and not after: torch moves what is loaded to where `fused` needs it.
    """
    saved, own = state["param_groups"], optimizer.param_groups
    if len(saved) != len(own):
        raise ValueError(f"{len(saved)} groups of parameters for {len(own)}")
    groups = []
    for ours, theirs in zip(own, saved):
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
        CheckpointError: it belongs to another model or optimiser.
    """
    load_matching_state(model, checkpoint["model_state"], source, logger)
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
