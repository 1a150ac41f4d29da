"""Collisions of boxes seen from above, against shapely and worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pcdet.datasets.data_augmentation.collision import first_free_try, select_free_boxes
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar


def box(x, y, width, length, rz=0.0):
    return [x, y, 0.0, width, length, 1.0, rz]


def collide(a, b):
    free = select_free_boxes(np.array([a, b], np.float64), 1)
    assert select_free_boxes(np.array([b, a], np.float64), 1) == free
    return not free[0]


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (box(0, 0, 2, 4), box(1.5, 0, 2, 4), True),
        (box(0, 0, 4, 4), box(0.5, 0.5, 1, 1), True),  # one inside the other
        (box(0, 0, 2, 4), box(0, 0, 2, 4), True),
        (box(0, 0, 2, 4), box(2, 0, 2, 4), False),  # a common edge
        (box(0, 0, 2, 4, np.pi / 2), box(0, 2, 2, 4, -np.pi / 2), False),
        (box(0, 0, 2, 4, 0.7), box(2 * np.cos(0.7), -2 * np.sin(0.7), 2, 4, 0.7), False),
        (box(0, 0, 2, 2), box(2, 2, 2, 2), False),  # a common corner
        (box(0, 0, 2, 2), box(2.1, 0, 2, 2, np.pi / 4), True),  # a corner through an edge
        (box(0, 0, 2, 2), box(2.5, 0, 2, 2, np.pi / 4), False),
        (box(0, 0, 0.2, 10), box(0, 0, 0.2, 10, np.pi / 2), True),  # a cross: no corner inside
        (box(0, 0, 1, 10, 0.5), box(70, 0, 1, 10), False),
    ],
)
def test_by_hand(a, b, expected):
    assert collide(a, b) == expected


def test_equals_shapely():
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        (
            rng.uniform(-4, 4, (400, 3)),
            rng.uniform(0.2, 5, (400, 3)),
            rng.uniform(-7, 7, (400, 1)),
        ),
        axis=1,
    )
    polygons = shapely.polygons(boxes3d_to_corners3d_lidar(boxes)[:, :4, :2])
    outcomes = set()
    for k in range(0, 400, 2):
        overlap = shapely.intersection(polygons[k], polygons[k + 1]).area > 1e-9
        assert collide(boxes[k], boxes[k + 1]) == overlap
        outcomes.add(overlap)
    assert outcomes == {True, False}


def test_selection_is_greedy_in_order():
    fixed = box(0, 0, 2, 2)
    candidates = [box(1, 0, 2, 2), box(3, 0, 2, 2), box(4, 0, 2, 2), box(5, 0, 2, 2)]
    chosen = select_free_boxes(np.array([fixed, *candidates]), 1)
    assert chosen.tolist() == [False, True, False, True]
    assert select_free_boxes(np.zeros((0, 7)), 0).shape == (0,)


def test_first_free_try_sees_the_boxes_that_moved_before():
    boxes = np.array([box(0, 0, 2, 2), box(10, 0, 2, 2), box(20, 0, 2, 2)])
    moves = np.zeros((3, 3, 3))
    moves[0, :, 0] = [9, 10, 5]  # the first two would land on box 1
    moves[1, :, 0] = [-5, -10, 1]  # the first would land on box 0 in its new place
    moves[2, :, 0] = [-19, -9, 0]  # the place that box 1 left is taken by nobody
    chosen = first_free_try(boxes, np.array([True, True, True]), moves, np.zeros((3, 3)))
    assert chosen.tolist() == [2, 1, 1]
    chosen = first_free_try(boxes, np.array([True, False, False]), moves[:, :2], np.zeros((3, 2)))
    assert chosen.tolist() == [-1, -1, -1]


def test_a_box_that_may_stay_keeps_room_for_its_own_size():
    """Of two boxes of 2 m, the second would be halved, or doubled, if it found a place."""
    boxes = np.array([box(0, 0, 2, 2), box(10, 0, 2, 2)])
    for factor, shift, free in (
        (0.5, 8.4, False),
        (0.5, 7.9, True),
        (2, 7.4, False),
        (2, 6.9, True),
    ):
        place = shift if free else 0
        moves = np.array([[[shift, 0, 0]], [[place - 10, 0, 0]]])  # the second's is onto the first
        chosen = first_free_try(
            boxes, np.array([True, True]), moves, np.zeros((2, 1)), np.array([1.0, factor])
        )
        assert chosen.tolist() == [0 if free else -1, -1]
