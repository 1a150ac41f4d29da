"""The label files: OpenPCDet's custom format, `x y z dx dy dz heading class` on each line.

x, y, z is the middle of the box, LiDAR frame, metres; dx is the length, along the heading, dy the
width, dz the height; the heading turns from x towards y, radians.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.utils.box_columns import LARGEST_ANGLE
from pcdet.utils.box_utils import RZ, H, L, W, X, Y, Z, limit_period
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import is_class_name
from pcdet.utils.io_utils import atomic_write, read_number, read_text
from pcdet.utils.kitti_format.label import DONT_CARE, NUM_LABEL_FIELDS, NUM_RESULT_FIELDS
from pcdet.utils.point_files.likeness import signature
from pcdet.utils.strict_yaml import DICT_ATTRIBUTES

FIELDS = ("x", "y", "z", "dx", "dy", "dz", "heading", "class")
# Metres: no object that a detector of this kind finds is larger.
_LARGEST_SIZE = 200.0
_HEAD = 256  # characters of a file that show what it is


@dataclass(frozen=True)
class Objects:
    """The labelled objects of a frame.

    Attributes:
        names: (M,) str.
        boxes: (M, 7) float64 LiDAR boxes.
    """

    names: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def objects_from_rows(rows: np.ndarray, names: Sequence[str]) -> Objects:
    """Turn (M, 7) rows of x, y, z, dx, dy, dz, heading into objects."""
    rows = np.asarray(rows, dtype=np.float64).reshape(-1, 7)
    x, y, z, dx, dy, dz, heading = rows.T
    # What is not in radians is left, as a report can say so only then.
    within = np.abs(heading) <= LARGEST_ANGLE
    turn = -heading - np.pi / 2
    turn = np.where(within, limit_period(turn, offset=0.5, period=2 * np.pi), turn)
    boxes = np.stack((x, y, z - dz / 2, dy, dx, dz, turn), axis=1)
    return Objects(np.array(names, dtype=np.str_), boxes)


def rows_from_boxes(boxes: np.ndarray) -> np.ndarray:
    """Turn (M, 7) LiDAR boxes into rows of x, y, z, dx, dy, dz, heading."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    heading = limit_period(-boxes[:, RZ] - np.pi / 2, offset=0.5, period=2 * np.pi)
    middle = boxes[:, Z] + boxes[:, H] / 2
    columns = (boxes[:, X], boxes[:, Y], middle, boxes[:, L], boxes[:, W], boxes[:, H], heading)
    return np.stack(columns, axis=1)


def read_objects(path: str | os.PathLike) -> Objects:
    """Read a label file; an empty one is a frame without objects.

    Raises:
        DataError: it cannot be read, or a line is not what it should be (file and line named).
    """
    path, rows, names = Path(path), [], []
    text = read_text(path, "labels")
    found = signature(text[:_HEAD].encode())
    if "Git LFS" in found:
        raise DataError(f"{path}: {found}")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            rows.append(_read_row(fields))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        names.append(fields[7])
    return objects_from_rows(np.array(rows), names)


def _read_row(fields: Sequence[str]) -> list[float]:
    if len(fields) != len(FIELDS):
        raise ValueError(
            f"expected {len(FIELDS)} fields, `{' '.join(FIELDS)}`, got {len(fields)}{_why(fields)}"
        )
    row = []
    for name, word in zip(FIELDS, fields[:7]):
        try:
            row.append(read_number(word))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    check_row(row, fields[7])
    return row


def _why(fields: Sequence[str]) -> str:
    """What a line with another number of fields may be."""
    if len(fields) in (NUM_LABEL_FIELDS, NUM_RESULT_FIELDS):
        return ": it looks like KITTI's labels, which `pcdet-custom import kitti` reads"
    if "," in fields[0]:
        return ": put blanks between them, not commas"
    if len(fields) == len(FIELDS) + 1 and _is_number(fields[-1]):
        return ": the last one looks like a score, as results have: leave it out"
    return "; a class must not hold a blank" if len(fields) > len(FIELDS) else ""


def _is_number(word: str) -> bool:
    try:
        read_number(word)
    except ValueError:
        return False
    return True


def check_row(row: Sequence[float], name: str) -> None:
    """Raise a ValueError unless a row of seven numbers and a class can be an object."""
    if not np.isfinite(row).all():
        raise ValueError(f"expected finite numbers, got {list(row)}")
    for field, size in zip(("dx", "dy", "dz"), row[3:6]):
        if not 0 < size <= _LARGEST_SIZE:
            raise ValueError(
                f"{field}: expected a size above 0 and up to {_LARGEST_SIZE:g} m, got {size:g}"
                + (": sizes and places must be in metres" if size > 0 else "")
            )
    if not is_class_name(name):
        raise ValueError(
            "class: expected a name without blanks, slashes or colons, as files are named by it, "
            f"got {name[:80]!r}"
        )
    if name.lower() == DONT_CARE.lower():
        raise ValueError(f"class: {name} is KITTI's name of what is no object: leave the line out")
    if name in DICT_ATTRIBUTES:
        raise ValueError(f"class: {name!r} cannot be a key of the yaml: choose another name")


def label_lines(objects: Objects, scores: np.ndarray | None = None) -> list[str]:
    """The lines of objects; with scores (M,), the last field is the score."""
    lines = []
    for k, (row, name) in enumerate(zip(rows_from_boxes(objects.boxes), objects.names)):
        line = " ".join(f"{value:.4f}" for value in row) + f" {name}"
        lines.append(line if scores is None else f"{line} {scores[k]:.4f}")
    return lines


def write_objects(
    path: str | os.PathLike, objects: Objects, scores: np.ndarray | None = None
) -> None:
    """Write a label file, or a file of results."""
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in label_lines(objects, scores)).encode())
