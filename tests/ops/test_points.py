"""Arguments of the point operator; what it computes is tested with voxels and the camera's view."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.ops.points.points_utils import group_points, points_in_view

GRID = {
    "voxel_size": np.ones(3, np.float32),
    "minimum": np.zeros(3, np.float32),
    "grid_size": np.full(3, 4),
    "max_num_points": 2,
    "max_voxels": 8,
}
VIEW = {
    "to_rect": np.eye(4, 3, dtype=np.float32),
    "p2": np.eye(3, 4, dtype=np.float32),
    "image_shape": (10, 10),
}


@pytest.mark.parametrize(
    ("function", "arguments", "name", "value"),
    [
        (group_points, GRID, "points", np.zeros((5, 2), np.float32)),
        (group_points, GRID, "points", np.zeros(5, np.float32)),
        (group_points, GRID, "points", np.zeros((5, 3))),
        (group_points, GRID, "voxel_size", np.ones(3)),
        (group_points, GRID, "minimum", np.ones(2, np.float32)),
        (group_points, GRID, "grid_size", np.ones(3, np.int32)),
        (group_points, GRID, "grid_size", np.array([4, 2**31 + 1, 4])),
        (group_points, GRID, "grid_size", np.full(3, 2**22)),
        (points_in_view, VIEW, "points", np.zeros((5, 3))),
        (points_in_view, VIEW, "to_rect", np.eye(4, dtype=np.float32)),
        (points_in_view, VIEW, "p2", np.eye(3, 4)),
    ],
)
def test_an_argument_that_does_not_fit_is_named(function, arguments, name, value):
    given = {"points": np.zeros((5, 3), np.float32), **arguments}
    function(**given)
    with pytest.raises(ValueError, match=f"^{name} must"):
        function(**{**given, name: value})


@pytest.mark.parametrize("max_voxels", [0, 1, 63, 64, 65, 1000])
def test_as_many_voxels_as_are_allowed(max_voxels):
    points = np.stack(np.meshgrid(*[np.arange(4, dtype=np.float32)] * 3), -1).reshape(-1, 3)
    voxels, coordinates, num_points = group_points(points, **{**GRID, "max_voxels": max_voxels})
    kept = min(max_voxels, 64)
    np.testing.assert_array_equal(coordinates[:, ::-1], points[:kept])
    np.testing.assert_array_equal(voxels, np.stack((points[:kept], 0 * points[:kept]), 1))
    assert num_points.tolist() == [1] * kept


def test_numbers_of_numpy():
    points = np.zeros((5, 3), np.float32)
    numbers = {"max_num_points": np.int64(2), "max_voxels": np.int32(8)}
    found = group_points(points, **{**GRID, **numbers})
    for one, other in zip(found, group_points(points, **GRID)):
        np.testing.assert_array_equal(one, other)


def test_rows_with_gaps():
    points = np.random.default_rng(0).uniform(0, 4, (50, 8)).astype(np.float32)
    for result, expected in zip(
        group_points(points[::2, :5], **GRID), group_points(points[::2, :5].copy(), **GRID)
    ):
        np.testing.assert_array_equal(result, expected)
