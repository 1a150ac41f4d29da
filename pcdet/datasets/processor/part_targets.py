"""Targets of Part-A2's first stage: which voxels belong to an object, and where in it they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.utils import box_utils
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H
from pcdet.utils.errors import ConfigError

_WHERE = "MODEL.RPN.BACKBONE.TARGET_CONFIG"


class PartTargetGenerator:
    """Labels voxel centres with the class of the box around them and their place in that box."""

    def __init__(self, extra_width: float, mean_sizes: np.ndarray | None = None) -> None:
        """Make a generator.

        Args:
            extra_width: metres around a box in which voxels are ignored.
            mean_sizes: (K, 3) w, l, h of each class; if given, bbox_reg_labels are made too.
        """
        self.extra_width = extra_width
        self.mean_sizes = mean_sizes

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | None, class_names: Sequence[str]
    ) -> PartTargetGenerator | None:
        """Make a generator from a TARGET_CONFIG, or None if it wants no targets of the data set.

        GENERATE_BBOX_REG_LABELS: True, a key that PCDet's files leave out, adds bbox_reg_labels.

        Raises:
            ConfigError: MEAN_SIZE lacks a class.
        """
        if config is None or config.get("GENERATED_ON") != "dataset":
            return None
        mean_sizes = None
        if config.get("GENERATE_BBOX_REG_LABELS", False):
            sizes = config.get("MEAN_SIZE", {})
            missing = [name for name in class_names if name not in sizes]
            if missing:
                raise ConfigError(f"{_WHERE}.MEAN_SIZE: no entry for {missing}")
            mean_sizes = np.array([sizes[name] for name in class_names], dtype=np.float64)
        return cls(float(config["GT_EXTEND_WIDTH"]), mean_sizes)

    def __call__(
        self, voxel_centers: np.ndarray, gt_boxes: np.ndarray, gt_classes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Make the targets of a frame. Where boxes overlap, the later one has the last word.

        Args:
            voxel_centers: (V, 3) LiDAR frame, metres.
            gt_boxes: (M, 7) LiDAR boxes.
            gt_classes: (M,) int, 1-based labels.

        Returns:
            seg_labels: (V,) int32; the box's label, 0 background, -1 ignored: outside the box,
                but inside the box grown by `extra_width`.
            part_labels: (V, 3) float32 in [0, 1]; the place in the box along its w, l, h, from
                the corner (-w/2, -l/2, bottom); zero outside the boxes.
            bbox_reg_labels: (V, 7) float32 or None; vector to the box's middle in metres, size
                relative to the class's mean size, and rz.
        """
        num_voxels = len(voxel_centers)
        seg_labels = np.zeros(num_voxels, np.int32)
        part_labels = np.zeros((num_voxels, 3), np.float32)
        bbox_reg_labels = None
        if self.mean_sizes is not None:
            bbox_reg_labels = np.zeros((num_voxels, 7), np.float32)
        near = _points_in_boxes(
            voxel_centers, box_utils.enlarge_box3d(gt_boxes, extra_width=self.extra_width)
        )
        nearby = np.flatnonzero(near.any(axis=0))  # few: the rest is background
        near, centers = near[:, nearby], voxel_centers[nearby]
        inside = _points_in_boxes(centers, gt_boxes)
        for k, box in enumerate(gt_boxes):
            foreground = nearby[inside[k]]
            seg_labels[foreground] = gt_classes[k]
            seg_labels[nearby[near[k] & ~inside[k]]] = -1
            part_labels[foreground] = _place_in_box(centers[inside[k]], box)
            if bbox_reg_labels is not None:
                bbox_reg_labels[foreground] = _box_residuals(
                    centers[inside[k]], box, self.mean_sizes[gt_classes[k] - 1]
                )
        return seg_labels, part_labels, bbox_reg_labels


def _points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(M, N) bool: point n lies in box m."""
    inside = roiaware_pool3d_utils.points_in_boxes_cpu(
        torch.as_tensor(points, dtype=torch.float64), torch.as_tensor(boxes, dtype=torch.float64)
    )
    return inside.numpy() > 0


def _place_in_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N, 3) points of the LiDAR frame as fractions of the box's w, l, h."""
    turned = box_utils.rotate_points_along_z((points - box[CENTER])[None], -box[None, RZ])[0]
    return np.clip(turned / box[DIMS] + [0.5, 0.5, 0], 0, 1)


def _box_residuals(points: np.ndarray, box: np.ndarray, mean_size: np.ndarray) -> np.ndarray:
    """(N, 7) vectors from points to the middle of their box, its relative size, and its rz."""
    residuals = np.empty((len(points), 7))
    middle = box[CENTER] + [0, 0, box[H] / 2]
    residuals[:, CENTER] = middle - points
    residuals[:, DIMS] = (box[DIMS] - mean_size) / mean_size
    residuals[:, RZ] = box[RZ]
    return residuals
