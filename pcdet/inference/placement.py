"""Scans that cannot be what a network has learnt: of other units, or from another place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pcdet.utils.array_utils import mask_points_by_range

_FEW_POINTS = 200  # say nothing
_SAMPLE = 4096  # points that are looked at
_LEAST_SHARE_IN_RANGE = 0.02  # of KITTI's full turns 0.4 to 0.5 are
_LEAST_REACH = 1.5  # metres; as for data sets (utils.data_report)
# How far apart the tenths of a scan's points are: in z 2 to 3 m on streets, a fifth of the lesser
# of x and y at most.
_TENTHS = (0.1, 0.9)
_MOST_SPREAD_OF_Z = 5.0
# The ground is the fullest layer of so many metres in height within this ring around the sensor: it
# was 1.64 to 1.81 m below the sensor in nine scans of KITTI, with 0.3 to 0.6 of the ring's points.
_RING = (5.0, 25.0)
_LAYER = 0.5
_LEAST_SHARE_OF_GROUND = 0.25
_MOST_OFF = 0.8


def doubt_about_place(points: np.ndarray, config: Mapping[str, Any]) -> str | None:
    """Say what in the coordinates of a scan cannot be right for a network, and what to do.

    Args:
        points: (N, 3+), x, y, z first.
        config: of the network: its range, and its anchors, whose lowest stand on the ground.

    Returns:
        Half a sentence about the scan, or None if nothing is amiss.
    """
    points = points[:: max(1, len(points) // _SAMPLE), :3]
    if len(points) < _FEW_POINTS:
        return None
    extent = config.DATA_CONFIG.POINT_CLOUD_RANGE
    share = len(mask_points_by_range(points, extent)) / len(points)
    if share < _LEAST_SHARE_IN_RANGE:
        return (
            f"{share:.1%} of its points lie in the network's range, {list(extent)}: it needs "
            "metres around the sensor, x forward, y left, z up"
        )
    reach = float(np.abs(points).max())
    if reach < _LEAST_REACH:
        return f"all points lie within {reach:.2f} m of the sensor: coordinates must be metres"
    low, high = np.quantile(points, _TENTHS, axis=0)
    spread = high - low
    if spread[2] > max(_MOST_SPREAD_OF_Z, spread[:2].min()):
        return (
            f"most of its points spread over {spread[0]:.0f} m of x, {spread[1]:.0f} m of y and "
            f"{spread[2]:.0f} m of z: x must point forward, y left and z up"
        )
    anchors = config.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR
    expected = min(anchor["anchor_range"][2] for anchor in anchors)
    ground = _ground_height(points)
    if ground is not None and abs(ground - expected) > _MOST_OFF:
        return (
            f"its ground seems to be at z = {ground:.1f} m, where the network's objects stand at "
            f"{expected:.1f} m: add {expected - ground:.1f} m to z, or train for such a sensor"
        )
    return None


def _ground_height(points: np.ndarray) -> float | None:
    distance = np.hypot(points[:, 0], points[:, 1])
    z = np.sort(points[(distance > _RING[0]) & (distance < _RING[1]), 2])
    ends = np.searchsorted(z, z + _LAYER, side="right")
    counts = ends - np.arange(len(z))
    if len(z) < _FEW_POINTS or counts.max() < _LEAST_SHARE_OF_GROUND * len(z):
        return None
    start = int(counts.argmax())
    return float(np.median(z[start : ends[start]]))
