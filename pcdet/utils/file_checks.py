"""What arrays and names from a file must be before anything is computed with them.

A file of infos comes from elsewhere as often as not, and what is wrong in it should be told with
its name, and not by whichever operation meets it first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import LARGEST_NUMBER

_MAX_NAME = 200
Thing = TypeVar("Thing")


def check_array(value: Any, what: str, shape: tuple[int, ...], kinds: str = "iuf") -> None:
    """Raise a ValueError unless `value` is an array of this shape and kind, its numbers finite.

    Args:
        value: what was found.
        what: its name, for the message.
        shape: expected. An empty array passes for another empty one of any shape and kind.
        kinds: NumPy's letters of the kinds that are allowed.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{what}: expected an array, got a {type(value).__name__}")
    if 0 in shape and value.size == 0:
        return
    if value.shape != shape or value.dtype.kind not in kinds:
        raise ValueError(
            f"{what}: expected shape {shape} of kind {'/'.join(kinds)}, got {value.shape} of "
            f"{value.dtype}"
        )
    if value.dtype.kind in "iuf" and not (np.abs(value) <= LARGEST_NUMBER).all():
        raise ValueError(f"{what}: expected finite numbers up to {LARGEST_NUMBER:g}")


def check_file_name(value: Any, what: str) -> None:
    """Raise a ValueError unless `value` can name a file inside a folder."""
    if not isinstance(value, str):
        raise ValueError(f"{what}: expected a name, got a {type(value).__name__}")
    if not is_file_name(value):
        raise ValueError(f"{what}: expected the name of a file, got {value[:_MAX_NAME]!r}")


def check_writable(folder: Path, remedy: str) -> None:
    """Raise a DataError that ends in `remedy` if infos cannot be written to a folder, made or not.

    Asked before the points of thousands of frames are read.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DataError(
            f"{folder}: infos cannot be written there ({error.strerror}): {remedy}"
        ) from error


def first_of_one_name(named: Iterable[tuple[str, Thing]]) -> tuple[Thing, Thing] | None:
    """Find the first thing that has the name of an earlier one: that one and it, or None."""
    owners: dict[str, Thing] = {}
    for name, thing in named:
        if name in owners:
            return owners[name], thing
        owners[name] = thing
    return None


def is_file_name(name: str) -> bool:
    """Tell whether a name such as 000123 leads to a file inside a folder, and nowhere else."""
    return (
        0 < len(name) <= _MAX_NAME
        and name.isprintable()
        and "/" not in name
        and name not in (".", "..")
    )


def is_class_name(name: str) -> bool:
    """Tell whether a class can be called so: lines, files and `name:number` of a yaml hold it."""
    return is_file_name(name) and len(name.split()) == 1 and not set(name) & set("\\:")
