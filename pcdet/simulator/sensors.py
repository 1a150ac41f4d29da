"""Sensors by name, from their makers' data sheets; the HDL-64E of KITTI stands in `sensor`.

VLP-16: user manual 63-9243 (elevations, 0.2 degrees between firings at 10 Hz, 100 m, 3 cm).
HDL-32E: user manual (elevations from -30.67 to 10.67 degrees by 4/3, 1 to 100 m, 2 cm; 2,170
firings at 10 Hz). OS1-64, first generation: data sheet (33.2 degrees, 1,024 firings, 0.8 m to 120 m
at 80 % reflectivity, 1.5 to 3 cm). Pandar64: user manual (elevations; 0.2 degrees between firings,
200 m at 10 %, 2 cm); each unit has a calibration of its own. HDL-64E: 120 m at 80 %.

Left out are the millimetres between the lasers of one sensor, and their offsets in azimuth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pcdet.simulator.sensor import HDL_64E, Sensor
from pcdet.utils.errors import ConfigError

_NEAR = 0.5  # metres; what is nearer is not reported, where the maker says nothing else
_HDL_64E_SIGHT = 0.8, 120.0  # of its data sheet, as `sight` below


def _detection(reflectivity: float, distance: float) -> float:
    """Least signal, from the distance at which a target of a reflectivity is still seen.

    It is in proportion to the HDL-64E's, which was fitted to real frames with the materials.
    """
    bright, far = _HDL_64E_SIGHT
    return HDL_64E.detection * (reflectivity / bright) * (far / distance) ** 2


def _sensor(
    name: str,
    degrees: Sequence[float],
    firings: int,
    sight: tuple[float, float],
    noise: float,
    near: float = _NEAR,
) -> Sensor:
    """A sensor on a car's roof.

    Args:
        name: of the model.
        degrees: elevations of its lasers, the highest first.
        firings: of a turn.
        sight: a reflectivity, and the distance at which such a target is seen, metres; nothing
            is reported from farther away.
        noise: of a range, metres.
        near: the least range, metres.
    """
    return Sensor(
        name,
        tuple(np.deg2rad(degrees).tolist()),
        (0.0,) * len(degrees),
        firings,
        2 * np.pi / firings,
        (near, sight[1]),
        (0.0, noise),
        _detection(*sight),
        1.8,
    )


_PANDAR = (
    14.882, 11.032, 8.059, 5.057, 3.04, 2.028, 1.86, 1.688, 1.522, 1.351, 1.184, 1.013, 0.846,
    0.675, 0.508, 0.337, 0.169, 0, -0.169, -0.337, -0.508, -0.675, -0.845, -1.013, -1.184, -1.351,
    -1.522, -1.688, -1.86, -2.028, -2.198, -2.365, -2.536, -2.7, -2.873, -3.04, -3.21, -3.375,
    -3.548, -3.712, -3.884, -4.05, -4.221, -4.385, -4.558, -4.72, -4.892, -5.057, -5.229, -5.391,
    -5.565, -5.726, -5.898, -6.061, -7.063, -8.059, -9.06, -9.885, -11.032, -12.006, -12.974,
    -13.93, -18.889, -24.897,
)  # fmt: skip
# The sheets of the first two give a distance alone; it is taken to hold for a bright target.
VLP_16 = _sensor("VLP-16", np.arange(15.0, -16.0, -2.0), 1808, (0.8, 100.0), 0.03 / 2)
HDL_32E = _sensor("HDL-32E", 32 / 3 - np.arange(32) * 4 / 3, 2170, (0.8, 100.0), 0.02 / 2, 1.0)
OS1_64 = _sensor("OS1-64", np.linspace(16.6, -16.6, 64), 1024, (0.8, 120.0), 0.02, 0.8)
PANDAR_64 = _sensor("Pandar64", _PANDAR, 1800, (0.1, 200.0), 0.02 / 2)
MAST = replace(HDL_32E, name="mast", height=5.0, beside_road=True)
SENSORS = {
    sensor.name.lower(): sensor for sensor in (HDL_64E, VLP_16, HDL_32E, OS1_64, PANDAR_64, MAST)
}


def sensor_by_name(name: str) -> Sensor:
    """Find a sensor; capitals make no difference.

    Raises:
        ConfigError: there is none of that name.
    """
    if name.lower() not in SENSORS:
        raise ConfigError(f"--sensor: expected one of {', '.join(SENSORS)}, got {name!r}")
    return SENSORS[name.lower()]
