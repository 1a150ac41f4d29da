"""Windows of a ray grid that enclose what a triangle or a volume can cover in it."""

from __future__ import annotations

import numpy as np

from pcdet.datasets.kitti.synthetic.mesh import BOX_FACES
from pcdet.datasets.kitti.synthetic.sensor import APEX, ELEVATIONS, FIRINGS, RINGS

_EDGES = ((0, 1), (1, 2), (2, 0))
_NEAR = 0.3  # metres in front of the camera


def lidar_windows(triangles: np.ndarray) -> np.ndarray:
    """Rings and firings that may meet each triangle (T, 3, 3) of the LiDAR frame.

    Returns:
        (T, 4) int32: first ring, ring after the last, first firing, firing after the last;
        firings may be negative or beyond the turn and count modulo its length.
    """
    xy, z = triangles[..., :2], triangles[..., 2]
    azimuth = np.arctan2(xy[..., 1], xy[..., 0])
    turn = np.mod(azimuth - azimuth[:, :1] + np.pi, 2 * np.pi) - np.pi + azimuth[:, :1]
    near = _distance_to_axis(xy)
    far = np.hypot(xy[..., 0], xy[..., 1]).max(axis=1)
    top, bottom = z.max(axis=1) - APEX.min(), z.min(axis=1) - APEX.max()
    near = np.maximum(near, 0.3)
    highest = np.where(top > 0, top / near, top / far)
    lowest = np.where(bottom > 0, bottom / far, bottom / near)
    tangents = -np.tan(ELEVATIONS)  # ascending, as searchsorted needs
    first = np.searchsorted(tangents, -highest - 1e-4)
    last = np.searchsorted(tangents, -lowest + 1e-4)
    per_radian = FIRINGS / (2 * np.pi)
    left = np.floor(turn.min(axis=1) * per_radian) - 1
    right = np.ceil(turn.max(axis=1) * per_radian) + 2
    around = _holds_axis(xy)
    left[around], right[around] = 0, FIRINGS
    windows = np.stack([first, last, left + FIRINGS, right + FIRINGS], axis=1)
    windows[far < 0.5] = 0
    return windows.astype(np.int32)


def _distance_to_axis(xy: np.ndarray) -> np.ndarray:
    """Least distance (T,) of the edges of triangles (T, 3, 2) from the origin."""
    best = np.full(len(xy), np.inf)
    for a, b in _EDGES:
        start, along = xy[:, a], xy[:, b] - xy[:, a]
        length = np.maximum((along**2).sum(axis=1), 1e-12)
        share = np.clip(-(start * along).sum(axis=1) / length, 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(start + share[:, None] * along, axis=1))
    best[_holds_axis(xy)] = 0.0
    return best


def _holds_axis(xy: np.ndarray) -> np.ndarray:
    """Whether the origin lies inside each triangle (T, 3, 2)."""
    turns = [xy[:, a, 0] * xy[:, b, 1] - xy[:, a, 1] * xy[:, b, 0] for a, b in _EDGES]
    turns = np.stack(turns)
    return (turns > 0).all(axis=0) | (turns < 0).all(axis=0)


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
    points = triangles @ projection[:, :3].T + projection[:, 3]  # (T, 3, 3): u w, v w, w
    pieces, seen = [points], [points[..., 2] > _NEAR]
    for a, b in _EDGES:
        start, end = points[:, a], points[:, b]
        crosses = (start[:, 2] > _NEAR) != (end[:, 2] > _NEAR)
        gap = np.where(crosses, end[:, 2] - start[:, 2], 1.0)
        share = np.where(crosses, (_NEAR - start[:, 2]) / gap, 0.0)
        pieces.append((start + share[:, None] * (end - start))[:, None])
        seen.append(crosses[:, None])
    points, seen = np.concatenate(pieces, axis=1), np.concatenate(seen, axis=1)
    depth = np.where(seen, np.maximum(points[..., 2], _NEAR / 2), 1.0)
    bounds = []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        pixel = points[..., axis] / depth
        low = np.floor(np.where(seen, pixel, np.inf).min(axis=1))
        high = np.ceil(np.where(seen, pixel, -np.inf).max(axis=1)) + 1
        bounds += [np.clip(low, 0, size), np.clip(high, 0, size)]
    windows = np.stack(bounds, axis=1)
    windows[(windows[:, 0] >= windows[:, 1]) | (windows[:, 2] >= windows[:, 3])] = 0
    return windows.astype(np.int32)


_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


def volume_hulls(volumes: np.ndarray) -> np.ndarray:
    """The twelve triangles of the box about each volume, (V, 12, 3, 3).

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
    return (corners + volumes[:, None, 1:4])[:, BOX_FACES]


def enclosing(windows: np.ndarray, count: int, wrap: bool) -> np.ndarray:
    """One window about the windows of a volume's hull.

    Args:
        windows: (count * 12, 4) of the hulls' triangles.
        count: number of volumes.
        wrap: columns count modulo the firings of a turn; else they are pixels.

    Returns:
        (count, 4) int32.
    """
    windows = windows.reshape(count, 12, 4).astype(np.int64)
    empty = (windows[..., 0] >= windows[..., 1]) & (windows[..., 2] >= windows[..., 3])
    low = np.where(empty[..., None], 1 << 30, windows[..., [0, 2]])
    high = np.where(empty[..., None], -1, windows[..., [1, 3]])
    if wrap:
        # Bring all columns near those of the first triangle that is not empty.
        chosen = np.argmin(empty, axis=1)
        anchor = windows[np.arange(count), chosen, 2][:, None]
        shift = np.round((windows[..., 2] - anchor) / FIRINGS).astype(np.int64) * FIRINGS
        low[..., 1] = np.where(empty, low[..., 1], low[..., 1] - shift)
        high[..., 1] = np.where(empty, high[..., 1], high[..., 1] - shift)
    first, last = low.min(axis=1), high.max(axis=1)
    result = np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)
    if wrap:
        wide = result[:, 3] - result[:, 2] >= FIRINGS
        result[wide, 2], result[wide, 3] = 0, FIRINGS
        result[:, 0], result[:, 1] = np.maximum(result[:, 0], 0), np.minimum(result[:, 1], RINGS)
        result[:, 2:] += FIRINGS * 2
    result[empty.all(axis=1)] = 0
    return result.astype(np.int32)
