"""One turn of the LiDAR through a scene: which beams come back, from where and how bright."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pcdet.simulator import ground as terrain
from pcdet.simulator import sensor
from pcdet.simulator.casting import cast_scene, owners_of, visible_of
from pcdet.simulator.mesh import CLOTH, RETRO
from pcdet.simulator.motion import seen_in_turn
from pcdet.simulator.raycast import GROUND, NOTHING, Rays
from pcdet.simulator.scene import Scene, SceneObject
from pcdet.simulator.sensor import HDL_64E, Sensor
from pcdet.simulator.windows import lidar_windows
from pcdet.utils.compiling import compiled

_LEAF = (0.45, 0.01)  # reflectivity and shift of foliage
_LEAF_PARTIAL = 0.13  # share of beams that a leaf catches only in part
_GLASS_RETURNS = np.float32(0.06)  # share of beams that a pane itself sends back
_BEHIND_GLASS = np.float32(2.2)  # metres; what is farther lies behind a second pane and is lost
_DETECTION_SPREAD = 0.45  # of the logarithm of the least signal that is seen
_NEAR_FOCUS = 8.0  # metres; nearer than this the signal grows no more
# Distance, metres, and what it adds to the intensity; the lasers of the upper block are focused
# farther away and lose some of it close to the sensor.
_FADING = np.array(
    [(0, 18, 26, 34, 42, 50, 60, 80), (0, 0, -0.04, -0.12, -0.22, -0.32, -0.42, -0.5)]
)
_UPPER_BLOCK_NEAR = np.array([(2, 6, 10), (-0.10, -0.07, 0.0)])
_STREAK = 16  # firings over which a laser may report nothing: how often, by block of lasers
_STREAK_SHARES = 0.05, 0.02
_GRAIN, _CLOTH_GRAIN = 0.04, 0.10  # of the intensity, from beam to beam
_RETRO_GAIN, _RETRO_GRAIN = 60.0, 0.15
_GLOSSY = 0.1  # surfaces darker than this are varnished
# Metres from which on varnish fades more than all else, and how much a metre, for the HDL-64E.
_VARNISH_FADING = 15.0, 0.008
_MIRROR_LOBE = 0.25, 60.0  # strength and sharpness of the gloss seen square on
# Share of edges at which a beam meets both sides and reports a range between them.
_MIXED = np.float32(0.06)
_EDGE = np.float32(0.3), np.float32(6.0)  # metres by which the ranges of an edge differ
_LOST = 0.003  # share of returns lost for no visible reason


@dataclass
class Sweep:
    """The points of one turn and what they are of.

    Attributes:
        points: (N, 4) float32 x, y, z, intensity in KITTI's order: ring by ring from the top,
            each from straight ahead once around to the left.
        owner: (N,) int32 object that a point is on, -1 for none.
        ring: (N,) int32.
        objects: the scene's, each where the turn met it (see `motion`).
        visible: (M,) rays that meet each object first, whether they return or not.
        reached: (M,) rays that would if nothing stood before it.
    """

    points: np.ndarray
    owner: np.ndarray
    ring: np.ndarray
    objects: list[SceneObject]
    visible: np.ndarray
    reached: np.ndarray


class _Met(NamedTuple):
    """N hits that may come back.

    Attributes:
        row, column: (N,) int32 which ray.
        distance: (N,) float64 true distances, metres.
        index: (N,) int32 what is hit.
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


class _Chance(NamedTuple):
    """Random numbers of N hits.

    Attributes:
        threshold: (N,) the least signal that is seen.
        kept: (N,) uniform.
        grain, noise, spread: (N,) normal, of cloth and other grain, reflectors and ranges.
        bias: (R,) each laser's own error of range, metres.
        streaks: (R, C / 16) added to the intensity of a laser for some firings.
    """

    threshold: np.ndarray
    kept: np.ndarray
    grain: np.ndarray
    noise: np.ndarray
    spread: np.ndarray
    bias: np.ndarray
    streaks: np.ndarray


def sweep(
    scene: Scene, rng: np.random.Generator, model: Sensor = HDL_64E, whole: bool = False
) -> Sweep:
    """Make one turn of the sensor.

    Args:
        scene: the scene.
        rng: for noise, chance returns and leaves.
        model: the sensor.
        whole: no object is torn where the turn begins and ends, see `motion.seen_in_turn`.
    """
    beams, scene = sensor.beams(model), seen_in_turn(scene, whole)

    def windows_of(triangles: np.ndarray) -> np.ndarray:
        return lidar_windows(triangles, model)

    hits = cast_scene(scene, beams.rays, windows_of, True, rng)
    visible = visible_of(scene, hits)
    _through_glass_(scene.surfaces, rng.random(hits.distance.shape, dtype=np.float32), hits)
    distance = mixed_ranges(hits.distance, hits.index, rng)
    met = _coming_back(distance, hits.index, beams.blind, np.float32(1.01 * model.ranges[1]))
    returns = _materials(scene, met, beams.rays, model == HDL_64E, rng)
    chance = _draw(rng, len(met.index), model)
    traits = model.ranges, model.noise[1], model == HDL_64E
    points, seen = _measure(met, returns, beams.rays, chance, traits)
    owner = owners_of(scene, met.index[seen])
    return Sweep(points, owner, met.row[seen], scene.objects, visible, hits.reached)


def _draw(rng: np.random.Generator, count: int, model: Sensor) -> _Chance:
    """Random numbers for `count` hits."""
    threshold = model.detection * np.exp(_DETECTION_SPREAD * rng.standard_normal(count))
    kept, grain = rng.random(count), rng.standard_normal(count)
    streaks = np.zeros((0, 0))
    if model == HDL_64E:
        blocks = (sensor.RINGS, sensor.FIRINGS // _STREAK + 1)
        share = np.repeat(_STREAK_SHARES, sensor.RINGS // 2)[:, None]
        streaks = 0.03 * rng.standard_normal(blocks) - 0.3 * (rng.random(blocks) < share)
    noise = rng.standard_normal(count)
    bias = model.noise[0] * rng.standard_normal(model.rings)
    return _Chance(threshold, kept, grain, noise, rng.standard_normal(count), bias, streaks)


@compiled()
def _through_glass_(surfaces, chance, hits):
    """Put what sends each beam back in the place of what is hit, panes resolved by chance.

    Args:
        surfaces: as in `Scene`.
        chance: (R, C) float32, uniform.
        hits: of the beams; distance and index are written to.
    """
    for r in range(chance.shape[0]):
        for c in range(chance.shape[1]):
            pane, distance = hits.glass_distance[r, c], hits.distance[r, c]
            if not pane < distance:
                continue
            if chance[r, c] < _GLASS_RETURNS:
                hits.distance[r, c], hits.index[r, c] = pane, hits.glass_index[r, c]
                continue
            passes = _GLASS_RETURNS + surfaces[hits.glass_index[r, c], 1]
            if not distance - pane < _BEHIND_GLASS or chance[r, c] > passes:
                hits.index[r, c] = NOTHING


def mixed_ranges(distance: np.ndarray, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ranges (R, C) of which some, at edges, are between both sides': a beam has a width.

    Args:
        distance: (R, C) float32 metres.
        index: (R, C) int32 what is hit; where nothing is, there is no edge.
        rng: for which edges, and how far between.
    """
    return _mixed(distance, index, rng.random(distance.shape, dtype=np.float32))


@compiled()
def _mixed(distance, index, chance):
    """The ranges of `mixed_ranges`; chance (R, C) float32 is uniform."""
    ranges, columns = distance.copy(), distance.shape[1]
    for r in range(distance.shape[0]):
        for c in range(columns):
            if chance[r, c] < _MIXED and index[r, c] != NOTHING:
                # To the next beam of the laser.
                beyond = distance[r, (c + 1) % columns] - distance[r, c]
                if _EDGE[0] < abs(beyond) < _EDGE[1]:
                    ranges[r, c] += chance[r, c] / _MIXED * beyond
    return ranges


@compiled()
def _coming_back(distance, index, blind, farthest):
    """The hits (R, C) nearer than `farthest`, float32, that the car does not cover, a `_Met`."""
    size, count = distance.size, 0
    row, column = np.empty(size, np.int32), np.empty(size, np.int32)
    far, what = np.empty(size), np.empty(size, np.int32)
    for r in range(distance.shape[0]):
        for c in range(distance.shape[1]):
            if index[r, c] != NOTHING and not blind[r, c] and distance[r, c] < farthest:
                row[count], column[count] = r, c
                far[count], what[count] = distance[r, c], index[r, c]
                count += 1
    return _Met(row[:count], column[:count], far[:count], what[:count])


def _materials(
    scene: Scene, met: _Met, rays: Rays, worn: bool, rng: np.random.Generator
) -> _Returns:
    """What each hit is made of and how it is struck; `worn`: varnish fades with the distance."""
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
        (ground.plan, ground.slope[0], ground.shade, ground.rain),
        _VARNISH_FADING if worn else (0.0, 0.0),
        returns,
    )
    return returns


@compiled()
def _strike_(rays, met, solids, ground, varnish, returns):
    """Write material and geometry of all hits but leaves to `returns`.

    Args:
        rays: the sensor's.
        met: the hits.
        solids: triangles and their surfaces, as in `Scene`.
        ground: plan, slope along x, shade and rain of the ground.
        varnish: how it fades, as `_VARNISH_FADING`.
        returns: what is written to.
    """
    triangles, surfaces = solids
    (roads, verges, _, divider), slope, shade, rain = ground
    reflectivity, shift, cosine, retro, grain = returns
    (strength, sharpness), (clear, fading) = _MIRROR_LOBE, varnish
    for n in range(len(met.index)):
        what, row, column = met.index[n], met.row[n], met.column[n]
        # No view of the ray's direction: to make one takes longer than all that follows.
        x, y, z = (
            rays.directions[0, row, column],
            rays.directions[1, row, column],
            rays.directions[2, row, column],
        )
        if what == GROUND:
            far = met.distance[n]
            cover = terrain.cover_at(roads, verges, divider, far * x, far * y)
            reflectivity[n], shift[n] = terrain.SURFACES[cover, 1], terrain.SURFACES[cover, 2]
            cosine[n] = abs(z - x * slope)
            if cover == terrain.GRASS:
                cosine[n] = max(cosine[n], 0.35)
            else:
                shift[n] += shade
                if rain > 0.0:
                    reflectivity[n] *= terrain.wetness(far * x, far * y, rain) * cosine[n]
        elif what < len(triangles):
            reflectivity[n], shift[n] = surfaces[what, 1], surfaces[what, 2]
            retro[n] = surfaces[what, 0] == RETRO
            if surfaces[what, 0] == CLOTH:
                grain[n] = _CLOTH_GRAIN
            cosine[n] = _incidence(triangles, what, x, y, z)
            if reflectivity[n] < _GLOSSY:
                shift[n] -= fading * max(met.distance[n] - clear, 0.0)
                reflectivity[n] += strength * math.exp(-sharpness * (1.0 - cosine[n]))
        cosine[n] = max(cosine[n], 0.01)


@compiled()
def _incidence(triangles, k, x, y, z):
    """Cosine of the angle between a ray x, y, z and the normal of triangle k of (T, 3, 3)."""
    ax, ay, az = float(triangles[k, 0, 0]), float(triangles[k, 0, 1]), float(triangles[k, 0, 2])
    ux, uy, uz = triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az
    vx, vy, vz = triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    size = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return abs(nx / size * x + ny / size * y + nz / size * z)


@compiled()
def _measure(met, returns, rays, chance, traits):
    """What the sensor reports of N hits.

    Args:
        met: the hits.
        returns: what they are of.
        rays: the sensor's.
        chance: random numbers.
        traits: the sensor's `ranges`, its noise from beam to beam, and whether it has the defects
            of `_wear`.

    Returns:
        Points (M, 4) float32 with intensity, and which hits (M,) they are: those that are seen.
    """
    # Taken out of their tuples once: to do so for each hit takes longer than all the rest.
    rows, columns, distances, _ = met
    reflectivity, shift, cosine, retro, grain = returns
    threshold, kept, grains, noise, spread, bias, streaks = chance
    (nearest, farthest), jitter, worn = traits
    points, seen = np.empty((len(rows), 4), np.float32), np.empty(len(rows), np.int64)
    count = 0
    for n in range(len(rows)):
        row, column, distance = rows[n], columns[n], distances[n]
        signal = _signal(reflectivity[n], cosine[n], retro[n], distance)
        if not (signal > threshold[n] and kept[n] > _LOST):
            continue
        measured, square = distance + bias[row] + jitter * spread[n], 0.0
        for axis in range(3):
            value = rays.origins[row, axis] + measured * rays.directions[axis, row, column]
            square += value * value
            points[count, axis] = np.rint(value * 1000.0) / 1000.0
        if not nearest < math.sqrt(square) < farthest:
            continue
        if retro[n]:
            bright = reflectivity[n] + _RETRO_GRAIN * noise[n]
        else:
            bright = _brightness(reflectivity[n], shift[n], cosine[n])
            random = grain[n] * grains[n]
            if worn:
                bright = _wear(bright, row, distance, random, streaks[row, column // _STREAK])
            else:
                bright += random
        points[count, 3] = np.rint(min(max(bright, 0.0), 0.99) * 100.0) / 100.0
        seen[count] = n
        count += 1
    return points[:count], seen[:count]


@compiled()
def _signal(reflectivity, cosine, retro, distance):
    """Strength of the light that returns from a hit."""
    light = _RETRO_GAIN * max(cosine, 0.2) if retro else reflectivity * cosine
    return light / max(distance, _NEAR_FOCUS) ** 2


@compiled()
def _brightness(reflectivity, shift, cosine):
    """Intensity of a hit at any distance; sensors even that out."""
    return 0.30 + 0.13 * math.log10(reflectivity / 0.2) + shift + 0.05 * math.log10(cosine / 0.2)


@compiled()
def _wear(bright, row, distance, random, streak):
    """What the HDL-64E of KITTI's car makes of the intensity of a hit.

    The sensor evens out the distance up to some 20 m; from there on intensities of all but
    reflectors fall to nothing at 50 m. Each laser falls off in its own way when little comes back.
    """
    bright += _between(_FADING, distance)
    if row < sensor.UPPER_BLOCK:
        bright += _between(_UPPER_BLOCK_NEAR, distance)
    bright = bright + random + streak
    return bright - sensor.WEAKNESS[row] * min(max((0.42 - bright) / 0.06, 0.0), 1.8)


@compiled()
def _between(curve, x):
    """Value at x of a curve (2, K), linear between its places and level beyond them."""
    last = curve.shape[1] - 1
    if x >= curve[0, last]:
        return curve[1, last]
    for k in range(last):
        if x < curve[0, k + 1]:
            slope = (curve[1, k + 1] - curve[1, k]) / (curve[0, k + 1] - curve[0, k])
            return slope * max(x - curve[0, k], 0.0) + curve[1, k]
    return curve[1, last]
