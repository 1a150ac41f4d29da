"""Voxels: worked out by hand, against a plain dictionary, and against PCDet v0.1's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcdet.datasets.kitti.camera_view import points_in_view
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.utils.errors import ConfigError
from pcdet.utils.kitti_format.calib import Calibration

DATA = Path(__file__).resolve().parents[4] / "shared"
UNIT = {"voxel_size": [1, 1, 1], "point_cloud_range": [0, -2, -1, 4, 2, 1]}


def voxels_by_dictionary(points, generator, max_voxels):
    """What `generate` should give, point by point in the plainest way."""
    found: dict[tuple, list] = {}
    low, size = generator.point_cloud_range[:3], generator.voxel_size
    for point in points:
        cell = np.floor((point[:3] - low) / size)
        if not ((cell >= 0) & (cell < generator.grid_size)).all():
            continue
        key = tuple(int(c) for c in cell[::-1])
        if key not in found and len(found) == max_voxels:
            continue
        found.setdefault(key, []).append(point)
    return {key: rows[: generator.max_num_points] for key, rows in found.items()}


def assert_equal_voxels(result, expected, max_num_points):
    voxels, coordinates, num_points = result
    assert [tuple(c) for c in coordinates.tolist()] == list(expected)
    for rows, count, points in zip(voxels, num_points, expected.values()):
        assert count == len(points)
        np.testing.assert_array_equal(rows[:count], np.array(points, np.float32))
        assert not rows[count:].any()
    assert voxels.shape[1] == max_num_points


def test_by_hand():
    generator = VoxelGenerator(**UNIT, max_num_points=2, max_voxels=10)
    assert generator.grid_size.tolist() == [4, 4, 2]
    points = np.array(
        [
            [0.5, 0.5, 0.5, 9],
            [3.5, -1.5, -0.5, 8],
            [0.9, 0.1, 0.2, 7],
            [0.1, 0.1, 0.1, 6],  # a third point of the first voxel: left out
            [4.0, 0.5, 0.5, 5],  # on the upper bound: outside
            [0.0, -2.0, -1.0, 4],  # on the lower bounds: inside
            [-0.1, 0.5, 0.5, 3],
        ],
        np.float32,
    )
    voxels, coordinates, num_points = generator.generate(points)
    assert coordinates.tolist() == [[1, 2, 0], [0, 0, 3], [0, 0, 0]]  # z, y, x
    assert num_points.tolist() == [2, 1, 1]
    np.testing.assert_array_equal(voxels[0], points[[0, 2]])
    np.testing.assert_array_equal(voxels[1], [points[1], np.zeros(4)])
    np.testing.assert_array_equal(
        generator.voxel_centers(coordinates),
        [[0.5, 0.5, 0.5], [3.5, -1.5, -0.5], [0.5, -1.5, -0.5]],
    )
    assert (voxels.dtype, coordinates.dtype, num_points.dtype) == (np.float32, np.int32, np.int32)


def test_open_voxels_are_filled_after_the_cap():
    """PCDet v0.1 stopped at the first point that would have opened one voxel too many."""
    generator = VoxelGenerator(**UNIT, max_num_points=3, max_voxels=2)
    x = [0.5, 1.5, 2.5, 0.6, 1.6, 2.6, 0.7, 0.8]
    points = np.array([[v, 0.5, 0.5] for v in x], np.float32)
    voxels, coordinates, num_points = generator.generate(points)
    assert coordinates[:, 2].tolist() == [0, 1]
    assert num_points.tolist() == [3, 2]
    np.testing.assert_array_equal(voxels[0, :, 0], np.array([0.5, 0.6, 0.7], np.float32))
    assert len(generator.generate(points, max_voxels=1)[0]) == 1


@pytest.mark.parametrize("max_voxels", [1, 50, 4000])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_dictionary(seed, max_voxels):
    rng = np.random.default_rng(seed)
    generator = VoxelGenerator([0.3, 0.2, 0.5], [-3, -2, -1, 3, 2, 1], 3, max_voxels)
    points = rng.uniform(-3.5, 3.5, (3000, 5)).astype(np.float32)
    expected = voxels_by_dictionary(points, generator, max_voxels)
    assert_equal_voxels(generator.generate(points), expected, 3)


def test_accepts_a_view_and_does_not_write_to_it():
    generator = VoxelGenerator(**UNIT, max_num_points=2, max_voxels=9)
    wide = np.random.default_rng(0).uniform(-1, 3, (50, 6)).astype(np.float32)
    before = wide.copy()
    view = generator.generate(wide[::2, :4])
    packed = generator.generate(wide[::2, :4].copy())
    for a, b in zip(view, packed):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize(
    "points", [np.zeros((0, 4)), np.full((3, 4), 99.0), np.full((3, 4), np.nan)]
)
def test_nothing_in_range(points):
    generator = VoxelGenerator(**UNIT, max_num_points=2, max_voxels=9)
    voxels, coordinates, num_points = generator.generate(points.astype(np.float32))
    assert (voxels.shape, coordinates.shape, num_points.shape) == ((0, 2, 4), (0, 3), (0,))
    assert generator.voxel_centers(coordinates).shape == (0, 3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"voxel_size": [1, 0, 1]}, "positive voxel sizes"),
        ({"point_cloud_range": [0, 0, 0, 1, 0, 1]}, "minima are below"),
        ({"voxel_size": [9, 1, 1]}, "larger than the range"),
        ({"max_num_points": 0}, "max_num_points must be at least 1"),
        ({"max_voxels": -1}, "max_voxels must be at least 1"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        VoxelGenerator(**{**UNIT, "max_num_points": 2, "max_voxels": 9, **settings})


@pytest.mark.skipif(not DATA.is_dir(), reason="needs KITTI frame 000003 and PCDet's numbers")
@pytest.mark.parametrize(
    "name, voxel_size, point_range, max_num_points",
    [
        ("second", [0.05, 0.05, 0.1], [0, -40, -3, 70.4, 40, 1], 5),
        ("pointpillar", [0.16, 0.16, 4], [0, -39.68, -3, 69.12, 39.68, 1], 32),
    ],
)
def test_equals_pcdet(name, voxel_size, point_range, max_num_points):
    frame = DATA / "kitti_mini" / "training"
    expected = np.load(DATA / "reference" / f"eval_items_{name}.npz")
    expected = {key.split("/")[1]: expected[key] for key in expected if key.startswith("000003/")}
    points = np.fromfile(frame / "velodyne" / "000003.bin", np.float32).reshape(-1, 4)
    calib = Calibration(frame / "calib" / "000003.txt")
    points = points[points_in_view(points, expected["image_shape"], calib)]
    generator = VoxelGenerator(voxel_size, point_range, max_num_points, max_voxels=40000)
    voxels, coordinates, num_points = generator.generate(points)
    order = np.lexsort(coordinates.T[::-1])
    np.testing.assert_array_equal(coordinates[order], expected["coordinates"])
    np.testing.assert_array_equal(num_points[order], expected["num_points"])
    if name == "pointpillar":
        sums = voxels[order].sum(axis=1, dtype=np.float64)
        np.testing.assert_allclose(sums, expected["voxel_sum"], rtol=0, atol=1e-12)
        return
    np.testing.assert_array_equal(order, expected["order"])
    np.testing.assert_array_equal(voxels[order], expected["voxels"])
    centers = generator.voxel_centers(coordinates[order][:5])
    np.testing.assert_array_equal(centers, expected["voxel_centers_first5"])
