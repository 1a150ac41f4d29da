"""Pedestrians, people who sit, cyclists and bicycles, built from tubes and ellipsoids."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.mesh import Mesh, Surface, box, ellipsoid, hoop, merge, tube

# A grown person of unit height; lengths of the parts in fractions of it.
_HIP, _SHOULDER, _HEAD = 0.50, 0.82, 0.935
_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.245, 0.235, 0.17, 0.15


class _Outfit(NamedTuple):
    """Materials of one person."""

    jacket: Surface
    trousers: Surface
    shoes: Surface
    build: float  # girth against the average


def _off(point: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """A point shifted by x, y, z."""
    return point + np.array([x, y, z])


def _outfit(rng: np.random.Generator) -> _Outfit:
    return _Outfit(m.cloth(rng), m.cloth(rng), m.PLASTIC, float(rng.uniform(0.85, 1.25)))


def _reach(start: np.ndarray, pitch: float, length: float) -> np.ndarray:
    """The point `length` from `start`, hanging down and swung forward by `pitch` (rad)."""
    return start + length * np.array([np.sin(pitch), 0.0, -np.cos(pitch)])


def _leg(hip: np.ndarray, swing: float, bend: float, size: float, outfit: _Outfit) -> Mesh:
    """Thigh, shin and foot; `swing` of the thigh and backward `bend` of the knee in rad."""
    knee = _reach(hip, swing, _THIGH * size)
    ankle = _reach(knee, swing - bend, _SHIN * size)
    girth = outfit.build * size
    return merge(
        [
            tube(hip, knee, (0.052 * girth, 0.038 * girth), outfit.trousers),
            tube(knee, ankle, (0.038 * girth, 0.028 * girth), outfit.trousers),
            ellipsoid(
                _off(ankle, 0.035 * size, z=-0.008),
                (0.075 * size, 0.03 * size, 0.028),
                outfit.shoes,
                6,
            ),
        ]
    )


def _arm(shoulder: np.ndarray, swing: float, bend: float, size: float, outfit: _Outfit) -> Mesh:
    """Upper arm, forearm and hand; the elbow bends forward."""
    elbow = _reach(shoulder, swing, _UPPER_ARM * size)
    hand = _reach(elbow, swing + bend, _FOREARM * size)
    girth = outfit.build * size
    return merge(
        [
            tube(shoulder, elbow, (0.034 * girth, 0.027 * girth), outfit.jacket, sides=5),
            tube(elbow, hand, (0.027 * girth, 0.02 * girth), outfit.jacket, sides=5),
            ellipsoid(hand, (0.03 * size, 0.02 * size, 0.035 * size), m.SKIN, 6),
        ]
    )


def _trunk(hip: np.ndarray, lean: float, size: float, outfit: _Outfit) -> tuple[Mesh, np.ndarray]:
    """Hips, chest, neck and head above `hip`; also returns the middle of the shoulders."""
    up = np.array([np.sin(lean), 0.0, np.cos(lean)])
    shoulders = hip + (_SHOULDER - _HIP) * size * up
    chest = hip + 0.72 * (_SHOULDER - _HIP) * size * up
    head = shoulders + (_HEAD - _SHOULDER) * size * (0.4 * up + [0.0, 0.0, 0.6])
    girth = outfit.build * size
    parts = [
        tube(hip - 0.04 * size * up, chest, (0.088 * girth, 0.108 * girth), outfit.jacket, 8, 0.66),
        tube(
            chest,
            shoulders + 0.01 * size * up,
            (0.108 * girth, 0.07 * girth),
            outfit.jacket,
            8,
            0.62,
        ),
        tube(shoulders, head, (0.033 * size, 0.033 * size), m.SKIN, 5),
        ellipsoid(head, (0.056 * size, 0.046 * size, 0.066 * size), m.SKIN, 8),
        ellipsoid(
            _off(head, -0.012 * size, z=0.014 * size),
            (0.056 * size, 0.050 * size, 0.060 * size),
            m.HAIR,
            6,
        ),
    ]
    return merge(parts), shoulders


def _belongings(size: float, rng: np.random.Generator, outfit: _Outfit) -> list[Mesh]:
    """A skirt or coat, a rucksack, a bag: each now and then."""
    parts = []
    kind = rng.random()
    if kind < 0.18:
        parts.append(
            tube(
                (0, 0, 0.28 * size),
                (0, 0, 0.56 * size),
                (0.13 * size, 0.09 * size),
                outfit.jacket,
                8,
                0.8,
            )
        )
    elif kind < 0.36:
        parts.append(box((0.16, 0.30, 0.42), (-0.17, 0, 0.70 * size), m.cloth(rng)))
    if rng.random() < 0.2:
        side = rng.choice([-1.0, 1.0])
        parts.append(box((0.32, 0.12, 0.30), (0.0, side * 0.26, 0.36 * size), m.cloth(rng)))
    return parts


def pedestrian(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Someone who walks or stands, KITTI's means 0.84, 0.66, 1.76 (length, width, height)."""
    child = rng.random() < 0.07
    height = rng.uniform(1.05, 1.5) if child else np.clip(rng.normal(1.775, 0.10), 1.5, 2.02)
    outfit = _outfit(rng)
    walking = rng.random() < 0.8
    stride = rng.uniform(0.15, 0.55) if walking else rng.uniform(0.0, 0.08)
    stride *= rng.choice([-1.0, 1.0])
    lag = rng.uniform(0.05, 0.6) if walking else 0.03
    lean = rng.normal(0.05, 0.04)
    hip = np.array([0.0, 0.0, _HIP * height])
    trunk, shoulders = _trunk(hip, lean, height, outfit)
    bend = rng.uniform(0.05, 1.0, 2)
    parts = [trunk, *_belongings(height, rng, outfit)]
    for side, swing, elbow in ((1.0, stride, bend[0]), (-1.0, -stride, bend[1])):
        knee = lag if swing < 0 else 0.08
        parts.append(_leg(_off(hip, y=side * 0.052 * height), swing, knee, height, outfit))
        shoulder = _off(shoulders, 0.0, side * 0.118 * height * outfit.build, -0.015 * height)
        parts.append(_arm(shoulder, -0.8 * swing + 0.05, elbow, height, outfit))
    mesh = merge(parts)
    low, high = mesh.extent
    grown = high - low
    # The annotators' boxes have some air; the body is brought near to KITTI's spread of sizes.
    want = np.array([rng.normal(0.86, 0.16), rng.normal(0.66, 0.10), height])
    size = np.clip(
        want, [0.85 * grown[0], 0.9 * grown[1], height], [1.35 * grown[0], 1.25 * grown[1], height]
    )
    return mesh.fitted(size), size


def sitting_person(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Someone on a bench or chair, KITTI's means 0.80, 0.59, 1.27."""
    height = rng.normal(1.66, 0.09)
    outfit = _outfit(rng)
    hip = np.array([0.0, 0.0, 0.44])
    trunk, shoulders = _trunk(hip, rng.uniform(-0.15, 0.2), height, outfit)
    parts = [trunk]
    for side in (-1.0, 1.0):
        parts.append(
            _leg(
                _off(hip, y=side * 0.055 * height), 1.45, 1.45 + rng.normal(0, 0.12), height, outfit
            )
        )
        shoulder = _off(shoulders, 0.0, side * 0.12 * height, -0.02)
        parts.append(_arm(shoulder, 0.5, rng.uniform(0.3, 1.2), height, outfit))
    mesh = merge(parts)
    low, high = mesh.extent
    grown = high - low
    want = np.array([rng.normal(0.80, 0.10), rng.normal(0.59, 0.06), 0.97 * grown[2]])
    size = np.clip(want, 0.9 * grown, 1.25 * grown)
    return mesh.fitted(size), size


def bicycle(rng: np.random.Generator, paint: Surface | None = None) -> Mesh:
    """Make a bicycle of 1.75 m without a rider, standing upright."""
    paint = paint or m.lacquer(rng)
    radius, axle = 0.34, 0.525
    rear, front = np.array([-axle, 0, radius]), np.array([axle, 0, radius])
    crank, seat = np.array([-0.08, 0, 0.30]), np.array([-0.22, 0, 0.92])
    head = np.array([0.36, 0, 0.82])
    bar = np.array([0.33, 0, rng.uniform(0.98, 1.10)])
    pipes = [
        (crank, seat),
        (crank, head),
        (seat * [1, 1, 0.9], head),
        (crank, rear),
        (rear, seat * [1, 1, 0.9]),
        (head, front),
        (head, bar),
    ]
    parts = [tube(a, b, (0.019, 0.019), paint, 4) for a, b in pipes]
    parts += [hoop(rear, radius, 0.045, m.TYRE), hoop(front, radius, 0.045, m.TYRE)]
    parts.append(tube(_off(bar, y=-0.29), _off(bar, y=0.29), (0.016, 0.016), m.DARK_METAL, 4))
    parts.append(ellipsoid(seat, (0.13, 0.08, 0.04), m.PLASTIC, 6))
    parts.append(box((0.03, 0.05, 0.05), (rear[0] - 0.3, 0, 0.62), m.TAIL_LAMP))
    if rng.random() < 0.5:
        parts.append(box((0.36, 0.14, 0.03), (rear[0], 0, 0.74), m.DARK_METAL))
    if rng.random() < 0.25:
        parts.append(box((0.3, 0.36, 0.24), (0.52, 0, 0.88), m.WOOD))
    return merge(parts)


def cyclist(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a rider on a bicycle, KITTI's means 1.76, 0.60, 1.74."""
    outfit = _outfit(rng)
    height = np.clip(rng.normal(1.68, 0.09), 1.4, 1.92)
    lean = rng.uniform(0.12, 0.65)
    hip = np.array([-0.20, 0.0, 0.97])
    trunk, shoulders = _trunk(hip, lean, height, outfit)
    phase = rng.uniform(0.0, 2 * np.pi)
    parts = [bicycle(rng), trunk]
    for side, turn in ((-1.0, phase), (1.0, phase + np.pi)):
        pedal = np.array([-0.08 + 0.17 * np.cos(turn), side * 0.11, 0.30 + 0.17 * np.sin(turn)])
        joint = _off(hip, y=side * 0.09)
        knee = _off((joint + pedal) / 2, 0.20 + 0.06 * np.sin(turn), side * 0.02, 0.06)
        hand = np.array([0.30, side * 0.25, 1.04])
        shoulder = _off(shoulders, 0.0, side * 0.19, -0.02)
        elbow = _off((shoulder + hand) / 2, -0.04, side * 0.05, -0.08)
        parts += [
            tube(joint, knee, (0.085, 0.062), outfit.trousers),
            tube(knee, pedal, (0.062, 0.045), outfit.trousers),
            ellipsoid(_off(pedal, 0.05), (0.13, 0.05, 0.045), outfit.shoes, 6),
            tube(shoulder, elbow, (0.058, 0.046), outfit.jacket, 5),
            tube(elbow, hand, (0.046, 0.035), outfit.jacket, 5),
        ]
    if rng.random() < 0.25:
        back = _off((hip + shoulders) / 2, -0.2, z=0.08)
        parts.append(box((0.18, 0.30, 0.40), back, m.cloth(rng)))
    mesh = merge(parts)
    low, high = mesh.extent
    want = np.array([rng.normal(1.77, 0.13), rng.normal(0.62, 0.10), high[2] - low[2]])
    grown = high - low
    size = np.clip(want, 0.88 * grown, 1.12 * grown)
    return mesh.fitted(size), size
