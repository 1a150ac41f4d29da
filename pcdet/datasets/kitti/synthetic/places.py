"""The kinds of places that KITTI was recorded in, as ranges that a scene is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from pcdet.datasets.kitti.synthetic.ground import GRASS, GRAVEL, PAVING


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
        walkers, riders, sitters: expected numbers ahead in the scene.
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
    walkers: float
    riders: float
    sitters: float
    groups: float
    clutter: float
    trees: float
    yards: float


RESIDENTIAL = Place(
    "residential", 0.40, (2.6, 3.8), (1,), (0.6, 2.0), (PAVING, GRASS, GRAVEL), (-0.02, 0.06),
    0.15, 0.003, (0.0, 2.5),
    (("building", 0.36), ("hedge", 0.28), ("wall", 0.10), ("fence", 0.12), ("garden", 0.14)),
    0.45, (("none", 0.30), ("along", 0.53), ("across", 0.17)), (0.25, 0.8), 1.1, 2.6, 1.5, 0.05,
    0.25, 0.8, 0.35, 70.0,
)  # fmt: skip
CITY = Place(
    "city", 0.26, (3.0, 6.6), (1, 2), (1.5, 3.5), (PAVING, PAVING, GRASS), (-0.01, 0.01),
    0.8, 0.0015, (0.0, 1.5),
    (("building", 0.58), ("hedge", 0.14), ("wall", 0.06), ("fence", 0.06), ("forest", 0.06),
     ("open", 0.10)),
    0.6, (("none", 0.5), ("along", 0.4), ("across", 0.1)), (0.25, 0.7), 2.5, 4.2, 2.6, 0.15,
    0.35, 1.1, 0.30, 55.0,
)  # fmt: skip
COUNTRY = Place(
    "country", 0.17, (3.5, 7.2), (1, 2), (0.0, 0.0), (GRASS, GRASS, GRAVEL), (-0.25, 0.35),
    0.95, 0.002, (2.0, 8.0),
    (("forest", 0.46), ("open", 0.18), ("guardrail", 0.22), ("hedge", 0.14)),
    0.12, (("none", 1.0),), (0.0, 0.0), 2.4, 0.6, 0.7, 0.0, 0.1, 0.35, 0.30, 25.0,
)  # fmt: skip
CAMPUS = Place(
    "campus", 0.17, (2.5, 4.5), (1,), (0.0, 2.0), (PAVING, PAVING, GRASS), (-0.01, 0.02),
    0.1, 0.002, (0.5, 6.0),
    (("building", 0.38), ("hedge", 0.26), ("open", 0.16), ("garden", 0.20)),
    0.35, (("none", 0.55), ("along", 0.2), ("across", 0.25)), (0.15, 0.7), 0.6, 7.0, 3.8, 0.7,
    0.45, 1.2, 0.45, 60.0,
)  # fmt: skip
PLACES = (RESIDENTIAL, CITY, COUNTRY, CAMPUS)
