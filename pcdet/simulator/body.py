"""The human body: limbs, trunk and head, from tubes and ellipsoids, and the clothes on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.mesh import Mesh, Surface, ellipsoid, merge, tube

# A grown person of unit height; lengths of the parts in fractions of it.
HIP, SHOULDER, HEAD = 0.50, 0.82, 0.935
THIGH, SHIN, UPPER_ARM, FOREARM = 0.245, 0.235, 0.17, 0.15


_CAPS = 0.2  # share of people with something on their heads


class Outfit(NamedTuple):
    """Materials of one person."""

    jacket: Surface
    trousers: Surface
    shoes: Surface
    hair: Surface  # or what covers it: a cap, a hood
    build: float  # girth against the average


def off(point: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """Return a point shifted by x, y, z."""
    return point + np.array([x, y, z])


def draw_outfit(rng: np.random.Generator) -> Outfit:
    """Draw the clothes and the girth of one person."""
    hair = m.cloth(rng) if rng.random() < _CAPS else m.HAIR
    return Outfit(m.cloth(rng), m.cloth(rng), m.PLASTIC, hair, float(rng.uniform(0.85, 1.25)))


def joint(start: np.ndarray, end: np.ndarray, lengths: tuple[float, float]) -> np.ndarray:
    """Find the knee or elbow, bent forward (+x) and up, of a limb between two points (3,).

    Args:
        start: hip or shoulder.
        end: ankle or hand; a limb that is too short for it is stretched.
        lengths: of the upper and lower part, metres.
    """
    upper, lower = lengths
    span = end - start
    distance = max(float(np.linalg.norm(span)), 1e-6)
    if distance >= upper + lower:
        return start + span * (upper / (upper + lower))
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    aside = np.sqrt(max(upper**2 - along**2, 0.0))
    across = np.array([-span[2], 0.0, span[0]])
    across /= max(float(np.linalg.norm(across)), 1e-6)
    return start + span * (along / distance) + aside * across


def _reach(start: np.ndarray, pitch: float, length: float, out: float = 0.0) -> np.ndarray:
    """The point `length` from `start`, hanging, swung forward by `pitch`, left by `out` (rad)."""
    swung = np.array([np.sin(pitch), 0.0, -np.cos(pitch)]) * np.cos(out)
    return start + length * off(swung, y=np.sin(out))


def leg(hip: np.ndarray, swing: float, bend: float, size: float, outfit: Outfit) -> Mesh:
    """Make thigh, shin and foot; `swing` of the thigh and backward `bend` of the knee in rad."""
    knee = _reach(hip, swing, THIGH * size)
    ankle = _reach(knee, swing - bend, SHIN * size)
    girth = outfit.build * size
    return merge(
        [
            tube(hip, knee, (0.052 * girth, 0.038 * girth), outfit.trousers),
            tube(knee, ankle, (0.038 * girth, 0.028 * girth), outfit.trousers),
            ellipsoid(
                off(ankle, 0.035 * size, z=-0.008),
                (0.075 * size, 0.03 * size, 0.028),
                outfit.shoes,
                6,
            ),
        ]
    )


def arm(
    shoulder: np.ndarray,
    swing: float,
    bend: float,
    size: float,
    outfit: Outfit,
    out: float = 0.0,
) -> Mesh:
    """Make upper arm, forearm and hand; the elbow bends forward, `out` leads it left (rad)."""
    elbow = _reach(shoulder, swing, UPPER_ARM * size, out)
    hand = _reach(elbow, swing + bend, FOREARM * size, out)
    girth = outfit.build * size
    return merge(
        [
            tube(shoulder, elbow, (0.034 * girth, 0.027 * girth), outfit.jacket, sides=5),
            tube(elbow, hand, (0.027 * girth, 0.02 * girth), outfit.jacket, sides=5),
            ellipsoid(hand, (0.03 * size, 0.02 * size, 0.035 * size), m.SKIN, 6),
        ]
    )


def trunk(hip: np.ndarray, lean: float, size: float, outfit: Outfit) -> tuple[Mesh, np.ndarray]:
    """Make hips, chest, neck and head above `hip`; also returns the middle of the shoulders."""
    up = np.array([np.sin(lean), 0.0, np.cos(lean)])
    shoulders = hip + (SHOULDER - HIP) * size * up
    chest = hip + 0.72 * (SHOULDER - HIP) * size * up
    head = shoulders + (HEAD - SHOULDER) * size * (0.4 * up + [0.0, 0.0, 0.6])
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
            off(head, -0.012 * size, z=0.014 * size),
            (0.056 * size, 0.050 * size, 0.060 * size),
            outfit.hair,
            6,
        ),
    ]
    return merge(parts), shoulders
