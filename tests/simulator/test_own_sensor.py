"""Frames of a sensor of one's own."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from pcdet.simulator import WORLD
from pcdet.simulator import __main__ as command
from pcdet.simulator.forklift import forklift
from pcdet.simulator.own_sensor import (
    OwnFrame,
    fewer_beams,
    named_sensor,
    write_own_data,
    write_own_frame,
)
from pcdet.simulator.sensor import ELEVATIONS
from pcdet.simulator.sensors import SENSORS


def count_in(row, points, margin):
    """How many points lie in a label's box, or as far from it as a margin along its sides."""
    offset, (cos, sin) = points[:, :3] - row[:3], (np.cos(row[6]), np.sin(row[6]))
    along = offset[:, 0] * cos + offset[:, 1] * sin
    across = offset[:, 1] * cos - offset[:, 0] * sin
    own = np.abs(np.stack((along, across, offset[:, 2]), axis=1)) < row[3:6] / 2 + margin
    return own.all(axis=1).sum()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    write_own_data(root, {"train": 2, "val": 1, "test": 0}, fewer_beams(16, 3.0), seed=3)
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
        points = np.load(written / "points" / f"00000{k}.npy")
        for _, row in rows_of(written, f"00000{k}"):
            assert count_in(row, points, 0.1) >= 5 and abs(row[6]) <= np.pi


def test_points_of_a_car_where_the_turn_begins_and_ends_lie_in_its_box(tmp_path):
    write_own_frame(OwnFrame(tmp_path, 19, 5, fewer_beams()))
    points = np.load(tmp_path / "points" / "000019.npy")
    (row,) = (row for _, row in rows_of(tmp_path, "000019") if row[0] < -5 and abs(row[1]) < 1)
    points = points[points[:, 2] > row[2] - row[5] / 2 + 0.25]  # above the road
    assert count_in(row, points, 0.05) > 0.97 * count_in(row, points, (1.6, 0.3, 0.05)) > 400


def test_the_same_seed_makes_the_same_bytes(written, tmp_path):
    write_own_data(tmp_path, {"train": 1}, fewer_beams(16, 3.0), seed=3)
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
    assert "--height: expected 1 to 8 metres, got 40" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_points_of_a_sensor_by_name_lie_on_its_lasers(tmp_path, name):
    setup = named_sensor(name.upper())
    write_own_data(tmp_path, {"train": 1}, setup, seed=3)
    points = np.load(tmp_path / "points" / "000000.npy")
    model, far = SENSORS[name], np.linalg.norm(points[:, :3], axis=1) > 15
    flat = np.hypot(points[far, 0], points[far, 1])
    elevation = np.arctan2(points[far, 2] - np.mean(model.apex), flat)
    off = np.abs(elevation[:, None] - np.array(model.elevations)).min(axis=1)
    assert np.percentile(off, 95) < np.deg2rad(0.25)
    near = np.hypot(points[:, 0], points[:, 1]) < 20
    assert np.percentile(points[near, 2], 20) == pytest.approx(-model.height, abs=0.7)
    assert {label for label, _ in rows_of(tmp_path, "000000")} <= {"Car", "Pedestrian", "Cyclist"}
    assert any(
        abs(np.arctan2(row[1], row[0])) > np.pi / 2 for _, row in rows_of(tmp_path, "000000")
    )


def test_vans_are_cars_and_half_of_the_frames_are_turned_about(tmp_path):
    setup = named_sensor("vlp-16")
    vans = replace(setup, half_turns=False, labels=(("Van", "Van"), ("Car", "Car")))
    for name, each in (("ahead", vans), ("half", setup)):
        write_own_data(tmp_path / name, {"train": 8}, each, seed=5)
    turned, names = [], []
    for frame in (f"00000{k}" for k in range(8)):
        ahead, half = (
            np.load(tmp_path / name / "points" / f"{frame}.npy") for name in ("ahead", "half")
        )
        turned.append(not np.array_equal(ahead, half))
        if turned[-1]:
            ahead[:, :2] *= -1
        np.testing.assert_array_equal(half, ahead)
        rows = rows_of(tmp_path / "ahead", frame)
        names += [name for name, _ in rows]
        cars = [row for name, row in rows_of(tmp_path / "half", frame) if name == "Car"]
        assert len(cars) == len(rows)
        sign = -1 if turned[-1] else 1
        for car, (_, row) in zip(cars, rows):
            np.testing.assert_allclose(car[:2], sign * row[:2], atol=1e-9)
            np.testing.assert_array_equal(car[2:6], row[2:6])
            assert np.cos(car[6] - row[6]) == pytest.approx(sign, abs=1e-6)
    assert 0 < sum(turned) < 8
    assert "Van" in names


@pytest.mark.parametrize(
    ("name", "rings", "top", "bottom", "near", "far"),
    [
        ("vlp-16", 16, 15, -15, 0.5, 100), ("hdl-32e", 32, 10.67, -30.67, 1.0, 100),
        ("os1-64", 64, 16.6, -16.6, 0.8, 120), ("pandar64", 64, 14.88, -24.9, 0.5, 200),
        ("mast", 32, 10.67, -30.67, 1.0, 100), ("hdl-64e", 64, 1.94, -25.0, 2.0, 80),
    ],
)  # fmt: skip
def test_elevations_and_ranges_of_the_data_sheets(name, rings, top, bottom, near, far):
    degrees = np.rad2deg(SENSORS[name].elevations)
    assert len(degrees) == rings
    assert (np.diff(degrees) < 0).all()
    np.testing.assert_allclose([degrees[0], degrees[-1]], [top, bottom], atol=0.02)
    assert SENSORS[name].ranges == (near, far)


def test_elevations_of_the_pandar64_are_those_of_its_manual():
    degrees = np.rad2deg(SENSORS["pandar64"].elevations)
    np.testing.assert_allclose(
        degrees[[3, 16, 18, 53, 60]], [5.057, 0.169, -0.169, -6.061, -12.974]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--own_data", "--sensor", "abc"], "--sensor: expected one of hdl-64e, vlp-16, hdl-32e"),
        (["--own_data", "--sensor", ""], "--sensor: expected one of hdl-64e, vlp-16, hdl-32e"),
        (["--sensor", "vlp-16"], "--sensor: expected --own_data with it"),
        (["--own_data", "--sensor", "hdl-64e", "--beams", "16"], "--beams: expected without --se"),
    ],
)
def test_sensors_that_are_not_known_are_refused(tmp_path, capsys, options, message):
    assert command.main(["--out", str(tmp_path / "x"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_that_another_call_has_claimed_is_refused(tmp_path, capsys):
    (tmp_path / "simulator.json").write_text('{"seed": 1}\n')
    assert command.main(["--out", str(tmp_path), "--own_data"]) == 1
    assert "is another call's; expected simulator.json" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["simulator.json"]


def test_a_call_that_was_killed_while_it_claimed_the_folder_can_be_repeated(tmp_path):
    (tmp_path / "simulator.json").touch()
    frames = ["--train", "1", "--val", "0", "--test", "0", "--workers", "1"]
    assert command.main(["--out", str(tmp_path), "--own_data", "--beams", "8", *frames]) == 0
    assert '"beams": 8' in (tmp_path / "simulator.json").read_text()


def record_of(*options):
    args = command.parse_args(["--out", "x", "--own_data", *options])
    return command._record_of(args, command._setup(args))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["--sensor", "vlp-16"], ["--sensor", "VLP-16", "--height", "1.8"], True),
        ([], ["--beams", "32", "--height", "2.4"], True),
        (["--beams", "64", "--height", "1.725"], ["--sensor", "hdl-64e"], False),
        (["--sensor", "hdl-32e"], ["--sensor", "mast", "--height", "1.8"], False),
    ],
)
def test_a_call_is_the_same_however_it_is_written(one, other, same):
    assert (record_of(*one) == record_of(*other)) == same


@pytest.mark.parametrize("world", ['"world": 0, ', ""])
def test_a_folder_of_another_world_is_refused(tmp_path, capsys, world):
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "000000.npy").touch()
    record = record_of().replace(f'"world": {WORLD}, ', world)
    (tmp_path / "simulator.json").write_text(record)
    assert command.main(["--out", str(tmp_path), "--own_data"]) == 1
    told = capsys.readouterr().err
    assert f"got {record}: give another folder, or remove {tmp_path}, whose frames" in told
    assert "another version of the simulator made\n" in told and told.count("\n") == 1


def test_of_two_calls_at_once_one_gets_the_folder(tmp_path, capsys):
    options = ["--out", str(tmp_path), "--own_data", "--train", "1", "--val", "0", "--test", "0"]
    codes = []
    second = Thread(target=lambda: codes.append(command.main([*options, "--workers", "1"])))
    with (tmp_path / "simulator.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the first call, which is about to write
        second.start()
        second.join(0.3)
        file.write(record_of("--seed", "1"))
    second.join()
    assert codes == [1]
    assert "is another call's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["simulator.json"]
