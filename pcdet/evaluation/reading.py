"""KITTI label and result files to `Labels`, with the file and line of whatever is wrong.

All files of a block are parsed at once by NumPy. When that meets anything unusual, a plain parser
goes through the block line by line, and it alone decides what is an error and what is not.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcdet.evaluation.label_arrays import Labels, labels_from_table
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import is_file_name
from pcdet.utils.io_utils import MAX_TEXT_SIZE

GT_FIELDS = 15
DET_FIELDS = 16
_OCCLUSION = 2  # field number; an integer in ground truth
_FILES_PER_BLOCK = 1024
_MAX_NAME = 64
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(rb"[+-]?\d+")
_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[list(b" \t\n\v\f\r")] = True
_IS_INTEGER_CHARACTER = np.zeros(256, bool)
_IS_INTEGER_CHARACTER[list(b"+-0123456789")] = True


def list_frames(folder: str | os.PathLike) -> list[str]:
    """Return the sorted names, without `.txt`, of the label files in `folder`.

    Raises:
        DataError: the folder does not exist or holds no label file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of label files, found none")
    names = sorted(path.stem for path in folder.glob("*.txt") if not path.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: expected label files NNNNNN.txt, the folder holds none")
    return names


def read_split(split_file: str | os.PathLike) -> list[str]:
    """Return the frame names of a split file, one a line.

    Raises:
        DataError: the file is missing or empty, or a line names two frames or one a second time.
    """
    path = Path(split_file)
    frames: dict[str, int] = {}
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), 1):
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


def choose_frames(
    gt_dir: str | os.PathLike,
    det_dir: str | os.PathLike,
    split_file: str | os.PathLike | None = None,
) -> list[str]:
    """Return the frames to evaluate: those of the split, or else those of both folders.

    A frame without a result file is never passed over in silence: its objects would count as
    missed in the official program, and leaving it out would raise the AP.

    Raises:
        DataError: a frame lacks its label or its result file.
    """
    try:
        labelled = list_frames(gt_dir)
    except DataError as error:
        raise DataError(
            f"{error}; without labels, as for KITTI's test split, there is no AP"
        ) from None
    detected = list_frames(det_dir)
    if split_file is None:
        _require(labelled, detected, f"{det_dir}: no result file for", " (the label folder has it)")
        _require(detected, labelled, f"{gt_dir}: no label file for", " (the result folder has it)")
        return labelled
    frames = read_split(split_file)
    _require(frames, labelled, f"{gt_dir}: no label file for", f" of {split_file}")
    _require(frames, detected, f"{det_dir}: no result file for", f" of {split_file}")
    return frames


def _require(wanted: Sequence[str], present: Sequence[str], problem: str, why: str) -> None:
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise DataError(
            f"{problem} {len(missing)} of {len(wanted)} frames, the first is {missing[0]}{why}; "
            "a frame without objects needs an empty file, and a split file names the frames to use"
        )


def read_labels(folder: str | os.PathLike, frames: Sequence[str], num_fields: int) -> Labels:
    """Read the label files of `frames`.

    Blank lines, CRLF line ends and a missing final newline are harmless; an empty file is a frame
    without objects.

    Args:
        folder: holds FRAME.txt for every frame.
        frames: names of the frames, in the order of the result.
        num_fields: 15 for ground truth, 16 for detections.

    Raises:
        DataError: a file is missing; a line has another number of fields, a field that is not a
            finite number, or (ground truth) an occlusion that is not an integer.
    """
    tables = []
    for start in range(0, len(frames), _FILES_PER_BLOCK):
        paths = [Path(folder, f"{name}.txt") for name in frames[start : start + _FILES_PER_BLOCK]]
        contents = [_read(path) for path in paths]
        table = _parse_block(contents, num_fields)
        tables.append(table or _parse_lines(paths, contents, num_fields))
    names, values, counts = (np.concatenate(parts) for parts in zip(*tables))
    if num_fields == GT_FIELDS:
        values = np.column_stack([values, np.zeros(len(values))])
    return labels_from_table(names, values, counts)


def _read(path: Path) -> bytes:
    """Content of a file. Opens without a look at it before, for there may be 7,500 of them."""
    try:
        # A pipe is opened without waiting for its other end.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 (takes the handle)
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TEXT_SIZE:
                raise DataError(f"{path}: cannot be read: not a text file, or far too large")
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


Table = tuple[np.ndarray, np.ndarray, np.ndarray]  # names (N,), values (N, fields - 1), counts (F,)


def _parse_block(contents: Sequence[bytes], num_fields: int) -> Table | None:
    """Parse whole files at once, or return None if anything in them is out of the ordinary."""
    ends_of_files = np.cumsum([len(content) + 1 for content in contents])
    text = np.frombuffer(b"\n".join([*contents, b""]), np.uint8)
    space = _IS_SPACE[text]
    edges = np.flatnonzero(np.diff(space, prepend=True))  # starts and ends of fields in turn
    starts, ends = edges[0::2], edges[1::2]
    lines = np.cumsum(text == ord("\n"))[starts]
    if len(starts) == 0:
        return np.zeros(0, np.str_), np.zeros((0, num_fields - 1)), np.zeros(len(contents), int)
    fields_of_lines = np.bincount(lines)
    if text.max() > 127 or np.any(fields_of_lines[fields_of_lines > 0] != num_fields):
        return None
    starts, ends = starts.reshape(-1, num_fields), ends.reshape(-1, num_fields)
    lengths = ends[:, 0] - starts[:, 0]
    if lengths.max() > _MAX_NAME:
        return None
    names = _gather(text, starts[:, 0], lengths)
    if num_fields == GT_FIELDS:
        occlusion = _gather(text, starts[:, _OCCLUSION], (ends - starts)[:, _OCCLUSION])
        if not np.all(_IS_INTEGER_CHARACTER[occlusion] | (occlusion == 0)):
            return None
    values = _numbers(text, starts[:, 0], lengths)
    if values is None or values.size != len(starts) * (num_fields - 1):
        return None
    if not np.isfinite(values).all():
        return None
    counts = np.diff(np.searchsorted(starts[:, 0], ends_of_files), prepend=0)
    width = names.shape[1]
    return (
        names.view(f"S{width}")[:, 0].astype(f"U{width}"),
        values.reshape(-1, num_fields - 1),
        counts,
    )


def _gather(text: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return (N, longest) uint8: the N fields that begin at `starts`, filled up with zeros."""
    fields = np.zeros((len(starts), int(lengths.max())), np.uint8)
    for k in range(fields.shape[1]):
        rows = np.flatnonzero(lengths > k)
        fields[rows, k] = text[starts[rows] + k]
    return fields


def _numbers(text: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray | None:
    """Return every number of `text` once the names at `starts` are blanked; None if one is bad."""
    text = text.copy()
    for k in range(int(lengths.max())):
        text[starts[lengths > k] + k] = ord(" ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            return np.fromstring(text.tobytes(), dtype=np.float64, sep=" ")
    except (DeprecationWarning, ValueError):  # how NumPy's versions say "not a number"
        return None


def _parse_lines(paths: Sequence[Path], contents: Sequence[bytes], num_fields: int) -> Table:
    """Parse line by line; slow, and exact about what is wrong."""
    names, values, counts = [], [], []
    for path, content in zip(paths, contents):
        rows = 0
        for number, line in enumerate(content.split(b"\n"), 1):
            fields = line.split()
            if fields:
                name, numbers = _parse_line(fields, num_fields, f"{path}:{number}")
                names.append(name)
                values.append(numbers)
                rows += 1
        counts.append(rows)
    return (
        np.array(names, dtype=np.str_),
        np.array(values, dtype=np.float64).reshape(-1, num_fields - 1),
        np.array(counts, dtype=np.int64),
    )


def _parse_line(fields: list[bytes], num_fields: int, where: str) -> tuple[str, list[float]]:
    """Return the class name and the numbers of one line."""
    if len(fields) != num_fields:
        kind = "a ground truth" if num_fields == GT_FIELDS else "a detection"
        raise DataError(f"{where}: expected the {num_fields} fields of {kind}, got {len(fields)}")
    if len(fields[0]) > _MAX_NAME or not fields[0].isascii():
        raise DataError(f"{where}: expected a class name in field 1, got {_shown(fields[0])}")
    if num_fields == GT_FIELDS and not _INTEGER.fullmatch(fields[_OCCLUSION]):
        raise DataError(
            f"{where}: expected an integer occlusion in field {_OCCLUSION + 1}, "
            f"got {_shown(fields[_OCCLUSION])}"
        )
    numbers = []
    for position, field in enumerate(fields[1:], 2):
        number = float(field) if _NUMBER.fullmatch(field) else np.nan
        if not np.isfinite(number):
            raise DataError(
                f"{where}: expected a finite number in field {position}, got {_shown(field)}"
            )
        numbers.append(number)
    return fields[0].decode("ascii"), numbers


def _shown(field: bytes) -> str:
    return repr(field[:_MAX_NAME].decode("utf-8", "replace"))
