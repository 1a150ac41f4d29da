"""Roads as circular arcs: from positions along and across a road to the LiDAR frame and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MIN_CURVATURE = 1e-5


@dataclass(frozen=True)
class Road:
    """A road of constant curvature.

    Attributes:
        x, y: a point of its centre line in the LiDAR frame, where the station is 0; metres.
        heading: direction of the centre line there, radians from +x towards +y.
        curvature: 1 / radius, positive to the left.
        half_width: from the centre line to the kerb, metres.
        lanes: number of lanes in each direction.
        one_way: all traffic runs along the heading.
    """

    x: float
    y: float
    heading: float
    curvature: float
    half_width: float
    lanes: int = 1
    one_way: bool = False

    @property
    def _bend(self) -> float:
        small = abs(self.curvature) < _MIN_CURVATURE
        return _MIN_CURVATURE if small else self.curvature

    def to_world(self, station: float, lateral: float) -> tuple[float, float, float]:
        """Position x, y and heading of the road at `station` along, `lateral` to the left."""
        theta = self.heading + self._bend * station
        x = self.x + (np.sin(theta) - np.sin(self.heading)) / self._bend - lateral * np.sin(theta)
        y = self.y - (np.cos(theta) - np.cos(self.heading)) / self._bend + lateral * np.cos(theta)
        return float(x), float(y), float(theta)

    def lateral(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance (metres, left positive) of points of the LiDAR frame from the centre line."""
        radius = 1.0 / self._bend
        dx, dy = self._from_centre(x, y)
        return radius - np.sign(radius) * np.sqrt(dx * dx + dy * dy)

    def station(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Metres along the centre line at which points of the LiDAR frame lie abreast."""
        radius = 1.0 / self._bend
        dx, dy = self._from_centre(x, y)
        theta = np.arctan2(np.sign(radius) * dx, -np.sign(radius) * dy)
        return (np.mod(theta - self.heading + np.pi, 2 * np.pi) - np.pi) * radius

    def _from_centre(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points relative to the centre of the road's arc."""
        radius = 1.0 / self._bend
        centre_x = self.x - radius * np.sin(self.heading)
        centre_y = self.y + radius * np.cos(self.heading)
        return np.asarray(x) - centre_x, np.asarray(y) - centre_y

    def lane_centres(self) -> list[tuple[float, int]]:
        """Lateral offset of each lane and its direction (+1 along the heading, -1 against)."""
        if self.one_way:
            width = 2 * self.half_width / self.lanes
            return [(-self.half_width + (k + 0.5) * width, 1) for k in range(self.lanes)]
        width = self.half_width / self.lanes
        right = [(-(k + 0.5) * width, 1) for k in range(self.lanes)]
        return right + [(-offset, -1) for offset, _ in right]
