"""The Velodyne HDL-64E of KITTI's recording car: its beams, its blind spots, its returns.

The figures were read off real frames: the points of one laser lie on a cone about the sensor's
axis to within half a millimetre, so each laser's elevation and the height of its cone's tip are
known from the points; so are the directions that the car itself covers, and how much weaker than
the best each laser reports its intensity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pcdet.simulator.raycast import Rays

RINGS = 64
UPPER_BLOCK = 32  # the first 32 rings, about 1/3 degree apart; the others about 1/2 degree
FIRINGS = 2157  # of one turn
MAX_RANGE = 80.0  # KITTI's frames end here, although the sensor sees cars at 120 m
MIN_RANGE = 2.0
ELEVATIONS = np.deg2rad(
    [
        1.937, 1.574, 1.305, 0.872, 0.579, 0.181, -0.089, -0.452, -0.803, -1.201, -1.494, -1.833,
        -2.208, -2.547, -2.874, -3.236, -3.539, -3.936, -4.216, -4.588, -4.914, -5.251, -5.611,
        -5.958, -6.329, -6.676, -6.999, -7.287, -7.679, -8.058, -8.310, -8.711, -9.026, -9.574,
        -10.062, -10.471, -10.957, -11.599, -12.115, -12.562, -13.041, -13.485, -14.048, -14.598,
        -15.189, -15.657, -16.177, -16.554, -17.187, -17.730, -18.323, -18.797, -19.321, -19.737,
        -20.222, -20.788, -21.318, -21.935, -22.438, -22.857, -23.322, -23.971, -24.506, -25.000,
    ]
)  # fmt: skip
# Height of the cones' tips: the two blocks of lasers sit one above the other.
APEX = np.concatenate([np.linspace(0.209, 0.198, 32), np.linspace(0.126, 0.116, 32)])
# How much less intensity than the best laser each one reports of asphalt at 10 m.
WEAKNESS = np.array(
    [
        0.00, 0.02, 0.03, 0.08, 0.02, 0.04, 0.00, 0.04, 0.01, 0.06, 0.03, 0.01, 0.01, 0.03, 0.04,
        0.05, 0.04, 0.03, 0.02, 0.09, 0.04, 0.13, 0.04, 0.02, 0.09, 0.06, 0.05, 0.05, 0.07, 0.14,
        0.07, 0.03, 0.05, 0.06, 0.04, 0.10, 0.18, 0.05, 0.00, 0.01, 0.07, 0.04, 0.15, 0.04, 0.04,
        0.04, 0.04, 0.06, 0.07, 0.02, 0.00, 0.18, 0.06, 0.08, 0.08, 0.05, 0.04, 0.00, 0.09, 0.11,
        0.13, 0.04, 0.00, 0.02,
    ]
)  # fmt: skip
# Ellipses (azimuth, ring, half azimuth, half rings) that roof, boot and fittings of the car cover.
_BLIND_SPOTS = (
    (-68.0, 55.0, 10.5, 8.5),
    (-158.0, 46.5, 4.0, 5.5),
    (162.0, 46.5, 4.0, 5.5),
    (180.0, 60.0, 28.0, 9.0),
    (180.0, 66.0, 32.0, 14.5),
    (132.0, 61.0, 5.5, 6.5),
    (-129.0, 61.0, 6.0, 6.0),
    (1.0, 66.0, 21.0, 9.8),
    (-33.0, 62.5, 7.0, 3.0),
    (33.0, 62.5, 7.0, 3.0),
    (-141.0, 64.0, 6.0, 2.5),
    (142.0, 64.0, 7.0, 3.0),
)
_PARITY_SHIFT = 2.5  # degrees between the blind spots of neighbouring lasers


@dataclass(frozen=True)
class Sensor:
    """A LiDAR that turns, as its data sheet tells.

    Attributes:
        name: of the model.
        elevations: of each laser, radians, the highest first.
        apex: height of the tip of each laser's cone above the origin, metres.
        firings: of one turn.
        azimuth_step: what azimuths are multiples of, for each laser, radians.
        ranges: the nearest and the farthest that is reported, metres.
        noise: standard deviations of a range: of each laser's own error in a frame, and from beam
            to beam, metres.
        detection: least reflectivity * cosine / range^2 that is seen in half of the cases.
        height: above the road where it is usually mounted, metres.
        beside_road: it stands on a mast at the roadside, not on a car in a lane.
    """

    name: str
    elevations: tuple[float, ...]
    apex: tuple[float, ...]
    firings: int
    azimuth_step: float
    ranges: tuple[float, float]
    noise: tuple[float, float]
    detection: float
    height: float
    beside_road: bool = False

    @property
    def rings(self) -> int:
        """Number of lasers."""
        return len(self.elevations)


# 2 cm of noise together. On KITTI's car.
HDL_64E = Sensor(
    "HDL-64E",
    tuple(ELEVATIONS.tolist()),
    tuple(APEX.tolist()),
    FIRINGS,
    np.deg2rad(0.09),
    (MIN_RANGE, MAX_RANGE),
    (0.018, 0.008),
    4.0e-6,
    1.725,
)


@dataclass(frozen=True)
class Beams:
    """The rays of one turn, rings (highest first) by firings.

    Attributes:
        azimuth: (R, C) radians from +x towards +y, growing along each ring.
        rays: their origins and directions (unit vectors) in the LiDAR frame.
        blind: (R, C) bool, covered by the recording car.
    """

    azimuth: np.ndarray
    rays: Rays
    blind: np.ndarray


@lru_cache(maxsize=2)
def beams(sensor: Sensor = HDL_64E) -> Beams:
    """Return the rays of a turn of a sensor; they are the same in every frame."""
    phase, step = np.mod(np.arange(sensor.rings) * 0.618034, 1.0)[:, None], sensor.azimuth_step
    ticks = np.floor(np.arange(sensor.firings) * (2 * np.pi / sensor.firings / step))
    azimuth = (ticks + 0.99 * phase) * step
    azimuth = np.minimum(azimuth, 2 * np.pi - 1e-4)
    cosine, sine = (f(sensor.elevations)[:, None] for f in (np.cos, np.sin))
    directions = np.stack(
        [
            cosine * np.cos(azimuth),
            cosine * np.sin(azimuth),
            np.broadcast_to(sine, azimuth.shape),
        ]
    )
    origins = np.stack([np.zeros(sensor.rings), np.zeros(sensor.rings), sensor.apex], axis=1)
    rays = Rays(origins.astype(np.float32), directions.astype(np.float32))
    blind = _blind(azimuth) if sensor == HDL_64E else np.zeros(azimuth.shape, dtype=bool)
    return Beams(azimuth, rays, blind)


def _blind(azimuth: np.ndarray) -> np.ndarray:
    """Which rays (64, C) the recording car covers."""
    ring = np.arange(RINGS)[:, None]
    degrees = np.rad2deg(azimuth) + _PARITY_SHIFT * ((ring % 2) - 0.5)
    blind = np.zeros(azimuth.shape, dtype=bool)
    for centre, row, half_width, half_rows in _BLIND_SPOTS:
        off = np.mod(degrees - centre + 180.0, 360.0) - 180.0
        blind |= (off / half_width) ** 2 + ((ring - row) / half_rows) ** 2 < 1.0
    return blind
