"""Everything solid along a street that is nobody's label: houses, walls, poles, bins, fences.

A detector must learn from these what is not a car, a pedestrian or a cyclist, so there are many
kinds, with sizes that overlap those of the classes. Long things lie along x, seen from +y.
"""

from __future__ import annotations

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.bicycles import bicycle
from pcdet.simulator.mesh import (
    Corners,
    Mesh,
    Surface,
    box,
    ellipsoid,
    from_triangles,
    merge,
    quad,
    quads,
    tube,
)

Panel = tuple[Corners, Surface]


def _upright(x0: float, x1: float, y: float, z0: float, z1: float, surface: Surface) -> Panel:
    """The rectangle x0..x1, z0..z1 in the plane at y."""
    return ((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)), surface


def _opening(
    hole: tuple[float, float, float, float], depth: float, pane: Surface
) -> tuple[list[Panel], list[Mesh]]:
    """A window or door set back by `depth` into a `hole` (x, x, z, z) in the wall at y = 0.

    Returns:
        The panels of pane, curtain and reveal, and the bar of a window.
    """
    x0, x1, z0, z1 = hole
    y, middle = -depth, (x0 + x1) / 2
    panels, bars = [_upright(x0, x1, y, z0, z1, pane)], []
    if pane.kind == m.WINDOW.kind:
        panels.append(_upright(x0, x1, y - 0.25, z0, z1, m.CURTAIN))
        bars.append(box((0.07, 0.05, z1 - z0), (middle, y + 0.02, (z0 + z1) / 2), m.CONCRETE))
    for (xa, za), (xb, zb) in (
        ((x0, z0), (x0, z1)),
        ((x1, z0), (x1, z1)),
        ((x0, z0), (x1, z0)),
        ((x0, z1), (x1, z1)),
    ):
        panels.append((((xa, 0, za), (xb, 0, zb), (xb, y, zb), (xa, y, za)), m.CONCRETE))
    return panels, bars


def _pierced_wall(
    x0: float,
    x1: float,
    z0: float,
    z1: float,
    hole: tuple[float, float, float, float],
    wall: Surface,
) -> list[Panel]:
    """The rectangle x0..x1, z0..z1 in the plane y = 0 but for the `hole` (x, x, z, z)."""
    a, b, low, high = hole
    strips = [(x0, a, z0, z1), (b, x1, z0, z1), (a, b, z0, low), (a, b, high, z1)]
    return [
        _upright(left, right, 0, bottom, top, wall)
        for left, right, bottom, top in strips
        if right - left > 1e-3 and top - bottom > 1e-3
    ]


def _bay(
    x: float,
    width: float,
    floor: int,
    storey: float,
    kind: str,
    faces: tuple[Surface, Surface],
    rng: np.random.Generator,
) -> tuple[list[Panel], list[Mesh]]:
    """One storey of one bay of a front: a window, a shop window, a door, a garage or bare wall.

    Returns:
        Its panels, and the bars of its window.
    """
    wall, glass = faces
    z0, z1 = floor * storey, (floor + 1) * storey
    middle, top = x + width / 2, z0 + min(2.3, storey - 0.35)
    if kind == "window":
        half, sill = rng.uniform(0.4, 0.75), z0 + rng.uniform(0.7, 1.1)
        hole, pane = (middle - half, middle + half, sill, top), glass
    elif kind == "shop":
        hole, pane = (x + 0.25, x + width - 0.25, z0 + 0.35, z0 + storey - 0.5), glass
    elif kind == "door":
        hole, pane = (middle - 0.55, middle + 0.55, z0, z0 + 2.2), m.WOOD
    elif kind == "garage":
        half = min(1.3, width / 2 - 0.15)
        hole, pane = (middle - half, middle + half, z0, z0 + 2.2), m.METAL
    else:
        return [_upright(x, x + width, 0, z0, z1, wall)], []
    panels, bars = _opening(hole, rng.uniform(0.06, 0.25), pane)
    return _pierced_wall(x, x + width, z0, z1, hole, wall) + panels, bars


def building(length: float, depth: float, rng: np.random.Generator) -> Mesh:
    """Make a house; its front lies along x in the plane y = 0, the rest behind it at y < 0."""
    storeys = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.4, 0.3, 0.15]))
    storey = rng.uniform(2.6, 3.4)
    height = storeys * storey
    faces = wall, _ = m.plaster(rng), m.window(rng)
    bays = max(1, round(length / rng.uniform(2.2, 4.0)))
    width = length / bays
    shops = rng.random() < 0.2
    ground_kinds = ["window", "door", "garage", "blank"]
    panels, bars = [], []
    for bay in range(bays):
        x = -length / 2 + bay * width
        kind = "shop" if shops else str(rng.choice(ground_kinds, p=[0.5, 0.17, 0.11, 0.22]))
        for floor in range(storeys):
            found = _bay(x, width, floor, storey, "window" if floor else kind, faces, rng)
            panels += found[0]
            bars += found[1]
    back = -depth
    for x in (-length / 2, length / 2):
        panels.append((((x, 0, 0), (x, back, 0), (x, back, height), (x, 0, height)), wall))
    panels.append(_upright(-length / 2, length / 2, back, 0, height, wall))
    rise = height + rng.uniform(0.3, 0.5) * min(depth, 8.0)
    for y in (0.4, back - 0.4):
        x, z = length / 2 + 0.3, height - 0.1
        corners = (-x, y, z), (x, y, z), (x, back / 2, rise), (-x, back / 2, rise)
        panels.append((corners, m.TILE))
    parts = [quads(panels), *bars]
    for x in (-length / 2, length / 2):
        gable = [[x, 0, height], [x, -depth, height], [x, -depth / 2, rise]]
        parts.append(from_triangles(np.array([gable]), wall))
    return merge(parts + _front_details(length, height, rng))


def _front_details(length: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    """Drain pipes, steps, cellar-window boxes, a balcony: what makes a front uneven."""
    parts = []
    if rng.random() < 0.7:
        x = rng.choice([-1.0, 1.0]) * (length / 2 - 0.3)
        parts.append(tube((x, 0.08, 0), (x, 0.08, height), (0.05, 0.05), m.METAL, 5))
    if rng.random() < 0.4:
        x = rng.uniform(-0.35, 0.35) * length
        parts.append(box((1.6, 0.9, 0.34), (x, 0.45, 0.17), m.CONCRETE))
    if rng.random() < 0.4:
        x = rng.uniform(-0.35, 0.35) * length
        parts.append(box((rng.uniform(1.0, 2.6), 1.1, 0.15), (x, 0.55, 2.75), m.CONCRETE))
    if rng.random() < 0.3:
        x = rng.uniform(-0.4, 0.4) * length
        parts.append(box((0.7, 0.3, 0.9), (x, 0.15, 0.75), m.lacquer(rng)))
    return parts


def shed(rng: np.random.Generator) -> Mesh:
    """Make a garden shed, garage or kiosk; about the size of a car or van, some of them."""
    length, width, height = rng.uniform([1.8, 1.5, 1.6], [6.5, 3.5, 3.0])
    surface = m.plaster(rng) if rng.random() < 0.6 else m.WOOD
    parts = [
        box((length, width, height), (0, 0, height / 2), surface),
        box((length + 0.4, width + 0.4, 0.1), (0, 0, height), m.TILE),
        box(
            (0.05, 0.9, min(1.9, height - 0.2)),
            (length / 2, 0, min(0.95, height / 2 - 0.1)),
            m.WOOD,
        ),
    ]
    return merge(parts)


def wall(length: float, height: float, rng: np.random.Generator) -> Mesh:
    """Make a garden or retaining wall, in sections with piers."""
    surface = m.plaster(rng)
    parts = []
    sections = max(1, round(length / 4.0))
    width = length / sections
    piers = rng.random() < 0.5
    for k in range(sections):
        x = -length / 2 + (k + 0.5) * width
        parts.append(box((width, 0.25, height), (x, 0, height / 2), surface))
        if piers:
            pier = height + 0.2
            parts.append(box((0.4, 0.4, pier), (x - width / 2, 0, pier / 2), surface))
    return merge(parts)


def fence(length: float, height: float, rng: np.random.Generator) -> Mesh:
    """Make a fence of pickets, boards or wire on posts."""
    kind = rng.choice(["pickets", "boards", "rails"])
    surface = m.WOOD if rng.random() < 0.5 else m.METAL
    parts = []
    posts = max(2, round(length / 2.4))
    for x in np.linspace(-length / 2, length / 2, posts):
        parts.append(box((0.09, 0.09, height + 0.1), (x, 0, (height + 0.1) / 2), surface))
    for z in (0.25 * height, 0.85 * height):
        parts.append(box((length, 0.05, 0.08), (0, 0, z), surface))
    if kind == "boards":
        parts.append(box((length, 0.03, 0.86 * height), (0, 0, 0.52 * height), m.WOOD))
    elif kind == "pickets":
        step = rng.uniform(0.14, 0.26)
        parts.append(
            quads(
                [
                    _upright(x - 0.035, x + 0.035, 0.03, 0.1, height, surface)
                    for x in np.arange(-length / 2 + step, length / 2, step).tolist()
                ]
            )
        )
    if rng.random() < 0.3:
        parts.append(box((length, 0.25, 0.5), (0, 0, 0.25), m.CONCRETE))
    return merge(parts)


def guard_rail(length: float) -> Mesh:
    """Make a steel crash barrier with its posts."""
    parts = []
    for x in np.arange(-length / 2, length / 2 + 0.1, 2.0):
        parts.append(box((0.10, 0.14, 0.70), (x, -0.12, 0.35), m.METAL))
    for z in (0.50, 0.66):
        parts.append(box((length, 0.06, 0.11), (0, 0.0, z), m.METAL))
    parts.append(box((length, 0.02, 0.24), (0, -0.04, 0.58), m.METAL))
    return merge(parts)


def pole(rng: np.random.Generator) -> Mesh:
    """Make a lamp post, mast or traffic light."""
    height, radius = rng.uniform(3.5, 9.0), rng.uniform(0.05, 0.15)
    surface = m.METAL if rng.random() < 0.7 else m.CONCRETE
    parts = [tube((0, 0, 0), (0, 0, height), (radius, radius * 0.7), surface, 8)]
    kind = rng.random()
    if kind < 0.4:
        parts.append(tube((0, 0, height), (0, 1.6, height + 0.3), (0.05, 0.04), surface, 5))
        parts.append(box((0.25, 0.6, 0.12), (0, 1.8, height + 0.25), m.METAL))
    elif kind < 0.6:
        parts.append(box((0.28, 0.28, 0.85), (0.18, 0, 2.7), m.PLASTIC))
    if rng.random() < 0.25:
        parts.append(tube((0, 0, 0), (0, 0, 1.0), (radius * 1.8, radius * 1.8), surface, 8))
    return merge(parts)


def sign_post(rng: np.random.Generator) -> Mesh:
    """Make a traffic sign on a pipe, or a board between two."""
    if rng.random() < 0.15:
        width, height, low = rng.uniform(1.2, 2.8), rng.uniform(0.6, 1.6), rng.uniform(0.6, 2.0)
        posts = [
            tube((0, y, 0), (0, y, low + height), (0.04, 0.04), m.METAL, 5)
            for y in (-0.35 * width, 0.35 * width)
        ]
        board = box((0.04, width, height), (0.05, 0, low + height / 2), m.lacquer(rng))
        return merge([*posts, board])
    height = rng.uniform(2.0, 3.0)
    parts = [tube((0, 0, 0), (0, 0, height), (0.035, 0.035), m.METAL, 5)]
    surface = m.SIGN if rng.random() < 0.6 else m.BLUE_SIGN
    radius = rng.uniform(0.28, 0.45)
    parts.append(
        tube(
            (0.03, 0, height - radius),
            (0.05, 0, height - radius),
            (radius, radius),
            surface,
            int(rng.choice([3, 4, 8, 10])),
        )
    )
    if rng.random() < 0.3:
        parts.append(box((0.03, 0.45, 0.3), (0.04, 0, height - 2.2 * radius - 0.2), surface))
    return merge(parts)


def bollard(rng: np.random.Generator) -> Mesh:
    """Make a bollard or a delineator post."""
    height, radius = rng.uniform(0.6, 1.2), rng.uniform(0.04, 0.14)
    parts = [tube((0, 0, 0), (0, 0, height), (radius, radius * 0.9), m.lacquer(rng), 6)]
    if rng.random() < 0.2:
        parts.append(
            tube((0, 0, 0.7 * height), (0, 0, 0.85 * height), (radius * 1.05, radius), m.SIGN, 6)
        )
    return merge(parts)


def bin_or_box(rng: np.random.Generator) -> Mesh:
    """Make a waste bin on wheels, a litter bin, a letter or switch box, a container."""
    kind = rng.random()
    if kind < 0.5:
        width, height = rng.uniform(0.5, 0.65), rng.uniform(0.9, 1.15)
        lower = box((width * 0.85, width * 0.85, height * 0.8), (0, 0, height * 0.45), m.PLASTIC)
        lid = box((width * 1.1, width, 0.12), (0.02, 0, height * 0.9), m.lacquer(rng))
        return merge([lower, lid])
    if kind < 0.7:
        return tube((0, 0, 0), (0, 0, rng.uniform(0.7, 1.2)), (0.26, 0.26), m.lacquer(rng), 10)
    if kind < 0.92:
        size = rng.uniform([0.3, 0.6, 0.9], [0.5, 1.5, 1.6])
        return box(size, (0, 0, size[2] / 2), m.lacquer(rng))
    size = rng.uniform([1.4, 1.5, 1.2], [2.2, 3.0, 1.8])
    return box(size, (0, 0, size[2] / 2), m.lacquer(rng))


def bench(rng: np.random.Generator) -> Mesh:
    """Make a bench that faces +x."""
    width = rng.uniform(1.3, 2.0)
    parts = [
        box((0.42, width, 0.06), (0, 0, 0.44), m.WOOD),
        box((0.06, width, 0.40), (-0.22, 0, 0.72), m.WOOD),
    ]
    parts += [box((0.4, 0.07, 0.44), (0, y * width, 0.22), m.CONCRETE) for y in (-0.4, 0.4)]
    return merge(parts)


def bicycle_stand(rng: np.random.Generator) -> Mesh:
    """Parked bicycles side by side, some of them leaning or lacking."""
    parts = []
    for k in range(int(rng.integers(1, 7))):
        tilt = rng.normal(0.0, 0.08)
        one = bicycle(rng).moved((rng.normal(0, 0.06), 0, 0), rng.choice([0.0, np.pi]))
        one.triangles[..., 1] += one.triangles[..., 2] * tilt + k * rng.uniform(0.45, 0.7)
        parts.append(one)
    return merge(parts)


def motorcycle(rng: np.random.Generator) -> Mesh:
    """Make a parked motorcycle or scooter, 2 m long."""
    paint = m.lacquer(rng)
    parts = [
        tube((0.68, -0.06, 0.31), (0.68, 0.06, 0.31), (0.31, 0.31), m.TYRE, 10),
        tube((-0.66, -0.08, 0.31), (-0.66, 0.08, 0.31), (0.31, 0.31), m.TYRE, 10),
        box((0.55, 0.32, 0.42), (0.0, 0, 0.48), m.DARK_METAL),
        ellipsoid((0.15, 0, 0.85), (0.33, 0.17, 0.16), paint, 8),
        ellipsoid((-0.4, 0, 0.80), (0.42, 0.15, 0.10), m.SEAT, 8),
        tube((0.68, 0, 0.31), (0.45, 0, 1.0), (0.05, 0.05), m.METAL, 5),
        tube((0.42, -0.38, 1.05), (0.42, 0.38, 1.05), (0.02, 0.02), m.METAL, 4),
        box((0.01, 0.2, 0.2), (-0.9, 0, 0.62), m.PLATE),
    ]
    return merge(parts)


def shelter(rng: np.random.Generator) -> Mesh:
    """Make a bus or tram stop with panes and a roof, open towards +y."""
    length = rng.uniform(2.5, 5.0)
    parts = [box((length, 1.6, 0.1), (0, -0.7, 2.4), m.METAL)]
    parts += [box((0.08, 0.08, 2.4), (x, -1.4, 1.2), m.METAL) for x in (-length / 2, 0, length / 2)]
    pane = (-length / 2, length / 2)
    parts.append(
        quad(
            (pane[0], -1.4, 0.3),
            (pane[1], -1.4, 0.3),
            (pane[1], -1.4, 2.2),
            (pane[0], -1.4, 2.2),
            m.WINDOW,
        )
    )
    parts.append(box((0.15, 1.2, 1.8), (length / 2, -0.7, 1.1), m.lacquer(rng)))
    return merge(parts)
