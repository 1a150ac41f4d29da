"""The same answers as iou3d_nms_utils in plain NumPy: slow and obvious, for the tests.

Overlaps are found differently from the operators: from the corners that lie in the other box and
the points where outlines cross, put in order about their mean. All in float64.
"""

from __future__ import annotations

import numpy as np


def bev_corners(box: np.ndarray) -> np.ndarray:
    """(4, 2) corners, in order, of a BEV box [x1, y1, x2, y2, rz]."""
    x1, y1, x2, y2, rz = (float(number) for number in box)
    center = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - center
    cos, sin = np.cos(rz), np.sin(rz)
    return corners @ np.array([[cos, -sin], [sin, cos]]) + center


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(P,) whether the points lie in the convex outline, or within 1e-9 of it."""
    edges = np.roll(corners, -1, axis=0) - corners
    offsets = points[:, None] - corners[None]
    crosses = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    return (crosses >= -1e-9 * np.linalg.norm(edges, axis=1)).all(axis=1)


def _crossings(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Points where an edge of one outline crosses an edge of the other."""
    found = []
    for p, p_end in zip(a, np.roll(a, -1, axis=0)):
        for q, q_end in zip(b, np.roll(b, -1, axis=0)):
            u, v, gap = p_end - p, q_end - q, q - p
            cross = u[0] * v[1] - u[1] * v[0]
            if cross == 0:
                continue
            t = (gap[0] * v[1] - gap[1] * v[0]) / cross
            s = (gap[0] * u[1] - gap[1] * u[0]) / cross
            if 0 <= t <= 1 and 0 <= s <= 1:
                found.append(p + t * u)
    return found


def overlap_of_pair(box_a: np.ndarray, box_b: np.ndarray) -> float:
    """Area shared by two BEV boxes."""
    a, b = bev_corners(box_a), bev_corners(box_b)
    points = np.array([*a[_inside(a, b)], *b[_inside(b, a)], *_crossings(a, b)])
    if len(points) < 3:
        return 0.0
    points = points - points.mean(axis=0)
    x, y = points[np.argsort(np.arctan2(points[:, 1], points[:, 0]))].T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def _area(box: np.ndarray) -> float:
    return float(box[2] - box[0]) * float(box[3] - box[1])


def iou_of_pair(box_a: np.ndarray, box_b: np.ndarray) -> float:
    """Intersection over union of two BEV boxes."""
    shared = overlap_of_pair(box_a, box_b)
    union = _area(box_a) + _area(box_b) - shared
    return shared / union if union > 0 else 0.0


def boxes_overlap_bev(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(N, M) shared areas of (N, 5) and (M, 5) BEV boxes."""
    pairs = [[overlap_of_pair(a, b) for b in boxes_b] for a in boxes_a]
    return np.array(pairs).reshape(len(boxes_a), len(boxes_b))


def boxes_iou_bev(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of (N, 5) and (M, 5) BEV boxes."""
    pairs = [[iou_of_pair(a, b) for b in boxes_b] for a in boxes_a]
    return np.array(pairs).reshape(len(boxes_a), len(boxes_b))


def boxes3d_to_bev(boxes: np.ndarray) -> np.ndarray:
    """(N, 5) BEV boxes of (N, 7) LiDAR boxes."""
    boxes = np.asarray(boxes, dtype=np.float64)
    center, half, rz = boxes[:, 0:2], boxes[:, 3:5] / 2, boxes[:, 6:7]
    return np.concatenate((center - half, center + half, rz), axis=1)


def boxes_iou3d_gpu(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union, by volume, of (N, 7) and (M, 7) LiDAR boxes."""
    areas = boxes_overlap_bev(boxes3d_to_bev(boxes_a), boxes3d_to_bev(boxes_b))
    result = np.zeros_like(areas)
    for i, a in enumerate(boxes_a):
        for j, b in enumerate(boxes_b):
            height = min(a[2] + a[5], b[2] + b[5]) - max(a[2], b[2])
            shared = areas[i, j] * max(height, 0)
            union = np.prod(a[3:6]) + np.prod(b[3:6]) - shared
            result[i, j] = shared / union if union > 0 else 0
    return result


def greedy_keep(iou: np.ndarray, scores: np.ndarray, thresh: float) -> list[int]:
    """Indices that non-maximum suppression keeps, from the (N, N) IoU of all pairs."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(iou[best, i] <= thresh for best in kept):
            kept.append(i)
    return kept
