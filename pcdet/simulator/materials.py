"""The materials of a KITTI street, and the random ones: car paint, plaster, clothes.

Reflectivities are rough values at 905 nm. The paints are dark at that wavelength, as the real
frames show: three quarters of the points on real cars have intensity zero.
"""

from __future__ import annotations

import numpy as np

from pcdet.simulator.mesh import CLOTH, GLASS, RETRO, SOLID, Surface

ASPHALT = Surface(SOLID, 0.20, 0.035, 0.36, 0.36, 0.38)
PAVING = Surface(SOLID, 0.30, 0.03, 0.55, 0.53, 0.50)
GRASS = Surface(SOLID, 0.38, 0.03, 0.30, 0.42, 0.18)
GRAVEL = Surface(SOLID, 0.28, 0.0, 0.48, 0.45, 0.40)
MARKING = Surface(SOLID, 0.60, 0.22, 0.92, 0.92, 0.90)
TYRE = Surface(SOLID, 0.04, -0.10, 0.08, 0.08, 0.09)
UNDERBODY = Surface(SOLID, 0.03, -0.12, 0.10, 0.10, 0.10)
HUB = Surface(SOLID, 0.20, -0.02, 0.55, 0.56, 0.58)
SEAT = Surface(SOLID, 0.15, -0.05, 0.15, 0.15, 0.17)
CAR_GLASS = Surface(GLASS, 0.04, -0.20, 0.14, 0.17, 0.20)
WINDOW = Surface(GLASS, 0.30, -0.15, 0.25, 0.32, 0.40)
CURTAIN = Surface(SOLID, 0.25, -0.02, 0.45, 0.44, 0.42)
PLATE = Surface(RETRO, 0.97, 0.0, 0.92, 0.92, 0.88)
HEAD_LAMP = Surface(RETRO, 0.70, 0.0, 0.85, 0.86, 0.88)
TAIL_LAMP = Surface(RETRO, 0.85, 0.0, 0.65, 0.10, 0.10)
SIGN = Surface(RETRO, 0.99, 0.0, 0.75, 0.25, 0.15)
BLUE_SIGN = Surface(RETRO, 0.85, 0.0, 0.20, 0.35, 0.75)
METAL = Surface(SOLID, 0.22, -0.03, 0.55, 0.57, 0.60)
DARK_METAL = Surface(SOLID, 0.10, -0.06, 0.20, 0.22, 0.24)
WOOD = Surface(SOLID, 0.35, 0.0, 0.50, 0.36, 0.22)
BARK = Surface(SOLID, 0.28, 0.0, 0.32, 0.25, 0.18)
CONCRETE = Surface(SOLID, 0.33, 0.02, 0.64, 0.63, 0.60)
PLASTIC = Surface(SOLID, 0.12, -0.06, 0.18, 0.19, 0.20)
SKIN = Surface(SOLID, 0.45, 0.02, 0.80, 0.62, 0.50)
HAIR = Surface(SOLID, 0.15, -0.04, 0.22, 0.16, 0.11)
SHRUB = Surface(SOLID, 0.42, 0.01, 0.22, 0.34, 0.14)
TILE = Surface(SOLID, 0.25, 0.0, 0.55, 0.27, 0.20)

_PAINTS = np.array(
    [
        [0.10, 0.10, 0.11],
        [0.62, 0.64, 0.66],
        [0.36, 0.38, 0.41],
        [0.90, 0.90, 0.90],
        [0.12, 0.20, 0.42],
        [0.55, 0.08, 0.09],
        [0.13, 0.30, 0.20],
    ]
)
_PAINT_SHARE = (0.27, 0.25, 0.16, 0.12, 0.10, 0.07, 0.03)
_PAINT_REFLECTIVITY = (0.010, 0.022, 0.012, 0.060, 0.012, 0.030, 0.012)
_BUMPER_SHIFT = 0.20  # of the intensity, against the paint's
_BLACK_HOLE_SHARE = 0.3  # of black cars: metallic paint that answers hardly at all


def car_paint(rng: np.random.Generator) -> Surface:
    """Draw the paint of one car: colours by their share on German roads of 2011."""
    index = int(rng.choice(len(_PAINTS), p=_PAINT_SHARE))
    reflectivity = _PAINT_REFLECTIVITY[index] * np.exp(0.8 * rng.standard_normal() - 0.1)
    if index == 0 and rng.random() < _BLACK_HOLE_SHARE:
        reflectivity *= 0.03
    shift = -0.32 + 0.15 * rng.standard_normal() + (0.06 if index in (1, 3) else 0.0)
    colour = np.clip(_PAINTS[index] + rng.uniform(-0.05, 0.05, 3), 0.03, 0.95)
    return Surface(SOLID, float(min(reflectivity, 0.5)), float(shift), *map(float, colour))


def bumper(paint: Surface) -> Surface:
    """Return the bumpers of a car with some paint: plastic, trim and reflectors answer more."""
    return paint._replace(reflectivity=0.2, shift=paint.shift + _BUMPER_SHIFT)


def car_glass(rng: np.random.Generator) -> Surface:
    """Draw the panes of one car; a beam seldom comes back from behind them."""
    passes = rng.uniform(0.1, 0.5) if rng.random() < 0.3 else CAR_GLASS.reflectivity
    return CAR_GLASS._replace(reflectivity=float(passes))


def window(rng: np.random.Generator) -> Surface:
    """Draw the windows of one house."""
    return WINDOW._replace(reflectivity=float(rng.uniform(0.0, 0.6)))


def plaster(rng: np.random.Generator) -> Surface:
    """Draw the face of one building: plaster, brick or clinker."""
    light = rng.uniform(0.45, 0.85)
    tint = np.clip(light + rng.uniform(-0.10, 0.10, 3) * [1.0, 0.5, 1.0], 0.2, 0.95)
    return Surface(
        SOLID, float(rng.uniform(0.15, 0.5)), float(rng.normal(0.02, 0.07)), *map(float, tint)
    )


def cloth(rng: np.random.Generator) -> Surface:
    """Draw one piece of clothing; most textiles, black too, are bright in the infrared."""
    colour = rng.uniform(0.08, 0.85, 3) * rng.uniform(0.4, 1.0)
    return Surface(
        CLOTH, float(rng.uniform(0.12, 0.6)), float(rng.normal(0.05, 0.06)), *map(float, colour)
    )


def lacquer(rng: np.random.Generator) -> Surface:
    """Paint on street furniture, lorries' bodies and trailers."""
    colour = rng.uniform(0.15, 0.9, 3)
    return Surface(
        SOLID, float(rng.uniform(0.06, 0.45)), float(rng.normal(-0.04, 0.04)), *map(float, colour)
    )
