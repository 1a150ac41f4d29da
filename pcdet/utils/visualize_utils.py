"""Pictures of frames: points and boxes from above, and boxes on the camera image."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pcdet.utils import box_utils, palette
from pcdet.utils.array_utils import mask_points_by_range
from pcdet.utils.box_utils import X, Y, Z
from pcdet.utils.kitti_format.calib import Calibration

# Pairs of corners of `boxes3d_to_corners3d_lidar`: bottom, top, and the edges between the two.
EDGES = np.array(
    [(k, (k + 1) % 4) for k in range(4)]
    + [(4 + k, 4 + (k + 1) % 4) for k in range(4)]
    + [(k, k + 4) for k in range(4)]
)
# Corners of the front: an object looks along its own -l, as rotation_y is defined.
FRONT = (0, 1)
_NEAREST_DEPTH = 0.1
_BEV_HEIGHT = 960  # pixels
# Lines are drawn on a canvas so many times as large, and are smooth after it is reduced.
_FINE = 2
_DARKEST, _BRIGHTEST = (40, 52, 70), (255, 255, 255)


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
            return palette.FOUND
        return class_color(self.names[k], class_names)

    def text(self, k: int) -> str:
        """Return the class, with the score of a detection."""
        return self.names[k] if self.scores is None else f"{self.names[k]} {self.scores[k]:.2f}"


@dataclass
class _Label:
    """A text at a box: it is written above, below or beside the box, wherever there is room."""

    text: str
    color: str
    outline: np.ndarray  # (C, 2) pixels of what it belongs to


def class_color(name: str, class_names: Sequence[str]) -> str:
    """The colour of a class, grey for one that is not of the model's."""
    if name not in class_names:
        return palette.IGNORED
    return palette.CLASSES[list(class_names).index(name) % len(palette.CLASSES)]


def draw_bev(
    points: np.ndarray,
    drawn: Sequence[DrawnBoxes],
    class_names: Sequence[str],
    limit_range: Sequence[float],
    title: str = "",
) -> np.ndarray:
    """Draw a frame seen from above, x upwards and y to the left, as from behind the car.

    Args:
        points: (N, 3 + C) LiDAR points, coloured by height.
        drawn: ground truth and detections; the line from a box's middle shows its front.
        class_names: their order decides the colours.
        limit_range: x_min, y_min, z_min, x_max, y_max, z_max of the picture.
        title: written into the corner, before a legend.

    Returns:
        (H, W, 3) uint8.
    """
    x0, y0, z0, x1, y1, z1 = limit_range
    scale = _BEV_HEIGHT / (x1 - x0)

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        return scale * np.stack((y1 - xy[..., Y], x1 - xy[..., X]), axis=-1)

    pixels = np.zeros((_BEV_HEIGHT, max(1, round(scale * (y1 - y0))), 3), np.uint8)
    points = mask_points_by_range(points, (x0, y0, -np.inf, x1, y1, np.inf))
    points = points[points[:, Z].argsort()]  # of points on a pixel, the highest shows
    column, row = to_pixels(points).astype(int).T
    height = np.clip((points[:, Z] - z0) / (z1 - z0), 0, 1)[:, None]
    shades = np.add(_DARKEST, np.subtract(_BRIGHTEST, _DARKEST) * height).astype(np.uint8)
    inside = (row < pixels.shape[0]) & (column < pixels.shape[1])
    pixels[row[inside], column[inside]] = shades[inside]

    lines, labels = [], []
    for group in drawn:
        corners = to_pixels(box_utils.boxes3d_to_corners3d_lidar(group.boxes)[:, :4])
        for k, rectangle in enumerate(corners):
            color = group.color(k, class_names)
            front = np.stack((rectangle.mean(axis=0), rectangle[list(FRONT)].mean(axis=0)))
            lines += [(np.concatenate((rectangle, rectangle[:1])), color), (front, color)]
            if group.scores is not None:
                labels.append((group.scores[k], _Label(group.text(k), color, rectangle)))
    return _finish(pixels, lines, labels, title, _legend(drawn, class_names))


def draw_on_image(
    image: np.ndarray,
    calib: Calibration,
    drawn: Sequence[DrawnBoxes],
    class_names: Sequence[str],
    title: str = "",
) -> np.ndarray:
    """Draw boxes as wire frames on the camera image; edges behind the camera are cut off.

    Args:
        image: (H, W, 3) uint8.
        calib: projects from the LiDAR to the image.
        drawn: ground truth and detections.
        class_names: their order decides the colours.
        title: written into the corner, before a legend.

    Returns:
        (H, W, 3) uint8.
    """
    lines, labels = [], []
    for group in drawn:
        corners = box_utils.boxes3d_to_corners3d_lidar(group.boxes)
        for k, box in enumerate(corners):
            segments = _visible_edges(calib.lidar_to_rect(box), calib)
            if not len(segments):
                continue
            color = group.color(k, class_names)
            lines += [(segment, color) for segment in segments]
            if group.scores is not None:
                label = _Label(group.text(k), color, segments.reshape(-1, 2))
                labels.append((group.scores[k], label))
    return _finish(image, lines, labels, title, _legend(drawn, class_names))


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


def _legend(drawn: Sequence[DrawnBoxes], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Words and their colours: what is drawn."""
    words = [("labels", palette.FOUND)] if any(group.scores is None for group in drawn) else []
    found = {name for group in drawn if group.scores is not None for name in group.names}
    return words + [(n, class_color(n, class_names)) for n in class_names if n in found]


def _finish(
    pixels: np.ndarray,
    lines: Sequence[tuple[np.ndarray, str]],
    labels: Sequence[tuple[float, _Label]],
    title: str,
    legend: Sequence[tuple[str, str]],
) -> np.ndarray:
    """Draw smooth lines, labels that do not overlap (the best scores first), title and legend."""
    height, width = pixels.shape[:2]
    fine = Image.fromarray(pixels).resize((_FINE * width, _FINE * height), Image.NEAREST)
    draw = ImageDraw.Draw(fine)
    # What lies far outside is cut here, as numbers that overflow are no place on a canvas.
    far = 4 * max(fine.size)
    for line, color in lines:
        ends = np.clip(_FINE * line, -far, far)
        draw.line([tuple(end) for end in ends], fill=color, width=round(1.5 * _FINE))
    picture = fine.reduce(_FINE)
    draw, taken = ImageDraw.Draw(picture), []
    at = 5
    for word, color in [(title, "#ffffff"), *legend]:
        if word:
            taken.append(_write(draw, (at, 4), word, color, 13))
            at = taken[-1][2] + 9
    for _, label in sorted(labels, key=lambda entry: -entry[0]):
        place = _free_place(label, taken, picture.size)
        if place is not None:
            taken.append(_write(draw, place, label.text, label.color, 11))
    return np.asarray(picture)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_area(at: tuple[float, float], text: str, size: int) -> tuple[float, ...]:
    """Left, top, right and bottom of a text with a margin, `at` its left upper corner."""
    left, top, right, bottom = _font(size).getbbox(text)
    return (at[0], at[1], at[0] + right - left + 4, at[1] + bottom - top + 4)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, color: str, size: int
) -> tuple[float, ...]:
    """Write a text on a dark ground; return the area that it covers."""
    area = _text_area(at, text, size)
    draw.rectangle(area, fill="#000000")
    left, top, _, _ = _font(size).getbbox(text)
    draw.text((at[0] + 2 - left, at[1] + 2 - top), text, fill=color, font=_font(size))
    return area


def _free_place(
    label: _Label, taken: Sequence[tuple[float, ...]], size: tuple[int, int]
) -> tuple[float, float] | None:
    """Where a label covers no other and lies in the picture; None if there is no such place."""
    _, _, width, height = _text_area((0, 0), label.text, 11)
    (left, top), (right, bottom) = label.outline.min(axis=0), label.outline.max(axis=0)
    if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
        return None
    for x, y in _places((left, top, right, bottom), width, height):
        x = min(max(x, 0), size[0] - width - 1)
        y = min(max(y, 0), size[1] - height - 1)
        if not any(
            x <= area[2] and area[0] <= x + width and y <= area[3] and area[1] <= y + height
            for area in taken
        ):
            return float(x), float(y)
    return None


def _places(
    outline: tuple[float, float, float, float], width: float, height: float
) -> Iterator[tuple[float, float]]:
    """Places around an outline: above, below and beside it, and then further out."""
    left, top, right, bottom = outline
    for out in (0, height + 1, 2 * height + 2):
        yield left, top - height - 2 - out
        yield left, bottom + 2 + out
        yield right + 2 + out, top
        yield left - width - 2 - out, top
