"""From predicted LiDAR boxes to KITTI annotations: camera boxes, image boxes, alpha."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.kitti.image_boxes import image_boxes
from pcdet.utils import box_utils
from pcdet.utils.array_utils import as_numpy
from pcdet.utils.box_utils import CAM_H, CAM_L, CAM_RY, CAM_W, CENTER, X, Y
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import result_lines

# A box that covers more of the image than this is not an object on the road.
_LARGEST_IMAGE_SHARE = 0.8
# As in PCDet: sizes come from a regression, and slightly negative ones are let through.
_LEAST_SIZE = -0.1


@dataclass(frozen=True)
class BoxFilter:
    """Which predictions become annotations.

    Attributes:
        use_image_area: drop boxes that cover most of the image. Boxes beside the image stay, as
            in PCDet: theirs is a rectangle without area, too low for KITTI's evaluation to count.
        limit_range: x_min, y_min, z_min, x_max, y_max, z_max of the middle of a box's bottom face
            in the LiDAR frame, bounds included; None for no limit.
    """

    use_image_area: bool = False
    limit_range: Sequence[float] | None = None

    def keep(
        self,
        boxes_lidar: np.ndarray,
        boxes_camera: np.ndarray,
        bbox: np.ndarray,
        image_shape: np.ndarray | None,
    ) -> np.ndarray:
        """Choose which of N boxes to keep.

        Args:
            boxes_lidar: (N, 7) LiDAR boxes.
            boxes_camera: (N, 7) the same as camera boxes.
            bbox: (N, 4) their image boxes, clipped to the image.
            image_shape: (height, width); None without a camera.

        Returns:
            (N,) bool.
        """
        kept = (boxes_camera[:, CAM_L : CAM_W + 1] > _LEAST_SIZE).all(axis=1)
        if self.use_image_area and image_shape is not None:
            area = (bbox[:, 2] - bbox[:, 0]) * (bbox[:, 3] - bbox[:, 1])
            kept &= area <= _LARGEST_IMAGE_SHARE * image_shape[0] * image_shape[1]
        if self.limit_range is not None:
            limit, center = np.array(self.limit_range), boxes_lidar[:, CENTER]
            kept &= ((center >= limit[:3]) & (center <= limit[3:])).all(axis=1)
        return kept


@dataclass(frozen=True)
class Frame:
    """What annotations need to know of a frame.

    Attributes:
        sample_idx: its name.
        calib: its calibration.
        image_shape: (2,) height and width of its image; None without a camera.
    """

    sample_idx: str
    calib: Calibration
    image_shape: np.ndarray | None


def predictions_to_annotation(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    frame: Frame,
    class_names: Sequence[str],
    box_filter: BoxFilter | None = None,
) -> dict[str, Any]:
    """Turn the predictions of one frame into a KITTI annotation.

    Args:
        boxes: (N, 7) LiDAR boxes.
        scores: (N,).
        labels: (N,) 1-based.
        frame: the frame.
        class_names: label k is `class_names[k - 1]`.
        box_filter: which of them to keep; None keeps all that have a size.

    Returns:
        Arrays over the K kept boxes in their order: name str, truncated and occluded (0), alpha,
        bbox (K, 4) clipped to the image, dimensions (K, 3) l, h, w, location (K, 3), rotation_y,
        score, boxes_lidar (K, 7); and sample_idx, the frame's name.
    """
    box_filter = box_filter or BoxFilter()
    boxes_camera = box_utils.boxes3d_lidar_to_camera(boxes, frame.calib)
    bbox = image_boxes(boxes_camera, frame.calib, frame.image_shape)
    kept = box_filter.keep(boxes, boxes_camera, bbox, frame.image_shape)
    boxes, boxes_camera = boxes[kept], boxes_camera[kept]
    names = np.array(class_names)[labels[kept].astype(np.int64) - 1]
    return {
        "name": names,
        "truncated": np.zeros(len(names)),
        "occluded": np.zeros(len(names)),
        "alpha": boxes_camera[:, CAM_RY] - np.arctan2(-boxes[:, Y], boxes[:, X]),
        "bbox": bbox[kept],
        "dimensions": boxes_camera[:, [CAM_L, CAM_H, CAM_W]],
        "location": boxes_camera[:, CENTER],
        "rotation_y": boxes_camera[:, CAM_RY],
        "score": scores[kept],
        "boxes_lidar": boxes,
        "sample_idx": frame.sample_idx,
    }


def annotate_batch(
    batch: Mapping[str, Any],
    pred_dicts: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    box_filter: BoxFilter,
) -> list[dict[str, Any]]:
    """Turn the predictions of a batch into annotations, see `predictions_to_annotation`.

    Args:
        batch: sample_idx, calib and, with a camera, image_shape of B frames.
        pred_dicts: of each frame boxes (N, 7), scores (N,) and labels (N,), torch or NumPy.
        class_names: label k is `class_names[k - 1]`.
        box_filter: which boxes to keep.
    """
    annos = []
    shapes = batch.get("image_shape")
    for k, prediction in enumerate(pred_dicts):
        shape = None if shapes is None else as_numpy(shapes[k])
        frame = Frame(str(batch["sample_idx"][k]), batch["calib"][k], shape)
        arrays = (as_numpy(prediction[key]) for key in ("boxes", "scores", "labels"))
        annos.append(predictions_to_annotation(*arrays, frame, class_names, box_filter))
    return annos


def write_annotation(anno: Mapping[str, Any], folder: str | os.PathLike) -> None:
    """Write `<sample_idx>.txt` in KITTI's result format; empty if nothing was found."""
    with atomic_write(Path(folder) / f"{anno['sample_idx']}.txt") as file:
        file.write("".join(f"{line}\n" for line in result_lines(anno)).encode())
