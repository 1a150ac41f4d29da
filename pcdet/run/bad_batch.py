"""The file of a batch whose loss is not finite, with all that computes this loss again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcdet.utils.checkpoint_utils import load_checkpoint, save_checkpoint
from pcdet.utils.errors import CheckpointError

_ENTRIES = ("batch", "config", "epoch", "it", "seed", "rank", "settings", "values")


def save_bad_batch(path: Path, batch: dict[str, Any], state: dict[str, Any]) -> str:
    """Write a batch and the state that met it, for tools/replay.py.

    Args:
        path: the file to write or replace.
        batch: of the loader; what a model computes with is kept, calibrations are not.
        state: a checkpoint whose `model_state` gives the bad loss, with seed, rank and values.

    Returns:
        A sentence that says where it is, or why it could not be written.
    """
    kept = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
        if name != "calib" and not (isinstance(value, np.ndarray) and value.dtype.kind in "OUS")
    }
    kept["sample_idx"] = [str(name) for name in batch.get("sample_idx", [])]
    try:
        save_checkpoint({**state, "batch": kept}, path)
    except OSError as error:
        return f"the batch could not be written to {path}: {error.strerror or error}"
    return f"python tools/replay.py {shlex.quote(str(path))} computes it again and names the module"


def load_bad_batch(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `save_bad_batch` wrote; nothing in the file can run code.

    Raises:
        CheckpointError: the file is missing, damaged, or not such a file.
    """
    state = load_checkpoint(path)
    missing = [name for name in _ENTRIES if name not in state]
    if missing:
        raise CheckpointError(f"{path}: not a bad_batch.pth of a training; it has no {missing}")
    return state
