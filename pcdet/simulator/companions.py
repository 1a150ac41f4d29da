"""What people have with them that is no part of their box: prams, dogs and chairs."""

from __future__ import annotations

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.mesh import Mesh, box, ellipsoid, merge, tube, wheel


def pram(rng: np.random.Generator) -> Mesh:
    """Make a pram or pushchair, its handle at x < 0."""
    fabric = m.cloth(rng)
    radius, bed = rng.uniform(0.09, 0.15), rng.uniform(0.5, 0.65)
    parts = [
        box((0.75, 0.38, 0.24), (0.05, 0, bed), fabric),
        ellipsoid((0.22, 0, bed + 0.18), (0.25, 0.2, 0.26), fabric, 8),
        tube((-0.3, 0, bed), (-0.5, 0, 1.0), (0.02, 0.02), m.METAL, 4),
        tube((-0.5, -0.22, 1.0), (-0.5, 0.22, 1.0), (0.02, 0.02), m.PLASTIC, 4),
    ]
    for x in (-0.3, 0.35):
        for y in (-0.22, 0.22):
            parts.append(wheel((x, y, radius), radius, 0.04, m.TYRE, m.HUB))
            parts.append(tube((x, y, radius), (0.0, 0.6 * y, bed), (0.012, 0.012), m.METAL, 4))
    return merge(parts)


def chair(rng: np.random.Generator) -> Mesh:
    """Make what someone sits on, the hip over x = 0: a chair, a stool or a block."""
    surface, seat = m.cloth(rng), 0.40
    if rng.random() < 0.3:
        return box((0.42, 0.42, seat), (-0.15, 0, seat / 2), surface)
    parts = [box((0.42, 0.42, 0.04), (-0.15, 0, seat - 0.02), surface)]
    if rng.random() < 0.7:
        parts.append(box((0.03, 0.42, 0.4), (-0.36, 0, seat + 0.2), surface))
    for x in (-0.34, 0.04):
        for y in (-0.19, 0.19):
            parts.append(tube((x, y, 0.0), (x, y, seat), (0.015, 0.015), m.METAL, 4))
    return merge(parts)


def dog(rng: np.random.Generator) -> Mesh:
    """Make a dog that stands or walks, 0.3 to 0.7 m at the shoulder."""
    height = rng.uniform(0.3, 0.7)
    fur, length = m.cloth(rng), 1.05 * height
    swing = rng.uniform(-0.12, 0.12) * height / 0.5
    parts = [
        ellipsoid((0, 0, 0.78 * height), (0.55 * length, 0.17 * height, 0.2 * height), fur, 8),
        ellipsoid((0.62 * length, 0, 1.05 * height), (0.2 * length, 0.1, 0.15 * height), fur, 7),
        tube((-0.5 * length, 0, 0.85 * height), (-0.8 * length, 0, height), (0.03, 0.01), fur, 4),
    ]
    for x in (-0.38 * length, 0.38 * length):
        for side in (-1.0, 1.0):
            foot = (x + side * swing, side * 0.09 * height, 0.0)
            top = (x, side * 0.1 * height, 0.7 * height)
            parts.append(tube(foot, top, (0.025, 0.04), fur, 5))
    return merge(parts)
