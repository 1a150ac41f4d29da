"""Anchors on a regular bird's-eye-view grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class _AnchorGenerator:
    """The anchors of one class: sizes times rotations at each cell of a grid.

    Attributes:
        num_anchors_per_location: sizes times rotations.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        rotations: Sequence[float],
        class_name: str,
        matched_threshold: float,
        unmatched_threshold: float,
    ):
        if not sizes or any(len(size) != 3 or min(size) <= 0 for size in sizes):
            raise ValueError(f"sizes: lists of w, l, h above 0 expected, got {list(sizes)}")
        if not rotations:
            raise ValueError("rotations: at least one expected, got []")
        self.sizes = [[float(v) for v in size] for size in sizes]
        self.rotations = [float(v) for v in rotations]
        self.class_name = class_name
        self.matched_threshold = float(matched_threshold)
        self.unmatched_threshold = float(unmatched_threshold)
        self.num_anchors_per_location = len(self.sizes) * len(self.rotations)

    def places(self, feature_map_size: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
        """Metres: x of the W columns, y of the H rows, z of all anchors."""
        raise NotImplementedError

    def generate(self, feature_map_size: Sequence[int]) -> torch.Tensor:
        """Anchors of this class.

        Args:
            feature_map_size: H (along y), W (along x).

        Returns:
            (H, W, S * R, 7) float32 LiDAR boxes, rotations varying fastest.
        """
        height, width = feature_map_size
        xs, ys, z = self.places(feature_map_size)
        shapes = [[*size, rotation] for size in self.sizes for rotation in self.rotations]
        anchors = torch.empty(height, width, len(shapes), 7)
        anchors[..., 0] = torch.from_numpy(xs)[None, :, None]
        anchors[..., 1] = torch.from_numpy(ys)[:, None, None]
        anchors[..., 2] = z
        anchors[..., 3:] = torch.tensor(shapes)
        return anchors


class AnchorGeneratorRange(_AnchorGenerator):
    """Anchors on a grid over a range.

    PCDet's convention: the outermost anchors stand on the edges of the range, not in the middle of
    the outermost cells.
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
        # The ends are rounded to float32 before they are spaced, as PCDet does.
        self.anchor_range = [float(np.float32(v)) for v in anchor_range]
        super().__init__(sizes, rotations, class_name, matched_threshold, unmatched_threshold)

    def places(self, feature_map_size: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
        """Metres: x of the W columns, y of the H rows, z of all anchors."""
        height, width = feature_map_size
        x0, y0, z0, x1, y1, _ = self.anchor_range
        return np.linspace(x0, x1, width), np.linspace(y0, y1, height), z0


class AnchorGeneratorStride(_AnchorGenerator):
    """Anchors at multiples of a stride from the first one, as SECOND and SA-SSD have them.

    Computed in float32 as there: where the edges of anchors lie on the borders of voxels, rounding
    decides which voxels an anchor holds.
    """

    def __init__(
        self,
        anchor_strides: Sequence[float],
        anchor_offsets: Sequence[float],
        sizes: Sequence[Sequence[float]],
        rotations: Sequence[float],
        class_name: str,
        matched_threshold: float,
        unmatched_threshold: float,
    ):
        """Keep the numbers of the yaml.

        Args:
            anchor_strides: from one anchor to the next along x and y, metres.
            anchor_offsets: x, y, z of the first anchor; z is the bottom.
            sizes: (S, 3) w, l, h in metres.
            rotations: (R,) rz in radians.
            class_name: the class that these anchors detect.
            matched_threshold: IoU with a ground truth from which an anchor is positive.
            unmatched_threshold: IoU below which it is background; between the two it is ignored.

        Raises:
            ValueError: a list has another length, or a size or stride is not above 0.
        """
        if len(anchor_strides) != 2 or min(anchor_strides) <= 0:
            raise ValueError(f"anchor_strides: x, y above 0 expected, got {list(anchor_strides)}")
        if len(anchor_offsets) != 3:
            raise ValueError(f"anchor_offsets: x, y, z expected, got {list(anchor_offsets)}")
        self.anchor_strides = np.array(anchor_strides, dtype=np.float32)
        self.anchor_offsets = np.array(anchor_offsets, dtype=np.float32)
        super().__init__(sizes, rotations, class_name, matched_threshold, unmatched_threshold)

    def places(self, feature_map_size: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
        """Metres: x of the W columns, y of the H rows, z of all anchors."""
        height, width = feature_map_size
        x, y, z = self.anchor_offsets
        xs = np.arange(width, dtype=np.float32) * self.anchor_strides[0] + x
        ys = np.arange(height, dtype=np.float32) * self.anchor_strides[1] + y
        return xs, ys, float(z)
