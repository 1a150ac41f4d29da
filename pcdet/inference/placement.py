"""Scans that cannot be what a network has learnt: of other units, or from another place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcdet.datasets.training_plan import OFF_ANCHORS
from pcdet.utils.array_utils import mask_points_by_range
from pcdet.utils.data_report.warnings import NEAREST

_FEW_POINTS = 200  # say nothing
_SAMPLE = 4096  # points that are looked at
_LEAST_SHARE_IN_RANGE = 0.02  # of KITTI's full turns 0.4 to 0.5 are
# How far apart the tenths of a scan's points are: in z 2 to 3 m on streets, a fifth of the lesser
# of x and y at most.
_TENTHS = (0.1, 0.9)
_MOST_SPREAD_OF_Z = 8.0
# The ground is the lowest layer of so many metres in height that holds a good share of the points
# within this ring around the sensor, and has next to none below it. In nine scans of KITTI it was
# 1.64 to 1.81 m below the sensor, with 0.3 to 0.6 of the ring's points.
_RING = (5.0, 25.0)
_LAYER = 0.5
_LEAST_SHARE_OF_GROUND, _MOST_BELOW_GROUND = 0.25, 0.1
# Metres that anchors may stand below the ground; above it more, as KITTI's anchors of people do.
_MOST_BURIED = 0.8


def doubt_about_place(
    points: np.ndarray, point_cloud_range: Sequence[float], lowest_anchor: float
) -> str | None:
    """Say what in the coordinates of a scan cannot be right for a network, and what to do.

    Args:
        points: (N, 3+), x, y, z first.
        point_cloud_range: the network's.
        lowest_anchor: z of the lowest bottom of its anchors, metres.

    Returns:
        Half a sentence about the scan, or None if nothing is amiss.
    """
    # An odd step: sensors write their rings in turn, and these are 16, 32, 64 or 128.
    points = points[:: len(points) // _SAMPLE | 1, :3]
    if len(points) < _FEW_POINTS:
        return None
    share = len(mask_points_by_range(points, point_cloud_range)) / len(points)
    if share < _LEAST_SHARE_IN_RANGE:
        return (
            f"{share:.1%} of its points lie in the network's range, {list(point_cloud_range)}: it "
            "needs metres around the sensor, x forward, y left, z up"
        )
    reach = float(np.abs(points).max())
    if reach < NEAREST:
        return f"all points lie within {reach:.2f} m of the sensor: coordinates must be metres"
    low, high = np.quantile(points, _TENTHS, axis=0)
    spread = high - low
    if spread[2] > max(_MOST_SPREAD_OF_Z, 2 * spread[:2].min()):
        return (
            f"most of its points spread over {spread[0]:.0f} m of x, {spread[1]:.0f} m of y and "
            f"{spread[2]:.0f} m of z: x must point forward, y left and z up"
        )
    ground = _ground_height(points)
    if ground is not None and not -OFF_ANCHORS < ground - lowest_anchor < _MOST_BURIED:
        return (
            f"its ground seems to be at z = {ground:.1f} m, where the lowest of the network's "
            f"objects stand at {lowest_anchor:.1f} m: move z, or train for a sensor of this height"
        )
    return None


def doubt_about_intensity(points: np.ndarray) -> str | None:
    """Say what in the intensities of a scan is unlike KITTI's.

    Args:
        points: (N, C), the intensity in the fourth column if there is one.

    Returns:
        Half a sentence about the scan, or None if nothing is amiss.
    """
    intensity = points[:, 3:4]
    if intensity.size == 0 or (intensity.min() >= 0 and intensity.max() <= 1):
        return None
    return (
        f"its intensities are from {intensity.min():g} to {intensity.max():g}: if those of the "
        "training were 0 to 1, as KITTI's are, divide them by the largest that the sensor gives"
    )


def _ground_height(points: np.ndarray) -> float | None:
    distance = np.hypot(points[:, 0], points[:, 1])
    z = np.sort(points[(distance > _RING[0]) & (distance < _RING[1]), 2])
    if len(z) < _FEW_POINTS:
        return None
    ends = np.searchsorted(z, z + _LAYER, side="right")
    starts = np.flatnonzero(ends - np.arange(len(z)) >= _LEAST_SHARE_OF_GROUND * len(z))
    if len(starts) == 0 or starts[0] > _MOST_BELOW_GROUND * len(z):
        return None
    # The fullest of the layers that overlap the first.
    nearby = starts[z[starts] < z[starts[0]] + _LAYER]
    start = nearby[(ends[nearby] - nearby).argmax()]
    return float(np.median(z[start : ends[start]]))
