"""Small things at the roadside whose size or outline is that of a person or a bicycle.

They have no label: a detector learns from them what is not one. Each stands on z = 0, centred.
"""

from __future__ import annotations

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.bicycles import bicycle
from pcdet.simulator.mesh import Mesh, box, ellipsoid, merge, tube


def parked_bicycle(rng: np.random.Generator) -> Mesh:
    """Make one bicycle on its stand or leaning at something."""
    mesh = bicycle(rng)
    mesh.triangles[..., 1] += mesh.triangles[..., 2] * rng.normal(0.0, 0.10)
    return mesh


def hydrant(rng: np.random.Generator) -> Mesh:
    """Make a pillar hydrant, 0.7 to 1.2 m high."""
    height, radius = rng.uniform(0.7, 1.2), rng.uniform(0.09, 0.15)
    paint = m.lacquer(rng)
    parts = [
        tube((0, 0, 0), (0, 0, 0.85 * height), (radius, radius * 0.9), paint, 8),
        ellipsoid((0, 0, 0.86 * height), (radius, radius, 0.14 * height), paint, 8),
        tube((0, -0.24, 0.6 * height), (0, 0.24, 0.6 * height), (0.06, 0.06), paint, 6),
    ]
    return merge(parts)


def post(rng: np.random.Generator) -> Mesh:
    """Make a post as high as a person or less, with a meter, a letter box or a wrap, or bare."""
    height, radius = rng.uniform(0.9, 2.1), rng.uniform(0.03, 0.16)
    surface = (m.WOOD, m.METAL, m.CONCRETE, m.lacquer(rng))[int(rng.integers(4))]
    parts = [tube((0, 0, 0), (0, 0, height), (radius, radius), surface, 7)]
    kind = rng.random()
    if kind < 0.5:
        size = rng.uniform([0.12, 0.2, 0.2], [0.35, 0.5, 0.8])
        level = max(height - size[2] / 2, size[2] / 2)
        parts.append(box(size, (0.5 * size[0], 0, level), m.lacquer(rng)))
    elif kind < 0.65:
        parts.append(ellipsoid((0, 0, height), (0.14, 0.14, 0.16), m.lacquer(rng), 7))
    return merge(parts)


def planter(rng: np.random.Generator) -> Mesh:
    """Make a tub with an upright plant clipped to a cone or a ball."""
    width, height = rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.7)
    parts = [box((width, width, height), (0, 0, height / 2), m.CONCRETE)]
    top, radius = rng.uniform(0.3, 1.3), 0.45 * width * rng.uniform(0.6, 1.2)
    if rng.random() < 0.5:
        parts.append(tube((0, 0, height), (0, 0, height + top), (radius, 0.06), m.SHRUB, 8))
    else:
        stem = (0, 0, height + 0.6 * top)
        parts.append(tube((0, 0, height), stem, (0.03, 0.03), m.BARK, 5))
        parts.append(ellipsoid(stem, (radius, radius, 0.5 * top), m.SHRUB, 8))
    return merge(parts)


def advertising_column(rng: np.random.Generator) -> Mesh:
    """Make a column with posters, a clock or a thick short pillar."""
    height, radius = rng.uniform(1.4, 3.4), rng.uniform(0.25, 0.7)
    parts = [tube((0, 0, 0), (0, 0, height), (radius, radius), m.plaster(rng), 12)]
    if height > 2.2:
        cap = (0, 0, height), (0, 0, height + 0.25)
        parts.append(tube(*cap, (radius * 1.15, radius * 0.3), m.METAL, 12))
    return merge(parts)


def cone_or_barrier(rng: np.random.Generator) -> Mesh:
    """Make a traffic cone, a warning beacon, or a barrier on two feet."""
    kind = rng.random()
    if kind < 0.35:
        height = rng.uniform(0.5, 0.8)
        cone = tube((0, 0, 0.03), (0, 0, height), (0.15, 0.03), m.lacquer(rng), 8)
        return merge([cone, box((0.36, 0.36, 0.04), (0, 0, 0.02), m.PLASTIC)])
    if kind < 0.6:
        board = box((0.05, 0.25, 1.0), (0, 0, 0.65), m.SIGN)
        return merge([board, box((0.8, 0.4, 0.12), (0, 0, 0.06), m.PLASTIC)])
    width = rng.uniform(1.2, 2.2)
    parts = [box((0.04, width, 0.22), (0, 0, z), m.lacquer(rng)) for z in (0.45, 0.9)]
    for y in (-0.4 * width, 0.4 * width):
        parts.append(box((0.05, 0.05, 1.0), (0, y, 0.5), m.METAL))
        parts.append(box((0.6, 0.2, 0.08), (0, y, 0.04), m.PLASTIC))
    return merge(parts)


def low_wall(rng: np.random.Generator) -> Mesh:
    """Make a short piece of wall with a pier at either end, knee-high to breast-high."""
    length, height = rng.uniform(1.0, 4.0), rng.uniform(0.35, 1.3)
    surface = m.plaster(rng)
    parts = [box((length, 0.24, height), (0, 0, height / 2), surface)]
    pier = height + rng.uniform(0.0, 0.5)
    for x in (-length / 2, length / 2):
        parts.append(box((0.4, 0.4, pier), (x, 0, pier / 2), surface))
    return merge(parts)


def cabinet(rng: np.random.Generator) -> Mesh:
    """Make a ticket machine, a telephone, a petrol pump or a tall narrow box on a plinth."""
    size = rng.uniform([0.3, 0.4, 1.2], [0.7, 0.9, 1.9])
    body = box(size, (0, 0, 0.1 + size[2] / 2), m.lacquer(rng))
    parts = [body, box((0.8 * size[0], 0.8 * size[1], 0.1), (0, 0, 0.05), m.CONCRETE)]
    if rng.random() < 0.4:
        roof = (1.5 * size[0], 1.2 * size[1], 0.08)
        parts.append(box(roof, (0.2 * size[0], 0, size[2] + 0.14), m.METAL))
    return merge(parts)


def rack(rng: np.random.Generator) -> Mesh:
    """Make what stands before a shop: a stand with goods, a folding sign, chairs about a table."""
    kind = rng.random()
    if kind < 0.35:
        height, width = rng.uniform(0.9, 1.2), rng.uniform(0.5, 0.7)
        halves = [
            tube((x, 0, 0), (0, 0, height), (0.5 * width, 0.45 * width), m.lacquer(rng), 4, 0.06)
            for x in (-0.3, 0.3)
        ]
        return merge(halves)
    if kind < 0.7:
        length, height = rng.uniform(0.8, 2.0), rng.uniform(1.2, 1.8)
        parts = [box((0.5, length, 0.04), (0, 0, z), m.METAL) for z in (0.3, 0.75)]
        for y in (-length / 2, length / 2):
            parts.append(box((0.05, 0.05, height), (-0.22, y, height / 2), m.METAL))
        for _ in range(int(rng.integers(2, 7))):
            size = rng.uniform([0.15, 0.15, 0.1], [0.4, 0.4, 0.4])
            spot = (0, rng.uniform(-0.4, 0.4) * length, 0.77 + size[2] / 2)
            parts.append(box(size, spot, m.cloth(rng)))
        return merge(parts)
    parts = [
        tube((0, 0, 0), (0, 0, 0.72), (0.03, 0.03), m.METAL, 5),
        tube((0, 0, 0.72), (0, 0, 0.75), (0.4, 0.4), m.WOOD, 10),
    ]
    for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(1, 4))):
        x, y = 0.75 * np.cos(angle), 0.75 * np.sin(angle)
        parts.append(box((0.42, 0.42, 0.05), (x, y, 0.45), m.PLASTIC))
        parts.append(box((0.08, 0.42, 0.45), (1.27 * x, 1.27 * y, 0.68), m.PLASTIC))
        parts += [box((0.04, 0.4, 0.45), (x + d, y, 0.22), m.PLASTIC) for d in (-0.18, 0.18)]
    if rng.random() < 0.4:
        parts.append(tube((0, 0, 0.75), (0, 0, 2.2), (0.025, 0.025), m.METAL, 5))
        parts.append(tube((0, 0, 2.0), (0, 0, 2.4), (1.3, 0.05), m.cloth(rng), 8))
    return merge(parts)


def container(rng: np.random.Generator) -> Mesh:
    """Make a skip or a goods container, of a car's or a lorry's size."""
    paint = m.lacquer(rng)
    if rng.random() < 0.6:
        length, width, height = rng.uniform([2.8, 1.6, 1.0], [4.2, 2.0, 1.7])
        floor = box((0.7 * length, width, 0.1), (0, 0, 0.15), paint)
        sides = [box((0.85 * length, 0.06, height), (0, y, 0.1 + height / 2), paint)
                 for y in (-width / 2, width / 2)]  # fmt: skip
        ends = [
            box((0.06, width, height), (x, 0, 0.1 + height / 2), paint)
            for x in (-0.42 * length, 0.42 * length)
        ]
        return merge([floor, *sides, *ends])
    length = 6.06 if rng.random() < 0.7 else 3.0
    parts = [box((length, 2.44, 2.59), (0, 0, 1.35), paint)]
    for x in np.arange(-length / 2 + 0.2, length / 2, 0.4).tolist():
        parts += [box((0.2, 0.05, 2.3), (x, y, 1.35), paint) for y in (-1.24, 1.24)]
    return merge(parts)
