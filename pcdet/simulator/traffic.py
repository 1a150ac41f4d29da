"""Who is on the road: vehicles in lanes and parking places, people on foot and on bicycles."""

from __future__ import annotations

import numpy as np

from pcdet.simulator.placement import Builder
from pcdet.simulator.places import Place
from pcdet.simulator.road import Road

_BEHIND, _AHEAD = -35.0, 72.0  # stations between which anything is placed, metres
_MOVING = (("Car", 0.80), ("Van", 0.085), ("Truck", 0.06), ("Cyclist", 0.05), ("Misc", 0.005))
_PARKED = (("Car", 0.90), ("Van", 0.075), ("Truck", 0.01), ("Misc", 0.015))


def populate(builder: Builder, place: Place) -> None:
    """Place everyone who gets a label."""
    if place.name in ("city", "country") and builder.rng.random() < 0.08:
        _tram(builder)
    _drive(builder, place)
    for side in (1, -1):
        _park(builder, place, side)
    _ride(builder, place)
    _walk(builder, place)
    _sit(builder, place)


def _pick(builder: Builder, table: tuple[tuple[str, float], ...]) -> str:
    shares = np.array([share for _, share in table])
    return str(builder.rng.choice([name for name, _ in table], p=shares / shares.sum()))


def _tram(builder: Builder) -> None:
    """A tram on tracks beside or in the road."""
    rng = builder.rng
    road = builder.ground.roads[0]
    lateral = rng.choice([-1.0, 1.0]) * (road.half_width + rng.uniform(2.0, 6.0))
    x, y, theta = road.to_world(rng.uniform(5.0, 60.0), lateral)
    builder.add_object("Tram", x, y, theta + rng.choice([0.0, np.pi]))


def _drive(builder: Builder, place: Place) -> None:
    """Vehicles in the lanes of all roads, one behind the other."""
    rng = builder.rng
    for number, road in enumerate(builder.ground.roads):
        density = place.traffic if number == 0 else 0.7 * place.traffic
        for lateral, direction in road.lane_centres():
            for _ in range(rng.poisson(density * (_AHEAD - _BEHIND) / 100.0)):
                station = rng.uniform(_BEHIND, _AHEAD)
                offset = lateral + rng.normal(0.0, 0.2)
                x, y, theta = road.to_world(station, offset)
                heading = theta + (0.0 if direction > 0 else np.pi) + rng.normal(0.0, 0.03)
                name = _pick(builder, _MOVING)
                if name == "Cyclist":
                    x, y, _ = road.to_world(station, offset - direction * 1.0)
                builder.add_object(name, x, y, heading, gap=1.5)


def _park(builder: Builder, place: Place, side: int) -> None:
    """Parking along the kerb, or at an angle to it on a strip beside the road."""
    rng = builder.rng
    road = builder.ground.roads[0]
    kind = _pick(builder, place.parking)
    if kind == "none":
        return
    occupancy = rng.uniform(*place.occupancy)
    angle = rng.choice([np.pi / 2, np.pi / 3]) if kind == "across" else 0.0
    pitch = 5.9 if kind == "along" else 2.65 / np.sin(angle)
    on_kerb = rng.random() < 0.35
    # Along a kerb the car stands at its edge; across, its nose reaches the pavement.
    inward = rng.uniform(-0.6, 0.2) if on_kerb else rng.uniform(0.95, 1.15)
    lateral = side * (road.half_width - inward if kind == "along" else road.half_width + 1.5)
    flow = 1.0 if side < 0 or road.one_way else -1.0
    station = _BEHIND + rng.uniform(0, pitch)
    while station < _AHEAD:
        if rng.random() < occupancy and not _near_crossing(builder, station, lateral):
            x, y, theta = road.to_world(station + rng.normal(0, 0.25), lateral + rng.normal(0, 0.1))
            heading = theta + (0.0 if flow > 0 else np.pi) + side * angle + rng.normal(0.0, 0.025)
            if rng.random() < (0.2 if kind == "along" else 0.35):
                heading += np.pi
            builder.add_object(_pick(builder, _PARKED), x, y, heading, gap=0.35)
        station += pitch
    if kind == "along" and rng.random() < 0.25:
        _park_in_yards(builder, road, side)


def _park_in_yards(builder: Builder, road: Road, side: int) -> None:
    """Cars in driveways, across the road's direction."""
    rng = builder.rng
    for _ in range(int(rng.integers(1, 5))):
        station = rng.uniform(_BEHIND, _AHEAD)
        lateral = side * (road.half_width + rng.uniform(4.5, 7.0))
        x, y, theta = road.to_world(station, lateral)
        builder.add_object(
            "Car", x, y, theta + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.1)
        )


def _near_crossing(builder: Builder, station: float, lateral: float) -> bool:
    x, y, _ = builder.ground.roads[0].to_world(station, lateral)
    return any(abs(road.lateral(x, y)) < road.half_width + 4.0 for road in builder.ground.roads[1:])


def _ride(builder: Builder, place: Place) -> None:
    """Cyclists at the right edge of the road, on the pavement, and crossing."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.riders)):
        station = rng.uniform(-15.0, 50.0)
        side = rng.choice([-1, 1])
        if rng.random() < 0.65:
            lateral, drift = side * (road.half_width - rng.uniform(0.3, 1.2)), 0.06
        else:
            lateral, drift = side * (road.half_width + rng.uniform(0.3, 2.5)), 0.15
        x, y, theta = road.to_world(station, lateral)
        heading = theta + (0.0 if side < 0 else np.pi) + rng.normal(0.0, drift)
        if rng.random() < 0.15:
            heading += rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0.0, 0.3)
        elif rng.random() < 0.15:
            heading += np.pi
        if builder.add_object("Cyclist", x, y, heading) and rng.random() < 0.12:
            x, y, _ = road.to_world(station + rng.uniform(2, 4), lateral + rng.normal(0, 0.6))
            builder.add_object("Cyclist", x, y, heading + rng.normal(0, 0.05))


def _walk(builder: Builder, place: Place) -> None:
    """Pedestrians on pavements, alone or in groups, and some who cross."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.walkers)):
        station = rng.uniform(-12.0, 45.0)
        side = rng.choice([-1, 1])
        verge = builder.ground.left if side > 0 else builder.ground.right
        reach = max(1.2, verge.sidewalk)
        crossing = rng.random() < 0.12
        lateral = side * (road.half_width + rng.uniform(0.15, 1.0) * reach)
        if crossing:
            lateral = rng.uniform(-road.half_width, road.half_width)
        elif place.name == "campus" and rng.random() < 0.5:
            lateral = side * rng.uniform(1.5, road.half_width + 8.0)
        x, y, theta = road.to_world(station, lateral)
        heading = theta + rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.25)
        if crossing or rng.random() < 0.15:
            heading += np.pi / 2
        builder.add_object("Pedestrian", x, y, heading, gap=0.15)
        while rng.random() < place.groups:
            across = heading + np.pi / 2
            step = rng.choice([-1, 1]) * rng.uniform(0.6, 0.9)
            x, y = x + step * np.cos(across), y + step * np.sin(across)
            builder.add_object("Pedestrian", x, y, heading + rng.normal(0, 0.15), gap=0.05)


def _sit(builder: Builder, place: Place) -> None:
    """People who sit at the roadside."""
    rng = builder.rng
    road = builder.ground.roads[0]
    for _ in range(rng.poisson(place.sitters)):
        side = rng.choice([-1, 1])
        lateral = side * (road.half_width + rng.uniform(1.0, 5.0))
        x, y, theta = road.to_world(rng.uniform(4.0, 35.0), lateral)
        heading = theta - side * np.pi / 2 + rng.normal(0.0, 0.4)
        for k in range(int(rng.integers(1, 4))):
            shift = 0.75 * k
            along = heading + np.pi / 2
            builder.add_object(
                "Person_sitting",
                x + shift * np.cos(along),
                y + shift * np.sin(along),
                heading,
                gap=0.02,
            )
