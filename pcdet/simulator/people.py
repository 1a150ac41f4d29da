"""Pedestrians and people who sit, in all sizes, gaits and clothes, and what they carry."""

from __future__ import annotations

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.body import HIP, Outfit, arm, draw_outfit, leg, off, trunk
from pcdet.simulator.mesh import Mesh, box, merge, tube

_CHILDREN, _WALKING = 0.02, 0.72  # shares of people
_AIR = np.array([0.03, 0.03, 0.0])  # metres that a label's box is larger than the body in it


def _belongings(size: float, rng: np.random.Generator, outfit: Outfit) -> list[Mesh]:
    """A skirt or coat, or a rucksack; a bag, a suitcase on wheels: each now and then."""
    parts = []
    kind = rng.random()
    if kind < 0.22:
        low = rng.uniform(0.22, 0.40) * size  # a skirt, a short or a long coat
        girth = 0.13 * size * rng.uniform(0.85, 1.15), 0.09 * size
        parts.append(tube((0, 0, low), (0, 0, 0.58 * size), girth, outfit.jacket, 8, 0.8))
    elif kind < 0.40:
        bag = rng.uniform([0.12, 0.24, 0.30], [0.24, 0.34, 0.55]) * size / 1.75
        parts.append(box(bag, (-0.10 - bag[0] / 2, 0, 0.70 * size), m.cloth(rng)))
    side = rng.choice([-1.0, 1.0])
    if rng.random() < 0.25:
        bag = rng.uniform([0.15, 0.06, 0.2], [0.4, 0.2, 0.4])
        parts.append(box(bag, (0.0, side * 0.26, 0.36 * size), m.cloth(rng)))
    luck = rng.random()
    if luck < 0.03:
        case = (0.24, 0.38, 0.55)
        parts.append(box(case, (-0.45, -side * 0.2, 0.32), m.cloth(rng)))
        handle = (-0.45, -side * 0.2, 0.6), (-0.18, -side * 0.22, 0.48 * size)
        parts.append(tube(*handle, (0.012, 0.012), m.METAL, 4))
    return parts


def _gait(rng: np.random.Generator) -> tuple[float, float, float]:
    """Swing of the thighs, bend of the hind knee, lean of the trunk, rad; some stand, some run."""
    kind = rng.random()
    side = rng.choice([-1.0, 1.0])
    if kind < _WALKING:
        return (
            side * rng.triangular(0.1, 0.35, 0.62),
            rng.uniform(0.05, 0.6),
            rng.normal(0.05, 0.05),
        )
    if kind < _WALKING + 0.03:
        return side * rng.uniform(0.4, 0.8), rng.uniform(0.7, 1.5), rng.normal(0.15, 0.05)
    return side * rng.uniform(0.0, 0.10), 0.03, rng.normal(0.02, 0.06)


def pedestrian(rng: np.random.Generator, pushing: bool = False) -> tuple[Mesh, np.ndarray]:
    """Someone who walks, runs or stands, KITTI's means 0.84, 0.66, 1.76.

    Args:
        rng: of all that differs.
        pushing: both hands are on a handle.
    """
    child = rng.random() < _CHILDREN
    height = rng.uniform(0.95, 1.5) if child else np.clip(rng.normal(1.77, 0.085), 1.5, 2.05)
    outfit = draw_outfit(rng)
    stride, lag, lean = _gait(rng)
    hip = np.array([0.0, 0.0, HIP * height])
    torso, shoulders = trunk(hip, lean, height, outfit)
    bend = rng.uniform(0.05, 1.0, 2)
    raised = np.zeros(2)
    hands = rng.random()
    if pushing:
        raised, bend = np.full(2, 0.5), rng.uniform(0.6, 0.9, 2)
    elif hands < 0.17:  # at a telephone, in a pocket, on a strap
        bend[0] = rng.uniform(1.5, 2.4)
    parts = [torso, *_belongings(height, rng, outfit)]
    for k, (side, swing) in enumerate(((1.0, stride), (-1.0, -stride))):
        knee = lag if swing < 0 else 0.08
        parts.append(leg(off(hip, y=side * 0.052 * height), swing, knee, height, outfit))
        shoulder = off(shoulders, 0.0, side * 0.118 * height * outfit.build, -0.015 * height)
        pitch = raised[k] if raised[k] else -0.8 * swing + 0.05
        out = side * rng.exponential(0.1)
        parts.append(arm(shoulder, pitch, bend[k], height, outfit, out))
    mesh = merge(parts)
    low, high = mesh.extent
    # The annotators' boxes are large where the body is slim; strides stay as they are.
    grown = np.maximum((high - low)[:2], (0.5, 0.45))
    size = np.array([*grown * np.clip(rng.normal(1.03, (0.07, 0.12)), 0.95, 1.3), height])
    return mesh.fitted(size - _AIR), size


def sitting_person(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Someone on a bench or chair, KITTI's means 0.80, 0.59, 1.27."""
    height = rng.normal(1.66, 0.09)
    outfit = draw_outfit(rng)
    hip = np.array([0.0, 0.0, 0.44])
    torso, shoulders = trunk(hip, rng.uniform(-0.15, 0.2), height, outfit)
    parts = [torso]
    for side in (-1.0, 1.0):
        parts.append(
            leg(off(hip, y=side * 0.055 * height), 1.45, 1.45 + rng.normal(0, 0.12), height, outfit)
        )
        shoulder = off(shoulders, 0.0, side * 0.12 * height, -0.02)
        parts.append(arm(shoulder, 0.5, rng.uniform(0.3, 1.2), height, outfit))
    mesh = merge(parts)
    low, high = mesh.extent
    grown = high - low
    want = np.array([rng.normal(0.80, 0.10), rng.normal(0.59, 0.06), 0.97 * grown[2]])
    size = np.clip(want, 0.9 * grown, 1.25 * grown)
    return mesh.fitted(size), size
