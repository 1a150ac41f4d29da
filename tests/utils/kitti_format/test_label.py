"""KITTI label lines: fields, difficulty, and what is wrong with a broken one."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.label import Object3d, get_objects_from_label

LINE = "Car 0.10 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


def test_fields():
    car = Object3d.from_line(LINE)
    assert (car.cls_type, car.truncation, car.occlusion, car.alpha) == ("Car", 0.1, 1, 1.85)
    assert (car.h, car.w, car.l, car.ry, car.score) == (1.67, 1.87, 3.69, 1.57, -1)
    assert car.box2d.dtype == car.loc.dtype == np.float32
    np.testing.assert_array_equal(car.loc, np.float32([-16.53, 2.39, 58.49]))
    assert Object3d.from_line(LINE + " 0.75").score == 0.75


def test_written_line_reads_back():
    car = Object3d.from_line(LINE)
    assert len(car.to_kitti_format(with_score=False).split()) == 15
    assert car.to_kitti_format().startswith("Car 0.1 1 1.8500 387.6300 ")
    again = Object3d.from_line(car.to_kitti_format())
    assert again.to_kitti_format() == car.to_kitti_format()


@pytest.mark.parametrize(
    ("height", "truncation", "occlusion", "level"),
    [
        (39, 0.15, 0, 0),
        (38.9, 0.15, 0, 1),
        (39, 0.16, 0, 1),
        (39, 0.0, 1, 1),
        (24, 0.30, 1, 1),
        (24, 0.31, 1, 2),
        (24, 0.50, 2, 2),
        (24, 0.51, 2, -1),
        (100, 0, 3, -1),
        (23.9, 0, 0, -1),
    ],
)
def test_difficulty_at_its_limits(height, truncation, occlusion, level):
    # KITTI counts a rectangle from y1 to y2 as y2 - y1 + 1 pixels high.
    line = f"Car {truncation} {occlusion} 0 0 0 10 {height} 1 1 1 0 0 9 0"
    assert Object3d.from_line(line).level == level
    assert Object3d.from_line(line).level_str == ("Easy", "Moderate", "Hard", "UnKnown")[level]


@pytest.mark.parametrize(
    ("content", "count"),
    [("", 0), ("\n\n", 0), (LINE, 1), (f"{LINE}\r\n{LINE}\r\n", 2), (f"\ufeff{LINE}\n", 1)],
)
def test_files_of_every_make(tmp_path, content, count):
    path = tmp_path / "000003.txt"
    path.write_bytes(content.encode())
    objects = get_objects_from_label(path)
    assert [o.cls_type for o in objects] == ["Car"] * count


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.rsplit(" ", 1)[0], "expected 15 fields.* got 14; rotation_y is missing"),
        (LINE + " 1 2", "expected 15 fields, or 16 with a score, got 17"),
        (LINE.replace("1.67", "tall"), "height: expected a number, got 'tall'"),
        (LINE.replace("58.49", "nan"), "z: expected a number, got 'nan'"),
        ("\x00\xff\xfe", "expected 15 fields.* got 1; truncated is missing"),
    ],
)
def test_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "000003.txt"
    path.write_bytes(f"{LINE}\n{line}\n".encode("latin-1"))
    with pytest.raises(DataError, match=rf"000003\.txt: line 2: {message}"):
        get_objects_from_label(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"000004\.txt: label cannot be read"):
        get_objects_from_label(tmp_path / "000004.txt")
