"""Who is on the road: vehicles in lanes, turning and parked; people are in `walkers`."""

from __future__ import annotations

import numpy as np

from pcdet.simulator import walkers
from pcdet.simulator.ground import Ground
from pcdet.simulator.motion import Motion
from pcdet.simulator.placement import Builder
from pcdet.simulator.places import Place
from pcdet.simulator.road import Road

_BEHIND, _AHEAD = -35.0, 72.0  # stations between which anything is placed, metres
_MOST = 5.0  # where most of it is: KITTI's labels thin out with the distance
# Length of a stretch of road along which vehicles park, metres. Rows without an end hide each other
# to the horizon, as they seldom do in KITTI.
_STRETCH = 12.0, 55.0
_STANDING = 0.2  # share of vehicles in lanes that wait
_MOVING = (("Car", 0.80), ("Van", 0.085), ("Truck", 0.06), ("Cyclist", 0.05), ("Misc", 0.005))
_PARKED = (("Car", 0.90), ("Van", 0.075), ("Truck", 0.01), ("Misc", 0.015))


def populate(builder: Builder, place: Place) -> None:
    """Place everyone who gets a label."""
    if place.name in ("city", "country") and builder.rng.random() < 0.08:
        _tram(builder)
    _drive(builder, place)
    for side in (1, -1):
        _park(builder, place, side)
    if len(builder.ground.roads) > 1:
        walkers.cross(builder, place)
        _turn(builder, place)
    walkers.ride(builder, place)
    walkers.walk(builder, place)
    walkers.sit(builder, place)


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
                station = rng.triangular(_BEHIND, _MOST, _AHEAD)
                offset = lateral + rng.normal(0.0, 0.2)
                x, y, theta = road.to_world(station, offset)
                heading = theta + (0.0 if direction > 0 else np.pi) + rng.normal(0.0, 0.03)
                name = _pick(builder, _MOVING)
                if name == "Cyclist":
                    x, y, _ = road.to_world(station, offset - direction * 1.0)
                speed = _speed(rng, (2.0, 6.0) if name == "Cyclist" else place.speed)
                builder.add_object(name, x, y, heading, gap=1.5, speed=speed)


def _speed(rng: np.random.Generator, usual: tuple[float, float]) -> float:
    """A speed within what is usual, metres a second, or none."""
    return 0.0 if rng.random() < _STANDING else rng.uniform(*usual)


def recording_motion(rng: np.random.Generator, place: Place, ground: Ground) -> Motion:
    """How the recording car drives along the first road, now and then turning at a crossing."""
    speed = _speed(rng, place.speed)
    turning = ground.on_crossing(0.0, 0.0, 10.0) and rng.random() < 0.4
    if turning:
        speed = min(speed, 6.0)
        return Motion(speed, speed * rng.choice([-1.0, 1.0]) / rng.uniform(7.0, 15.0))
    return Motion(speed, speed * ground.roads[0].curvature)


def _turn(builder: Builder, place: Place) -> None:
    """Vehicles that turn from one road into the other, or wait aslant to do so."""
    rng = builder.rng
    main, other = builder.ground.roads[:2]
    for _ in range(rng.poisson(0.25 * place.traffic)):
        direction = rng.choice([-1.0, 1.0])
        x, y, theta = other.to_world(
            direction * rng.uniform(0.0, main.half_width + 4.0), rng.uniform(-1.5, 1.5)
        )
        builder.add_object(_pick(builder, _PARKED), x, y, theta + rng.uniform(-np.pi, np.pi), 1.0)


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
    station = rng.triangular(_BEHIND, _MOST, _AHEAD - 20.0)
    end = min(station + rng.uniform(*_STRETCH), _AHEAD)
    while station < end:
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
    return builder.ground.on_crossing(x, y, 4.0)
