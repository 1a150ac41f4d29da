"""Cars, vans, lorries, trams and trailers as meshes with glass, wheels, lamps and seats.

A car's hull is lofted: a side contour gives the height of the body at each station from the nose
(0) to the tail (1), a half section gives its width at each height, and both are rounded. All
shapes are scaled to the size of the label's box less the few centimetres of air that KITTI's
annotators leave; only the mirrors stand out of it, as they do in KITTI.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.drawing import grid_triangles
from pcdet.simulator.mesh import (
    Drawn,
    Mesh,
    Surface,
    box,
    merge,
    quad,
    sheet,
    tube,
    wheel,
)


@dataclass(frozen=True)
class BodyStyle:
    """Side contour of a body; all lengths are fractions of the car's length or height.

    Attributes:
        contour: (x, z) from the top of the front bumper over bonnet and roof to the rear bumper.
        cowl, roof_front, roof_rear, tail: x of the lower and upper edges of windscreen and rear
            window.
        belt: z of the lower edge of the side windows.
        wheels: x of the axles.
        tumble: how much narrower the roof is than the belt.
        windows: x up to which there are side windows; a van's are short.
    """

    contour: tuple[tuple[float, float], ...]
    cowl: float
    roof_front: float
    roof_rear: float
    tail: float
    belt: float
    wheels: tuple[float, float]
    tumble: float = 0.20
    windows: float = 1.0


HATCHBACK = BodyStyle(
    ((0, 0.38), (0.015, 0.46), (0.06, 0.52), (0.16, 0.58), (0.26, 0.63), (0.34, 0.79),
     (0.43, 0.95), (0.52, 0.99), (0.65, 1.0), (0.80, 0.97), (0.90, 0.92), (0.95, 0.80),
     (0.985, 0.62), (1.0, 0.48)),
    0.26, 0.43, 0.90, 0.985, 0.61, (0.185, 0.82),
)  # fmt: skip
SEDAN = BodyStyle(
    ((0, 0.36), (0.012, 0.44), (0.05, 0.50), (0.16, 0.57), (0.27, 0.62), (0.345, 0.79),
     (0.43, 0.94), (0.52, 0.99), (0.62, 1.0), (0.71, 0.95), (0.79, 0.83), (0.87, 0.70),
     (0.95, 0.67), (0.985, 0.63), (1.0, 0.45)),
    0.27, 0.43, 0.71, 0.87, 0.61, (0.175, 0.79), tumble=0.23,
)  # fmt: skip
ESTATE = BodyStyle(
    ((0, 0.37), (0.012, 0.45), (0.05, 0.51), (0.15, 0.58), (0.25, 0.63), (0.325, 0.80),
     (0.40, 0.95), (0.50, 0.99), (0.70, 1.0), (0.85, 0.98), (0.93, 0.94), (0.965, 0.80),
     (0.99, 0.62), (1.0, 0.46)),
    0.25, 0.40, 0.93, 0.99, 0.61, (0.175, 0.79),
)  # fmt: skip
SUV = BodyStyle(
    ((0, 0.40), (0.012, 0.50), (0.05, 0.56), (0.14, 0.61), (0.23, 0.65), (0.31, 0.81),
     (0.38, 0.95), (0.47, 0.99), (0.68, 1.0), (0.84, 0.98), (0.93, 0.94), (0.965, 0.80),
     (0.99, 0.62), (1.0, 0.47)),
    0.23, 0.38, 0.93, 0.99, 0.63, (0.185, 0.80), tumble=0.17,
)  # fmt: skip
MINIVAN = BodyStyle(
    ((0, 0.34), (0.012, 0.42), (0.05, 0.48), (0.12, 0.55), (0.18, 0.60), (0.27, 0.78),
     (0.36, 0.95), (0.47, 0.99), (0.68, 1.0), (0.86, 0.98), (0.94, 0.94), (0.97, 0.80),
     (0.99, 0.60), (1.0, 0.44)),
    0.18, 0.36, 0.94, 0.99, 0.58, (0.18, 0.82), tumble=0.17,
)  # fmt: skip
VAN = BodyStyle(
    ((0, 0.28), (0.012, 0.36), (0.05, 0.42), (0.11, 0.49), (0.15, 0.54), (0.215, 0.75),
     (0.28, 0.93), (0.36, 0.985), (0.60, 1.0), (0.90, 0.99), (0.97, 0.965), (0.985, 0.80),
     (0.995, 0.52), (1.0, 0.32)),
    0.15, 0.28, 0.97, 0.995, 0.53, (0.18, 0.80), tumble=0.12, windows=0.40,
)  # fmt: skip

_CAR_STYLES = (HATCHBACK, SEDAN, ESTATE, SUV, MINIVAN)
_STYLE_SHARE = np.array([0.36, 0.22, 0.21, 0.10, 0.11])
_AIR = np.array([0.10, 0.05, 0.03])  # between body and box, both sides together, metres
# Mean length, width, height and how each style departs from it, metres.
_STYLE_SIZE = {
    HATCHBACK: (3.56, 1.58, 1.49),
    SEDAN: (4.10, 1.64, 1.45),
    ESTATE: (4.08, 1.63, 1.49),
    SUV: (4.02, 1.72, 1.70),
    MINIVAN: (3.92, 1.66, 1.66),
}


def _section(style: BodyStyle, top: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half section of the hull: relative half width and height of each level at each station.

    Args:
        style: the body.
        top: (S,) height of the contour at each station.
        floor: (S,) height of the lower edge.

    Returns:
        widths and heights, (S, 9); the first level is the sill, the last the middle of the roof.
    """
    belt = np.minimum(style.belt, top - 0.045)
    waist = floor + 0.55 * (belt - floor)
    heights = np.stack(
        [
            floor,
            floor + 0.10,
            waist,
            belt,
            belt + 0.50 * (top - belt),
            belt + 0.86 * (top - belt),
            top - 0.012,
            top,
            top + 0.006,
        ],
        axis=1,
    )
    lean = np.clip((heights - style.belt) / (1.0 - style.belt), 0.0, 1.0)
    base = np.array([0.90, 0.965, 1.0, 0.975, 0.955, 0.92, 0.85, 0.62, 0.0])
    return base * (1.0 - style.tumble * lean), heights


def _plan(stations: np.ndarray) -> np.ndarray:
    """Relative half width of the body in plan, (S,): rounded nose and tail."""
    return np.interp(
        stations,
        [0.0, 0.012, 0.03, 0.06, 0.12, 0.22, 0.78, 0.92, 0.97, 0.988, 1.0],
        [0.60, 0.73, 0.85, 0.925, 0.975, 1.0, 1.0, 0.965, 0.90, 0.80, 0.66],
    )


def _glass_cells(style: BodyStyle, stations: np.ndarray, levels: int) -> np.ndarray:
    """Which cells of the hull's grid are glass, (S - 1, levels - 1)."""
    middle = (stations[1:] + stations[:-1]) / 2
    glass = np.zeros((len(middle), levels - 1), dtype=bool)
    # Side windows, between windscreen pillar and tail pillar, with a door pillar in the middle.
    side = (middle > style.cowl + 0.06) & (middle < min(style.tail - 0.05, style.windows))
    side &= np.abs(middle - 0.53) > 0.012
    glass[side, 3:5] = True
    screen = (middle > style.cowl) & (middle < style.roof_front)
    rear = (middle > style.roof_rear) & (middle < style.tail)
    if style.windows < 1.0:
        rear[:] = False
    glass[screen | rear, 6:] = True
    return glass


@cache
def _hull(style: BodyStyle) -> tuple[np.ndarray, np.ndarray]:
    """Hull with its nose at +0.5, of unit length, width and height, closed at both ends.

    Returns:
        triangles (T, 3, 3) and which of them are glass, (T,).
    """
    x, z = np.array(style.contour, dtype=np.float64).T
    extra = np.array([0.515, 0.545, style.cowl + 0.06, max(style.tail - 0.05, 0.7)])
    stations = np.unique(np.concatenate([x, extra]))
    top = np.interp(stations, x, z)
    floor = np.interp(stations, [0, 0.04, 0.15, 0.85, 0.96, 1], [0.17, 0.14, 0.12, 0.12, 0.15, 0.2])
    widths, heights = _section(style, top, floor)
    widths = widths * _plan(stations)[:, None]
    along = np.broadcast_to((0.5 - stations)[:, None], widths.shape)
    sides = [np.stack([along, side * widths, heights], axis=-1) for side in (-0.5, 0.5)]
    ends = [np.stack([sides[1][end], sides[0][end]]) for end in (0, -1)]
    triangles = np.concatenate([grid_triangles(points) for points in (*sides, *ends)])
    low, high = (edge(triangles, axis=(0, 1)) for edge in (np.min, np.max))
    triangles[..., 1:] /= high[1] - low[1], high[2]
    glass = np.zeros(len(triangles), dtype=bool)
    panes = np.repeat(_glass_cells(style, stations, widths.shape[1]).ravel(), 2)
    glass[: 2 * len(panes)] = np.tile(panes, 2)
    return triangles, glass


def _lights(size: np.ndarray, rng: np.random.Generator) -> Mesh:
    """Plates and lamps, in front of the hull's ends; lamps follow the hull about its corners."""
    length, width, height = size
    parts = []
    shine = rng.uniform(0.4, 1.1)  # clear or clouded with age
    for end, lamp, z in ((1.0, m.HEAD_LAMP, 0.42), (-1.0, m.TAIL_LAMP, 0.50)):
        x = end * (length / 2 + 0.004)
        y, bottom = 0.26, 0.27 * height
        parts.append(
            quad((x, -y, bottom), (x, y, bottom), (x, y, bottom + 0.11), (x, -y, bottom + 0.11),
                 m.PLATE)
        )  # fmt: skip
        back = np.array([0.0, 0.0, 0.012, 0.03])
        across = _plan(back if end > 0 else 1.0 - back) / 2 * width
        across[0] = 0.25 * width
        along = end * (length * (0.5 - back) + 0.02)
        low, high = (z - 0.065) * height, (z + 0.065) * height
        surface = lamp._replace(reflectivity=lamp.reflectivity * shine)
        for side in (-1.0, 1.0):
            edges = pairwise(zip(along, side * across))
            parts += [quad((*a, low), (*b, low), (*b, high), (*a, high), surface) for a, b in edges]
    return merge(parts)


def _bumper(end: float, size: np.ndarray, surface: Surface) -> list[Mesh]:
    """The bumper of one end (1 nose, -1 tail), with corners that bend back.

    On real cars the bright points lie 0.4 to 0.65 m above the road, not on the plate alone.
    """
    length, width, height = size
    x, low, high = end * (length / 2 + 0.003), 0.28 * height, 0.43 * height
    edges = [(x - end * 0.03 * length, -0.43), (x, -0.3), (x, 0.3), (x - end * 0.03 * length, 0.43)]
    corners = [(along, across * width) for along, across in edges]
    return [
        quad((*a, low), (*b, low), (*b, high), (*a, high), surface) for a, b in pairwise(corners)
    ]


def _seats(style: BodyStyle, length: float, width: float, height: float) -> Mesh:
    """Dashboard and seats: what a beam through the windows may hit."""

    def at(x: float, y: float, z: float) -> tuple[float, float, float]:
        return ((0.5 - x) * length, y * width, z * height)

    front, rear = style.cowl + 0.27, min(style.cowl + 0.50, 0.86)
    parts = [box((0.45, 0.8 * width, 0.20 * height), at(style.cowl + 0.06, 0, 0.50), m.SEAT)]
    for y in (-0.20, 0.20):
        parts.append(box((0.14, 0.46, 0.46 * height), at(front, y, 0.52), m.SEAT))
    parts.append(box((0.16, 0.72 * width, 0.40 * height), at(rear, 0, 0.50), m.SEAT))
    return merge(parts)


def _wheels(style: BodyStyle, length: float, width: float, radius: float) -> Mesh:
    parts = []
    for x in style.wheels:
        for side in (-1.0, 1.0):
            centre = ((0.5 - x) * length, side * (width / 2 - 0.10), radius)
            parts.append(wheel(centre, radius, 0.205, m.TYRE, m.HUB))
    return merge(parts)


def _lofted(style: BodyStyle, size: np.ndarray, rng: np.random.Generator, paint: Surface) -> Mesh:
    """A road vehicle for a box of `size` (length, width, height) with all its parts."""
    length, width, height = size = size - _AIR
    triangles, glass = _hull(style)
    faces = np.where(glass[:, None], m.car_glass(rng), paint)
    hull = Mesh([Drawn(triangles * size, faces)])
    radius = rng.uniform(0.29, 0.33) * np.sqrt(height / 1.5)
    floor = 0.13 * height
    ends = 0.46 * length
    parts = [
        hull,
        _lights(size, rng),
        _seats(style, length, width, height),
        _wheels(style, length, width, radius),
        quad((ends, -0.42 * width, floor), (ends, 0.42 * width, floor),
             (-ends, 0.42 * width, floor), (-ends, -0.42 * width, floor), m.UNDERBODY),
    ]  # fmt: skip
    parts += [*_bumper(1.0, size, m.bumper(paint)), *_bumper(-1.0, size, m.bumper(paint))]
    mirror_x = (0.5 - style.cowl - 0.07) * length
    for side in (-1.0, 1.0):
        parts.append(
            box((0.10, 0.17, 0.13), (mirror_x, side * (width / 2 + 0.04), 0.64 * height), paint)
        )
    return merge(parts)


def car(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a car.

    Returns:
        The mesh and its size (length, width, height), with KITTI's means 3.88, 1.63, 1.53.
    """
    style = _CAR_STYLES[int(rng.choice(len(_CAR_STYLES), p=_STYLE_SHARE))]
    scale = 1.0 + 0.055 * rng.standard_normal() * np.array([1.2, 0.7, 0.8])
    size = np.array(_STYLE_SIZE[style]) * scale + rng.normal(0.0, [0.12, 0.04, 0.045])
    size = np.clip(size, [2.6, 1.40, 1.30], [4.9, 1.92, 1.95])
    return _lofted(style, size, rng, m.car_paint(rng)), size


def van(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a delivery van or minibus, KITTI's means 5.08, 1.90, 2.21."""
    size = rng.normal([5.08, 1.90, 2.21], [0.55, 0.11, 0.28])
    size = np.clip(size, [3.9, 1.65, 1.75], [6.6, 2.15, 2.85])
    paint = m.lacquer(rng) if rng.random() < 0.5 else m.car_paint(rng)
    style = VAN if rng.random() < 0.7 else MINIVAN
    return _lofted(style, size, rng, paint), size


def truck(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a lorry with a cab and a closed or open body, KITTI's means 10.1, 2.59, 3.25."""
    size = np.clip(rng.normal([10.1, 2.59, 3.25], [2.6, 0.2, 0.42]), [5.5, 2.2, 2.6],
                   [15.5, 2.95, 4.1])  # fmt: skip
    length, width, height = size
    cab_length = rng.uniform(1.6, 2.2)
    cab_height = height * rng.uniform(0.78, 0.98)
    cab_paint, body_paint = m.lacquer(rng), m.lacquer(rng)
    front, back = length / 2, length / 2 - cab_length
    half = width / 2 * 0.97
    profile = np.array([(back, 0.55), (front, 0.55), (front, 1.25), (front - 0.25, cab_height),
                        (back, cab_height)])  # fmt: skip
    cab = [_extruded(profile, half, cab_paint)]
    top = cab_height - 0.35
    cab.append(
        quad((front + 0.005, -half * 0.9, 1.4), (front + 0.005, half * 0.9, 1.4),
             (front - 0.2, half * 0.9, top), (front - 0.2, -half * 0.9, top), m.CAR_GLASS)
    )  # fmt: skip
    cab.append(box((0.3, 2 * half * 0.9, top - 1.3), (front - 0.6, 0, (top + 1.3) / 2), m.SEAT))
    body_front = back - 0.25
    body_length = body_front + length / 2
    body_height = height - 1.05 if rng.random() < 0.8 else 0.7
    middle = (-length / 2 + body_length / 2, 0.0, 1.05 + body_height / 2)
    parts = [*cab, box((body_length, width, body_height), middle, body_paint)]
    if body_height < height - 1.05:  # an open body: let the cab reach the full height
        parts.append(
            box((0.1, width, height - 1.05), (body_front, 0, (height + 1.05) / 2), m.METAL)
        )
    parts.append(box((length - 0.5, 0.8, 0.25), (0, 0, 0.85), m.UNDERBODY))
    axles = [front - 1.2, -length / 2 + 1.2] + ([-length / 2 + 2.5] if length > 9 else [])
    for x in axles:
        for side in (-1.0, 1.0):
            parts.append(wheel((x, side * (width / 2 - 0.17), 0.48), 0.48, 0.3, m.TYRE, m.METAL))
    for x, lamp in ((front, m.HEAD_LAMP), (-length / 2, m.TAIL_LAMP)):
        for side in (-1.0, 1.0):
            parts.append(box((0.02, 0.3, 0.16), (x, side * 0.38 * width, 0.8), lamp))
    plate_x = -length / 2 - 0.002
    parts.append(box((0.004, 0.5, 0.11), (plate_x, 0, 0.9), m.PLATE))
    return merge(parts).fitted(size - _AIR), size


def _extruded(profile: np.ndarray, half_width: float, surface: Surface) -> Mesh:
    """A convex side profile (P, 2) of x and z, extruded over the width and closed."""
    closed = np.concatenate([profile, profile[:1]])
    left = np.insert(closed, 1, half_width, axis=1)
    right = np.insert(closed, 1, -half_width, axis=1)
    middle = np.insert(np.broadcast_to(profile.mean(axis=0), closed.shape), 1, 0.0, axis=1)
    caps = [
        sheet(np.stack([side, np.array([0.0, y, 0.0]) + middle]), surface)
        for side, y in ((left, half_width), (right, -half_width))
    ]
    return merge([sheet(np.stack([left, right]), surface), *caps])


def tram(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a tram of one or two sections, KITTI's means 16.1, 2.54, 3.53."""
    size = np.clip(rng.normal([16.1, 2.54, 3.53], [5.0, 0.1, 0.12]), [9.0, 2.3, 3.3],
                   [28.0, 2.7, 3.8])  # fmt: skip
    length, width, height = size
    paint = m.lacquer(rng)
    parts = []
    nose = np.array([(-0.5, 0.3), (0.5, 0.3), (0.5, 1.3), (0.47, 2.6), (0.44, height - 0.25),
                     (-0.44, height - 0.25), (-0.47, 2.6), (-0.5, 1.3)])  # fmt: skip
    parts.append(_extruded(nose * [length, 1.0], width / 2 * 0.985, paint))
    bays = max(4, int(length / 1.7))
    for k in range(bays):
        x = (k + 0.5) / bays * 0.86 * length - 0.43 * length
        reach = 0.40 * 0.86 * length / bays
        for y in (-width / 2, width / 2):
            parts.append(
                quad((x - reach, y, 1.25), (x + reach, y, 1.25), (x + reach, y, 2.55),
                     (x - reach, y, 2.55), m.WINDOW)
            )  # fmt: skip
    parts.append(box((0.5 * length, 0.7 * width, 0.25), (0, 0, height - 0.125), m.METAL))
    return merge(parts).fitted(size - _AIR), size


def trailer(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make what KITTI calls Misc: a small trailer or a caravan, means 3.58, 1.51, 1.91."""
    size = np.clip(rng.normal([3.3, 1.51, 1.85], [0.9, 0.18, 0.35]), [1.8, 1.1, 1.1],
                   [6.0, 2.2, 2.7])  # fmt: skip
    length, width, height = size
    bar = min(0.9, 0.28 * length)
    parts = [
        box((length - bar, width * 0.86, height - 0.5), (-bar / 2, 0, 0.5 + (height - 0.5) / 2),
            m.lacquer(rng)),
        tube((length / 2 - bar, 0, 0.45), (length / 2, 0, 0.45), (0.05, 0.05), m.METAL),
        tube((length / 2 - 0.12, 0, 0), (length / 2 - 0.12, 0, 0.5), (0.05, 0.05), m.PLASTIC),
        box((0.005, 0.5, 0.11), (-length / 2 - 0.0025, 0, 0.55), m.PLATE),
    ]  # fmt: skip
    for side in (-1.0, 1.0):
        centre = (-bar / 2, side * (width / 2 - 0.08), 0.29)
        parts.append(wheel(centre, 0.29, 0.16, m.TYRE, m.METAL))
        parts.append(box((0.004, 0.16, 0.1), (-length / 2, side * 0.36 * width, 0.62), m.TAIL_LAMP))
    return merge(parts).fitted(size - _AIR), size
