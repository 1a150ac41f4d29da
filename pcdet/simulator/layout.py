"""Draws a scene: a place, its roads, what lines them, and who is on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from pcdet.simulator import clutter, foliage, furniture, street, trees
from pcdet.simulator.furniture import AHEAD, BEHIND
from pcdet.simulator.ground import Ground, Verge
from pcdet.simulator.mesh import Mesh
from pcdet.simulator.motion import STANDING
from pcdet.simulator.placement import Builder
from pcdet.simulator.places import PLACES, Place
from pcdet.simulator.road import Road
from pcdet.simulator.scene import Scene, assemble
from pcdet.simulator.sensor import HDL_64E
from pcdet.simulator.traffic import populate, recording_motion

_RAIN = 0.09  # share of scenes on a wet road
_FAR_HOUSES = 64  # that are drawn once; a dozen of them stand in a scene


def draw_scene(
    rng: np.random.Generator,
    sensor_height: float = HDL_64E.height,
    stand_ins: Mapping[str, str] = MappingProxyType({}),
    beside_road: bool = False,
) -> Scene:
    """Draw a random scene.

    Args:
        rng: all its randomness; the same state gives the same scene.
        sensor_height: of the LiDAR above the road, metres.
        stand_ins: class to the one that stands in its place, see `placement.SHAPES`.
        beside_road: the sensor stands at the kerb on a mast, not in a lane.
    """
    place = PLACES[int(rng.choice(len(PLACES), p=[place.share for place in PLACES]))]
    ground = _draw_ground(place, rng, sensor_height, beside_road)
    ground.build(rng)
    builder = Builder(ground, rng, stand_ins)
    # People and vehicles come first: they have the tightest wishes about where to be.
    populate(builder, place)
    for side in (1, -1):
        _line_with_fronts(builder, place, side)
        furniture.scatter(builder, place, side)
        _plant_trees(builder, place, side)
    if len(ground.roads) > 1:
        _line_crossing(builder, place)
    furniture.fill_yards(builder, place)
    _skyline(builder)
    sun = np.array([rng.normal(0.3, 0.5), rng.normal(0.0, 0.6), 0.9])
    return assemble(
        ground,
        builder.objects,
        builder.statics,
        builder.volumes,
        sun / np.linalg.norm(sun),
        STANDING if beside_road else recording_motion(rng, place, ground),
    )


def _draw_ground(
    place: Place, rng: np.random.Generator, sensor_height: float, beside_road: bool
) -> Ground:
    """Roads and terrain about the recording car, which drives in a lane of the first road."""
    roads = _draw_roads(place, rng, beside_road)
    left, right = _draw_verge(place, rng), _draw_verge(place, rng)
    # Amplitude, wave numbers and phase of four waves, from metres to a hundred metres long.
    waves = np.column_stack(
        [
            rng.normal(0.0, [0.010, 0.02, 0.05, 0.12]),
            rng.normal(0.0, [0.9, 0.35, 0.14, 0.06]),
            rng.normal(0.0, [0.9, 0.35, 0.14, 0.06]),
            rng.uniform(0, 2 * np.pi, 4),
        ]
    )
    return Ground(
        roads,
        left,
        right,
        kerb=float(rng.uniform(0.03, 0.16)) if place.name != "country" else 0.0,
        height=float(rng.normal(-sensor_height, 0.02)),
        slope=(float(rng.normal(0.009, 0.007)), float(rng.normal(0.0, 0.012))),
        arch=float(rng.normal(-0.5e-4, 1.2e-4)),
        waves=waves,
        shade=float(rng.normal(0.01, 0.03)),
        divider=bool(rng.random() < place.divider),
        rain=float(rng.uniform(0.1, 6.3)) if rng.random() < _RAIN else 0.0,
    )


def _draw_roads(place: Place, rng: np.random.Generator, beside_road: bool) -> list[Road]:
    """The road that the recording car is on and, perhaps, one that crosses it."""
    half_width = rng.uniform(*place.half_width)
    lanes = int(rng.choice(place.lanes)) if half_width > 5.0 else 1
    one_way = half_width < 3.0 or (place.name == "country" and rng.random() < 0.3)
    shape = Road(0.0, 0.0, 0.0, 0.0, half_width, lanes, one_way)
    lane = rng.choice([c for c, direction in shape.lane_centres() if direction > 0])
    lane = float(lane) + rng.normal(0.0, 0.15)
    if beside_road:
        lane = -half_width - rng.uniform(0.4, 1.5)
    heading = rng.normal(0.0, 0.02 if place.name == "country" else 0.05)
    # The sensor is at the origin: the centre line passes at the lane's offset to its side.
    road = replace(
        shape,
        x=lane * np.sin(heading),
        y=-lane * np.cos(heading),
        heading=heading,
        curvature=float(np.clip(rng.normal(0.0, place.curvature), -0.02, 0.02)),
    )
    if rng.random() >= place.crossings:
        return [road]
    station = rng.uniform(8.0, 55.0) if rng.random() < 0.8 else rng.uniform(-30.0, 0.0)
    x, y, theta = road.to_world(station, 0.0)
    turn = rng.choice([-1.0, 1.0]) * np.pi / 2 + rng.normal(0.0, 0.12)
    return [road, Road(x, y, theta + turn, 0.0, rng.uniform(2.6, 4.0))]


def _draw_verge(place: Place, rng: np.random.Generator) -> Verge:
    """What lies along one side of the road."""
    return Verge(
        sidewalk=rng.uniform(*place.sidewalk),
        cover=int(rng.choice(place.cover)),
        slope=rng.uniform(*place.slope) if rng.random() < 0.7 else 0.0,
        margin=rng.uniform(0.8, 6.0),
        limit=rng.uniform(0.8, 3.0),
    )


def _line_with_fronts(builder: Builder, place: Place, side: int) -> None:
    """Line one side of the main road with houses, hedges, fences, wood."""
    rng = builder.rng
    road, verge = builder.ground.roads[0], builder.ground.verge(side)
    kinds = [kind for kind, _ in place.fronts]
    shares = np.array([share for _, share in place.fronts])
    station = BEHIND
    setback = rng.uniform(*place.setback)
    while station < AHEAD:
        kind = str(rng.choice(kinds, p=shares / shares.sum()))
        length = rng.uniform(5.0, 22.0)
        if rng.random() < 0.25:
            setback = rng.uniform(*place.setback)
        lateral = side * (road.half_width + verge.sidewalk + setback + 0.3)
        x, y, theta = road.to_world(station + length / 2, lateral)
        # Fronts are modelled with their face towards +y: turn it towards the road.
        heading = theta if side < 0 else theta + np.pi
        if not builder.ground.on_crossing(x, y, length / 2 + 1.0):
            _front(builder, kind, (x, y, heading), length)
        station += length + (rng.uniform(0.5, 5.0) if rng.random() < 0.3 else 0.0)


def _line_crossing(builder: Builder, place: Place) -> None:
    """Houses and hedges along the road that crosses, away from the main one."""
    rng = builder.rng
    main, crossing = builder.ground.roads[:2]
    for side in (1, -1):
        for direction in (1, -1):
            station = main.half_width + rng.uniform(5.0, 12.0)
            while station < 45.0:
                length = rng.uniform(5.0, 16.0)
                middle = direction * (station + length / 2)
                lateral = side * (crossing.half_width + rng.uniform(1.2, 4.0))
                x, y, theta = crossing.to_world(middle, lateral)
                kind = str(
                    rng.choice(["building", "hedge", "wall", "open"], p=[0.4, 0.3, 0.1, 0.2])
                )
                heading = theta if side < 0 else theta + np.pi
                if place.name != "country" or kind != "building":
                    _front(builder, kind, (x, y, heading), length)
                station += length + rng.uniform(0.0, 5.0)


def _front(builder: Builder, kind: str, pose: tuple[float, float, float], length: float) -> None:
    """One stretch of frontage of `length` metres, its face at `pose` (x, y, heading)."""
    rng = builder.rng
    x, y, heading = pose
    if kind == "building":
        builder.add_static(street.building(length, rng.uniform(6.0, 12.0), rng), x, y, heading)
    elif kind == "hedge":
        _hedge(builder, pose, length)
        _behind(builder, pose, length)
    elif kind == "wall":
        builder.add_static(street.wall(length, rng.uniform(0.5, 2.4), rng), x, y, heading)
        _behind(builder, pose, length)
    elif kind == "fence":
        builder.add_static(street.fence(length, rng.uniform(0.9, 1.9), rng), x, y, heading)
        _behind(builder, pose, length)
    elif kind == "garden":
        _bushes(builder, pose, length, depth=6.0, density=0.06)
        _behind(builder, pose, length)
    elif kind == "forest":
        _bushes(builder, pose, length, depth=4.0, density=0.05)
        _wood(builder, pose, length, rng.uniform(1.0, 4.0))
    elif kind == "guardrail":
        builder.add_static(street.guard_rail(length), x, y, heading)
        _bushes(builder, pose, length, depth=8.0, density=0.02)
        _wood(builder, pose, length, rng.uniform(2.0, 12.0))
    else:
        _bushes(builder, pose, length, depth=12.0, density=0.01)
        _backdrop(builder, pose, length)


def _hedge(builder: Builder, pose: tuple[float, float, float], length: float) -> None:
    """A hedge, whole or in clumps that a person or a bicycle would fill, with posts in the gaps."""
    rng = builder.rng
    gaps = rng.random() < 0.3
    depth, height = rng.uniform(0.6, 1.2 if gaps else 2.4), rng.uniform(0.9, 2.2 if gaps else 3.6)
    start = -length / 2
    while start < length / 2:
        part = min(rng.uniform(0.5, 3.0), length / 2 - start) if gaps else length
        x, y = _set_back(pose, start + part / 2, depth / 2)
        size = (part, depth, height * (rng.uniform(0.75, 1.1) if gaps else 1.0))
        if builder.is_free(x, y, part, depth, pose[2]):
            builder.add_volumes(foliage.hedge(x, y, builder.height(x, y), size, pose[2], rng))
            builder.take(x, y, part, depth, pose[2])
        start += part + (rng.uniform(0.4, 1.2) if gaps else 0.0)
        if gaps and rng.random() < 0.4:
            builder.add_static(clutter.post(rng), *_set_back(pose, start - 0.3, 0.3), pose[2])


def _set_back(pose: tuple[float, float, float], along: float, back: float) -> tuple[float, float]:
    """A point `along` a front and `back` metres behind its face."""
    x, y, heading = pose
    c, s = np.cos(heading), np.sin(heading)
    return x + c * along + s * back, y + s * along - c * back


def _behind(builder: Builder, pose: tuple[float, float, float], length: float) -> None:
    """What shows above a hedge or fence: a house farther back, bushes, trees."""
    rng = builder.rng
    chance = rng.random()
    if chance < 0.5:
        x, y = _set_back(pose, 0.0, rng.uniform(4.0, 9.0))
        builder.add_static(
            street.building(length * 0.8, rng.uniform(6.0, 10.0), rng), x, y, pose[2]
        )
    elif chance < 0.9:
        _wood(builder, pose, length, rng.uniform(2.0, 6.0))


def _backdrop(builder: Builder, pose: tuple[float, float, float], length: float) -> None:
    """What ends the view over open ground: houses or the edge of a wood."""
    rng = builder.rng
    back = rng.uniform(8.0, 25.0)
    if rng.random() < 0.35:
        x, y = _set_back(pose, 0.0, back)
        builder.add_static(street.building(length, 9.0, rng), x, y, pose[2])
    elif rng.random() < 0.85:
        _wood(builder, pose, length * 1.3, back)


def _bushes(
    builder: Builder, pose: tuple[float, float, float], length: float, depth: float, density: float
) -> None:
    """Bushes behind a front, `density` per square metre."""
    rng = builder.rng
    for _ in range(rng.poisson(density * length * depth)):
        x, y = _set_back(pose, rng.uniform(-length / 2, length / 2), rng.uniform(0.3, depth))
        radius = np.clip(rng.lognormal(np.log(0.8), 0.5), 0.3, 2.5)
        if builder.is_free(x, y, radius, radius, 0.0):
            builder.add_volumes([foliage.bush(x, y, builder.height(x, y), radius, rng)])


def _wood(
    builder: Builder,
    pose: tuple[float, float, float],
    length: float,
    back: float,
    height: tuple[float, float] = (2.0, 6.0),
) -> None:
    """The edge of a wood, `back` metres behind a front: undergrowth and trees."""
    rng = builder.rng
    depth = rng.uniform(2.0, 5.0)
    x, y = _set_back(pose, 0.0, back + depth / 2)
    if rng.random() < 0.85 and builder.is_free(x, y, length * 0.9, depth * 0.8, pose[2]):
        size = (length, depth, rng.uniform(*height))
        ground = builder.height(x, y)
        builder.add_volumes(foliage.thicket(x, y, ground, size, pose[2], rng))
    for _ in range(rng.poisson(length / 5.0)):
        x, y = _set_back(pose, rng.uniform(-length / 2, length / 2), back + rng.uniform(0.5, 8.0))
        trees.plant(builder, x, y)


def _plant_trees(builder: Builder, place: Place, side: int) -> None:
    """Trees along the kerb or the verge."""
    rng = builder.rng
    road, verge = builder.ground.roads[0], builder.ground.verge(side)
    for _ in range(rng.poisson(place.trees * (AHEAD - BEHIND) / 10.0)):
        offset = (
            rng.uniform(0.6, 1.2) if verge.sidewalk > 1.5 else verge.sidewalk + rng.uniform(1, 6)
        )
        x, y, _ = road.to_world(rng.uniform(BEHIND, AHEAD), side * (road.half_width + offset))
        if not builder.ground.on_crossing(x, y, 1.0) and builder.is_free(x, y, 0.8, 0.8, 0.0):
            trees.plant(builder, x, y)


@lru_cache(maxsize=_FAR_HOUSES)
def _far_house(number: int) -> Mesh:
    """A house of the stock for far away; it depends on its number alone, not on the scene."""
    rng = np.random.default_rng(number)
    return street.building(rng.uniform(10, 25), 10.0, rng)


def _skyline(builder: Builder) -> None:
    """Far houses and woods where the view would end in nothing."""
    rng = builder.rng
    for _ in range(int(rng.integers(20, 40))):
        angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(35.0, 78.0)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        if builder.ground.on_road(x, y, 6.0):
            continue
        if rng.random() < 0.4:
            house = _far_house(int(rng.integers(_FAR_HOUSES)))
            builder.add_static(house, x, y, angle + np.pi / 2)
        else:
            _wood(builder, (x, y, angle + np.pi / 2), rng.uniform(6.0, 18.0), 0.0, (4.0, 9.0))
