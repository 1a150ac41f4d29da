"""Which points lie in which box."""

from __future__ import annotations

import numpy as np
import torch

from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.utils.box_utils import CENTER, DIMS, RZ

# Boxes are looked at so many at a time that the answers for all points take 64 MB.
_MOST_ANSWERS = 1 << 24


def points_of_boxes(points: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Find which points lie in which box, by the op's rule, in the type of the points.

    Args:
        points: (N, 3 + C) LiDAR frame, float32 for what PCDet finds.
        boxes: (M, 7) LiDAR boxes.

    Returns:
        M arrays of indices into the points, in rising order.
    """
    xyz, step = torch.from_numpy(points[:, :3]), max(1, _MOST_ANSWERS // max(1, len(points)))
    return [
        np.flatnonzero(row)
        for some in torch.from_numpy(boxes).split(step)
        for row in roiaware_pool3d_utils.points_in_boxes_cpu(xyz, some).numpy()
    ]


def points_in_closed_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Tell which points (N, 3) lie in a LiDAR box (7,) or on its faces, in float64: (N,) bool."""
    offset = points[:, :3].astype(np.float64) - box[CENTER]
    cos, sin = np.cos(box[RZ]), np.sin(box[RZ])
    across = offset[:, 0] * cos - offset[:, 1] * sin
    along = offset[:, 0] * sin + offset[:, 1] * cos
    half_width, half_length, height = box[DIMS] / (2, 2, 1)
    return (
        (np.abs(across) <= half_width)
        & (np.abs(along) <= half_length)
        & (offset[:, 2] >= 0)
        & (offset[:, 2] <= height)
    )
