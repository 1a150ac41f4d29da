"""Label files (15 fields a line) and result files (16, the score last), read and written.

All readers of such lines are here or in `label_table`, which falls back to `split_lines` and
`read_numbers` of this module.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import MAX_TEXT_SIZE, read_file, read_number

FIELDS = (
    *("type", "truncated", "occluded", "alpha"),
    *("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
    *("height", "width", "length", "x", "y", "z", "rotation_y", "score"),
)
OCCLUDED = FIELDS.index("occluded")
NUM_RESULT_FIELDS = len(FIELDS)
NUM_LABEL_FIELDS = NUM_RESULT_FIELDS - 1
# The class of a region without labels.
DONT_CARE = "DontCare"
# What stands where nothing was measured.
NO_ALPHA, NO_LOCATION = -10.0, -1000.0
UNKNOWN_LEVEL = -1


@dataclass(frozen=True)
class Difficulty:
    """Which ground truth counts, and which detections are too small to be judged.

    Attributes:
        name: easy, moderate or hard.
        min_height: height in the image in pixels; a ground truth must be higher, a detection whose
            height, cut to whole pixels, is lower than this is small.
        max_occlusion: highest occlusion level of a valid ground truth.
        max_truncation: highest truncated share of a valid ground truth.
    """

    name: str
    min_height: int
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)


class FieldError(ValueError):
    """A field of a line that holds no number.

    Attributes:
        position: number of the field, from 1.
        word: what it holds.
    """

    def __init__(self, position: int, word: str, reason: str) -> None:
        super().__init__(f"{FIELDS[position - 1]}: {reason}")
        self.position = position
        self.word = word


def split_lines(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the number, from 1, and the fields of every line that has any."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        fields = line.split()
        if fields:
            yield number, [field.decode("utf-8", "replace") for field in fields]


def read_numbers(fields: Sequence[str]) -> list[float]:
    """Read the numbers of a line: all its fields but the first.

    Raises:
        FieldError: naming the first field that holds none.
    """
    numbers = []
    for position, word in enumerate(fields[1:], 2):
        try:
            numbers.append(read_number(word))
        except ValueError as error:
            raise FieldError(position, word, str(error)) from error
    return numbers


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
        return cls.from_fields(line.split())

    @classmethod
    def from_fields(cls, fields: Sequence[str]) -> Object3d:
        """Read the fields of a line, see `from_line`."""
        count = len(fields)
        if count not in (NUM_LABEL_FIELDS, NUM_RESULT_FIELDS):
            missing = f"; {FIELDS[count]} is missing" if count < NUM_LABEL_FIELDS else ""
            raise ValueError(f"expected 15 fields, or 16 with a score, got {count}{missing}")
        numbers = read_numbers(fields)
        if not numbers[OCCLUDED - 1].is_integer():
            raise ValueError(f"occluded: expected a whole number, got {fields[OCCLUDED]!r}")
        return cls(
            fields[0],
            *numbers[:3],
            np.array(numbers[3:7], dtype=np.float32),
            *numbers[7:10],
            np.array(numbers[10:13], dtype=np.float32),
            *numbers[13:],
        )

    @property
    def level(self) -> int:
        """KITTI's difficulty: 0 easy, 1 moderate, 2 hard, -1 beyond hard."""
        height = float(self.box2d[3]) - float(self.box2d[1]) + 1
        for level, difficulty in enumerate(DIFFICULTIES):
            if (
                height >= difficulty.min_height
                and self.truncation <= difficulty.max_truncation
                and self.occlusion <= difficulty.max_occlusion
            ):
                return level
        return UNKNOWN_LEVEL

    @property
    def level_str(self) -> str:
        """Name of `level`."""
        if self.level == UNKNOWN_LEVEL:
            return "UnKnown"
        return DIFFICULTIES[self.level].name.capitalize()

    def to_kitti_format(self, with_score: bool = True) -> str:
        """Write one line of a KITTI result file (16 fields), or of a label file (15)."""
        values = (self.alpha, *self.box2d, self.h, self.w, self.l, *self.loc, self.ry)
        if with_score:
            values = (*values, self.score)
        head = f"{self.cls_type} {self.truncation:g} {self.occlusion:g}"
        return f"{head} {decimals(values, 4)}"


def get_objects_from_label(
    label_file: str | os.PathLike, need_sizes: bool = False
) -> list[Object3d]:
    """Read a KITTI label or result file; an empty file has no objects.

    Args:
        label_file: of a frame.
        need_sizes: objects must have sizes above 0, all but DontCare.

    Raises:
        DataError: naming the file, the line and the field.
    """
    path = Path(label_file)
    objects = []
    for number, fields in split_lines(read_file(path, "label", max_size=MAX_TEXT_SIZE)):
        try:
            obj = Object3d.from_fields(fields)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
        if need_sizes and obj.cls_type != DONT_CARE and min(obj.h, obj.w, obj.l) <= 0:
            k = sum(other.cls_type != DONT_CARE for other in objects)
            raise DataError(
                f"object {k} ({obj.cls_type}): expected height, width and length > 0, got "
                f"{[obj.h, obj.w, obj.l]}; {path}: line {number}"
            )
        objects.append(obj)
    return objects


def decimals(values: Iterable[float], count: int) -> str:
    """Write numbers with `count` decimals, separated by blanks, without exponents and -0."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return " ".join(f"{round(float(value), count) + 0.0:.{count}f}" for value in values)


def dont_care_line(box2d: Sequence[float]) -> str:
    """Write the line of a region (4,) x1, y1, x2, y2 in pixels that has no labels."""
    return f"{DONT_CARE} -1 -1 -10 {decimals(box2d, 2)} -1 -1 -1 -1000 -1000 -1000 -10"


def result_lines(anno: Mapping[str, np.ndarray]) -> list[str]:
    """Return the lines of a KITTI result file for one frame.

    A line is: class, truncation and occlusion (-1, not estimated), alpha, x1, y1, x2, y2, height,
    width, length, x, y, z, rotation_y, score; four decimals, nine for the score, so that sorting
    by score does not change: near 1, float32 numbers lie 6e-8 apart.

    Args:
        anno: `name` (N,), `alpha` (N,), `bbox` (N, 4), `dimensions` (N, 3) length, height, width,
            `location` (N, 3), `rotation_y` (N,), `score` (N,).
    """
    lines = []
    for i, name in enumerate(anno["name"]):
        length, height, width = anno["dimensions"][i]
        values = [_wrapped(anno["alpha"][i]), *anno["bbox"][i], height, width, length]
        values += [*anno["location"][i], _wrapped(anno["rotation_y"][i])]
        lines.append(f"{name} -1 -1 {decimals(values, 4)} {decimals([anno['score'][i]], 9)}")
    return lines


def _wrapped(angle: float) -> float:
    """The angle in [-pi, pi], as the format asks; -10 stays, it says that there is none."""
    return angle if angle == NO_ALPHA else math.remainder(angle, 2 * math.pi)
