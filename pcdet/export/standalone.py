"""From points to pillars, and from a network's outputs to boxes, with NumPy alone.

This file stands beside an exported network and needs neither pcdet nor torch:

    settings = read_settings("pointpillar.json")
    inputs = make_pillars([points], settings)
    outputs = session.run(None, inputs)              # of onnxruntime
    boxes, scores, labels = find_boxes(outputs, settings)[0]

A box is [x, y, z, w, l, h, ry]: the middle of its bottom in the LiDAR frame (x forward, y left, z
up, metres), width, length and height, and the turn in radians, clockwise seen from above; at ry = 0
the width lies along x. Label k is settings["class_names"][k - 1].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

X, Y, Z, W, L, H, RY = range(7)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings that were written beside the network."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def make_pillars(scans: Sequence[np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of an exported PointPillar.

    Args:
        scans: (N, C) points of each frame, x, y, z first; as many frames as the network's batch.
        settings: of the network.

    Returns:
        voxels (V, P, C) float32, num_points (V,) int32, coordinates (V, 4) int32 [frame, z, y, x].
    """
    if len(scans) != settings["batch_size"]:
        raise ValueError(f"{settings['batch_size']} scans expected, got {len(scans)}")
    frames = [_pillars_of(np.asarray(points, np.float32), settings) for points in scans]
    for k, (_, _, coordinates) in enumerate(frames):
        coordinates[:, 0] = k
    voxels, num_points, coordinates = (np.concatenate(parts) for parts in zip(*frames))
    if not len(voxels):  # the network wants one at least: an empty one changes nothing
        voxels, num_points, coordinates = (
            np.zeros((1, *rest.shape[1:]), rest.dtype) for rest in (voxels, num_points, coordinates)
        )
    return {"voxels": voxels, "num_points": num_points, "coordinates": coordinates}


def _pillars_of(points: np.ndarray, settings: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """Voxels, numbers of points and coordinates of a frame, in the order of their first points."""
    low = np.array(settings["point_cloud_range"][:3], np.float32)
    size = np.array(settings["voxel_size"], np.float32)
    grid, most = np.array(settings["grid_size"]), settings["max_points_per_voxel"]
    points = points[:, : settings["num_point_features"]]
    points = points[np.isfinite(points).all(axis=1)]
    cells = np.floor((points[:, :3] - low) / size)
    inside = ((cells >= 0) & (cells < grid)).all(axis=1)
    points, cells = points[inside], cells[inside].astype(np.int64)
    keys = (cells[:, 2] * grid[1] + cells[:, 1]) * grid[0] + cells[:, 0]
    _, first, site, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    voxel = np.argsort(order)[site.reshape(-1)]  # of each point
    ranked = np.argsort(voxel, kind="stable")
    begins = np.cumsum(counts[order]) - counts[order]
    place = np.empty_like(ranked)  # of a point among those of its voxel
    place[ranked] = np.arange(len(points)) - begins[voxel[ranked]]
    number = min(len(order), settings["max_voxels"])
    kept = (voxel < number) & (place < most)
    voxels = np.zeros((number, most, points.shape[1]), np.float32)
    voxels[voxel[kept], place[kept]] = points[kept]
    coordinates = np.zeros((number, 4), np.int32)
    coordinates[:, 1:] = cells[first[order[:number]]][:, ::-1]
    return voxels, np.minimum(counts[order[:number]], most).astype(np.int32), coordinates


def find_boxes(
    outputs: Sequence[np.ndarray], settings: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The detections of each frame of a batch.

    Args:
        outputs: cls_preds (B, H, W, A * K), box_preds (B, H, W, A * 7) and, with a direction
            classifier, dir_cls_preds (B, H, W, A * bins).
        settings: of the network.

    Returns:
        For each frame boxes (n, 7), scores (n,) as probabilities, and labels (n,), the best first.
    """
    return [_boxes_of([output[k] for output in outputs], settings) for k in range(len(outputs[0]))]


def _boxes_of(
    outputs: Sequence[np.ndarray], settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    classes = len(settings["class_names"])
    logits = outputs[0].reshape(-1, classes).astype(np.float64)
    residuals = outputs[1].reshape(-1, 7).astype(np.float64)
    directions = outputs[2].reshape(len(logits), -1) if len(outputs) > 2 else None
    least = np.broadcast_to(np.array(settings["score_thresh"], np.float64), classes)
    parts = []
    if settings["multi_classes_nms"]:
        candidates = [(logits[:, k], np.full(len(logits), k)) for k in range(classes)]
    else:
        candidates = [(logits.max(axis=1), logits.argmax(axis=1))]
    for best, label in candidates:
        scores = 1 / (1 + np.exp(-best))
        index = np.flatnonzero(scores >= least[label])
        index = index[np.argsort(-scores[index], kind="stable")][: settings["nms_pre"]]
        boxes = _decode(index, residuals, directions, settings)
        finite = np.isfinite(boxes).all(axis=1)
        index, boxes = index[finite], boxes[finite]
        kept = _suppress(boxes, settings["nms_thresh"], settings["nms_post"])
        if settings["box_voting"]:
            found = _voted(boxes, scores[index], label[index], kept, settings["box_voting"])
        else:
            found = boxes[kept]
        parts.append((found, scores[index[kept]], label[index[kept]] + 1))
    boxes, scores, labels = (np.concatenate(column) for column in zip(*parts))
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order], labels[order]


def _decode(
    index: np.ndarray,
    residuals: np.ndarray,
    directions: np.ndarray | None,
    settings: Mapping[str, Any],
) -> np.ndarray:
    """Boxes (n, 7) of the anchors with these indices."""
    grid = settings["anchors"]
    per_cell = np.array(grid["per_location"], np.float64)  # (A, 5): z of the bottom, w, l, h, ry
    cell, kind = index // len(per_cell), index % len(per_cell)
    row, column = cell // len(grid["x"]), cell % len(grid["x"])
    x, y = np.array(grid["x"])[column, kind], np.array(grid["y"])[row, kind]
    z, w, l, h, ry = per_cell[kind].T  # noqa: E741 (the length)
    r = residuals[index].T
    diagonal, height = np.sqrt(w**2 + l**2), np.exp(r[H]) * h
    angle = r[RY] + ry
    if directions is not None:
        angle = _resolved(angle, directions[index].argmax(axis=1), settings["direction"])
    middle = r[Z] * h + z + h / 2
    sizes = (np.exp(r[W]) * w, np.exp(r[L]) * l, height)
    place = (r[X] * diagonal + x, r[Y] * diagonal + y, middle - height / 2)
    return np.stack((*place, *sizes, angle), axis=1)


def _resolved(angle: np.ndarray, sector: np.ndarray, direction: Mapping[str, Any]) -> np.ndarray:
    """Angles, known up to a sector of the circle, in the sector that the classifier tells."""
    period = 2 * np.pi / direction["bins"]
    shifted = angle - direction["offset"]
    within = shifted - np.floor(shifted / period + direction["limit_offset"]) * period
    return within + direction["offset"] + period * sector


def _suppress(boxes: np.ndarray, thresh: float, most: int) -> np.ndarray:
    """Indices of the boxes that no better one overlaps by more than `thresh`, seen from above."""
    corners = _corners(boxes)
    area, reach = boxes[:, W] * boxes[:, L], np.hypot(boxes[:, W], boxes[:, L]) / 2
    left, kept = np.arange(len(boxes)), []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        apart = np.hypot(*(boxes[left, :2] - boxes[best, :2]).T)
        near = np.flatnonzero(apart < reach[left] + reach[best])
        gone = [
            k
            for k in near
            if _shared(corners[best], corners[left[k]]) * (1 + thresh)
            > thresh * (area[best] + area[left[k]])
        ]
        left = np.delete(left, gone)
    return np.array(kept, np.int64)


def _voted(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, kept: np.ndarray, least: float
) -> np.ndarray:
    """The kept boxes, each averaged with those of its class that overlap it by `least` or more.

    A box weighs by the square of its score times its overlap (IoU from above) with the kept one;
    the front is where most of the weight has it.
    """
    corners, area = _corners(boxes), boxes[:, W] * boxes[:, L]
    reach, result = np.hypot(boxes[:, W], boxes[:, L]) / 2, boxes[kept]
    for own, best in zip(result, kept):
        offset = boxes - own
        front = np.cos(offset[:, RY])
        offset[:, RY] -= np.floor(offset[:, RY] / np.pi + 0.5) * np.pi
        near = np.hypot(offset[:, X], offset[:, Y]) < reach[best] + reach
        weight = np.zeros(len(boxes))
        for k in np.flatnonzero(near & (labels == labels[best])):
            shared = _shared(corners[best], corners[k])
            overlap = shared / max(area[best] + area[k] - shared, 1e-8)
            if overlap >= least:
                weight[k] = (overlap * scores[k] / scores[best]) ** 2
        weight[best] = 1.0
        own += weight @ offset / weight.sum()
        own[RY] += np.pi * (weight @ front < 0)
    return result


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(n, 4, 2) corners seen from above, counter-clockwise."""
    cos, sin = np.cos(boxes[:, RY])[:, None], np.sin(boxes[:, RY])[:, None]
    x = boxes[:, [W]] / 2 * [1, 1, -1, -1]
    y = boxes[:, [L]] / 2 * [-1, 1, 1, -1]
    turned = np.stack((x * cos + y * sin, y * cos - x * sin), axis=-1)
    return turned + boxes[:, None, :2]


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Area that two convex polygons share: the one, cut along each side of the other."""
    polygon = list(one)
    for begin, end in zip(other, np.roll(other, -1, axis=0)):
        side = [
            (end[0] - begin[0]) * (p[1] - begin[1]) - (end[1] - begin[1]) * (p[0] - begin[0])
            for p in polygon
        ]
        cut = []
        for k, (p, s) in enumerate(zip(polygon, side)):
            q, t = polygon[k - 1], side[k - 1]
            if (s > 0) != (t > 0):
                cut.append(q + (p - q) * (t / (t - s)))
            if s > 0:
                cut.append(p)
        polygon = cut
        if not polygon:
            return 0.0
    x, y = np.array(polygon).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
