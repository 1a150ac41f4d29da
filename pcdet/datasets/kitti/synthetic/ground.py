"""The ground: a height field with kerbs, verges and slopes, and what it is covered with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pcdet.datasets.kitti.synthetic import materials as m
from pcdet.datasets.kitti.synthetic.road import Road

HALF_SIZE = 84.0  # the field reaches this far from the sensor, metres
CELL = 0.25
_NODES = int(2 * HALF_SIZE / CELL) + 1

ASPHALT, PAVING, GRASS, GRAVEL, MARKING = range(5)
SURFACES = np.array([m.ASPHALT, m.PAVING, m.GRASS, m.GRAVEL, m.MARKING], dtype=np.float64)
_CROWN = 0.012  # mean fall of a road from its middle to its kerb
_ROUGHNESS = {PAVING: 0.003, GRASS: 0.020, GRAVEL: 0.008}  # of one cell, metres


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
    heights: np.ndarray = field(
        init=False, repr=False, default_factory=lambda: np.zeros((0, 0), dtype=np.float32)
    )

    def build(self, rng: np.random.Generator) -> None:
        """Compute the height field (nodes of `CELL` metres) with its small roughness."""
        axis = np.linspace(-HALF_SIZE, HALF_SIZE, _NODES)
        x, y = np.meshgrid(axis, axis, indexing="ij")
        lateral, edge, cover = self._edge_and_cover(x, y)
        heights = self._smooth(x, y, lateral, edge) + self.kerb * np.clip(edge / CELL, 0.0, 1.0)
        noise = rng.standard_normal(x.shape).astype(np.float32)
        rough = np.zeros(len(SURFACES), dtype=np.float32)
        for kind, size in _ROUGHNESS.items():
            rough[kind] = size
        heights += noise * rough[cover]
        self.heights = heights.astype(np.float32)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the ground at points, bilinear in the field; clamped at its border."""
        u = np.clip((np.asarray(x) + HALF_SIZE) / CELL, 0, _NODES - 1.001)
        v = np.clip((np.asarray(y) + HALF_SIZE) / CELL, 0, _NODES - 1.001)
        i, j = u.astype(int), v.astype(int)
        a, b = u - i, v - j
        f = self.heights
        return (
            f[i, j] * (1 - a) * (1 - b)
            + f[i + 1, j] * a * (1 - b)
            + f[i, j + 1] * (1 - a) * b
            + f[i + 1, j + 1] * a * b
        )

    def slope_at(self, x: float, y: float, reach: float = 1.2) -> tuple[float, float]:
        """Rise per metre along x and y, over twice `reach` metres."""
        rise_x = self.at(x + reach, y) - self.at(x - reach, y)
        rise_y = self.at(x, y + reach) - self.at(x, y - reach)
        return float(rise_x / (2 * reach)), float(rise_y / (2 * reach))

    def cover(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Index into `SURFACES` of the ground at points, lane markings included."""
        cover = self._edge_and_cover(x, y)[2]
        painted = np.zeros(cover.shape, dtype=bool)
        if self.divider:
            for road in self.roads:
                painted |= _markings(road, road.station(x, y), road.lateral(x, y))
        return np.where(painted & (cover == ASPHALT), MARKING, cover)

    def _smooth(
        self, x: np.ndarray, y: np.ndarray, lateral: np.ndarray, edge: np.ndarray
    ) -> np.ndarray:
        """Height without kerb and roughness; the last two as from `_edge_and_cover`."""
        height = self.height + self.slope[0] * x + self.slope[1] * y + self.arch * x * x
        for amplitude, along, across, phase in self.waves:
            height += amplitude * (np.sin(along * x + across * y + phase) - np.sin(phase))
        half_width = self.roads[0].half_width
        height -= _CROWN * half_width * np.minimum(np.abs(lateral) / half_width, 1.0) ** 2
        for verge, side in ((self.left, lateral > 0), (self.right, lateral <= 0)):
            reach = np.maximum(edge - verge.sidewalk - verge.margin, 0.0) * side
            bank = np.minimum(np.abs(verge.slope) * reach, verge.limit)
            height += np.sign(verge.slope) * bank
        return height

    def _edge_and_cover(
        self, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance from the first road's middle and the nearest kerb (negative on roads), cover."""
        lateral = self.roads[0].lateral(x, y)
        edge = np.abs(lateral) - self.roads[0].half_width
        for road in self.roads[1:]:
            edge = np.minimum(edge, np.abs(road.lateral(x, y)) - road.half_width)
        is_left = lateral > 0
        sidewalk = np.where(is_left, self.left.sidewalk, self.right.sidewalk)
        beyond = np.where(is_left, self.left.cover, self.right.cover)
        cover = np.where(edge < 0, ASPHALT, np.where(edge < sidewalk, PAVING, beyond))
        return lateral, edge, cover


def _markings(road: Road, station: np.ndarray, lateral: np.ndarray) -> np.ndarray:
    """Which points lie on a painted line: dashes between lanes, a line along either edge."""
    half = 0.07
    across = np.abs(lateral)
    painted = np.abs(across - (road.half_width - 0.25)) < half
    dash = np.mod(station, 9.0) < 3.5
    width = road.half_width / road.lanes
    for k in range(road.lanes):
        painted |= (np.abs(across - k * width) < half) & dash
    return painted
