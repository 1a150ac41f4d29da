"""Rectangles of objects in the image: where labels have none, and where there is no camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcdet.utils import box_utils
from pcdet.utils.box_utils import CAM_H, CAM_L, CAM_W, CENTER
from pcdet.utils.kitti_format.calib import Calibration

# KITTI's own: image height and width, pixels of a metre that is a metre away.
USUAL_SHAPE = (375, 1242)
_USUAL_FOCAL_LENGTH = 721.5
_NEAREST = 1.0


def image_boxes(
    boxes_camera: np.ndarray, calib: Calibration, image_shape: Sequence[int] | None
) -> np.ndarray:
    """Find the rectangles of camera boxes in the image.

    Args:
        boxes_camera: (N, 7) camera boxes.
        calib: of the frame.
        image_shape: (height, width); None without a camera: then each box is seen by one of
            KITTI's kind that looks straight at it, so that difficulties follow from the distance.

    Returns:
        (N, 4) x1, y1, x2, y2 in pixels, clipped to the image.
    """
    if image_shape is not None:
        return box_utils.boxes3d_camera_to_imageboxes(boxes_camera, calib, image_shape)
    scale = _USUAL_FOCAL_LENGTH / np.maximum(
        np.linalg.norm(boxes_camera[:, CENTER], axis=1), _NEAREST
    )
    height, width = USUAL_SHAPE
    wide = np.minimum(boxes_camera[:, [CAM_L, CAM_W]].max(axis=1, initial=0) * scale, width - 1)
    high = np.minimum(boxes_camera[:, CAM_H] * scale, height - 1)
    return np.stack((0 * wide, 0 * high, wide, high), axis=1)


def has_area(rectangles: np.ndarray) -> np.ndarray:
    """Tell which of the rectangles (N, 4) have one: (N,) bool."""
    return (rectangles[:, 2:] > rectangles[:, :2]).all(axis=1)
