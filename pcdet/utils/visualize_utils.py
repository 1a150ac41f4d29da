"""Pictures of frames: points and boxes from above, and boxes on the camera image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pcdet.utils import box_utils
from pcdet.utils.array_utils import mask_points_by_range
from pcdet.utils.box_utils import X, Y, Z
from pcdet.utils.kitti_format.calib import Calibration

_GROUND_TRUTH_COLOR = "limegreen"
_CLASS_COLORS = ("orangered", "deepskyblue", "gold", "violet", "white")
# Pairs of corners of `boxes3d_to_corners3d_lidar`: bottom, top, and the edges between the two.
EDGES = np.array(
    [(k, (k + 1) % 4) for k in range(4)]
    + [(4 + k, 4 + (k + 1) % 4) for k in range(4)]
    + [(k, k + 4) for k in range(4)]
)
# Corners of the front: an object looks along its own -l, as rotation_y is defined.
FRONT = (0, 1)
_NEAREST_DEPTH = 0.1


@dataclass
class DrawnBoxes:
    """Boxes and what is written at them.

    Attributes:
        boxes: (N, 7) LiDAR boxes.
        names: (N,) class names.
        scores: (N,) in [0, 1] for detections, None for ground truth.
    """

    boxes: np.ndarray
    names: Sequence[str]
    scores: np.ndarray | None = None

    def color(self, k: int, class_names: Sequence[str]) -> str:
        """Ground truth has one colour, detections have one for each class."""
        if self.scores is None:
            return _GROUND_TRUTH_COLOR
        index = class_names.index(self.names[k]) if self.names[k] in class_names else -1
        return _CLASS_COLORS[index % len(_CLASS_COLORS)]

    def text(self, k: int) -> str:
        """The class, with the score of a detection."""
        return self.names[k] if self.scores is None else f"{self.names[k]} {self.scores[k]:.2f}"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A black figure without pyplot's global state, so that any thread may draw."""
    figure = Figure(figsize=(width, height), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_facecolor("black")
    axes.axis("off")
    return figure, axes


def draw_bev(
    points: np.ndarray,
    drawn: Sequence[DrawnBoxes],
    class_names: Sequence[str],
    limit_range: Sequence[float],
    title: str = "",
) -> Figure:
    """A frame seen from above, x upwards and y to the left, as from behind the car.

    Args:
        points: (N, 3 + C) LiDAR points, coloured by height.
        drawn: ground truth and detections; the line from a box's middle shows its front.
        class_names: their order decides the colours.
        limit_range: x_min, y_min, z_min, x_max, y_max, z_max of the picture.
        title: written into the corner.
    """
    x0, y0, z0, x1, y1, z1 = limit_range
    height = 8.0
    figure, axes = _figure(height * (y1 - y0) / (x1 - x0), height)
    axes.set_xlim(y1, y0)
    axes.set_ylim(x0, x1)
    # What lies outside would be clipped, but only after it was drawn.
    points = mask_points_by_range(points, (x0, y0, -np.inf, x1, y1, np.inf))
    x, y, z = points[:, [X, Y, Z]].T
    axes.scatter(y, x, s=0.3, c=z, cmap="bone", vmin=z0 - 1, vmax=z1, linewidths=0)
    for group in drawn:
        corners = box_utils.boxes3d_to_corners3d_lidar(group.boxes)[:, :4, :2][..., ::-1]
        for k, rectangle in enumerate(corners):
            color = group.color(k, class_names)
            front = [rectangle.mean(axis=0), rectangle[list(FRONT)].mean(axis=0)]
            outline = np.concatenate((rectangle, rectangle[:1]))
            axes.add_collection(LineCollection([outline, front], colors=color, linewidths=1.2))
            if group.scores is not None:
                corner = rectangle[rectangle[:, 1].argmax()]
                axes.text(*corner, group.text(k), color=color, fontsize=6, clip_on=True)
    axes.text(0.01, 0.99, title, transform=axes.transAxes, color="white", va="top", fontsize=9)
    return figure


def draw_on_image(
    image: np.ndarray,
    calib: Calibration,
    drawn: Sequence[DrawnBoxes],
    class_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Boxes as wire frames on the camera image; edges behind the camera are cut off.

    Args:
        image: (H, W, 3) uint8.
        calib: projects from the LiDAR to the image.
        drawn: ground truth and detections.
        class_names: their order decides the colours.
        title: written into the corner.
    """
    height, width = image.shape[:2]
    figure, axes = _figure(width / 100, height / 100)
    axes.imshow(image, aspect="auto")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for group in drawn:
        corners = box_utils.boxes3d_to_corners3d_lidar(group.boxes)
        for k, box in enumerate(corners):
            segments = _visible_edges(calib.lidar_to_rect(box), calib)
            if not len(segments):
                continue
            color = group.color(k, class_names)
            axes.add_collection(LineCollection(segments, colors=color, linewidths=1.0))
            if group.scores is not None:
                top = segments.reshape(-1, 2)[segments[..., 1].argmin()]
                axes.text(*top, group.text(k), color=color, fontsize=7, va="bottom", clip_on=True)
    axes.text(0.01, 0.97, title, transform=axes.transAxes, color="white", va="top", fontsize=9)
    return figure


def _visible_edges(corners: np.ndarray, calib: Calibration) -> np.ndarray:
    """Pixels (E, 2, 2) of the parts of a box's edges that lie in front of the camera.

    Args:
        corners: (8, 3) in the rectified camera frame.
        calib: projects to the image.
    """
    edges = corners[EDGES].astype(np.float64)  # (12, 2, 3)
    edges = edges[(edges[..., 2] > _NEAREST_DEPTH).any(axis=1)]
    for end in (0, 1):
        near, far = edges[:, end], edges[:, 1 - end]
        behind = near[:, 2] < _NEAREST_DEPTH
        step = (_NEAREST_DEPTH - near[behind, 2]) / (far[behind, 2] - near[behind, 2])
        near[behind] += step[:, None] * (far[behind] - near[behind])
    return calib.rect_to_img(edges.reshape(-1, 3))[0].reshape(-1, 2, 2)
