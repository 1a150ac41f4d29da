"""The facts that the report is made of: those of a frame's objects, and those of its scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of a scan so many points are looked at, evenly chosen.
_NUM_POINTS = 2048
INTENSITY = 3


@dataclass(frozen=True)
class Scan:
    """A scan in a few plain numbers, as they are kept in a record.

    Attributes:
        count: its points.
        low: x, y, z that one of a hundred points is below, LiDAR frame, metres.
        high: x, y, z that one of a hundred points is above.
        intensity: least and greatest number of its column, or None without one.
        seen: share of the points that lie in the camera's view, or None without a camera.
        has_ground: whether a ground was found in it, or None if none was looked for.
    """

    count: int
    low: list[float]
    high: list[float]
    intensity: list[float] | None = None
    seen: float | None = None
    has_ground: bool | None = None


@dataclass(frozen=True)
class Frame:
    """A labelled frame; what is not known of it is None.

    Attributes:
        name: of the frame, for messages.
        names: (M,) str, classes of the objects.
        boxes: (M, 7) LiDAR boxes.
        counts: (M,) int, points in each box.
        seen_counts: (M,) int, those of them that the camera sees, where only these are used.
        heights: (M,) metres of the boxes' bottoms above the ground.
        has_box2d: (M,) bool, whether an object is marked in an image.
        scan: the points.
    """

    name: str
    names: np.ndarray
    boxes: np.ndarray
    counts: np.ndarray | None = None
    seen_counts: np.ndarray | None = None
    heights: np.ndarray | None = None
    has_box2d: np.ndarray | None = None
    scan: Scan | None = None


def few_points(points: np.ndarray) -> np.ndarray:
    """Some thousand of (N, C) points, evenly chosen."""
    return points[:: max(len(points) // _NUM_POINTS, 1)]


def describe_scan(
    points: np.ndarray,
    seen: float | None = None,
    has_ground: bool | None = None,
    column: int | None = INTENSITY,
) -> Scan:
    """Describe the finite points (N, 3 + C) of a scan.

    Args:
        points: LiDAR frame, metres.
        seen: see `Scan`.
        has_ground: see `Scan`.
        column: that of the intensity; None if there is none.
    """
    few = few_points(points)
    if not len(few):
        return Scan(0, [], [], None, seen, has_ground)
    ordered = np.sort(few[:, :3].T, axis=1)  # np.percentile takes several times as long
    rank = len(few) // 100
    low, high = ordered[:, rank], ordered[:, -1 - rank]
    intensity = None
    if column is not None and points.shape[1] > column:
        intensity = [float(few[:, column].min()), float(few[:, column].max())]
    return Scan(len(points), low.tolist(), high.tolist(), intensity, seen, has_ground)
