"""Bicycles of several kinds, and the people who ride them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.body import (
    FOREARM,
    HEAD,
    SHIN,
    SHOULDER,
    THIGH,
    UPPER_ARM,
    Outfit,
    draw_outfit,
    joint,
    off,
    trunk,
)
from pcdet.simulator.mesh import Mesh, Surface, box, ellipsoid, hoop, merge, tube

_CRANK = 0.17  # metres from the axis to a pedal
_HELMETS, _WAITING, _FREEWHEELING = 0.4, 0.08, 0.15  # shares of riders


class _Bike(NamedTuple):
    """Measures of one bicycle, metres; x from the middle between the axles."""

    radius: float  # of the wheels
    axle: float  # half the distance between the axles
    crank: np.ndarray  # (3,) the axis of the pedals
    seat: np.ndarray  # (3,)
    bar: np.ndarray  # (3,) the middle of the handlebar
    low_frame: bool  # one to step through
    lean: tuple[float, float]  # of its rider, rad


def _draw_bike(rng: np.random.Generator, scale: float = 1.0) -> _Bike:
    """Draw a town bicycle, an upright roadster, a mountain or a racing bicycle."""
    kind = rng.random()
    radius, axle = rng.uniform(0.32, 0.35), rng.uniform(0.50, 0.56)
    seat, bar, lean = rng.uniform(0.86, 0.98), rng.uniform(0.96, 1.10), (0.15, 0.5)
    if kind < 0.25:
        bar, lean = rng.uniform(1.05, 1.18), (0.0, 0.2)
    elif kind > 0.75:
        seat, bar, lean = rng.uniform(0.92, 1.02), rng.uniform(0.88, 1.0), (0.45, 0.9)
    places = np.array([[-0.08, 0, 0.29], [-0.22, 0, seat], [rng.uniform(0.27, 0.42), 0, bar]])
    return _Bike(radius * scale, axle * scale, *(places * scale), rng.random() < 0.45, lean)


def _luggage(bike: _Bike, rng: np.random.Generator) -> list[Mesh]:
    """Carrier, basket, panniers, mudguards, a child's seat: each now and then."""
    rear, parts = -bike.axle, []
    if rng.random() < 0.5:
        top = 2 * bike.radius + 0.06
        parts.append(box((0.36, 0.14, 0.03), (rear, 0, top), m.DARK_METAL))
        load = rng.random()
        if load < 0.2:
            for side in (-1.0, 1.0):
                parts.append(box((0.32, 0.14, 0.34), (rear, 0.15 * side, top - 0.2), m.cloth(rng)))
        elif load < 0.32:
            parts.append(box((0.3, 0.28, 0.2), (rear, 0, top + 0.12), m.cloth(rng)))
        elif load < 0.38:
            parts.append(box((0.28, 0.34, 0.6), (rear + 0.02, 0, top + 0.32), m.lacquer(rng)))
    if rng.random() < 0.25:
        basket = off(bike.bar, 0.2, z=-0.16)
        parts.append(box(rng.uniform([0.24, 0.3, 0.18], [0.34, 0.4, 0.28]), basket, m.WOOD))
    if rng.random() < 0.5:
        for x in (-bike.axle, bike.axle):
            guard = (x - 0.24, 0, 1.75 * bike.radius), (x + 0.12, 0, 2.05 * bike.radius)
            parts.append(tube(*guard, (0.03, 0.03), m.DARK_METAL, 4))
    return parts


def _build(bike: _Bike, rng: np.random.Generator, paint: Surface) -> Mesh:
    """Frame, wheels, handlebar, saddle, lamps and luggage."""
    rear, front = np.array([[x, 0, bike.radius] for x in (-bike.axle, bike.axle)])
    steering = off(bike.bar, 0.03, z=-0.2)
    clamp = bike.crank + (bike.seat - bike.crank) * (0.4 if bike.low_frame else 0.87)
    stay = bike.crank + (bike.seat - bike.crank) * 0.8
    pipes = [
        (bike.crank, bike.seat),
        (bike.crank, steering),
        (clamp, steering),
        (bike.crank, rear),
        (rear, stay),
        (steering, front),
        (steering, bike.bar),
    ]
    parts = [tube(a, b, (0.019, 0.019), paint, 4) for a, b in pipes]
    parts += [hoop(axle, bike.radius, 0.045, m.TYRE) for axle in (rear, front)]
    width = rng.uniform(0.22, 0.33)
    grips = off(bike.bar, y=-width), off(bike.bar, y=width)
    parts.append(tube(*grips, (0.016, 0.016), m.DARK_METAL, 4))
    parts.append(ellipsoid(bike.seat, (0.13, 0.08, 0.04), m.PLASTIC, 6))
    if rng.random() < 0.7:
        parts.append(box((0.03, 0.05, 0.05), (rear[0] - 0.3, 0, 0.62), m.TAIL_LAMP))
    return merge(parts + _luggage(bike, rng))


def bicycle(rng: np.random.Generator, paint: Surface | None = None) -> Mesh:
    """Make a bicycle of about 1.75 m without a rider, standing upright."""
    return _build(_draw_bike(rng), rng, paint or m.lacquer(rng))


def _legs(
    bike: _Bike, hip: np.ndarray, size: float, outfit: Outfit, rng: np.random.Generator
) -> list[Mesh]:
    """Both legs on the pedals, anywhere in their turn, or one foot on the ground."""
    turn = rng.uniform(0.0, 2 * np.pi)
    if rng.random() < _FREEWHEELING:
        turn = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.15)
    waiting = rng.choice([-1.0, 1.0]) if rng.random() < _WAITING else 0.0
    parts = []
    for side, phase in ((-1.0, turn), (1.0, turn + np.pi)):
        foot = off(bike.crank, _CRANK * np.cos(phase), side * 0.11, _CRANK * np.sin(phase))
        if side == waiting:
            foot = np.array([bike.crank[0] + 0.1, side * 0.36, 0.03])
        ankle = off(foot, -0.04, z=0.07)
        start = off(hip, y=side * 0.09)
        knee = joint(start, ankle, (THIGH * size, SHIN * size))
        parts += [
            tube(start, knee, (0.085, 0.062), outfit.trousers),
            tube(knee, ankle, (0.062, 0.042), outfit.trousers),
            ellipsoid(off(foot, 0.05, z=0.02), (0.13, 0.05, 0.045), outfit.shoes, 6),
        ]
    return parts


def _arms(
    bike: _Bike, shoulders: np.ndarray, size: float, outfit: Outfit, rng: np.random.Generator
) -> list[Mesh]:
    """Both arms on the handlebar; now and then one hangs or signals."""
    idle = rng.choice([-1.0, 1.0]) if rng.random() < 0.06 else 0.0
    parts = []
    for side in (-1.0, 1.0):
        shoulder = off(shoulders, 0.0, side * 0.115 * size, -0.02)
        hand = off(bike.bar, -0.03, side * 0.24, 0.03)
        if side == idle:
            hand = off(shoulder, 0.1, side * rng.uniform(0.05, 0.4), -rng.uniform(0.1, 0.5))
        elbow = joint(shoulder, hand, (UPPER_ARM * size, FOREARM * size))
        elbow = off(elbow, y=side * 0.05)
        parts += [
            tube(shoulder, elbow, (0.058, 0.046), outfit.jacket, 5),
            tube(elbow, hand, (0.046, 0.035), outfit.jacket, 5),
        ]
    return parts


def cyclist(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a rider on a bicycle, KITTI's means 1.76, 0.60, 1.74."""
    child = rng.random() < 0.06
    height = rng.uniform(1.2, 1.5) if child else np.clip(rng.normal(1.66, 0.09), 1.42, 1.92)
    outfit = draw_outfit(rng)
    helmet = rng.random() < _HELMETS
    if helmet:
        outfit = outfit._replace(hair=m.lacquer(rng))
    bike = _draw_bike(rng, 0.78 if child else 1.0)
    lean = rng.uniform(*bike.lean)
    hip = off(bike.seat, 0.01, z=0.05)
    torso, shoulders = trunk(hip, lean, height, outfit)
    parts = [_build(bike, rng, m.lacquer(rng)), torso]
    parts += _legs(bike, hip, height, outfit, rng) + _arms(bike, shoulders, height, outfit, rng)
    if helmet:
        head = shoulders + (HEAD - SHOULDER) * height * np.array([0.4 * np.sin(lean), 0, 1.0])
        parts.append(ellipsoid(off(head, -0.01, z=0.05), (0.14, 0.10, 0.085), outfit.hair, 6))
    if rng.random() < 0.3:
        back = off((hip + shoulders) / 2, -0.2, z=0.08)
        parts.append(box((0.18, 0.30, 0.40), back, m.cloth(rng)))
    mesh = merge(parts)
    low, high = mesh.extent
    grown = high - low
    want = np.array([rng.normal(1.80, 0.22), rng.normal(0.57, 0.15), grown[2]])
    size = np.clip(want, [0.87, 0.8, 1] * grown, [1.13, 1.2, 1] * grown)
    return mesh.fitted(size), size
