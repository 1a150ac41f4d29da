"""Thousands of label or result files at once, as one table.

All files of a block are parsed at once by NumPy. When that meets anything unusual, the reader of
single lines goes through the block, and it alone decides what is an error and what is not.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import LARGEST_NUMBER, MAX_TEXT_SIZE, read_file
from pcdet.utils.kitti_format.label import (
    FIELDS,
    NUM_LABEL_FIELDS,
    NUM_RESULT_FIELDS,
    OCCLUDED,
    FieldError,
    read_numbers,
    split_lines,
)

_FILES_PER_BLOCK = 1024
_MAX_NAME = 64
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[list(b" \t\n\v\f\r")] = True
_IS_INTEGER_CHARACTER = np.zeros(256, bool)
_IS_INTEGER_CHARACTER[list(b"+-0123456789")] = True


class LabelTable(NamedTuple):
    """N objects of F files, in the order of the files and of their lines.

    Attributes:
        names: (N,) classes.
        values: (N, num_fields - 1) float64, the other fields.
        counts: (F,) int64, objects of each file.
    """

    names: np.ndarray
    values: np.ndarray
    counts: np.ndarray


def read_label_table(paths: Sequence[str | os.PathLike], num_fields: int) -> LabelTable:
    """Read label or result files.

    Blank lines, CRLF line ends and a missing final newline are harmless; an empty file is a frame
    without objects.

    Args:
        paths: of the files, one at least.
        num_fields: `NUM_LABEL_FIELDS` for labels, `NUM_RESULT_FIELDS` for results.

    Raises:
        DataError: a file is missing; a line has another number of fields, a field that is not a
            finite number, or (labels) an occlusion that is not an integer.
    """
    tables = []
    for start in range(0, len(paths), _FILES_PER_BLOCK):
        block = paths[start : start + _FILES_PER_BLOCK]
        contents = [read_file(path, max_size=MAX_TEXT_SIZE) for path in block]
        table = _parse_block(contents, num_fields)
        tables.append(table or _parse_lines(block, contents, num_fields))
    return LabelTable(*(np.concatenate(parts) for parts in zip(*tables)))


def _parse_block(contents: Sequence[bytes], num_fields: int) -> LabelTable | None:
    """Parse whole files at once, or return None if anything in them is out of the ordinary."""
    ends_of_files = np.cumsum([len(content) + 1 for content in contents])
    text = np.frombuffer(b"\n".join([*contents, b""]), np.uint8)
    space = _IS_SPACE[text]
    edges = np.flatnonzero(np.diff(space, prepend=True))  # starts and ends of fields in turn
    starts, ends = edges[0::2], edges[1::2]
    lines = np.cumsum(text == ord("\n"))[starts]
    if len(starts) == 0:
        nothing = np.zeros((0, num_fields - 1))
        return LabelTable(np.zeros(0, np.str_), nothing, np.zeros(len(contents), int))
    fields_of_lines = np.bincount(lines)
    if text.max() > 127 or np.any(fields_of_lines[fields_of_lines > 0] != num_fields):
        return None
    starts, ends = starts.reshape(-1, num_fields), ends.reshape(-1, num_fields)
    lengths = ends[:, 0] - starts[:, 0]
    if lengths.max() > _MAX_NAME:
        return None
    names = _gather(text, starts[:, 0], lengths)
    if num_fields == NUM_LABEL_FIELDS:
        occlusion = _gather(text, starts[:, OCCLUDED], (ends - starts)[:, OCCLUDED])
        if not np.all(_IS_INTEGER_CHARACTER[occlusion] | (occlusion == 0)):
            return None
    values = _numbers(text, starts[:, 0], lengths)
    if values is None or values.size != len(starts) * (num_fields - 1):
        return None
    if not (np.abs(values) <= LARGEST_NUMBER).all():
        return None
    counts = np.diff(np.searchsorted(starts[:, 0], ends_of_files), prepend=0)
    width = names.shape[1]
    names = names.view(f"S{width}")[:, 0].astype(f"U{width}")
    return LabelTable(names, values.reshape(-1, num_fields - 1), counts)


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


def _parse_lines(
    paths: Sequence[str | os.PathLike], contents: Sequence[bytes], num_fields: int
) -> LabelTable:
    """Parse line by line; slow, and exact about what is wrong."""
    names, values, counts = [], [], []
    for path, content in zip(paths, contents):
        before = len(names)
        for number, fields in split_lines(content):
            names.append(fields[0])
            values.append(_checked_numbers(fields, num_fields, f"{path}:{number}"))
        counts.append(len(names) - before)
    return LabelTable(
        np.array(names, dtype=np.str_),
        np.array(values, dtype=np.float64).reshape(-1, num_fields - 1),
        np.array(counts, dtype=np.int64),
    )


def _checked_numbers(fields: list[str], num_fields: int, where: str) -> list[float]:
    """The numbers of a line; a DataError unless the official program would read the same."""
    if num_fields == NUM_LABEL_FIELDS:  # some programs write a score into labels, too
        fields = fields[:NUM_LABEL_FIELDS] if len(fields) == NUM_RESULT_FIELDS else fields
    if len(fields) != num_fields:
        kind = "a ground truth" if num_fields == NUM_LABEL_FIELDS else "a detection"
        raise DataError(f"{where}: expected the {num_fields} fields of {kind}, got {len(fields)}")
    if len(fields[0]) > _MAX_NAME or not fields[0].isascii():
        raise DataError(f"{where}: expected a class name in field 1, got {_shown(fields[0])}")
    if num_fields == NUM_LABEL_FIELDS and not _INTEGER.fullmatch(fields[OCCLUDED]):
        raise DataError(
            f"{where}: expected an integer occlusion in field {OCCLUDED + 1}, "
            f"got {_shown(fields[OCCLUDED])}"
        )
    try:
        return read_numbers(fields)
    except FieldError as error:
        raise DataError(
            f"{where}: expected a finite number in field {error.position}, got "
            f"{_shown(error.word)} ({FIELDS[error.position - 1]}, at most {LARGEST_NUMBER:g})"
        ) from error


def _shown(field: str) -> str:
    return repr(field[:_MAX_NAME])
