"""The ray caster against a plain one that tries every ray with every triangle."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.simulator import foliage, leaves, raycast, sensor
from pcdet.simulator import materials as m
from pcdet.simulator.camera import pixel_rays
from pcdet.simulator.ground import CELL, HALF_SIZE
from pcdet.simulator.mesh import box
from pcdet.simulator.raycast import FAR, GROUND, NOTHING
from pcdet.simulator.recording import draw_recording
from pcdet.simulator.windows import (
    camera_windows,
    enclosing,
    lidar_windows,
    volume_hulls,
)


def cast(triangles, windows, rays, glass=None, owner=None, objects=0):
    count = len(triangles)
    hits = raycast.no_hits(rays.directions.shape[1:], objects)
    raycast.cast_triangles_(
        triangles.astype(np.float32),
        np.zeros(count, bool) if glass is None else glass,
        np.full(count, -1, np.int32) if owner is None else owner,
        windows,
        rays,
        hits,
    )
    return hits


def everywhere(triangles, shape):
    return np.tile(np.array([0, shape[0], 0, shape[1]], np.int32), (len(triangles), 1))


def some_triangles(rng, count):
    """Triangles of all sizes about the sensor, none of them through its axis."""
    centres = rng.uniform(-40, 40, (count, 1, 3)) * [1, 1, 0.06]
    centres[:, 0, 0] += np.where(np.abs(centres[:, 0, 0]) < 6, 8, 0)
    return centres + rng.normal(0, 1.0, (count, 3, 3)) * rng.uniform(0.05, 2.0, (count, 1, 1))


def test_lidar_windows_lose_no_hit():
    triangles = some_triangles(np.random.default_rng(0), 250)
    rays = sensor.beams().rays
    windowed = cast(triangles, lidar_windows(triangles), rays)
    plain = cast(triangles, everywhere(triangles, windowed.distance.shape), rays)
    assert (plain.index >= 0).sum() > 2000
    np.testing.assert_array_equal(windowed.index, plain.index)
    np.testing.assert_array_equal(windowed.distance, plain.distance)


def test_lidar_windows_are_small():
    triangles = some_triangles(np.random.default_rng(0), 250)
    windows = lidar_windows(triangles)
    area = (windows[:, 1] - windows[:, 0]) * (windows[:, 3] - windows[:, 2])
    assert np.median(area) < 0.01 * sensor.RINGS * sensor.FIRINGS


def test_camera_windows_lose_no_hit():
    rng = np.random.default_rng(1)
    recording = draw_recording(rng)
    triangles = some_triangles(rng, 60)
    triangles[:10] *= [0.1, 0.1, 1.0]  # some beside and behind the camera
    rays = pixel_rays(recording)
    windows = camera_windows(triangles, recording.lidar_to_image, recording.image_shape)
    windowed = cast(triangles, windows, rays)
    plain = cast(triangles, everywhere(triangles, recording.image_shape), rays)
    assert (plain.index >= 0).sum() > 1000
    np.testing.assert_array_equal(windowed.index, plain.index)


def test_a_wall_hides_what_is_behind_it():
    wall = box((0.1, 10, 10), (10, 0, 0), m.CONCRETE).triangles
    far = box((1, 1, 1), (20, 0, -1.0), m.CONCRETE).triangles
    near = box((1, 1, 1), (6, 0, -1.0), m.CONCRETE).triangles
    triangles = np.concatenate([far, near, wall])
    owner = np.repeat([0, 1, -1], 12).astype(np.int32)
    rays = sensor.beams().rays
    hits = cast(triangles, lidar_windows(triangles), rays, owner=owner, objects=2)
    seen = np.bincount(owner[hits.index[hits.index >= 0]] + 1, minlength=3)
    assert seen[1] == 0  # the far box
    assert seen[2] > 100
    assert hits.reached[0] > 20  # rays that would meet it but for the wall
    assert hits.reached[1] == seen[2]


def test_distance_of_a_wall_worked_out_by_hand():
    triangles = np.array([[[10, -5, -5], [10, 5, -5], [10, 0, 9]]], dtype=float)
    rays = sensor.beams().rays
    hits = cast(triangles, lidar_windows(triangles), rays)
    met = hits.index == 0
    expected = 10.0 / rays.directions[0][met]
    np.testing.assert_allclose(hits.distance[met], expected, rtol=1e-5)


def test_panes_are_kept_apart():
    pane = box((0.01, 4, 4), (8, 0, 0), m.CAR_GLASS).triangles
    wall = box((0.01, 4, 4), (9, 0, 0), m.CONCRETE).triangles
    triangles = np.concatenate([pane, wall])
    glass = np.repeat([True, False], 12)
    rays = sensor.beams().rays
    hits = cast(triangles, lidar_windows(triangles), rays, glass=glass)
    ahead = (hits.index >= 0) & (hits.glass_index >= 0)
    assert ahead.sum() > 500
    assert (hits.index[ahead] >= 12).all()
    assert (hits.glass_distance[ahead] < hits.distance[ahead]).all()


def ground_hits(heights):
    rays = sensor.beams().rays
    hits = raycast.no_hits(rays.directions.shape[1:], 0)
    raycast.cast_ground_(heights.astype(np.float32), rays, hits)
    return rays, hits


def places(rays, hits):
    """Where the rays end, (R, C, 3)."""
    return rays.origins[:, None] + hits.distance[..., None] * np.moveaxis(rays.directions, 0, -1)


def nodes():
    axis = np.arange(int(2 * HALF_SIZE / CELL) + 1) * CELL - HALF_SIZE
    return np.meshgrid(axis, axis, indexing="ij")


def test_flat_ground():
    x, _ = nodes()
    rays, hits = ground_hits(np.full(x.shape, -1.73))
    place = places(rays, hits)
    met = hits.index == GROUND
    assert met[20:].all()
    assert not met[:5].any()
    np.testing.assert_allclose(place[met][:, 2], -1.73, atol=2e-3)


def test_sloped_ground():
    x, y = nodes()
    rays, hits = ground_hits(-1.7 + 0.03 * x - 0.02 * y)
    place = places(rays, hits)
    met = (hits.index == GROUND) & (np.abs(place[..., :2]).max(axis=-1) < HALF_SIZE - 1)
    expected = -1.7 + 0.03 * place[met][:, 0] - 0.02 * place[met][:, 1]
    np.testing.assert_allclose(place[met][:, 2], expected, atol=5e-3)


def test_a_bank_hides_the_ground_behind_it():
    x, _ = nodes()
    rays, hits = ground_hits(np.where((x > 10) & (x < 12), 0.0, -1.73))
    ahead = np.abs(rays.directions[1]) < 0.2 * rays.directions[0]
    place = places(rays, hits)
    beyond = ahead & (hits.index == GROUND) & (place[..., 0] > 13)
    # From 0.2 m above its top, the bank's far edge at 12 m hides all ground for 80 m.
    assert not beyond[10:].any()


@pytest.mark.parametrize("shape", [foliage.ELLIPSOID, foliage.BLOCK])
def test_leaves_stop_rays_inside_their_volume_only(shape):
    volume = foliage.Volume(shape, 12, 3, 0, 2.0, 1.5, 1.8, 0.4, 0.3, 0.2, 0.4, 5, 0, 1, 0)
    volumes = np.array([volume], dtype=np.float64)
    rays = sensor.beams().rays
    hits = raycast.no_hits(rays.directions.shape[1:], 0)
    windows = enclosing(
        lidar_windows(volume_hulls(volumes).reshape(-1, 3, 3)), 1, (sensor.RINGS, sensor.FIRINGS)
    )
    luck = np.random.default_rng(0).random(hits.distance.shape, dtype=np.float32)
    leaves.cast_volumes_(volumes, windows, luck, 7, rays, hits)
    met = hits.index == 7
    assert met.sum() > 800
    assert (hits.distance[~met] == FAR).all()
    assert (hits.index[~met] == NOTHING).all()
    place = places(rays, hits)[met]
    local = place - [12, 3, 0]
    c, s = np.cos(0.4), np.sin(0.4)
    unit = np.stack([local[:, 0] * c + local[:, 1] * s, local[:, 1] * c - local[:, 0] * s,
                     local[:, 2]], axis=1) / [2.0, 1.5, 1.8]  # fmt: skip
    reach = np.linalg.norm(unit, axis=1) if shape == foliage.ELLIPSOID else np.abs(unit).max(axis=1)
    assert reach.max() < 1.0 + 1e-4


@pytest.mark.parametrize("rough", [0.0, 0.3])
@pytest.mark.parametrize("shape", [foliage.ELLIPSOID, foliage.BLOCK])
def test_leaves_stop_rays_as_deep_as_their_luck_and_the_bumps_tell(shape, rough):
    half, turn, scatter = np.array([2.0, 1.5, 1.8]), 0.4, 0.5
    volumes = np.array(
        [foliage.Volume(shape, 12, 3, 0, *half, turn, rough, scatter, 0.4, 5, 0, 1, 0)], np.float64
    )
    rays = sensor.beams().rays
    hits = raycast.no_hits(rays.directions.shape[1:], 0)
    luck = np.random.default_rng(0).random(hits.distance.shape, dtype=np.float32)
    leaves.cast_volumes_(volumes, everywhere(volumes, luck.shape), luck, 0, rays, hits)
    wanted = -0.7 * scatter * np.log(1 - 0.98 * luck)

    def depth(distance):
        x, y, z = rays.directions * distance - np.array([12, 3, 0])[:, None, None]
        x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        x, y, z = x / half[0], y / half[1], (z + rays.origins[:, None, 2]) / half[2]
        if shape == foliage.ELLIPSOID:
            return (1 - np.sqrt(x**2 + y**2 + z**2)) * half.min()
        sides = np.minimum((1 - abs(x)) * half[0], (1 - abs(y)) * half[1])
        return np.where(z > -1, np.minimum(sides, (1 - z) * half[2]), -1.0)

    met, step = hits.index == 0, 0.18
    assert met.sum() > 800
    at_hit = depth(np.where(met, hits.distance, 1.0))[met]
    assert (at_hit > wanted[met] - 1e-4).all()
    # A step before, the ray was not so deep that a leaf must have stopped it; nor are those that
    # go through anywhere along them.
    assert (depth(hits.distance - step)[met] < wanted[met] + rough + 1e-4).all()
    deepest = np.max([depth(t) for t in np.arange(8.0, 17.0, 0.05)], axis=0)
    assert (deepest[~met] < wanted[~met] + rough + step).all()


def test_windows_of_a_volume_lose_no_hit():
    rng = np.random.default_rng(4)
    volumes = np.array(
        [foliage.bush(rng.uniform(-20, 20), rng.uniform(4, 20), -1.7, 1.0, rng) for _ in range(20)]
        + [foliage.bush(-12, 0.0, -1.7, 2.0, rng), foliage.bush(12, 0.0, -1.7, 2.0, rng)],
        dtype=np.float64,
    )
    rays = sensor.beams().rays
    luck = rng.random(rays.directions.shape[1:], dtype=np.float32)
    windows = enclosing(
        lidar_windows(volume_hulls(volumes).reshape(-1, 3, 3)),
        len(volumes),
        (sensor.RINGS, sensor.FIRINGS),
    )
    results = []
    for used in (windows, everywhere(volumes, luck.shape)):
        hits = raycast.no_hits(luck.shape, 0)
        leaves.cast_volumes_(volumes, used, luck, 0, rays, hits)
        results.append(hits.index)
    assert (results[0] >= 0).sum() > 2000
    np.testing.assert_array_equal(*results)
