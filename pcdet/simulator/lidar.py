"""One turn of the LiDAR through a scene: which beams come back, from where and how bright."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from pcdet.simulator import ground as terrain
from pcdet.simulator import sensor
from pcdet.simulator.casting import cast_scene, owners_of
from pcdet.simulator.mesh import CLOTH, RETRO
from pcdet.simulator.raycast import GROUND, NOTHING, Hits, Rays
from pcdet.simulator.scene import Scene
from pcdet.simulator.sensor import HDL_64E, Sensor
from pcdet.simulator.windows import lidar_windows

_LEAF = (0.45, 0.01)  # reflectivity and shift of foliage
_LEAF_PARTIAL = 0.13  # share of beams that a leaf catches only in part
_GLASS_RETURNS = 0.06  # share of beams that a pane itself sends back
_BEHIND_GLASS = 2.2  # metres; what is farther lies behind a second pane and is lost
_DETECTION_SPREAD = 0.45  # of the logarithm of the least signal that is seen
_NEAR_FOCUS = 8.0  # metres; nearer than this the signal grows no more
# Distance, metres, and what it adds to the intensity; the lasers of the upper block are focused
# farther away and lose some of it close to the sensor.
_FADING = ((0, 18, 26, 34, 42, 50, 60, 80), (0, 0, -0.04, -0.12, -0.22, -0.32, -0.42, -0.5))
_UPPER_BLOCK_NEAR = ((2, 6, 10), (-0.10, -0.07, 0.0))
_STREAK = 16  # firings over which a laser may report nothing: how often, by block of lasers
_STREAK_SHARES = 0.05, 0.02
_GRAIN, _CLOTH_GRAIN = 0.04, 0.10  # of the intensity, from beam to beam
_RETRO_GAIN = 60.0
_GLOSSY = 0.1  # surfaces darker than this are varnished
_MIRROR_LOBE = 0.25, 60.0  # strength and sharpness of the gloss seen square on
_LOST = 0.003  # share of returns lost for no visible reason


@dataclass
class Sweep:
    """The points of one turn and what they are of.

    Attributes:
        points: (N, 4) float32 x, y, z, intensity in KITTI's order: ring by ring from the top,
            each from straight ahead once around to the left.
        owner: (N,) int32 object that a point is on, -1 for none.
        ring: (N,) int32.
        visible: (M,) rays that meet each object first, whether they return or not.
        reached: (M,) rays that would if nothing stood before it.
    """

    points: np.ndarray
    owner: np.ndarray
    ring: np.ndarray
    visible: np.ndarray
    reached: np.ndarray


class _Met(NamedTuple):
    """N hits that may come back.

    Attributes:
        row, column: (N,) which ray.
        distance: (N,) float64 true distances, metres.
        index: (N,) what is hit.
    """

    row: np.ndarray
    column: np.ndarray
    distance: np.ndarray
    index: np.ndarray


class _Returns(NamedTuple):
    """Material and geometry of N hits.

    Attributes:
        reflectivity: (N,), the gloss of varnish included.
        shift: (N,) added to the intensity.
        cosine: (N,) of the angle of incidence.
        retro: (N,) bool, a reflector.
        grain: (N,) standard deviation of the intensity from beam to beam.
    """

    reflectivity: np.ndarray
    shift: np.ndarray
    cosine: np.ndarray
    retro: np.ndarray
    grain: np.ndarray


def sweep(scene: Scene, rng: np.random.Generator, model: Sensor = HDL_64E) -> Sweep:
    """Make one turn of the sensor.

    Args:
        scene: the scene.
        rng: for noise, chance returns and leaves.
        model: the sensor.
    """
    beams = sensor.beams(model)

    def windows_of(triangles: np.ndarray) -> np.ndarray:
        return lidar_windows(triangles, model)

    hits = cast_scene(scene, beams.rays, windows_of, True, rng)
    pane_first = hits.glass_distance < hits.distance
    owners = owners_of(scene, np.where(pane_first, hits.glass_index, hits.index))
    visible = np.bincount(owners[owners >= 0], minlength=len(scene.objects))
    distance, index = _through_glass(scene, hits, pane_first, rng)
    row, column = np.nonzero(
        (index != NOTHING) & ~beams.blind & (distance < 1.01 * model.ranges[1])
    )
    met = _Met(row, column, distance[row, column].astype(np.float64), index[row, column])
    points, back = _measure(scene, met, model, rng)
    owner, ring = owners_of(scene, met.index), row.astype(np.int32)
    return Sweep(points[back], owner[back], ring[back], visible, hits.reached)


def _measure(
    scene: Scene, met: _Met, model: Sensor, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What the sensor reports of N hits.

    Args:
        scene: the scene.
        met: the hits.
        model: the sensor.
        rng: for noise and chance.

    Returns:
        (N, 4) float32 points with intensity, and (N,) bool whether the return is seen at all.
    """
    count = len(met.index)
    rays = sensor.beams(model).rays
    returns = _materials(scene, met, rays, rng)
    threshold = model.detection * np.exp(_DETECTION_SPREAD * rng.standard_normal(count))
    seen = (_signal(returns, met.distance) > threshold) & (rng.random(count) > _LOST)
    brightness = _intensity(returns, met, model, rng)
    bias = model.noise[0] * rng.standard_normal(model.rings)
    measured = met.distance + bias[met.row] + model.noise[1] * rng.standard_normal(count)
    points, size = _points(rays, met, measured, brightness)
    return points, seen & (size < model.ranges[1]) & (size > model.ranges[0])


@numba.njit(cache=True)
def _points(rays, met, distance, brightness):
    """Points (N, 4) float32 in millimetres' steps, and how far they are from the origin, (N,).

    Args:
        rays: the sensor's.
        met: whose rays' points they are.
        distance: (N,) along the rays, metres.
        brightness: (N,) the points' intensity.
    """
    points, size = np.empty((len(distance), 4), np.float32), np.empty(len(distance))
    for n in range(len(distance)):
        row, column, square = met.row[n], met.column[n], 0.0
        for axis in range(3):
            value = rays.origins[row, axis] + distance[n] * rays.directions[axis, row, column]
            square += value * value
            points[n, axis] = np.rint(value * 1000.0) / 1000.0
        points[n, 3] = brightness[n]
        size[n] = math.sqrt(square)
    return points, size


def _through_glass(
    scene: Scene, hits: Hits, pane_first: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of what sends each beam back, panes resolved by chance."""
    distance, index = hits.distance.copy(), hits.index.copy()
    chance = rng.random(distance.shape, dtype=np.float32)
    returned = pane_first & (chance < _GLASS_RETURNS)
    inside = distance - hits.glass_distance < _BEHIND_GLASS
    passes = _GLASS_RETURNS + scene.surfaces[hits.glass_index, 1]
    lost = pane_first & ~returned & (~inside | (chance > passes))
    distance[returned], index[returned] = hits.glass_distance[returned], hits.glass_index[returned]
    index[lost] = NOTHING
    return distance, index


def _materials(scene: Scene, met: _Met, rays: Rays, rng: np.random.Generator) -> _Returns:
    """What each hit is made of and how it is struck."""
    count, ground = len(met.index), scene.ground
    cosine = rng.uniform(0.1, 1.0, count)  # leaves lie every way
    partial = 0.3 * rng.random(count) * (rng.random(count) < _LEAF_PARTIAL)
    returns = _Returns(
        np.full(count, _LEAF[0]),
        _LEAF[1] - partial,
        cosine,
        np.zeros(count, bool),
        np.full(count, _GRAIN),
    )
    _strike_(
        rays,
        met,
        (scene.triangles, scene.surfaces),
        (ground.plan, ground.slope[0], ground.shade),
        returns,
    )
    return returns


@numba.njit(cache=True)
def _strike_(rays, met, solids, ground, returns):
    """Write material and geometry of all hits but leaves to `returns`.

    Args:
        rays: the sensor's.
        met: the hits.
        solids: triangles and their surfaces, as in `Scene`.
        ground: plan, slope along x and shade of the ground.
        returns: what is written to.
    """
    triangles, surfaces = solids
    plan, slope, shade = ground
    reflectivity, shift, cosine, retro, grain = returns
    strength, sharpness = _MIRROR_LOBE
    for n in range(len(met.index)):
        what, row, column = met.index[n], met.row[n], met.column[n]
        # No view of the ray's direction: to make one takes longer than all that follows.
        x, y, z = (
            rays.directions[0, row, column],
            rays.directions[1, row, column],
            rays.directions[2, row, column],
        )
        if what == GROUND:
            cover = terrain.cover_at(plan, met.distance[n] * x, met.distance[n] * y)
            reflectivity[n], shift[n] = terrain.SURFACES[cover, 1], terrain.SURFACES[cover, 2]
            cosine[n] = abs(z - x * slope)
            if cover == terrain.GRASS:
                cosine[n] = max(cosine[n], 0.35)
            else:
                shift[n] += shade
        elif what < len(triangles):
            reflectivity[n], shift[n] = surfaces[what, 1], surfaces[what, 2]
            retro[n] = surfaces[what, 0] == RETRO
            if surfaces[what, 0] == CLOTH:
                grain[n] = _CLOTH_GRAIN
            cosine[n] = _incidence(triangles, what, x, y, z)
            if reflectivity[n] < _GLOSSY:
                reflectivity[n] += strength * math.exp(-sharpness * (1.0 - cosine[n]))
        cosine[n] = max(cosine[n], 0.01)


@numba.njit(cache=True)
def _incidence(triangles, k, x, y, z):
    """Cosine of the angle between a ray x, y, z and the normal of triangle k of (T, 3, 3)."""
    ax, ay, az = float(triangles[k, 0, 0]), float(triangles[k, 0, 1]), float(triangles[k, 0, 2])
    ux, uy, uz = triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az
    vx, vy, vz = triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    size = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return abs(nx / size * x + ny / size * y + nz / size * z)


def _signal(returns: _Returns, distance: np.ndarray) -> np.ndarray:
    """Strength of the returning light, (N,)."""
    light = returns.reflectivity * returns.cosine
    light = np.where(returns.retro, _RETRO_GAIN * np.maximum(returns.cosine, 0.2), light)
    return light / np.maximum(distance, _NEAR_FOCUS) ** 2


def _intensity(returns: _Returns, met: _Met, model: Sensor, rng: np.random.Generator) -> np.ndarray:
    """Intensity as KITTI stores it: hundredths from 0 to 0.99.

    It grows with reflectivity and falls with the angle of incidence; sensors even out the distance,
    the HDL-64E with the defects of `_wear`.
    """
    bright = 0.30 + 0.13 * np.log10(returns.reflectivity / 0.2) + returns.shift
    bright += 0.05 * np.log10(returns.cosine / 0.2)
    if model == HDL_64E:
        bright = _wear(bright, returns, met, rng)
    else:
        bright += returns.grain * rng.standard_normal(len(bright))
    noise = rng.standard_normal(len(bright))
    bright = np.where(returns.retro, returns.reflectivity + 0.06 * noise, bright)
    return np.round(np.clip(bright, 0.0, 0.99), 2)


def _wear(bright: np.ndarray, returns: _Returns, met: _Met, rng: np.random.Generator) -> np.ndarray:
    """Add to intensities (N,) what the HDL-64E of KITTI's car makes of them.

    The sensor evens out the distance up to some 20 m; from there on intensities of all but
    reflectors fall to nothing at 50 m. Each laser falls off in its own way when little comes back.
    """
    row, column, distance, _ = met
    bright = bright + np.interp(distance, *_FADING)
    upper = row < sensor.UPPER_BLOCK
    bright += np.where(upper, np.interp(distance, *_UPPER_BLOCK_NEAR), 0.0)
    bright += returns.grain * rng.standard_normal(len(row))
    blocks = (sensor.RINGS, sensor.FIRINGS // _STREAK + 1)
    share = np.repeat(_STREAK_SHARES, sensor.RINGS // 2)[:, None]
    streaks = 0.03 * rng.standard_normal(blocks) - 0.3 * (rng.random(blocks) < share)
    bright += streaks[row, column // _STREAK]
    return bright - sensor.WEAKNESS[row] * np.clip((0.42 - bright) / 0.06, 0.0, 1.8)
