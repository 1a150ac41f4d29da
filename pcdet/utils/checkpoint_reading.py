"""Read checkpoints, whoever wrote them; nothing in a file can run code."""

from __future__ import annotations

import os
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcdet.utils.errors import CheckpointError
from pcdet.utils.point_files.likeness import signature

# Where other programs put the weights.
_WEIGHTS_KEYS = ("model_state", "state_dict", "model", "model_state_dict")
# What torch's wrappers for several devices put in front of each name.
_WRAPPER = "module."
# Numbers and text.
_SCALAR_TYPES = re.compile(r"f[248]|[iu][1248]|b1|U\d{1,4}")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What torch says of an object that it does not build, and where it says what is wrong otherwise:
# after advice to read the file without care.
_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module \S+ is blocked)")
_UNREADABLE = re.compile(r"WeightsUnpickler error: *(.+)")
_LONGEST = 100  # name that a message repeats, in characters
_LOADING = threading.Lock()
# How torch's files begin: zip archives, or pickles of its first versions.
_STARTS = (b"PK", b"\x80")
_HEAD = 256


class _ScalarType:
    """Stands for numpy.dtype in a file; keeps its name alone."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        if not isinstance(code, str) or not _SCALAR_TYPES.fullmatch(code):
            raise ValueError(f"a numpy type {str(code)[:16]!r}, which is neither number nor text")
        self.code: str = code

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise ValueError("a numpy number of another byte order")


def _scalar(dtype: Any, data: Any) -> int | float | bool | str:
    """Stands for numpy's maker of scalars: a plain number or text."""
    if not isinstance(dtype, _ScalarType) or not isinstance(data, bytes):
        raise ValueError("a numpy number without type or value")
    (value,) = np.frombuffer(data, np.dtype(dtype.code).newbyteorder("<"))
    return value.item()


def _called(module: str, name: str, target: Any) -> Any:
    """`target` under the name that files know it by."""
    target.__module__, target.__name__, target.__qualname__ = module, name, name
    return target


# What PCDet's optimiser states hold besides tensors: its schedule computes rates with NumPy.
_NUMPY_SCALARS = [
    _called("numpy", "dtype", _ScalarType),
    *(
        _called(f"{core}.multiarray", "scalar", lambda dtype, data: _scalar(dtype, data))
        for core in ("numpy.core", "numpy._core")  # NumPy 1 and NumPy 2
    ),
]


def check_is_there(path: str | os.PathLike) -> None:
    """Raise a CheckpointError if there is no file of this name."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")


def load_checkpoint(filename: str | os.PathLike, to_cpu: bool = True) -> dict[str, Any]:
    """Read a checkpoint of this project, of PCDet or of another program, or a safetensors file.

    Args:
        filename: the file.
        to_cpu: read it into host memory.

    Returns:
        What it holds, the weights under `model_state` with the names that the model alone gives
        them, however they were stored: under another key, as a bare state dict, or from a model in
        DataParallel.

    Raises:
        CheckpointError: the file is missing, may not be read or is damaged, holds an object that
            is neither a tensor nor plain data, or no weights.
    """
    path = Path(filename)
    check_is_there(path)
    try:
        content = _read(path, "cpu" if to_cpu else None)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive may raise anything
        reason = _what_it_is(path) or _reason(error)
        raise CheckpointError(f"{path}: not a readable checkpoint: {reason}") from error
    checkpoint = _with_model_state(content)
    if checkpoint is None:
        raise CheckpointError(
            f"{path}: expected a checkpoint with the entry 'model_state', 'state_dict' or 'model', "
            f"or a bare state dict; {_described(content)}"
        )
    return checkpoint


def _read(path: Path, device: str | None) -> Any:
    if path.suffix == ".safetensors":
        from pcdet.utils.safetensors_file import read_safetensors

        return read_safetensors(path)
    check_archive(path)
    with _LOADING, _numpy_scalars_allowed(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of other pickles; the error says it better
        return torch.load(path, map_location=device, weights_only=True)


@contextmanager
def _numpy_scalars_allowed() -> Iterator[None]:
    """Let torch build the stand-ins, as `safe_globals` does, which torch 2.4 lacks."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_NUMPY_SCALARS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _what_it_is(path: Path) -> str:
    """What a file is that no program saved weights in, or nothing, if that is not known."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\0"):
        return "it is empty"
    if head.startswith(_STARTS) or path.suffix == ".safetensors":
        return ""
    found = signature(head)
    if found in ("", "text") and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        found = f"text, which begins with {head[: _LONGEST // 2].decode().splitlines()[0]!r}"
    return f"it looks like {found}" if found else ""


def _reason(error: Exception) -> str:
    """The error in one line; of an object that could run code, its name."""
    text = _COLOURS.sub("", str(error))
    refused = _REFUSED.search(text)
    if refused:
        return (
            f"it holds {refused[1][:_LONGEST]}, which could run code and was not touched; only "
            "tensors, plain data and numpy numbers are read"
        )
    if "PytorchStreamReader" in text:  # says so, with much about itself
        return "the archive is damaged or truncated"
    said = _UNREADABLE.search(text)
    text = (said[1] if said else text).strip()
    return text.splitlines()[0][: 3 * _LONGEST] if text else "it is none that torch.save wrote"


def _with_model_state(content: Any) -> dict[str, Any] | None:
    """A checkpoint whose weights are under `model_state`, without a wrapper's prefix, or None."""
    if not isinstance(content, dict):
        return None
    for key in _WEIGHTS_KEYS:
        if isinstance(content.get(key), dict):
            rest = {name: value for name, value in content.items() if name != key}
            return {**rest, "model_state": unwrapped(content[key])}
    if content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return {"model_state": unwrapped(content)}
    return None


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefix of DataParallel, if all names have it."""
    if state and all(isinstance(name, str) and name.startswith(_WRAPPER) for name in state):
        return {name[len(_WRAPPER) :]: value for name, value in state.items()}
    return dict(state)


def _described(content: Any) -> str:
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    names = [str(name)[:40] for name in list(content)[:5]]
    return f"its entries are {names}{' and more' if len(content) > 5 else ''}"


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
