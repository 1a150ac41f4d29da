"""Which points lie in which box."""

from __future__ import annotations

import numpy as np

from pcdet.utils import object_points


def test_boxes_in_parts_hold_the_same_points(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.uniform(-3, 3, (500, 4)).astype(np.float32)
    boxes = np.concatenate((rng.uniform(-3, 3, (7, 3)), rng.uniform(0.5, 3, (7, 4))), axis=1)
    whole = object_points.points_of_boxes(points, boxes)
    assert len(whole) == 7 and sum(map(len, whole)) > 50
    for most in (1, 1500):
        monkeypatch.setattr(object_points, "_MOST_ANSWERS", most)
        for rows, expected in zip(object_points.points_of_boxes(points, boxes), whole, strict=True):
            np.testing.assert_array_equal(rows, expected)
    assert object_points.points_of_boxes(points, boxes[:0]) == []
