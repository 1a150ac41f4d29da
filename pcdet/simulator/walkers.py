"""People on foot and on bicycles: along a street, across it, in groups, with a dog or a pram.

Directions follow KITTI's labels: most go along the road, a good part across it or anyhow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from pcdet.simulator.clutter import parked_bicycle
from pcdet.simulator.companions import chair, dog, pram
from pcdet.simulator.mesh import Mesh
from pcdet.simulator.people import pedestrian
from pcdet.simulator.placement import Builder
from pcdet.simulator.places import Place
from pcdet.simulator.road import Road

_ANY_WAY = 0.15  # share of people on foot and bicycle who go in no direction of the road
_WITH = 0.09  # share of people on foot who have something beside or before them


class _Companion(NamedTuple):
    """What people have with them.

    Attributes:
        make: makes it.
        weight: how often.
        before, right: where, as they see it, metres.
        pushed: both hands are on it.
    """

    make: Callable[[np.random.Generator], Mesh]
    weight: float
    before: float
    right: float
    pushed: bool


_COMPANIONS = (
    _Companion(pram, 0.4, 0.85, 0.0, True),
    _Companion(dog, 0.35, 0.5, 0.6, False),
    _Companion(parked_bicycle, 0.25, 0.2, 0.5, True),
)


def ride(builder: Builder, place: Place) -> None:
    """Cyclists at the edge of the road, on the pavement, crossing and anyhow, some in groups."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.riders)):
        station = rng.triangular(-15.0, 12.0, 54.0)
        side = rng.choice([-1, 1])
        if rng.random() < 0.65:
            lateral, drift = side * (road.half_width - rng.uniform(0.3, 1.2)), 0.08
        else:
            lateral, drift = side * (road.half_width + rng.uniform(0.3, 2.5)), 0.2
        x, y, theta = road.to_world(station, lateral)
        heading = theta + (0.0 if side < 0 else np.pi) + rng.normal(0.0, drift)
        way = rng.random()
        if way < 0.12:
            x, y, theta = road.to_world(station, rng.uniform(-1.0, 1.0) * (road.half_width + 2.0))
            heading = theta + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0.0, 0.35)
        elif way < 0.12 + _ANY_WAY:
            heading = rng.uniform(-np.pi, np.pi)
        elif way < 0.4:
            heading += np.pi
        _riders(builder, (x, y, heading), int(rng.choice([1, 2, 3], p=[0.84, 0.12, 0.04])))


def _riders(builder: Builder, pose: tuple[float, float, float], count: int) -> None:
    """Riders behind and beside each other, the first at `pose`."""
    rng = builder.rng
    x, y, heading = pose
    for _ in range(count):
        builder.add_object("Cyclist", x, y, heading, speed=rng.uniform(2.0, 6.0))
        back, aside = rng.uniform(0.8, 3.0), rng.choice([-1, 1]) * rng.uniform(0.7, 1.0)
        x -= back * np.cos(heading) + aside * np.sin(heading)
        y -= back * np.sin(heading) - aside * np.cos(heading)
        heading += rng.normal(0.0, 0.06)


def walk(builder: Builder, place: Place) -> None:
    """Pedestrians on pavements, alone or in groups, and some who cross or stand about."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.walkers)):
        station = rng.triangular(-12.0, 5.0, 40.0)
        side = rng.choice([-1, 1])
        reach = max(1.2, builder.ground.verge(side).sidewalk)
        crossing = rng.random() < 0.14
        lateral = side * (road.half_width + rng.uniform(0.15, 1.0) * reach)
        if crossing:
            lateral = rng.uniform(-road.half_width, road.half_width)
        elif place.name == "campus" and rng.random() < 0.5:
            lateral = side * rng.uniform(1.5, road.half_width + 8.0)
        x, y, theta = road.to_world(station, lateral)
        heading = theta + rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.25)
        if crossing or rng.random() < 0.12:
            heading += np.pi / 2
        elif rng.random() < _ANY_WAY:
            heading = rng.uniform(-np.pi, np.pi)
        _group(builder, (x, y, heading), place.groups)


def _group(builder: Builder, pose: tuple[float, float, float], more: float) -> None:
    """Someone at `pose`, and with chance `more` another one beside, and so on."""
    rng = builder.rng
    x, y, heading = pose
    together = rng.random() < 0.75  # others stand about, each facing somewhere
    _person(builder, pose)
    while rng.random() < more:
        across = heading + np.pi / 2
        step = rng.choice([-1, 1]) * rng.uniform(0.6, 0.9)
        x, y = x + step * np.cos(across), y + step * np.sin(across)
        turn = rng.normal(0, 0.15) if together else rng.uniform(-np.pi, np.pi)
        _person(builder, (x, y, heading + turn), gap=0.05)


def _person(builder: Builder, pose: tuple[float, float, float], gap: float = 0.15) -> None:
    """A pedestrian, now and then with a pram, a dog or a bicycle, which get no label."""
    rng = builder.rng
    x, y, heading = pose
    if rng.random() >= _WITH:
        builder.add_object("Pedestrian", x, y, heading, gap)
        return
    weights = np.array([companion.weight for companion in _COMPANIONS])
    own = _COMPANIONS[int(rng.choice(len(weights), p=weights / weights.sum()))]
    shape = partial(pedestrian, pushing=own.pushed)
    if builder.add_object("Pedestrian", x, y, heading, gap, shape=shape):
        c, s = np.cos(heading), np.sin(heading)
        spot = x + own.before * c + own.right * s, y + own.before * s - own.right * c
        builder.add_static(own.make(rng), *spot, heading + rng.normal(0.0, 0.05), with_last=True)


def cross(builder: Builder, place: Place) -> None:
    """People at a crossing: over all its arms, on foot and on bicycles, and those who wait."""
    rng = builder.rng
    main, other = builder.ground.roads[:2]
    busy = 0.5 * (place.walkers + place.riders)
    for _ in range(rng.poisson(busy)):
        road, over = (main, other) if rng.random() < 0.5 else (other, main)
        # The crossing's station on each road: where the other one's centre line passes.
        middle = _station_of(road, over)
        beside = rng.choice([-1, 1]) * (over.half_width + rng.uniform(0.5, 3.5))
        lateral = rng.uniform(-1.0, 1.0) * (road.half_width + 1.5)
        x, y, theta = road.to_world(middle + beside, lateral)
        heading = theta + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0.0, 0.3)
        if rng.random() < place.riders / (place.riders + place.walkers):
            if rng.random() < 0.3:  # turning from one road into the other
                x, y, theta = road.to_world(middle + rng.uniform(-1, 1) * over.half_width, lateral)
                heading = rng.uniform(-np.pi, np.pi)
            _riders(builder, (x, y, heading), int(rng.choice([1, 2], p=[0.8, 0.2])))
        else:
            _group(builder, (x, y, heading), 1.5 * place.groups)


@lru_cache(maxsize=8)  # everybody at a crossing asks for the same two
def _station_of(road: Road, over: Road) -> float:
    """Station of `road`, metres, at which it comes nearest to the centre line of `over`."""
    stations = np.arange(-40.0, 60.0, 0.5)
    spots = (road.to_world(float(station), 0.0) for station in stations)
    return float(stations[np.argmin([abs(over.lateral(x, y)) for x, y, _ in spots])])


def sit(builder: Builder, place: Place) -> None:
    """People who sit at the roadside."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.sitters)):
        side = rng.choice([-1, 1])
        lateral = side * (road.half_width + rng.uniform(1.0, 5.0))
        x, y, theta = road.to_world(rng.uniform(4.0, 35.0), lateral)
        heading = theta - side * np.pi / 2 + rng.normal(0.0, 0.4)
        along = heading + np.pi / 2
        for k in range(int(rng.integers(1, 4))):
            spot = x + 0.75 * k * np.cos(along), y + 0.75 * k * np.sin(along)
            if builder.add_object("Person_sitting", *spot, heading, gap=0.02):
                builder.add_static(chair(rng), *spot, heading, solid=False)
