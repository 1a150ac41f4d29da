"""One line of a KITTI label or result file, read and written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_number, read_text

FIELDS = [
    "type",
    "truncated",
    "occluded",
    "alpha",
    "bbox_x1",
    "bbox_y1",
    "bbox_x2",
    "bbox_y2",
    "height",
    "width",
    "length",
    "x",
    "y",
    "z",
    "rotation_y",
    "score",
]
# KITTI's levels: least 2D height in pixels, most truncation, most occlusion.
LEVELS = (("Easy", 40, 0.15, 0), ("Moderate", 25, 0.30, 1), ("Hard", 25, 0.50, 2))
UNKNOWN_LEVEL = -1


@dataclass
class Object3d:
    """A labelled or detected object, in the rectified camera frame.

    Attributes:
        cls_type: the class, `DontCare` for a region without labels.
        truncation: share of the object outside the image, -1 unknown.
        occlusion: 0 visible, 1 partly, 2 largely hidden, 3 unknown, -1 not given.
        alpha: observation angle in radians, -10 unknown.
        box2d: (4,) float32 x1, y1, x2, y2 in pixels.
        h: height in metres.
        w: width in metres.
        l: length in metres.
        loc: (3,) float32 middle of the bottom face, metres.
        ry: heading about the camera's y axis in radians.
        score: confidence of a detection, -1 for a label.
    """

    cls_type: str
    truncation: float
    occlusion: float
    alpha: float
    box2d: np.ndarray
    h: float
    w: float
    l: float  # noqa: E741 (PCDet's name)
    loc: np.ndarray
    ry: float
    score: float = -1.0

    @classmethod
    def from_line(cls, line: str) -> Object3d:
        """Read 15 fields, or 16 with a score.

        Raises:
            ValueError: naming the field that is missing or wrong, and what was expected.
        """
        words = line.split()
        if len(words) not in (15, 16):
            missing = f"; {FIELDS[len(words)]} is missing" if len(words) < 15 else ""
            raise ValueError(f"expected 15 fields, or 16 with a score, got {len(words)}{missing}")
        numbers = [_number(*pair) for pair in zip(FIELDS[1:], words[1:])]
        box2d, (h, w, length) = numbers[3:7], numbers[7:10]
        return cls(
            words[0],
            *numbers[:3],
            np.array(box2d, dtype=np.float32),
            h,
            w,
            length,
            np.array(numbers[10:13], dtype=np.float32),
            *numbers[13:],
        )

    @property
    def level(self) -> int:
        """KITTI's difficulty: 0 easy, 1 moderate, 2 hard, -1 beyond hard."""
        height = float(self.box2d[3]) - float(self.box2d[1]) + 1
        for level, (_, least_height, most_truncation, most_occlusion) in enumerate(LEVELS):
            if (
                height >= least_height
                and self.truncation <= most_truncation
                and self.occlusion <= most_occlusion
            ):
                return level
        return UNKNOWN_LEVEL

    @property
    def level_str(self) -> str:
        """Name of `level`."""
        return LEVELS[self.level][0] if self.level != UNKNOWN_LEVEL else "UnKnown"

    def to_kitti_format(self, with_score: bool = True) -> str:
        """One line of a KITTI result file (16 fields), or of a label file (15)."""
        values = (self.alpha, *self.box2d, self.h, self.w, self.l, *self.loc, self.ry)
        if with_score:
            values = (*values, self.score)
        decimals = " ".join(f"{value:.4f}" for value in values)
        return f"{self.cls_type} {self.truncation:g} {self.occlusion:g} {decimals}"


def _number(field: str, word: str) -> float:
    """Read a finite number; the error names its field."""
    try:
        return read_number(word)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def get_objects_from_label(label_file: str | os.PathLike) -> list[Object3d]:
    """Read a KITTI label or result file; an empty file has no objects.

    Raises:
        DataError: naming the file, the line and the field.
    """
    path = Path(label_file)
    objects = []
    for number, line in enumerate(read_text(path, "label").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            objects.append(Object3d.from_line(line))
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    return objects
