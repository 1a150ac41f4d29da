"""The kinds of places that KITTI was recorded in, as ranges that a scene is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from pcdet.simulator.ground import GRASS, GRAVEL, PAVING


@dataclass(frozen=True)
class Place:
    """How a kind of place looks.

    Attributes:
        name: its name.
        share: how often it comes up.
        half_width: range of half the road's width, metres.
        lanes: lanes in each direction that may occur.
        sidewalk: range of the pavement's width; 0 for none.
        cover: ground beyond the pavement that may occur.
        slope: range of the rise of the land beside the road, per metre.
        divider: share of such roads with lane markings.
        curvature: standard deviation of the road's curvature, 1 / m.
        setback: range of the distance of fronts from the pavement, metres.
        fronts: (kind, share) of what lines the road.
        crossings: share of scenes with a road that crosses.
        parking: (kind, share) of parking along each side: none, along, across.
        occupancy: range of the share of parking places that are taken.
        traffic: expected vehicles in each lane per 100 m.
        speed: range of the speed of those that drive, metres a second.
        walkers: expected number of people on foot, or of groups, ahead.
        riders: the same of cyclists.
        sitters: the same of groups that sit.
        groups: chance that a walker has company.
        clutter: expected number of small things per 10 m of each side.
        trees: expected number of trees per 10 m of each side.
        yards: expected number of things in the land behind the fronts.
    """

    name: str
    share: float
    half_width: tuple[float, float]
    lanes: tuple[int, ...]
    sidewalk: tuple[float, float]
    cover: tuple[int, ...]
    slope: tuple[float, float]
    divider: float
    curvature: float
    setback: tuple[float, float]
    fronts: tuple[tuple[str, float], ...]
    crossings: float
    parking: tuple[tuple[str, float], ...]
    occupancy: tuple[float, float]
    traffic: float
    speed: tuple[float, float]
    walkers: float
    riders: float
    sitters: float
    groups: float
    clutter: float
    trees: float
    yards: float


RESIDENTIAL = Place(
    name="residential",
    share=0.4,
    half_width=(2.6, 3.8),
    lanes=(1,),
    sidewalk=(0.6, 2.0),
    cover=(PAVING, GRASS, GRAVEL),
    slope=(-0.02, 0.06),
    divider=0.15,
    curvature=0.003,
    setback=(0.0, 2.5),
    fronts=(("building", 0.36), ("hedge", 0.28), ("wall", 0.1), ("fence", 0.12), ("garden", 0.14)),
    crossings=0.45,
    parking=(("none", 0.3), ("along", 0.53), ("across", 0.17)),
    occupancy=(0.25, 0.8),
    traffic=1.1,
    speed=(3.0, 9.0),
    walkers=2.6,
    riders=1.5,
    sitters=0.05,
    groups=0.25,
    clutter=0.8,
    trees=0.35,
    yards=70.0,
)
CITY = Place(
    name="city",
    share=0.26,
    half_width=(3.0, 6.6),
    lanes=(1, 2),
    sidewalk=(1.5, 3.5),
    cover=(PAVING, PAVING, GRASS),
    slope=(-0.01, 0.01),
    divider=0.8,
    curvature=0.0015,
    setback=(0.0, 1.5),
    fronts=(
        ("building", 0.58),
        ("hedge", 0.14),
        ("wall", 0.06),
        ("fence", 0.06),
        ("forest", 0.06),
        ("open", 0.1),
    ),
    crossings=0.6,
    parking=(("none", 0.5), ("along", 0.4), ("across", 0.1)),
    occupancy=(0.25, 0.7),
    traffic=2.4,
    speed=(4.0, 14.0),
    walkers=4.2,
    riders=2.6,
    sitters=0.15,
    groups=0.35,
    clutter=1.1,
    trees=0.3,
    yards=55.0,
)
COUNTRY = Place(
    name="country",
    share=0.17,
    half_width=(3.5, 7.2),
    lanes=(1, 2),
    sidewalk=(0.0, 0.0),
    cover=(GRASS, GRASS, GRAVEL),
    slope=(-0.25, 0.35),
    divider=0.95,
    curvature=0.002,
    setback=(2.0, 8.0),
    fronts=(("forest", 0.46), ("open", 0.18), ("guardrail", 0.22), ("hedge", 0.14)),
    crossings=0.12,
    parking=(("none", 1.0),),
    occupancy=(0.0, 0.0),
    traffic=2.4,
    speed=(8.0, 15.0),
    walkers=0.6,
    riders=0.7,
    sitters=0.0,
    groups=0.1,
    clutter=0.35,
    trees=0.3,
    yards=25.0,
)
CAMPUS = Place(
    name="campus",
    share=0.17,
    half_width=(2.5, 4.5),
    lanes=(1,),
    sidewalk=(0.0, 2.0),
    cover=(PAVING, PAVING, GRASS),
    slope=(-0.01, 0.02),
    divider=0.1,
    curvature=0.002,
    setback=(0.5, 6.0),
    fronts=(("building", 0.38), ("hedge", 0.26), ("open", 0.16), ("garden", 0.2)),
    crossings=0.35,
    parking=(("none", 0.55), ("along", 0.2), ("across", 0.25)),
    occupancy=(0.15, 0.7),
    traffic=0.6,
    speed=(2.0, 7.0),
    walkers=7.0,
    riders=3.8,
    sitters=0.7,
    groups=0.45,
    clutter=1.2,
    trees=0.45,
    yards=60.0,
)
PLACES = (RESIDENTIAL, CITY, COUNTRY, CAMPUS)
