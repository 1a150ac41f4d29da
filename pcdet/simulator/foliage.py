"""Vegetation: ellipsoids and boxes that a beam enters, and where it stops at some leaf.

A volume has no surface. Where a ray stops is decided by a solid noise (see `leaves`), the same
for the LiDAR and the camera, and by a scatter of each ray on its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ELLIPSOID, BLOCK = 0, 1


class Volume(NamedTuple):
    """One body of leaves; a row of the array that the ray caster reads.

    Attributes:
        shape: ELLIPSOID or BLOCK.
        x, y, z: centre, metres.
        rx, ry, rz: half axes, metres; rx lies along the heading `yaw`.
        yaw: radians.
        rough: depth of the bumps and holes of the outside, metres.
        scatter: how much further single leaves lie apart, metres.
        grain: size of the bumps, metres.
        seed: makes the noise of this volume its own.
        red, green, blue: colour in the image.
    """

    shape: int
    x: float
    y: float
    z: float
    rx: float
    ry: float
    rz: float
    yaw: float
    rough: float
    scatter: float
    grain: float
    seed: float
    red: float
    green: float
    blue: float


def _green(rng: np.random.Generator) -> tuple[float, float, float]:
    light = rng.uniform(0.6, 1.25)
    return 0.24 * light, (0.34 + 0.08 * rng.random()) * light, 0.14 * light


def hedge(
    x: float,
    y: float,
    ground: float,
    size: tuple[float, float, float],
    yaw: float,
    rng: np.random.Generator,
) -> list[Volume]:
    """Make a clipped hedge or a row of shrubs; `size` is length, depth, height."""
    length, depth, height = size
    tidy = rng.random() < 0.6
    middle = ground + height / 2 - 0.05
    return [
        Volume(
            BLOCK,
            x,
            y,
            middle,
            length / 2,
            depth / 2,
            height / 2,
            yaw,
            rng.uniform(0.15, 0.4) if tidy else rng.uniform(0.6, 1.4),
            rng.uniform(0.06, 0.2) if tidy else rng.uniform(0.15, 0.5),
            rng.uniform(0.25, 0.7),
            rng.uniform(0, 1000),
            *_green(rng),
        )
    ]


def bush(x: float, y: float, ground: float, radius: float, rng: np.random.Generator) -> Volume:
    """Make one shrub, about as high as wide, down to the ground."""
    height = radius * rng.uniform(0.8, 1.6)
    return Volume(
        ELLIPSOID,
        x,
        y,
        ground + 0.45 * height,
        radius * rng.uniform(0.8, 1.2),
        radius * rng.uniform(0.8, 1.2),
        height * 0.65,
        rng.uniform(0, 6.28),
        rng.uniform(0.4, 0.9) * min(radius, 1.2),
        rng.uniform(0.1, 0.35),
        rng.uniform(0.2, 0.6),
        rng.uniform(0, 1000),
        *_green(rng),
    )


def thicket(
    x: float,
    y: float,
    ground: float,
    size: tuple[float, float, float],
    yaw: float,
    rng: np.random.Generator,
) -> list[Volume]:
    """Make a wall of wild shrubs and low trees; `size` is length, depth, height."""
    length, depth, height = size
    volumes = []
    for along in np.arange(-length / 2, length / 2, 2.2):
        along += rng.normal(0.0, 0.6)
        back = rng.normal(0.0, 0.15 * depth)
        tall = height * rng.uniform(0.55, 1.15)
        volumes.append(
            Volume(
                ELLIPSOID,
                x + np.cos(yaw) * along - np.sin(yaw) * back,
                y + np.sin(yaw) * along + np.cos(yaw) * back,
                ground + 0.42 * tall,
                rng.uniform(1.4, 2.6),
                0.5 * depth * rng.uniform(0.7, 1.2),
                0.62 * tall,
                yaw,
                rng.uniform(0.6, 1.4),
                rng.uniform(0.12, 0.5),
                rng.uniform(0.3, 0.9),
                rng.uniform(0, 1000),
                *_green(rng),
            )
        )
    return volumes


def crown(height: float, rng: np.random.Generator) -> list[Volume]:
    """Make the crown of a tree about the origin: a few overlapping balls of leaves."""
    bottom = height * rng.uniform(0.22, 0.42)
    radius = (height - bottom) * rng.uniform(0.32, 0.5)
    colour = _green(rng)
    volumes = []
    for _ in range(int(rng.integers(2, 4))):
        part = radius * rng.uniform(0.6, 0.95)
        offset = rng.normal(0.0, 0.35 * radius, 2)
        level = rng.uniform(bottom + 0.8 * part, max(height - part, bottom + part))
        volumes.append(
            Volume(
                ELLIPSOID,
                offset[0],
                offset[1],
                level,
                part,
                part,
                part * rng.uniform(0.8, 1.1),
                0.0,
                rng.uniform(0.8, 1.6) * min(part / 2, 1.0),
                rng.uniform(0.2, 0.6),
                rng.uniform(0.4, 0.9),
                rng.uniform(0, 1000),
                *colour,
            )
        )
    return volumes
