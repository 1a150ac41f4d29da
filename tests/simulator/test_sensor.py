"""The beams and returns of the simulated sensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flat_ground import GROUND, flat_ground

from pcdet.simulator import lidar, sensor, vehicles
from pcdet.simulator.lidar import sweep
from pcdet.simulator.raycast import NOTHING
from pcdet.simulator.scene import SceneObject, assemble
from pcdet.simulator.sensor import HDL_64E
from pcdet.simulator.sensors import SENSORS


def test_two_blocks_of_lasers():
    elevations = np.rad2deg(sensor.ELEVATIONS)
    steps = -np.diff(elevations)
    assert len(elevations) == sensor.RINGS
    assert (steps > 0).all()
    assert 1.8 < elevations[0] < 2.1
    assert -25.1 < elevations[-1] < -24.7
    assert 0.31 < steps[:31].mean() < 0.37
    assert 0.48 < steps[32:].mean() < 0.55
    assert sensor.APEX[:32].min() - sensor.APEX[32:].max() > 0.06


def test_azimuths_grow_once_around():
    beams = sensor.beams()
    assert (np.diff(beams.azimuth, axis=1) > 0).all()
    assert beams.azimuth.min() >= 0
    assert beams.azimuth.max() < 2 * np.pi
    steps = np.rad2deg(np.diff(beams.azimuth, axis=1))[:, :-1]
    np.testing.assert_allclose(np.unique(np.round(steps, 2)), [0.09, 0.18])


@pytest.mark.parametrize(
    ("name", "step"),
    [("vlp-16", 0.199), ("hdl-32e", 0.166), ("os1-64", 0.352), ("pandar64", 0.2), ("mast", 0.166)],
)
def test_the_columns_of_other_sensors_are_evenly_apart(name, step):
    azimuth = np.rad2deg(sensor.beams(SENSORS[name]).azimuth)
    np.testing.assert_allclose(np.diff(azimuth, axis=1)[:, :-1], step, atol=6e-4)
    assert azimuth.min() >= 0 and azimuth.max() < 360


def test_directions_are_unit_vectors_at_the_right_angles():
    rays = sensor.beams().rays
    np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=0), 1.0, atol=1e-6)
    elevation = np.arcsin(rays.directions[2])
    np.testing.assert_allclose(
        elevation, sensor.ELEVATIONS[:, None].repeat(sensor.FIRINGS, 1), atol=1e-6
    )


def test_the_recording_car_covers_only_steep_rays():
    blind = sensor.beams().blind
    assert not blind[:40].any()
    shares = blind.mean(axis=1)
    assert 0.35 < shares[63] < 0.6
    assert 0.02 < blind.mean() < 0.08


def test_some_beams_at_an_edge_report_a_range_between_both_sides():
    # By row: an edge of 2 m, one too small and one too large to be seen as one, and no hit.
    rows = [[10.0, 10.0, 12.0, 12.0], [10.0, 10.0, 10.2, 10.2], [10.0, 10.0, 30.0, 30.0]]
    distance = np.tile(np.array(rows, np.float32), (5000, 1))
    index = np.tile([0, 0, 0, NOTHING], (15000, 1))
    mixed = lidar.mixed_ranges(distance, index, np.random.default_rng(0))
    changed = mixed != distance
    # The second beam meets the edge; the third does not, nor the last, which meets nothing.
    assert changed[0::3, 1].mean() == pytest.approx(0.06, abs=0.015)
    assert not changed[:, [0, 2, 3]].any()
    assert not changed[1::3].any()
    assert not changed[2::3].any()
    between = mixed[0::3, 1][changed[0::3, 1]]
    assert between.min() > 10.0
    assert between.max() < 12.0
    assert between.mean() == pytest.approx(11.0, abs=0.15)


def turn_about_cars(model, distance=38.0):
    """A turn with eight cars at one distance all around, on asphalt."""
    cars = []
    for k in range(8):
        mesh, size = vehicles.car(np.random.default_rng(k))
        angle = np.pi * (k + 0.5) / 4
        spot = np.array([distance * np.cos(angle), distance * np.sin(angle), GROUND])
        cars.append(SceneObject("Car", mesh.moved(spot, angle), spot, size, angle))
    scene = assemble(flat_ground(), cars, [], [], np.array([0, 0, 1.0]))
    return sweep(scene, np.random.default_rng(0), model)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("vlp-16", 0.94), ("hdl-32e", 0.98), ("os1-64", 1.0), ("pandar64", 1.26), ("mast", 0.98)],
)
def test_other_sensors_see_asphalt_and_cars_by_their_sheets_beside_the_hdl_64e(name, ratio):
    model = SENSORS[name]
    turn, as_fitted = (
        turn_about_cars(each) for each in (model, replace(model, detection=HDL_64E.detection))
    )
    down = -np.tan(np.array(model.elevations))
    lasers = np.flatnonzero((down > -GROUND / 30) & (down < -GROUND / 15))
    assert np.isin(turn.ring, lasers).sum() > 0.98 * len(lasers) * model.firings > 0
    shares = [(each.owner >= 0).sum() / each.visible.sum() for each in (turn, as_fitted)]
    assert shares[0] / shares[1] == pytest.approx(ratio, abs=0.04)


def test_cars_fade_with_the_distance_for_the_hdl_64e_alone():
    black = {}
    for model in (HDL_64E, SENSORS["pandar64"]):
        for distance in (14.0, 30.0):
            turn = turn_about_cars(model, distance)
            black[model.name, distance] = (turn.points[turn.owner >= 0, 3] == 0).mean()
    assert black["HDL-64E", 30.0] > black["HDL-64E", 14.0] + 0.15
    assert black["Pandar64", 30.0] == pytest.approx(black["Pandar64", 14.0], abs=0.05)
