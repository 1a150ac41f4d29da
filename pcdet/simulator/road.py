"""Roads as circular arcs: from positions along and across a road to the LiDAR frame and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pcdet.utils.compiling import compiled

_MIN_CURVATURE = 1e-5
_HALF_LINE = 0.07  # half the width of a painted line, metres

# What kernels know of a road: the circle that its centre line is a part of, and `Road`'s fields.
ROAD = np.dtype(
    [
        ("x", np.float64),
        ("y", np.float64),
        ("radius", np.float64),
        ("heading", np.float64),
        ("half_width", np.float64),
        ("lanes", np.int64),
    ]
)


@compiled()
def lateral_of(centre_x: float, centre_y: float, radius: float, x: float, y: float) -> float:
    """Distance (left positive) of a point of the LiDAR frame from the centre line of a road."""
    dx, dy = x - centre_x, y - centre_y
    return radius - math.copysign(math.sqrt(dx * dx + dy * dy), radius)


@compiled()
def is_painted(road: np.record, x: float, y: float) -> bool:
    """Tell whether a point lies on a painted line: dashes between lanes, or either edge's line.

    Args:
        road: an element of an array of dtype `ROAD`.
        x: of the point, LiDAR frame.
        y: of the point, LiDAR frame.
    """
    across = abs(lateral_of(road.x, road.y, road.radius, x, y))
    if abs(across - (road.half_width - 0.25)) < _HALF_LINE:
        return True
    dashes = False
    for k in range(road.lanes):
        dashes |= abs(across - k * road.half_width / road.lanes) < _HALF_LINE
    if not dashes:
        return False
    side = math.copysign(1.0, road.radius)
    angle = math.atan2(side * (x - road.x), -side * (y - road.y)) - road.heading
    station = ((angle + np.pi) % (2 * np.pi) - np.pi) * road.radius
    return station % 9.0 < 3.5


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

    @cached_property
    def centre(self) -> tuple[float, float, float]:
        """Centre x, y and radius of the circle that the centre line is a part of."""
        radius = 1.0 / self._bend
        x = self.x - radius * math.sin(self.heading)
        return x, self.y + radius * math.cos(self.heading), radius

    def lateral(self, x: float, y: float) -> float:
        """Distance (metres, left positive) of a point of the LiDAR frame from the centre line."""
        return lateral_of(*self.centre, x, y)

    def record(self) -> tuple[float, float, float, float, float, int]:
        """Return the road as a row of an array of dtype `ROAD`."""
        return *self.centre, self.heading, self.half_width, self.lanes

    def lane_centres(self) -> list[tuple[float, int]]:
        """Lateral offset of each lane and its direction (+1 along the heading, -1 against)."""
        if self.one_way:
            width = 2 * self.half_width / self.lanes
            return [(-self.half_width + (k + 0.5) * width, 1) for k in range(self.lanes)]
        width = self.half_width / self.lanes
        right = [(-(k + 0.5) * width, 1) for k in range(self.lanes)]
        return right + [(-offset, -1) for offset, _ in right]
