"""Pictures of single objects: from above, from the side and from the front."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pcdet.utils import palette
from pcdet.utils.box_utils import DIMS, RZ, H, L, W, X, Y, Z

_SIDE = 150  # pixels of a view
_CAPTION = 28
_MARGIN = 0.6  # metres around the box
_GROUND, _POINT, _POINT_OUTSIDE = "#11151c", "#ffffff", "#6c7a89"


def object_frame(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points (N, 3 + C) as the object has them: forward, left, up from its bottom's middle: (N, 3).

    Args:
        points: LiDAR frame, metres.
        box: (7,) LiDAR box; it looks along its own -l.
    """
    offset = points[:, :3].astype(np.float64) - box[[X, Y, Z]]
    heading = -box[RZ] - np.pi / 2
    cos, sin = np.cos(heading), np.sin(heading)
    forward = offset[:, 0] * cos + offset[:, 1] * sin
    left = -offset[:, 0] * sin + offset[:, 1] * cos
    return np.stack((forward, left, offset[:, 2]), axis=1)


def draw_object(points: np.ndarray, box: np.ndarray, caption: str) -> np.ndarray:
    """Draw an object and what is around it from above, from its right side and from behind.

    Args:
        points: (N, 3 + C) of the frame.
        box: (7,) LiDAR box.
        caption: written above; a second line after a line break.

    Returns:
        (H, W, 3) uint8, three views side by side; a line leads to the front.
    """
    own = object_frame(points, box)
    half = np.array([box[L] / 2, box[W] / 2, box[H] / 2])
    middle = np.array([0, 0, half[2]])
    inside = (np.abs(own - middle) <= half).all(axis=1)
    near = (np.abs(own - middle) <= half + _MARGIN).all(axis=1)
    picture = Image.new("RGB", (3 * _SIDE, _SIDE + _CAPTION), _GROUND)
    draw = ImageDraw.Draw(picture)
    draw.multiline_text((4, 2), caption, fill=_POINT, spacing=1, font_size=10)
    scale = (_SIDE - 4) / (2 * (max(box[DIMS]) / 2 + _MARGIN))
    # Forward and left, seen from above with the front to the right; then the height upwards.
    for k, (across, upwards, sign) in enumerate(((0, 1, 1), (0, 2, 1), (1, 2, -1))):
        centre = np.array([_SIDE * (k + 0.5), _CAPTION + _SIDE / 2])
        axes = [across, upwards]
        flip = np.array([sign, -1]) * scale
        pixels = centre + (own[near][:, axes] - middle[axes]) * flip
        for is_inside in (False, True):
            shown = pixels[inside[near] == is_inside]
            draw.point(shown.ravel().tolist(), fill=_POINT if is_inside else _POINT_OUTSIDE)
        low, high = centre - half[axes] * scale, centre + half[axes] * scale
        draw.rectangle([*low, *high], outline=palette.FOUND)
        if across == 0:
            draw.line([*centre, high[0], centre[1]], fill=palette.FOUND)
    return np.asarray(picture)
