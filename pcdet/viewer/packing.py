"""Scenes as what a page can hold: plain data for the boxes, few bytes for points and images."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pcdet.utils import box_utils
from pcdet.utils.box_utils import CENTER, H, L, W, X, Y
from pcdet.utils.object_points import points_of_boxes
from pcdet.utils.visualize_utils import DrawnBoxes
from pcdet.viewer.scene import OVERLAP_CHOICES, HitRules, Pane, Scene, find_partners, overlaps

# Metres of one step of a stored coordinate, and how many of them 16 bits hold: 163 m.
STEP = 0.005
_MOST_STEPS = 32767
_INTENSITY = 3
_JPEG_QUALITY = 80


def pack(data: bytes) -> str:
    """Bytes as text for a page: deflated, in base64."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def pack_json(data: Any) -> str:
    """Plain data as text for a page, see `pack`."""
    return pack(json.dumps(data, separators=(",", ":"), allow_nan=False).encode())


def pack_points(points: np.ndarray) -> str:
    """Points as text: int16 x, y and z, each for all points, in steps, then uint8 intensity.

    Points that 16 bits do not reach, beyond 163 m along an axis, are left out.

    Args:
        points: (N, 3 + C) LiDAR points, metres; the intensity in column 3, from 0 to 1, or to a
            larger number, which becomes white.
    """
    steps = np.rint(points[:, CENTER] / STEP)
    reached = (np.abs(steps) <= _MOST_STEPS).all(axis=1)
    points, steps = points[reached], steps[reached].T.astype("<i2")
    intensity = np.zeros(len(points))
    if points.shape[1] > _INTENSITY:
        intensity = np.clip(points[:, _INTENSITY], 0, None)
        intensity = intensity / max(1, intensity.max(initial=0))
    return pack(steps.tobytes() + np.rint(255 * intensity).astype(np.uint8).tobytes())


def image_url(pixels: np.ndarray, quality: int = _JPEG_QUALITY) -> str:
    """(H, W, 3) uint8 pixels as a JPEG in a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="jpeg", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def describe_scene(scene: Scene, class_names: Sequence[str]) -> dict[str, Any]:
    """All of a scene but points and image, as plain data for the page.

    Returns:
        name; camera, see `describe_camera`, or None; panes, each with its title, the index of its
        points among the different clouds of the scene, and boxes, see `describe_boxes`.
    """
    indices = {id(points): k for k, points in enumerate(clouds_of(scene))}
    return {
        "name": scene.name,
        "camera": describe_camera(scene),
        "panes": [
            {
                "title": pane.title,
                "cloud": indices[id(pane.points)],
                "labels": pane.truth is not None,
                "detections": pane.found is not None,
                "boxes": describe_boxes(pane, class_names, scene.hits),
            }
            for pane in scene.panes
        ],
    }


def clouds_of(scene: Scene) -> list[np.ndarray]:
    """The different point clouds of a scene's panes, each once."""
    return list({id(pane.points): pane.points for pane in scene.panes}.values())


def describe_boxes(pane: Pane, class_names: Sequence[str], hits: HitRules) -> list[dict[str, Any]]:
    """Objects and then detections of a pane, as plain data.

    Returns:
        A dict a box: truth, name, known (one of the classes), score (None for an object), points
        inside, distance in metres, size (length, width, height), corners (24 numbers, metres), iou
        (the greatest with one of the others), and for detections partner: the index of the object
        that it found by choice of the overlap, -1 for none.
    """
    truth = pane.truth or DrawnBoxes(np.zeros((0, 7)), [])
    found = pane.found or DrawnBoxes(np.zeros((0, 7)), [], np.zeros(0))
    iou = overlaps(truth, found)
    partners = {
        choice: find_partners(truth, found, iou, hits, choice) for choice in OVERLAP_CHOICES
    }
    boxes = _describe(truth, pane.points, class_names, iou.max(axis=0, initial=0))
    for k, box in enumerate(_describe(found, pane.points, class_names, iou.max(axis=1, initial=0))):
        box["partner"] = {choice: int(of_all[k]) for choice, of_all in partners.items()}
        boxes.append(box)
    return boxes


def _describe(
    drawn: DrawnBoxes, points: np.ndarray, class_names: Sequence[str], iou: np.ndarray
) -> list[dict[str, Any]]:
    boxes = np.asarray(drawn.boxes, dtype=np.float64)
    corners = box_utils.boxes3d_to_corners3d_lidar(boxes)
    counts = count_points(points, boxes)
    return [
        {
            "truth": drawn.scores is None,
            "name": str(drawn.names[k]),
            "known": drawn.names[k] in class_names,
            "score": None if drawn.scores is None else round(float(drawn.scores[k]), 4),
            "points": int(counts[k]),
            "distance": round(float(np.hypot(box[X], box[Y])), 1),
            "size": [round(float(box[side]), 2) for side in (L, W, H)],
            "iou": round(float(iou[k]), 3),
            "corners": [round(float(value), 3) for value in corners[k].ravel()],
        }
        for k, box in enumerate(boxes)
    ]


def count_points(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(M,) number of the (N, 3 + C) points in each of (M, 7) LiDAR boxes."""
    inside = points_of_boxes(points[:, CENTER].astype(np.float64), boxes)
    return np.array([len(rows) for rows in inside], dtype=int)


def describe_camera(scene: Scene) -> dict[str, Any] | None:
    """Where a scene's camera stands and what it sees, or None without one.

    Returns:
        projection (12 numbers, rows of the (3, 4) matrix from LiDAR points to pixels), shape
        (height, width), position, target (a point 20 m along the ray through the middle of the
        image) and up, all in the LiDAR frame, and slope (half the image's width and height over the
        focal length).
    """
    if scene.image is None or scene.calib is None:
        return None
    calib, (height, width) = scene.calib, scene.image.shape[:2]
    lidar_to_rect = np.eye(4)
    lidar_to_rect[:3] = calib.lidar_to_rect_matrix.T
    projection = calib.P2.astype(np.float64) @ lidar_to_rect
    focal = calib.P2[0, 0], calib.P2[1, 1]
    # P2 = K [1 | t]: the camera stands at -t, some centimetres from the rectified origin.
    position = -np.linalg.solve(calib.P2[:, :3].astype(np.float64), calib.P2[:, 3])
    middle = np.linalg.solve(calib.P2[:, :3].astype(np.float64), [width / 2, height / 2, 1])
    seen = np.stack((position, position + 20 * middle, position - [0, 1, 0]))
    position, target, above = calib.rect_to_lidar(seen)
    return {
        "projection": projection.ravel().tolist(),
        "shape": [int(height), int(width)],
        "position": position.tolist(),
        "target": target.tolist(),
        "up": (above - position).tolist(),
        "slope": [float(width / 2 / focal[0]), float(height / 2 / focal[1])],
    }
