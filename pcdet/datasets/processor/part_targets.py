"""Part-A2's targets of voxels, made by the data set; `part_utils` has the computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pcdet.utils.errors import ConfigError
from pcdet.utils.part_utils import box_targets, part_targets

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

        GENERATE_BBOX_REG_LABELS: True, a key that PCDet's files lack, adds bbox_reg_labels, which
        no loss reads.

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
        points, boxes = (
            torch.as_tensor(values, dtype=torch.float64) for values in (voxel_centers, gt_boxes)
        )
        labels = torch.as_tensor(gt_classes)
        seg_labels, part_labels = part_targets(points, boxes, labels, self.extra_width)
        bbox_reg_labels = None
        if self.mean_sizes is not None:
            mean_sizes = torch.from_numpy(self.mean_sizes[gt_classes - 1])
            bbox_reg_labels = box_targets(points, boxes, mean_sizes).float().numpy()
        return seg_labels.numpy(), part_labels.float().numpy(), bbox_reg_labels
