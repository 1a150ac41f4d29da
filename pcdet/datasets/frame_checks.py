"""What the ground truth of a frame, and the classes that its labels count as, must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pcdet.utils.box_utils import DIMS
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.kitti_format.label import DONT_CARE


def checked_ground_truth(input_dict: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth of a frame, see `DatasetTemplate.prepare_data`: (M, 7) boxes and (M,) names.

    Raises:
        DataError: the boxes are not as many as the names, or one, not of DontCare, holds NaN or
            infinity or has a size of 0 or less.
    """
    gt_boxes = np.asarray(input_dict["gt_boxes_lidar"])
    if gt_boxes.dtype.kind != "f":  # augmentation writes moved boxes into such an array
        gt_boxes = gt_boxes.astype(np.float64)
    gt_names = np.asarray(input_dict["gt_names"], dtype=np.str_)
    if gt_boxes.size == 0:
        gt_boxes = gt_boxes.reshape(0, 7)
    if gt_boxes.shape != (len(gt_names), 7):
        raise DataError(
            f"sample {input_dict['sample_idx']}: expected gt_boxes_lidar of shape (M, 7) with "
            f"M = {len(gt_names)}, the number of gt_names, got {gt_boxes.shape}"
        )
    sound = np.isfinite(gt_boxes).all(axis=1) & (gt_boxes[:, DIMS] > 0).all(axis=1)
    wrong = np.flatnonzero(~sound & (gt_names != DONT_CARE))
    if len(wrong):
        k = wrong[0]
        raise DataError(
            f"sample {input_dict['sample_idx']}: gt_boxes_lidar of object {k} ({gt_names[k]}): "
            f"expected finite numbers and sizes w, l, h > 0, got {gt_boxes[k].tolist()}"
        )
    return gt_boxes, gt_names


def checked_class_map(
    class_map: Mapping[str, str], class_names: Sequence[str]
) -> Mapping[str, str]:
    """Return `class_map`, or raise a ConfigError if one of its values is not one of the classes."""
    for label, name in class_map.items():
        if name not in class_names:
            raise ConfigError(
                f"DATA_CONFIG.CLASS_MAP.{label}: expected one of CLASS_NAMES, {list(class_names)}, "
                f"got {name!r}"
            )
    return class_map
