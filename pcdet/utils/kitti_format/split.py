"""The lists of frames in ImageSets: one frame name on each line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import is_file_name
from pcdet.utils.io_utils import atomic_write, read_text


def split_path(root_path: str | os.PathLike, split: str) -> Path:
    """File that lists the frames of a split."""
    return Path(root_path) / "ImageSets" / f"{split}.txt"


def read_split(split_file: str | os.PathLike) -> list[str]:
    """Return the frame names of a split file, one a line; blank lines are skipped.

    Raises:
        DataError: the file is missing or empty, or a line names two frames or one a second time.
    """
    path = Path(split_file)
    frames: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 1:
            raise DataError(f"{path}:{number}: expected one frame name, got {line.strip()[:80]!r}")
        if not is_file_name(fields[0]):
            raise DataError(f"{path}:{number}: expected a frame name, got {fields[0][:80]!r}")
        if fields[0] in frames:
            raise DataError(
                f"{path}:{number}: frame {fields[0]} is named a second time, "
                f"first in line {frames[fields[0]]}"
            )
        frames[fields[0]] = number
    if not frames:
        raise DataError(f"{path}: expected one frame name a line, the file is empty")
    return list(frames)


def write_split(split_file: str | os.PathLike, frames: Sequence[str]) -> None:
    """Write the names of a split's frames, one a line."""
    with atomic_write(split_file) as file:
        file.write("".join(f"{name}\n" for name in frames).encode())
