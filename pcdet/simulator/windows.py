"""Windows of a ray grid that enclose what a triangle or a volume can cover in it."""

from __future__ import annotations

import math

import numpy as np

from pcdet.simulator.drawing import BOX_FACES
from pcdet.simulator.sensor import HDL_64E, Sensor
from pcdet.utils.compiling import compiled

_NEAR = 0.3  # metres in front of the camera


def lidar_windows(triangles: np.ndarray, sensor: Sensor = HDL_64E) -> np.ndarray:
    """Rings and firings that may meet each triangle (T, 3, 3) of the LiDAR frame.

    Returns:
        (T, 4) int32: first ring, ring after the last, first firing, firing after the last;
        firings may be negative or beyond the turn and count modulo its length.
    """
    falls = -np.tan(sensor.elevations)  # ascending, as searchsorted needs
    # A ray's azimuth is less than a step from its place in the turn.
    margin = sensor.azimuth_step * sensor.firings / (2 * np.pi) + 0.01
    apex = min(sensor.apex), max(sensor.apex)
    return _turn_windows(triangles, falls, apex, sensor.firings, margin)


@compiled()
def _turn_windows(triangles, falls, apex, firings, margin):
    """The windows of `lidar_windows`.

    Args:
        triangles: (T, 3, 3).
        falls: (R,) metres that each laser falls in one.
        apex: least and greatest height of the lasers' cones.
        firings: of a turn.
        margin: firings that may meet a triangle beside those between its corners.
    """
    per_radian = firings / (2 * np.pi)
    windows = np.zeros((len(triangles), 4), np.int32)
    for k in range(len(triangles)):
        low, high, far = np.inf, -np.inf, 0.0
        for corner in range(3):
            x, y, z = triangles[k, corner, 0], triangles[k, corner, 1], triangles[k, corner, 2]
            low, high, far = min(low, z), max(high, z), max(far, math.sqrt(x * x + y * y))
        if far < 0.5:
            continue
        nearest = _distance_to_axis(triangles, k)
        near = max(nearest, 0.3)
        top, bottom = high - apex[0], low - apex[1]
        highest = top / near if top > 0 else top / far
        lowest = bottom / far if bottom > 0 else bottom / near
        first_ring = np.searchsorted(falls, -highest - 1e-4)
        ring_after = np.searchsorted(falls, -lowest + 1e-4)
        if first_ring >= ring_after:
            continue
        windows[k, 0], windows[k, 1] = first_ring, ring_after
        windows[k, 2], windows[k, 3] = firings, 2 * firings
        if nearest > 0.0:
            middle, left, right = _azimuths(triangles, k)
            windows[k, 2] += math.ceil((middle + left) * per_radian - margin)
            windows[k, 3] = firings + 1 + math.floor((middle + right) * per_radian + margin)
    return windows


@compiled()
def _azimuths(triangles, k):
    """Azimuth of a triangle's first corner, and the least and greatest of all from there."""
    x, y = triangles[k, 0, 0], triangles[k, 0, 1]
    left, right = 0.0, 0.0
    for corner in (1, 2):
        u, v = triangles[k, corner, 0], triangles[k, corner, 1]
        turn = math.atan2(x * v - y * u, x * u + y * v)
        left, right = min(left, turn), max(right, turn)
    return math.atan2(y, x), left, right


@compiled()
def _distance_to_axis(triangles, k):
    """Least horizontal distance of a triangle from the origin, 0 if it lies about it."""
    best, lefts, rights = np.inf, 0, 0
    for a in range(3):
        b = (a + 1) % 3
        x, y = float(triangles[k, a, 0]), float(triangles[k, a, 1])
        along_x, along_y = triangles[k, b, 0] - x, triangles[k, b, 1] - y
        length = max(along_x * along_x + along_y * along_y, 1e-12)
        share = min(max(-(x * along_x + y * along_y) / length, 0.0), 1.0)
        nearest_x, nearest_y = x + share * along_x, y + share * along_y
        best = min(best, nearest_x * nearest_x + nearest_y * nearest_y)
        side = x * along_y - y * along_x
        lefts, rights = lefts + (side > 0), rights + (side < 0)
    return 0.0 if max(lefts, rights) == 3 else math.sqrt(best)


@compiled()
def camera_windows(
    triangles: np.ndarray, projection: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Pixel rows and columns that may show each triangle.

    Args:
        triangles: (T, 3, 3) in the LiDAR frame.
        projection: (3, 4) from the LiDAR frame to pixels.
        shape: rows and columns of the image.

    Returns:
        (T, 4) int32: first row, row after the last, first column, column after the last; empty
        where a triangle is out of the picture.
    """
    windows = np.zeros((len(triangles), 4), np.int32)
    points = np.empty((3, 3))  # u w, v w, w of each corner
    seen = np.empty((6, 3))  # the same of the corners of what lies before the camera
    for k in range(len(triangles)):
        for a in range(3):
            x, y, z = triangles[k, a, 0], triangles[k, a, 1], triangles[k, a, 2]
            for i in range(3):
                points[a, i] = projection[i, 0] * x + projection[i, 1] * y
                points[a, i] += projection[i, 2] * z + projection[i, 3]
        count = _cut_(points, seen)
        for axis in range(2):
            low, high = np.inf, -np.inf
            for n in range(count):
                pixel = seen[n, 1 - axis] / seen[n, 2]
                low, high = min(low, pixel), max(high, pixel)
            if count:
                windows[k, 2 * axis] = min(max(math.ceil(low - 1e-3), 0), shape[axis])
                windows[k, 2 * axis + 1] = min(max(math.floor(high + 1e-3) + 1, 0), shape[axis])
        if windows[k, 0] >= windows[k, 1] or windows[k, 2] >= windows[k, 3]:
            for side in range(4):
                windows[k, side] = 0
    return windows


@compiled()
def _cut_(points, seen):
    """Write to `seen` (6, 3) the corners of what of a triangle (3, 3) has a depth above `_NEAR`.

    Returns:
        Their number.
    """
    count = 0
    for a in range(3):
        b = (a + 1) % 3
        start, end = points[a, 2], points[b, 2]
        if start > _NEAR:
            for i in range(3):
                seen[count, i] = points[a, i]
            count += 1
        if (start > _NEAR) != (end > _NEAR):
            share = (_NEAR - start) / (end - start)
            for i in range(3):
                seen[count, i] = points[a, i] + share * (points[b, i] - points[a, i])
            count += 1
    return count


_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


def volume_hulls(volumes: np.ndarray) -> np.ndarray:
    """Return the twelve triangles of the box about each volume, (V, 12, 3, 3) float32.

    Args:
        volumes: (V, 15), rows of `foliage.Volume`.
    """
    local = _CUBE[None] * volumes[:, None, 4:7]
    c, s = np.cos(volumes[:, 7, None]), np.sin(volumes[:, 7, None])
    corners = np.stack(
        [
            local[..., 0] * c - local[..., 1] * s,
            local[..., 0] * s + local[..., 1] * c,
            local[..., 2],
        ],
        axis=-1,
    )
    return (corners + volumes[:, None, 1:4]).astype(np.float32)[:, BOX_FACES]


def enclosing(windows: np.ndarray, count: int, turn: tuple[int, int] | None = None) -> np.ndarray:
    """Find one window about the windows of a volume's hull.

    Args:
        windows: (count * 12, 4) of the hulls' triangles.
        count: number of volumes.
        turn: rings and firings of a turn, modulo which columns count; none for pixels.

    Returns:
        (count, 4) int32.
    """
    windows = windows.reshape(count, 12, 4).astype(np.int64)
    empty = (windows[..., 0] >= windows[..., 1]) & (windows[..., 2] >= windows[..., 3])
    low = np.where(empty[..., None], 1 << 30, windows[..., [0, 2]])
    high = np.where(empty[..., None], -1, windows[..., [1, 3]])
    if turn:
        rings, firings = turn
        # Bring all columns near those of the first triangle that is not empty.
        chosen = np.argmin(empty, axis=1)
        anchor = windows[np.arange(count), chosen, 2][:, None]
        shift = np.round((windows[..., 2] - anchor) / firings).astype(np.int64) * firings
        low[..., 1] = np.where(empty, low[..., 1], low[..., 1] - shift)
        high[..., 1] = np.where(empty, high[..., 1], high[..., 1] - shift)
    first, last = low.min(axis=1), high.max(axis=1)
    result = np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)
    if turn:
        wide = result[:, 3] - result[:, 2] >= firings
        result[wide, 2], result[wide, 3] = 0, firings
        result[:, 0], result[:, 1] = np.maximum(result[:, 0], 0), np.minimum(result[:, 1], rings)
        result[:, 2:] += firings * 2
    result[empty.all(axis=1)] = 0
    return result.astype(np.int32)
