"""Frames of a sensor of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.simulator import __main__ as command
from pcdet.simulator.forklift import forklift
from pcdet.simulator.own_sensor import write_own_data
from pcdet.simulator.sensor import ELEVATIONS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    write_own_data(root, {"train": 2, "val": 1, "test": 0}, seed=3, beams=16, height=3.0)
    return root


def rows_of(root, frame):
    lines = (root / "labels" / f"{frame}.txt").read_text().splitlines()
    return [(line.split()[7], np.array(line.split()[:7], float)) for line in lines]


def test_the_sensor_has_its_beams_and_its_height(written):
    points = np.load(written / "points" / "000000.npy")
    ground = np.hypot(points[:, 0], points[:, 1]) < 12
    assert np.percentile(points[ground, 2], 10) == pytest.approx(-3.0, abs=0.25)
    # Elevations, seen from between the two blocks of lasers, are those of every fourth laser.
    elevation = np.arctan2(points[:, 2] - 0.16, np.hypot(points[:, 0], points[:, 1]))
    far = np.linalg.norm(points[:, :3], axis=1) > 20
    nearest = np.abs(elevation[far, None] - ELEVATIONS[::4]).min(axis=1)
    assert np.percentile(nearest, 99) < np.deg2rad(0.2)


def test_labels_are_all_around_and_hold_points(written):
    assert (written / "ImageSets" / "train.txt").read_text().split() == ["000000", "000001"]
    assert not (written / "ImageSets" / "test.txt").exists()
    rows = [row for k in range(3) for row in rows_of(written, f"00000{k}")]
    assert {name for name, _ in rows} == {"Car", "Forklift"}
    assert any(row[0] < -3 for _, row in rows)
    for k in range(3):
        points = np.load(written / "points" / f"00000{k}.npy")[:, :3]
        for _, row in rows_of(written, f"00000{k}"):
            offset = points - row[:3]
            cos, sin = np.cos(row[6]), np.sin(row[6])
            along = offset[:, 0] * cos + offset[:, 1] * sin
            across = offset[:, 1] * cos - offset[:, 0] * sin
            own = np.abs(np.stack((along, across, offset[:, 2]))) < row[3:6, None] / 2 + 0.1
            assert own.all(axis=0).sum() >= 5 and abs(row[6]) <= np.pi


def test_the_same_seed_makes_the_same_bytes(written, tmp_path):
    write_own_data(tmp_path, {"train": 1}, seed=3, beams=16, height=3.0)
    for name in ("points/000000.npy", "labels/000000.txt"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_a_forklift_fills_its_box():
    mesh, size = forklift(np.random.default_rng(0))
    low, high = mesh.extent
    np.testing.assert_allclose(high - low, size, atol=0.02)
    assert low[2] == pytest.approx(0, abs=0.02)


def test_heights_that_make_no_sense_are_refused(tmp_path, capsys):
    options = ["--out", str(tmp_path / "x"), "--own_data", "--height", "40"]
    assert command.main(options) == 1
    assert "--height: expected 1 to 5 metres, got 40" in capsys.readouterr().err
