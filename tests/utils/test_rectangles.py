"""Rectangles on the ground: of boxes, by hand, and against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar
from pcdet.utils.rectangles import overlaps_any, rectangles_of_boxes


def polygon(rectangle):
    x, y, u, v, turn = rectangle
    first = np.array([np.cos(turn), np.sin(turn)]) * u / 2
    second = np.array([-np.sin(turn), np.cos(turn)]) * v / 2
    corners = [first + second, first - second, -first - second, second - first]
    return shapely.Polygon(corners + np.array([x, y]))


def test_a_box_from_above_is_its_rectangle():
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        (rng.uniform(-9, 9, (20, 3)), rng.uniform(1, 5, (20, 3)), rng.uniform(-7, 7, 20))
    )
    rectangles = rectangles_of_boxes(boxes.astype(np.float32))
    assert rectangles.dtype == np.float64 and rectangles.flags.c_contiguous
    footprints = shapely.polygons(boxes3d_to_corners3d_lidar(boxes)[:, :4, :2])
    for rectangle, footprint in zip(rectangles, footprints):
        assert polygon(rectangle).symmetric_difference(footprint).area < 1e-4
    assert rectangles_of_boxes(np.zeros((0, 7))).shape == (0, 5)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((1.9, 0, 2, 4, 0.0), True),
        ((2, 0, 2, 4, 0.0), False),  # a common edge
        ((0, 0, 0.1, 0.1, 0.7), True),  # one inside the other
        ((1.9, 0, 4, 2, np.pi / 2), True),  # turned, it reaches 1 m along x
        ((2.1, 0, 4, 2, np.pi / 2), False),
        ((0, 2.9, 4, 2, np.pi / 2), True),  # turned, it reaches 2 m along y
        ((70, 0, 2, 4, 0.0), False),
    ],
)
def test_by_hand(other, expected):
    """Against a rectangle of 2 m along x and 4 m along y."""
    one, other = np.array([0, 0, 2, 4, 0.0]), np.array(other, dtype=np.float64)
    assert overlaps_any(one, other[None]) == overlaps_any(other, one[None]) == expected


def test_equals_shapely():
    rng = np.random.default_rng(1)
    rows = np.column_stack(
        (rng.uniform(-4, 4, (300, 2)), rng.uniform(0.2, 5, (300, 2)), rng.uniform(-7, 7, 300))
    )
    outcomes = [overlaps_any(a, b[None]) for a, b in zip(rows[::2], rows[1::2])]
    areas = [polygon(a).intersection(polygon(b)).area for a, b in zip(rows[::2], rows[1::2])]
    assert outcomes == [area > 1e-9 for area in areas]
    assert set(outcomes) == {True, False}


def test_one_row_can_be_skipped_and_none_overlap_nothing():
    rows = np.array([[0, 0, 2, 2, 0.0], [10, 0, 2, 2, 0.0]])
    assert overlaps_any(rows[0], rows)
    assert not overlaps_any(rows[0], rows, 0)
    assert not overlaps_any(rows[0], rows[:0])
