"""What stands about in a street and behind its fronts: which things, how many, and where.

To add a thing: write a function of a random generator that returns its mesh (`street`, `clutter`),
and give it a line in `_FURNITURE`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pcdet.simulator import clutter, foliage, street, trees
from pcdet.simulator.mesh import Mesh
from pcdet.simulator.placement import Builder
from pcdet.simulator.places import Place

BEHIND, AHEAD = -65.0, 78.0  # stations between which a street is furnished, metres
_ROWS = 0.15  # share of things of which several stand in a row


class _Furniture(NamedTuple):
    """One kind of thing at the roadside.

    Attributes:
        make: draws one.
        weight: how often it comes up, against the others.
        offsets: range of its distance from the kerb, in halves of the pavement's width.
        any_way: it stands at any angle, not only along or across the road.
    """

    make: Callable[[np.random.Generator], Mesh]
    weight: float
    offsets: tuple[float, float]
    any_way: bool = False


_FURNITURE = (
    _Furniture(street.pole, 0.20, (0.3, 1.0)),
    _Furniture(street.sign_post, 0.14, (0.3, 1.2)),
    _Furniture(street.bollard, 0.12, (0.2, 1.0)),
    _Furniture(street.bin_or_box, 0.18, (0.3, 2.5)),
    _Furniture(street.bicycle_stand, 0.10, (0.8, 3.0)),
    _Furniture(street.bench, 0.05, (0.8, 3.0)),
    _Furniture(street.motorcycle, 0.06, (0.5, 2.0)),
    _Furniture(street.shelter, 0.03, (1.8, 2.5)),
    _Furniture(clutter.parked_bicycle, 0.14, (0.6, 2.2), True),
    _Furniture(clutter.hydrant, 0.05, (0.3, 1.2), True),
    _Furniture(clutter.post, 0.10, (0.3, 2.2), True),
    _Furniture(clutter.planter, 0.06, (0.6, 2.2)),
    _Furniture(clutter.advertising_column, 0.03, (0.8, 2.2), True),
    _Furniture(clutter.cone_or_barrier, 0.05, (-0.5, 1.0)),
    _Furniture(clutter.low_wall, 0.06, (1.0, 2.5)),
    _Furniture(clutter.cabinet, 0.06, (0.6, 2.2)),
    _Furniture(clutter.rack, 0.05, (1.4, 2.4)),
    _Furniture(clutter.container, 0.02, (2.0, 3.5)),
)
_WEIGHTS = np.array([thing.weight for thing in _FURNITURE])


def scatter(builder: Builder, place: Place, side: int) -> None:
    """Small things on the pavement and verge of one side (1 left, -1 right); some in rows."""
    rng = builder.rng
    road, verge = builder.ground.roads[0], builder.ground.verge(side)
    for _ in range(rng.poisson(place.clutter * (AHEAD - BEHIND) / 10.0)):
        thing = _FURNITURE[int(rng.choice(len(_FURNITURE), p=_WEIGHTS / _WEIGHTS.sum()))]
        station = rng.uniform(BEHIND, AHEAD)
        reach = max(1.0, verge.sidewalk / 2.0)
        lateral = side * (road.half_width + reach * rng.uniform(*thing.offsets))
        repeats = int(rng.integers(2, 7)) if rng.random() < _ROWS else 1
        turn = rng.normal(0.0, 0.15) + rng.choice([0.0, np.pi, np.pi / 2])
        if thing.any_way:
            turn = rng.uniform(-np.pi, np.pi)
        for k in range(repeats):
            x, y, theta = road.to_world(station + k * rng.uniform(1.5, 3.0), lateral)
            if not builder.ground.on_crossing(x, y, 0.5):
                builder.add_static(thing.make(rng), x, y, theta + turn)


def fill_yards(builder: Builder, place: Place) -> None:
    """What stands in gardens and yards, seen through the gaps between fronts."""
    rng = builder.rng
    ground = builder.ground
    level = max(ground.left.sidewalk, ground.right.sidewalk) + 1.5
    for _ in range(rng.poisson(place.yards)):
        angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(7.0, 60.0)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        if ground.on_road(x, y, level) or not builder.is_free(x, y, 2.0, 2.0, 0.0):
            continue
        heading = ground.roads[0].heading + rng.choice([0.0, np.pi / 2]) + rng.normal(0.0, 0.1)
        _yard_thing(builder, (x, y, heading))


def _yard_thing(builder: Builder, pose: tuple[float, float, float]) -> None:
    """One bush, fence, wall, shed, tree, box, bicycle, container or car."""
    rng = builder.rng
    x, y, heading = pose
    chance = rng.random()
    if chance < 0.30:
        radius = rng.uniform(0.4, 1.6)
        builder.add_volumes([foliage.bush(x, y, builder.height(x, y), radius, rng)])
    elif chance < 0.48:
        make = street.fence if rng.random() < 0.5 else street.wall
        builder.add_static(make(rng.uniform(3.0, 9.0), rng.uniform(0.6, 2.0), rng), x, y, heading)
    elif chance < 0.60:
        builder.add_static(street.shed(rng), x, y, heading)
    elif chance < 0.73:
        trees.plant(builder, x, y)
    elif chance < 0.83:
        builder.add_static(street.bin_or_box(rng), x, y, heading)
    elif chance < 0.93:
        makers = (clutter.parked_bicycle, clutter.post, clutter.rack, clutter.container)
        make = makers[int(rng.choice(len(makers), p=(0.35, 0.35, 0.2, 0.1)))]
        builder.add_static(make(rng), x, y, rng.uniform(-np.pi, np.pi))
    else:
        builder.add_object("Car", x, y, heading + rng.choice([0.0, np.pi]))
