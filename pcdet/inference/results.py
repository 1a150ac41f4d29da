"""What a detector found in a scan, in the convention of boxes that was asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.kitti.annotations import Frame, predictions_to_annotation
from pcdet.utils import box_utils
from pcdet.utils.errors import lookup
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import result_lines
from pcdet.utils.visualize_utils import DrawnBoxes, draw_bev
from pcdet.viewer.pictures import save_picture

# Name of a convention -> what makes its boxes of LiDAR boxes (N, 7), docs/coordinates.md.
CONVENTIONS = {
    "kitti_lidar": np.copy,  # (N, 7) [x, y, z of the bottom, w, l, h, ry]
    "openpcdet": box_utils.boxes3d_lidar_to_openpcdet,  # (N, 7) [x, y, z, dx, dy, dz, heading]
    "corners": box_utils.boxes3d_to_corners3d_lidar,  # (N, 8, 3), the bottom first
}
# Height and width of most of KITTI's images, pixels.
_KITTI_IMAGE = (375, 1242)


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Detections:
    """The objects found in one scan, the best first.

    Attributes:
        boxes: in the detector's convention: (n, 7), or (n, 8, 3) for corners; metres, LiDAR frame.
        scores: (n,) probabilities.
        labels: (n,) int, 1-based: label k is `class_names[k - 1]`.
        names: (n,) the classes.
        frame_id: the file's name without its ending, or the scan's number.
        class_names: all classes of the detector.
        convention: of `boxes`, a key of `CONVENTIONS`.
        lidar_boxes: (n, 7) LiDAR boxes, whatever the convention.
        points: (N, C) what the detector saw: the points in its range.
        point_cloud_range: x_min, y_min, z_min, x_max, y_max, z_max.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]
    frame_id: str
    class_names: list[str]
    convention: str
    lidar_boxes: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    point_cloud_range: Sequence[float] = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def boxes_as(self, convention: str) -> np.ndarray:
        """The boxes in another convention, a key of `CONVENTIONS`; else a ConfigError."""
        return lookup(CONVENTIONS, convention, "convention")(self.lidar_boxes)

    def rows(self) -> list[dict[str, Any]]:
        """Plain data for JSON: name, score and box3d_lidar of each object."""
        values = zip(self.names, self.scores.tolist(), self.lidar_boxes.tolist())
        return [{"name": n, "score": score, "box3d_lidar": box} for n, score, box in values]

    def drawn(self) -> DrawnBoxes:
        """The boxes as `visualize_utils` and the viewer take them."""
        return DrawnBoxes(self.lidar_boxes, self.names, self.scores)

    def draw(self, path: str | os.PathLike | None = None, title: str | None = None) -> np.ndarray:
        """A picture of points and boxes from above, (H, W, 3) uint8.

        Args:
            path: a PNG file to write, too.
            title: written into the corner; by default the frame and the number of objects.
        """
        title = f"{self.frame_id}: {len(self)} objects" if title is None else title
        drawn = [self.drawn()]
        picture = draw_bev(self.points, drawn, self.class_names, self.point_cloud_range, title)
        if path is not None:
            save_picture(picture, Path(path))
        return picture

    def to_kitti(
        self,
        calib: Calibration | str | os.PathLike,
        image_shape: tuple[int, int] = _KITTI_IMAGE,
        path: str | os.PathLike | None = None,
    ) -> list[str]:
        """Lines of a KITTI result file, boxes in the camera frame.

        Args:
            calib: the frame's calibration, or its file.
            image_shape: height and width in pixels, to which image boxes are cut.
            path: a file to write, too.

        Raises:
            DataError: the calibration cannot be read.
        """
        if not isinstance(calib, Calibration):
            calib = Calibration(calib)
        frame = Frame(self.frame_id, calib, np.asarray(image_shape))
        lines = result_lines(
            predictions_to_annotation(
                self.lidar_boxes, self.scores, self.labels, frame, self.class_names
            )
        )
        if path is not None:
            with atomic_write(path) as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
        return lines
