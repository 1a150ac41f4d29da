"""Anchors on a regular bird's-eye-view grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class AnchorGeneratorRange:
    """The anchors of one class: sizes times rotations at each cell of a grid over a range.

    PCDet's convention: the outermost anchors stand on the edges of the range, not in the middle of
    the outermost cells.

    Attributes:
        num_anchors_per_location: sizes times rotations.
    """

    def __init__(
        self,
        anchor_range: Sequence[float],
        sizes: Sequence[Sequence[float]],
        rotations: Sequence[float],
        class_name: str,
        matched_threshold: float,
        unmatched_threshold: float,
    ):
        """Keep the numbers of the yaml.

        Args:
            anchor_range: x, y, z of the first anchor, then of the last; z is the bottom.
            sizes: (S, 3) w, l, h in metres.
            rotations: (R,) rz in radians.
            class_name: the class that these anchors detect.
            matched_threshold: IoU with a ground truth from which an anchor is positive.
            unmatched_threshold: IoU below which it is background; between the two it is ignored.

        Raises:
            ValueError: a list has another length, or a size is not above 0.
        """
        if len(anchor_range) != 6:
            raise ValueError(f"anchor_range: x, y, z twice expected, got {list(anchor_range)}")
        if not sizes or any(len(size) != 3 or min(size) <= 0 for size in sizes):
            raise ValueError(f"sizes: lists of w, l, h above 0 expected, got {list(sizes)}")
        if not rotations:
            raise ValueError("rotations: at least one expected, got []")
        # The ends are rounded to float32 before they are spaced, as PCDet does.
        self.anchor_range = [float(np.float32(v)) for v in anchor_range]
        self.sizes = [[float(v) for v in size] for size in sizes]
        self.rotations = [float(v) for v in rotations]
        self.class_name = class_name
        self.matched_threshold = float(matched_threshold)
        self.unmatched_threshold = float(unmatched_threshold)
        self.num_anchors_per_location = len(self.sizes) * len(self.rotations)

    def generate(self, feature_map_size: Sequence[int]) -> torch.Tensor:
        """Anchors of this class.

        Args:
            feature_map_size: H (along y), W (along x).

        Returns:
            (H, W, S * R, 7) float32 LiDAR boxes, rotations varying fastest.
        """
        height, width = feature_map_size
        x0, y0, z0, x1, y1, _ = self.anchor_range
        xs, ys = np.linspace(x0, x1, width), np.linspace(y0, y1, height)
        shapes = [[*size, rotation] for size in self.sizes for rotation in self.rotations]
        anchors = torch.empty(height, width, len(shapes), 7)
        anchors[..., 0] = torch.from_numpy(xs)[None, :, None]
        anchors[..., 1] = torch.from_numpy(ys)[:, None, None]
        anchors[..., 2] = z0
        anchors[..., 3:] = torch.tensor(shapes)
        return anchors
