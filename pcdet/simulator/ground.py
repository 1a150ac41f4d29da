"""The ground: a height field with kerbs, verges and slopes, and what it is covered with."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.road import ROAD, Road, is_painted, lateral_of
from pcdet.utils.compiling import compiled

HALF_SIZE = 84.0  # the field reaches this far from the sensor, metres
CELL = 0.25
_NODES = int(2 * HALF_SIZE / CELL) + 1

ASPHALT, PAVING, GRASS, GRAVEL, MARKING = range(5)
SURFACES = np.array([m.ASPHALT, m.PAVING, m.GRASS, m.GRAVEL, m.MARKING], dtype=np.float64)
_WET, _PUDDLE = 0.8, 1.7  # of `wetness`
_CROWN = 0.012  # mean fall of a road from its middle to its kerb
_ROUGHNESS = np.array([0.0, 0.003, 0.020, 0.008, 0.0], np.float32)  # of one cell, metres


@compiled()
def wetness(x: float, y: float, rain: float) -> float:
    """How much of its reflectivity wet ground keeps when light falls straight on it.

    A film of water throws the light on: what comes back falls with the cosine of the angle once
    more, so 20 m ahead nearly nothing is left of a road. Of a puddle nothing comes back at all.

    Args:
        x: of the point, LiDAR frame.
        y: of the point, LiDAR frame.
        rain: as in `Ground`.
    """
    along = math.sin(0.53 * x + 2.0 * math.sin(0.21 * y + rain))
    across = math.sin(1.3 * y + 2.0 * math.sin(0.17 * x + rain))
    return 0.0 if along + across > _PUDDLE else _WET


@dataclass(frozen=True)
class Verge:
    """What lies beside the road on one side.

    Attributes:
        sidewalk: width of the pavement, metres; 0 where there is none.
        cover: ASPHALT, PAVING, GRASS or GRAVEL beyond it.
        slope: rise of the ground beyond the verge per metre; negative where it falls.
        margin: width of the level strip before the slope, metres.
        limit: greatest height of the bank, metres.
    """

    sidewalk: float
    cover: int
    slope: float = 0.0
    margin: float = 2.0
    limit: float = 2.5


_VERGE = np.dtype(
    [
        ("sidewalk", np.float64),
        ("cover", np.int64),
        ("slope", np.float64),
        ("margin", np.float64),
        ("limit", np.float64),
    ]
)


class Plan(NamedTuple):
    """What kernels know of the ground.

    Attributes:
        roads: (R,) of dtype `ROAD`.
        verges: (2,) left and right, fields as in `Verge`.
        kerb: as in `Ground`.
        divider: as in `Ground`.
    """

    roads: np.ndarray
    verges: np.ndarray
    kerb: float
    divider: bool


@dataclass
class Ground:
    """Shape and cover of the ground about the sensor, in the LiDAR frame.

    Attributes:
        roads: the first is the one the recording car is on.
        left, right: the verges of the first road.
        kerb: height of the kerb, metres.
        height: height below the sensor where it stands (negative), metres.
        slope: rise per metre along x and y near the sensor: pitch and roll of the sensor and road.
        arch: rise by distance squared along x, 1 / m.
        waves: (K, 4) amplitude, wave numbers along x and y, phase of the gentle unevenness.
        shade: added to the intensity of asphalt and paving: old or new, dry or damp.
        divider: lane markings are painted (country and main roads).
        rain: 0 on dry ground; else all but grass is wet, and this says where puddles lie, radians.
        heights: the field itself, nodes of `CELL` metres; `build` computes it.
    """

    roads: list[Road]
    left: Verge
    right: Verge
    kerb: float
    height: float
    slope: tuple[float, float]
    arch: float
    waves: np.ndarray
    shade: float
    divider: bool
    rain: float = 0.0
    heights: np.ndarray = field(
        init=False, repr=False, default_factory=lambda: np.zeros((0, 0), dtype=np.float32)
    )

    def build(self, rng: np.random.Generator) -> None:
        """Compute the height field (nodes of `CELL` metres) with its small roughness."""
        axis = np.linspace(-HALF_SIZE, HALF_SIZE, _NODES)
        noise = rng.standard_normal((_NODES, _NODES)).astype(np.float32)
        self.heights = _field(self._gentle(axis), axis, noise, self.plan)

    def _gentle(self, axis: np.ndarray) -> np.ndarray:
        """Slope, arch and waves at the nodes, (N, N).

        sin(a x + b y + c) = sin(a x + c) cos(b y) + cos(a x + c) sin(b y): all is a sum of
        products of a function of x and one of y.
        """
        amplitude, along, across, phase = self.waves.T[..., None]
        start = amplitude * np.sin(phase)
        level = self.height + self.slope[0] * axis + self.arch * axis * axis - start.sum()
        flat = np.ones_like(axis)
        x = [level, flat, *(amplitude * np.sin(along * axis + phase))]
        x += [*(amplitude * np.cos(along * axis + phase))]
        y = [flat, self.slope[1] * axis, *np.cos(across * axis), *np.sin(across * axis)]
        return np.transpose(x) @ np.array(y)

    @cached_property
    def plan(self) -> Plan:
        """Roads and verges as the kernels read them."""
        return Plan(
            np.array([road.record() for road in self.roads], dtype=ROAD),
            np.array([astuple(self.left), astuple(self.right)], dtype=_VERGE),
            self.kerb,
            self.divider,
        )

    def at(self, x: float, y: float) -> float:
        """Height of the ground at a point, bilinear in the field; clamped at its border."""
        return height_at(self.heights, x, y)

    def slope_at(self, x: float, y: float, reach: float = 1.2) -> tuple[float, float]:
        """Rise per metre along x and y, over twice `reach` metres."""
        rise_x = self.at(x + reach, y) - self.at(x - reach, y)
        rise_y = self.at(x, y + reach) - self.at(x, y - reach)
        return rise_x / (2 * reach), rise_y / (2 * reach)

    def verge(self, side: int) -> Verge:
        """Verge of the first road at its left (1) or right (-1)."""
        return self.left if side > 0 else self.right

    def on_crossing(self, x: float, y: float, margin: float) -> bool:
        """Whether a point lies on a road that crosses the first, or within `margin` of one."""
        return _on_any(self.roads[1:], x, y, margin)

    def on_road(self, x: float, y: float, margin: float) -> bool:
        """Whether a point lies on a road or within `margin` metres of one."""
        return _on_any(self.roads, x, y, margin)


def _on_any(roads: list[Road], x: float, y: float, margin: float) -> bool:
    return any(abs(road.lateral(x, y)) < road.half_width + margin for road in roads)


@compiled(fastmath=True)
def height_at(field: np.ndarray, x: float, y: float) -> float:
    """Height of the ground field at x, y, bilinear, clamped at its border."""
    i, j, a, b = _cell_of(field, x, y)
    return _between(field, np.uintp(i), np.uintp(j), a, b)


@compiled(fastmath=True)
def heights_at_(field: np.ndarray, x: np.ndarray, y: np.ndarray, heights: np.ndarray) -> None:
    """Write the heights (N,) of the ground field at N points, as by `height_at`."""
    i, j = np.empty(len(x), np.int32), np.empty(len(x), np.int32)
    a, b = np.empty(len(x)), np.empty(len(x))
    # Two loops, of which the compiler makes SIMD of the first.
    for n in range(len(x)):
        i[n], j[n], a[n], b[n] = _cell_of(field, x[n], y[n])
    for n in range(len(x)):
        heights[n] = _between(field, np.uintp(i[n]), np.uintp(j[n]), a[n], b[n])


@compiled(fastmath=True)
def _cell_of(field, x, y):
    """The first corner of the cell that x, y lies in, and its place in the cell, 0 to 1."""
    top = field.shape[0] - 1.001
    u = min(max((x + HALF_SIZE) / CELL, 0.0), top)
    v = min(max((y + HALF_SIZE) / CELL, 0.0), top)
    i, j = int(u), int(v)
    return i, j, u - i, v - j


@compiled(fastmath=True)
def _between(field, i, j, a, b):
    """Height at a place a, b in the cell i, j."""
    one = np.uintp(1)
    low = field[i, j] * (1.0 - b) + field[i, j + one] * b
    high = field[i + one, j] * (1.0 - b) + field[i + one, j + one] * b
    return low * (1.0 - a) + high * a


@compiled(error_model="numpy")
def _field(gentle, axis, noise, plan):
    """The height field: kerbs, banks, the crown of the road and roughness on a `gentle` land.

    Args:
        gentle: (N, N) height without them.
        axis: (N,) x and y of the nodes.
        noise: (N, N) float32 of unit spread, for the roughness.
        plan: roads and verges.

    Returns:
        (N, N) float32.
    """
    field = np.empty(gentle.shape, np.float32)
    half_width, kerb = plan.roads[0].half_width, plan.kerb
    walk_l, start_l, slope_l, limit_l, rough_l = _profile(plan.verges[0])
    walk_r, start_r, slope_r, limit_r, rough_r = _profile(plan.verges[1])
    lateral, edge = np.empty(len(axis)), np.empty(len(axis))
    for i in range(len(axis)):
        _places_(plan.roads, axis[i], axis, lateral, edge)
        # Neither branches nor records here, so that the compiler makes SIMD of it.
        for j in range(len(axis)):
            left = lateral[j] > 0
            slope, walk = slope_l if left else slope_r, walk_l if left else walk_r
            height = gentle[i, j]
            height -= _CROWN * half_width * min(abs(lateral[j]) / half_width, 1.0) ** 2
            reach = max(edge[j] - walk - (start_l if left else start_r), 0.0)
            bank = min(abs(slope) * reach, limit_l if left else limit_r)
            height += bank if slope > 0.0 else -bank
            height += kerb * min(max(edge[j] / CELL, 0.0), 1.0)
            rough = _ROUGHNESS[PAVING] if edge[j] < walk else rough_l if left else rough_r
            field[i, j] = height + noise[i, j] * (_ROUGHNESS[ASPHALT] if edge[j] < 0 else rough)
    return field


@compiled()
def _profile(verge):
    """Width of the pavement, margin, slope, limit and roughness of a verge."""
    return verge.sidewalk, verge.margin, verge.slope, verge.limit, _ROUGHNESS[verge.cover]


@compiled()
def _places_(roads, x, axis, lateral, edge):
    """Write what `_place` tells of the nodes x, axis (N,) to `lateral` and `edge` (N,)."""
    for k in range(len(roads)):
        road = roads[k]
        centre_x, centre_y, radius, half_width = road.x, road.y, road.radius, road.half_width
        for j in range(len(axis)):
            off = lateral_of(centre_x, centre_y, radius, x, axis[j])
            lateral[j] = off if k == 0 else lateral[j]
            edge[j] = min(np.inf if k == 0 else edge[j], abs(off) - half_width)


@compiled()
def _place(roads, x, y):
    """Distance of a point from the first road's middle and the nearest kerb (negative on roads)."""
    lateral, edge = 0.0, np.inf
    for k in range(len(roads)):
        road = roads[k]
        off = lateral_of(road.x, road.y, road.radius, x, y)
        edge = min(edge, abs(off) - road.half_width)
        if k == 0:
            lateral = off
    return lateral, edge


@compiled()
def _unpainted(verges, lateral, edge):
    """Cover of a point but for lane markings."""
    verge = verges[0 if lateral > 0 else 1]
    if edge < 0:
        return ASPHALT
    return PAVING if edge < verge.sidewalk else verge.cover


@compiled()
def cover_at(roads: np.ndarray, verges: np.ndarray, divider: bool, x: float, y: float) -> int:
    """Index into `SURFACES` of the ground at a point; roads, verges, divider as in `Plan`."""
    lateral, edge = _place(roads, x, y)
    cover = _unpainted(verges, lateral, edge)
    if cover == ASPHALT and divider:
        for k in range(len(roads)):
            if is_painted(roads[k], x, y):
                return MARKING
    return cover
