"""Scans in other units, at another place or height than a network has learnt."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from inference.test_detector import detector, folder, make_checkpoint, scan  # noqa: F401
from pcdet import Detector
from pcdet.inference.placement import doubt_about_place


def doubt(points, lowest=-1.78):
    """What is doubted by a network with the range of second.yaml."""
    return doubt_about_place(points, [0, -40, -3, 70.4, 40, 1], lowest)


def street(seed=0, count=20_000):
    """Ground 1.7 m below the sensor with a slope, walls at both sides, all around the sensor."""
    rng = np.random.default_rng(seed)
    distance, angle = rng.gamma(2.0, 8.0, count) + 3, rng.uniform(-np.pi, np.pi, count)
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    z = -1.7 + 0.01 * x + rng.normal(0, 0.02, count)
    is_wall = np.abs(y) > 8
    z[is_wall] += rng.uniform(0, 6, is_wall.sum())
    return np.column_stack([x, y.clip(-8, 8), z, rng.random(count)]).astype(np.float32)


def moved(points, by=(0, 0, 0), factor=1.0, axes=(0, 1, 2), signs=(1, 1, 1)):
    out = points.copy()
    out[:, :3] = points[:, list(axes)] * np.float32(signs) * factor + np.float32(by)
    return out


def room(sensor_height, ceiling, count=20_000, rings=64, seed=0):
    """A hall of 40 x 24 m with ten boxes, as rings of 45 degrees see it."""
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(-np.pi, np.pi, count)
    elevation = np.deg2rad(rng.integers(rings, size=count) * 45 / rings - 22.5)
    toward = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    wall = (np.array([20, 12]) / np.abs(toward).clip(1e-9)).min(axis=1)
    box = np.abs(azimuth % 0.6 - 0.3) < 0.1
    wall[box] = np.minimum(wall[box], 8)
    rise = np.tan(elevation)
    end = np.where(rise < 0, -sensor_height, ceiling)
    distance = np.minimum(wall, end / np.where(rise == 0, 1e-9, rise))
    return np.column_stack([toward * distance[:, None], rise * distance]).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("height", [-0.5, 0, 0.5])
def test_a_scan_as_those_of_the_training_is_not_doubted(seed, height):
    assert doubt(moved(street(seed), (0, 0, height))) is None


@pytest.mark.parametrize(
    ("sensor_height", "ceiling"), [(0.5, 2.0), (0.5, 5.5), (1.7, 0.8), (1.7, 2.5), (3.0, 3.0)]
)
def test_a_ceiling_is_not_taken_for_the_ground(sensor_height, ceiling):
    for rings in (16, 64):
        points = room(sensor_height, ceiling, rings=rings)
        assert doubt_about_place(points, [-40, -40, -4, 40, 40, 6], -sensor_height) is None


def test_anchors_of_people_may_stand_above_the_ground():
    """KITTI's do: their z is -0.6 in PCDet's yaml files."""
    assert doubt(street(), lowest=-0.6) is None


def test_scans_that_are_written_ring_by_ring_are_seen_as_a_whole():
    points = street(count=32 * 1024)
    rings = np.argsort(np.hypot(points[:, 0], points[:, 1])).reshape(32, 1024)
    assert doubt(points[rings.T.ravel()]) is None


@pytest.mark.parametrize("count", [0, 1, 150])
def test_few_points_say_nothing(count):
    assert doubt(moved(street(count=count), (1e6, 0, 0))) is None


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"factor": 1000}, r"of its points lie in the network's range"),
        ({"by": (458_000, 5_428_000, 110)}, r"^0.0% of its points"),
        (
            {"axes": (1, 2, 0), "signs": (-1, -1, 1)},
            r"1\d m of x, \d m of y and \d\d m of z: .* z up",
        ),
        ({"factor": 0.001}, r"all points lie within 0.\d\d m of the sensor"),
        ({"by": (0, 0, 1.7)}, r"z = 0.0 m, .* objects stand at -1.8 m: move z"),
        ({"by": (0, 0, -2.4)}, r"z = -4.1 m, .* stand at -1.8 m"),
    ],
)
def test_a_scan_that_cannot_be_right_is_named(how, what):
    assert re.search(what, doubt(moved(street(), **how)) or "nothing")


def test_a_scan_without_a_ground_says_nothing_of_its_height():
    points = street()
    points[:, 2] = np.random.default_rng(0).uniform(-3, 1, len(points))
    assert doubt(points) is None


def test_the_detector_warns_once(detector, caplog):  # noqa: F811
    with caplog.at_level(logging.WARNING):
        detector(moved(scan(1), factor=1000))
        detector(moved(scan(2), factor=1000))
    (record,) = caplog.records
    assert record.getMessage().startswith("scan 0: ") and "metres" in record.getMessage()


def test_intensities_unlike_kittis_are_told(folder, caplog):  # noqa: F811
    points = street()
    points = np.column_stack([points[:, :3], np.linspace(0, 255, len(points))])
    of_kitti = Detector.from_checkpoint(make_checkpoint(folder), device="cpu")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        of_kitti(points[:, :3])
        assert not caplog.records
        of_kitti(points)
    (record,) = caplog.records
    assert (
        "its intensities are from 0 to 255: if those of the training were 0 to 1"
        in record.getMessage()
    )


@pytest.mark.parametrize("name", ["sassd", "pointpillar", "PartA2"])
def test_every_kind_of_anchors_has_a_height(folder, name, caplog):  # noqa: F811
    of_anchors = Detector.from_checkpoint(make_checkpoint(folder, name), device="cpu")
    with caplog.at_level(logging.WARNING):
        of_anchors(moved(street(), (0, 0, 1.9)))
    assert "its ground seems to be at z = 0.2 m" in caplog.text
