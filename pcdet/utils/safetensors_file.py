"""Checkpoints as safetensors files: weights, and plain data as JSON beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcdet.utils.errors import CheckpointError
from pcdet.utils.io_utils import atomic_write

_HEADER = "pcdet"  # where the plain data stand in the file's own header


def read_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    """What `write_safetensors` wrote, or the weights of another program's file.

    Returns:
        A checkpoint: `model_state`, and the plain data.

    Raises:
        CheckpointError: the package is missing.
        Exception: the file is damaged.
    """
    safe_open = _package().safe_open
    with safe_open(str(path), framework="pt") as file:
        header = (file.metadata() or {}).get(_HEADER, "{}")
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    rest = json.loads(header)
    if not isinstance(rest, dict):
        raise ValueError("its header is not a dict")
    return {**rest, "model_state": state}


def write_safetensors(checkpoint: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write weights and plain data of a checkpoint atomically; the optimiser's state is left out.

    Raises:
        CheckpointError: the package is missing.
    """
    _package()
    from safetensors.torch import save

    state = {name: v.detach().cpu().contiguous() for name, v in checkpoint["model_state"].items()}
    plain = {k: v for k, v in checkpoint.items() if k not in ("model_state", "optimizer_state")}
    with atomic_write(Path(path), durable=True) as file:
        file.write(save(state, {_HEADER: json.dumps(plain, default=str)}))


def _package() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise CheckpointError(
            "files in safetensors format need a package: pip install safetensors"
        ) from error
    return safetensors
