"""Synthetic frames against real ones: the tolerances are in real frame-to-frame deviations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import real_statistics as real

from pcdet.simulator import compare, sensor
from pcdet.utils.point_files import read_points


@pytest.fixture(scope="module")
def rows(turns) -> list[compare.FrameStatistics]:
    return [compare.frame_statistics(turn.points) for _, turn in turns]


def mean_of(rows, name):
    return np.mean([getattr(row, name) for row in rows], axis=0)


def test_points_per_frame(rows):
    counts = np.array([row.points for row in rows])
    assert abs(counts.mean() - real.POINTS[0]) < 1.0 * real.POINTS[1]
    assert counts.min() > 95_000
    assert counts.max() < 130_000


@pytest.mark.parametrize("ring", real.RING_COUNTS)
def test_points_per_ring(rows, ring):
    # Streets differ most in how much of the sky they leave to the upper lasers.
    mean, deviation = real.RING_COUNTS[ring]
    assert abs(mean_of(rows, "ring_counts")[ring] - mean) < max(1.5 * deviation, 60)


def test_every_frame_has_64_rings(rows):
    assert all((row.ring_counts > 300).all() for row in rows)


@pytest.mark.parametrize("part", range(len(real.RANGE_SHARES)))
def test_ranges(rows, part):
    mean, deviation = real.RANGE_SHARES[part]
    assert abs(mean_of(rows, "range_shares")[part] - mean) < max(1.5 * deviation, 0.02)


@pytest.mark.parametrize(
    ("name", "expected", "deviations"),
    [
        ("dark_share", real.DARK_SHARE, 1.0),
        ("median_intensity", real.MEDIAN_INTENSITY, 2.0),
        ("raised_share", real.RAISED_SHARE, 1.0),
        ("ground_height", real.GROUND_HEIGHT, 1.5),
        ("ground_slope", real.GROUND_SLOPE, 1.0),
    ],
)
def test_frame_statistics(rows, name, expected, deviations):
    assert abs(mean_of(rows, name) - expected[0]) < deviations * expected[1]


def test_smoothness_of_the_road(rows):
    assert mean_of(rows, "smoothness") == pytest.approx(real.SMOOTHNESS[0], abs=0.002)


def test_real_frames_still_give_the_stored_numbers(kitti_mini: Path):
    files = sorted(kitti_mini.glob("*/velodyne/*.bin"))
    rows = [compare.frame_statistics(read_points(file, 4)) for file in files]
    assert len(rows) == real.FRAMES
    assert mean_of(rows, "points") == pytest.approx(real.POINTS[0], abs=1)
    assert mean_of(rows, "range_shares") == pytest.approx(
        [m for m, _ in real.RANGE_SHARES], abs=1e-3
    )
    assert mean_of(rows, "raised_share") == pytest.approx(real.RAISED_SHARE[0], abs=1e-3)
    assert mean_of(rows, "ground_height") == pytest.approx(real.GROUND_HEIGHT[0], abs=1e-3)
    counts = mean_of(rows, "ring_counts")
    for ring, (mean, _) in real.RING_COUNTS.items():
        assert counts[ring] == pytest.approx(mean, abs=1)


def test_points_lie_on_the_lasers_cones_of_real_frames(kitti_mini: Path):
    points = read_points(kitti_mini / "training" / "velodyne" / "000001.bin", 4)
    ring = compare.rings_of(points)
    flat = np.hypot(points[:, 0], points[:, 1])
    expected = sensor.APEX[ring] + np.tan(sensor.ELEVATIONS[ring]) * flat
    # A few points sit on the seam where one ring ends and the next begins.
    assert np.percentile(np.abs(points[:, 2] - expected), 99.5) < 0.002


def visible_counts(turns, name):
    """Distance and number of points of each thing of a class that nothing hides."""
    rows = []
    for scene, turn in turns:
        hits = np.bincount(turn.owner[turn.owner >= 0], minlength=len(scene.objects))
        for k, thing in enumerate(scene.objects):
            if thing.name == name and turn.visible[k] > 0.95 * turn.reached[k] > 5:
                rows.append((np.hypot(*thing.position[:2]), hits[k]))
    return np.array(rows)


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("Car", [row[:2] for row in real.CARS]),
        ("Pedestrian", real.PEDESTRIANS),
        ("Cyclist", real.CYCLISTS),
    ],
)
def test_points_on_things_by_distance(turns, name, examples):
    # Each real one must lie within the spread of synthetic ones at its distance.
    rows = visible_counts(turns, name)
    for distance, count in examples:
        at = rows[np.abs(rows[:, 0] - distance) < 0.2 * distance]
        assert len(at) >= 5
        # Points fall with the square of the distance: bring all to the example's.
        scaled = at[:, 1] * (at[:, 0] / distance) ** 2
        low, high = np.percentile(scaled, [3, 97])
        assert low * 0.7 <= count <= high * 1.4, (distance, count, low, high)


def test_cars_lose_returns_with_distance(turns):
    rows = visible_counts(turns, "Car")
    scaled = rows[:, 1] * rows[:, 0] ** 2
    near, far = scaled[rows[:, 0] < 25], scaled[rows[:, 0] > 50]
    assert np.median(far) < 0.9 * np.median(near)


def test_classes_have_kittis_shares(turns):
    counts = Counter(thing.name for scene, _ in turns for thing in scene.objects)
    frames = len(turns)
    assert counts["Car"] > counts["Pedestrian"] > counts["Cyclist"] > counts["Truck"]
    # All around; about half of them are in the picture, where KITTI has 3.84 a frame.
    assert 5 < counts["Car"] / frames < 11
    assert 2 < counts["Pedestrian"] / frames < 7
    assert 1 < counts["Cyclist"] / frames < 5
