"""Planes files, and the plane found in points."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.datasets.ground_plane import estimate_road_plane
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.planes import read_road_plane
from tiny_kitti import calibration


def scene(slope_x, slope_y, height, rng, ground=3000, clutter=2000):
    """Ground z = height + slope_x x + slope_y y with 2 cm of noise, and clutter of all heights."""
    x, y = rng.uniform(2, 60, ground), rng.uniform(-20, 20, ground)
    z = height + slope_x * x + slope_y * y + rng.normal(0, 0.02, ground)
    road = np.stack((x, y, z), axis=1)
    things = rng.uniform((2, -20, -2.5), (60, 20, 2), (clutter, 3))
    return np.column_stack((np.concatenate((road, things)), np.ones(ground + clutter)))


@pytest.mark.parametrize(
    ("slope_x", "slope_y", "height"), [(0, 0, -1.73), (0.01, -0.02, -1.6), (-0.02, 0.03, -1.8)]
)
def test_plane_of_a_scene_is_found(slope_x, slope_y, height):
    calib = calibration()
    points = scene(slope_x, slope_y, height, np.random.default_rng(1)).astype(np.float32)
    plane = estimate_road_plane(points, calib, rng=np.random.default_rng(0))
    assert plane.dtype == np.float64
    assert plane[1] < 0
    np.testing.assert_allclose(np.linalg.norm(plane[:3]), 1)
    x, y = np.array([5.0, 20, 50]), np.array([0.0, -8, 10])
    ground = np.stack((x, y, height + slope_x * x + slope_y * y), axis=1)
    distance = calib.lidar_to_rect(ground) @ plane[:3] + plane[3]
    np.testing.assert_allclose(distance, 0, atol=0.05)


def test_equal_seeds_give_equal_planes():
    points = scene(0, 0, -1.7, np.random.default_rng(1))
    planes = [
        estimate_road_plane(points, calibration(), rng=np.random.default_rng(5)) for _ in range(2)
    ]
    np.testing.assert_array_equal(*planes)


@pytest.mark.parametrize("case", ["none", "few", "wall"])
def test_without_a_road_the_ground_is_flat_below_the_camera(case):
    rng = np.random.default_rng(0)
    points = {
        "none": np.zeros((0, 4)),
        "few": np.tile([10, 0, -1.7, 0], (5, 1)),
        # A wall straight ahead has no upright plane in it, as its points have one x.
        "wall": np.column_stack(
            (np.full(4000, 12.5), rng.uniform(-19, 19, 4000), rng.uniform(-3, -1, 4000))
        ),
    }[case]
    plane = estimate_road_plane(points, calibration(), rng=rng)
    assert np.isfinite(plane).all()
    if case != "wall":
        assert plane.tolist() == [0, -1, 0, 1.65]


def write(tmp_path, last):
    path = tmp_path / "000005.txt"
    path.write_text(f"# Matrix\nWIDTH 4\nHEIGHT 1\n{last}\n")
    return path


@pytest.mark.parametrize("sign", [1, -1])
def test_planes_file(tmp_path, sign):
    plane = read_road_plane(write(tmp_path, " ".join(str(sign * v) for v in (0.0, -2.0, 0.0, 3.3))))
    np.testing.assert_allclose(plane, [0, -1, 0, 1.65])


@pytest.mark.parametrize("last", ["", "1 2 3", "0 0 0 1", "0 -1 x 1.6", "0 nan 0 1"])
def test_broken_planes_file_is_named(tmp_path, last):
    with pytest.raises(DataError, match=r"000005\.txt: expected 4 numbers on line 4"):
        read_road_plane(write(tmp_path, last))


def test_missing_planes_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"x\.txt: road plane cannot be read"):
        read_road_plane(tmp_path / "x.txt")
