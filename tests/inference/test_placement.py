"""Scans in other units, at another place or height than a network has learnt."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from inference.test_detector import detector, folder, scan  # noqa: F401 (fixtures)
from pcdet.config import cfg, cfg_from_yaml_file
from pcdet.inference.placement import doubt_about_place


@pytest.fixture(scope="module")
def config():
    return cfg_from_yaml_file(cfg.ROOT_DIR / "tools/cfgs/second.yaml", type(cfg)())


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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("height", [-0.5, 0, 0.5])
def test_a_scan_as_those_of_the_training_is_not_doubted(config, seed, height):
    assert doubt_about_place(moved(street(seed), (0, 0, height)), config) is None


@pytest.mark.parametrize("count", [0, 1, 150])
def test_few_points_say_nothing(config, count):
    assert doubt_about_place(moved(street(count=count), (1e6, 0, 0)), config) is None


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"factor": 1000}, r"of its points lie in the network's range"),
        ({"by": (458_000, 5_428_000, 110)}, r"^0.0% of its points"),
        (
            {"axes": (1, 2, 0), "signs": (-1, -1, 1)},
            r"1\d m of x, \d m of y and \d\d m of z: .* z up",
        ),
        ({"signs": (1, -1, -1)}, r"its ground seems to be at z = 1.7 m"),
        ({"factor": 0.001}, r"all points lie within 0.\d\d m of the sensor"),
        ({"by": (0, 0, 1.7)}, r"z = 0.0 m, .* stand at -1.8 m: add -1.8 m to z"),
        ({"by": (0, 0, -1.2)}, r"z = -2.9 m, .* add 1.\d m to z"),
    ],
)
def test_a_scan_that_cannot_be_right_is_named(config, how, what):
    assert re.search(what, doubt_about_place(moved(street(), **how), config) or "nothing")


def test_a_scan_without_a_ground_says_nothing_of_its_height(config):
    points = street()
    points[:, 2] = np.random.default_rng(0).uniform(-3, 1, len(points))
    assert doubt_about_place(points, config) is None


def test_the_detector_warns_once(detector, caplog):  # noqa: F811
    with caplog.at_level(logging.WARNING):
        detector(moved(scan(1), factor=1000))
        detector(moved(scan(2), factor=1000))
    (record,) = caplog.records
    assert record.getMessage().startswith("scan 0: ") and "metres" in record.getMessage()
