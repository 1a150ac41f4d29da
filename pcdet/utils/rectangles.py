"""Rectangles on the ground, and whether they overlap; compiled, for loops over many of them.

A rectangle is [x, y, u, v, turn]: its middle, its sizes along its own two axes, and the angle of
the first axis, counter-clockwise from +x. A LiDAR box seen from above is the rectangle
[x, y, w, l, -rz]. Two rectangles that share no more than an edge do not overlap.
"""

from __future__ import annotations

import numpy as np

from pcdet.utils import box_columns
from pcdet.utils.compiling import compiled

# Columns of a rectangle.
X, Y, U, V, TURN = range(5)
# Rectangles that overlap by less (metres) only touch: it is far above the rounding of float64.
_TOUCH = 1e-9


def rectangles_of_boxes(boxes3d: np.ndarray) -> np.ndarray:
    """Return the (N, 5) float64 rectangles of LiDAR boxes (N, 7) seen from above."""
    columns = [box_columns.X, box_columns.Y, box_columns.W, box_columns.L, box_columns.RZ]
    rectangles = boxes3d[:, columns].astype(np.float64, order="C")
    rectangles[:, TURN] *= -1
    return rectangles


@compiled()
def overlaps_any(rectangle: np.ndarray, others: np.ndarray, skip: int = -1) -> bool:
    """Tell whether a rectangle overlaps one of others.

    By the separating axis theorem: two rectangles are apart if they are along one of their sides.

    Args:
        rectangle: (5,) float64.
        others: (K, 5) float64.
        skip: number of a row of `others` to ignore; -1 for none.
    """
    x, y = rectangle[X], rectangle[Y]
    cos, sin = np.cos(rectangle[TURN]), np.sin(rectangle[TURN])
    half_u, half_v = rectangle[U] / 2 - _TOUCH, rectangle[V] / 2 - _TOUCH
    for j in range(len(others)):
        if j == skip:
            continue
        dx, dy = others[j, X] - x, others[j, Y] - y
        other_u, other_v = others[j, U] / 2, others[j, V] / 2
        reach = half_u + half_v + other_u + other_v
        if dx * dx + dy * dy >= reach * reach:
            continue
        other_cos, other_sin = np.cos(others[j, TURN]), np.sin(others[j, TURN])
        c = abs(cos * other_cos + sin * other_sin)
        s = abs(sin * other_cos - cos * other_sin)
        apart = (
            abs(dx * cos + dy * sin) >= half_u + other_u * c + other_v * s
            or abs(dy * cos - dx * sin) >= half_v + other_u * s + other_v * c
            or abs(dx * other_cos + dy * other_sin) >= other_u + half_u * c + half_v * s
            or abs(dy * other_cos - dx * other_sin) >= other_v + half_u * s + half_v * c
        )
        if not apart:
            return True
    return False
