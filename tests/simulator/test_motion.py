"""What a turn of the LiDAR meets as its car drives on, and a wet road."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_labels import GROUND, a_car, flat_ground, label

from pcdet.simulator import motion
from pcdet.simulator.lidar import sweep
from pcdet.simulator.motion import Motion
from pcdet.simulator.scene import assemble


def scene_of(objects=(), rain=0.0, moving=motion.STANDING):
    ground = flat_ground()
    ground.rain = rain
    return assemble(ground, list(objects), [], [], np.array([0, 0, 1.0]), moving)


@pytest.mark.parametrize(
    ("spot", "expected"),
    [
        # The forward direction is the picture's moment, the left a quarter of a turn after it.
        ((20.0, 0.0), (20.0, 0.0, 0.0)),
        ((0.0, 20.0), (-0.25, 20.0, 0.0)),
        ((0.0, -20.0), (0.25, -20.0, 0.0)),
    ],
)
def test_standing_things_are_met_from_where_the_sensor_is_then(spot, expected):
    seen = motion.seen_in_turn(scene_of([a_car(*spot)], moving=Motion(10.0)))
    (thing,) = seen.objects
    assert (*thing.position[:2], thing.heading) == pytest.approx(expected)


def test_turning_to_the_left_moves_what_is_on_the_left_ahead():
    # A quarter of a turn after the picture the sensor looks 0.4 * 0.025 rad farther to the left.
    (thing,) = motion.seen_in_turn(scene_of([a_car(0.0, 20.0)], moving=Motion(0.0, 0.4))).objects
    assert thing.position[:2] == pytest.approx([20 * np.sin(0.01), 20 * np.cos(0.01)], rel=1e-4)
    assert thing.heading == pytest.approx(-0.01)


def test_what_drives_beside_at_the_same_speed_stays():
    car = replace(a_car(0.0, 20.0), speed=10.0)
    (thing,) = motion.seen_in_turn(scene_of([car], moving=Motion(10.0))).objects
    assert thing.position == pytest.approx(car.position)


def test_labels_follow_the_points():
    moving = Motion(14.0)
    (one,), scene, turn, recording = label([a_car(9.0, 6.5)], moving=moving)
    at = turn.objects[0].position
    # 36 degrees after the picture, so a hundredth of a second.
    assert at[0] - scene.objects[0].position[0] == pytest.approx(-0.14, abs=0.01)
    matrix = recording.lidar_to_rect
    assert one.location == pytest.approx(matrix[:, :3] @ at + matrix[:, 3])
    points = turn.points[turn.owner == 0, :2] - at[:2]
    still = label([a_car(9.0, 6.5)])[2]
    there = still.points[still.owner == 0, :2] - scene.objects[0].position[:2]
    assert np.median(points, axis=0) == pytest.approx(np.median(there, axis=0), abs=0.03)


def test_leaves_and_walls_behind_the_car_do_not_stretch_over_the_scene():
    wall = a_car(-30.0, 0.0, np.pi / 2)
    seen = motion.seen_in_turn(scene_of([wall], moving=Motion(15.0)))
    assert np.ptp(seen.triangles, axis=1).max() <= np.ptp(wall.mesh.triangles, axis=1).max() + 0.02


@pytest.mark.parametrize(("whole", "longer"), [(True, 0.0), (False, 1.4)])
def test_a_car_where_the_turn_begins_and_ends_is_torn_or_whole(whole, longer):
    car = a_car(-12.0, 0.2)
    seen = motion.seen_in_turn(scene_of([car], moving=Motion(14.0)), whole)
    along = seen.triangles[..., 0] - seen.objects[0].position[0]
    assert np.ptp(along) == pytest.approx(car.size[0] + longer, abs=0.1)
    if whole:
        assert np.abs(along).max() == pytest.approx(car.size[0] / 2, abs=0.05)


def test_an_empty_scene_moves_nothing():
    assert motion.seen_in_turn(scene_of(moving=Motion(15.0))).objects == []


def test_a_wet_road_is_dark_and_ends_early():
    rows = []
    for rain in (0.0, 1.0):
        turn = sweep(scene_of(rain=rain), np.random.default_rng(0))
        assert (np.abs(turn.points[:, 2] - GROUND) < 0.2).all()
        distance = np.hypot(*turn.points[:, :2].T)
        bands = [(distance > a) & (distance < b) for a, b in ((4, 8), (16, 22), (26, 40))]
        rows.append([(band.sum(), turn.points[band, 3].mean()) for band in bands])
    (near, middle, far), (near_wet, middle_wet, far_wet) = rows
    assert 0.85 < near_wet[0] / near[0] < 0.98  # puddles
    assert near_wet[1] < near[1] - 0.08
    assert 0.2 < middle_wet[0] / middle[0] < 0.9
    assert far_wet[0] < 0.1 * far[0]
