"""Which boxes would stand on one another, seen from above.

Two boxes collide if their rectangles share more than an edge; one inside the other collides.
"""

from __future__ import annotations

import numba
import numpy as np

# Rectangles that overlap by less (metres) only touch: it is far above the rounding of float64.
_TOUCH = 1e-9


@numba.njit(cache=True)
def _collides_with_any(x, y, cos, sin, k, boxes, count):
    """Box k, with its centre at x, y and turned to cos, sin, against the first boxes but itself.

    By the separating axis theorem: two rectangles are apart if they are along one of their sides.
    The sides point along (cos, -sin) for the width and (sin, cos) for the length.
    """
    half_w, half_l = boxes[k, 3] / 2 - _TOUCH, boxes[k, 4] / 2 - _TOUCH
    for j in range(count):
        if j == k:
            continue
        dx, dy = boxes[j, 0] - x, boxes[j, 1] - y
        other_w, other_l = boxes[j, 3] / 2, boxes[j, 4] / 2
        reach = half_w + half_l + other_w + other_l
        if dx * dx + dy * dy >= reach * reach:
            continue
        other_cos, other_sin = np.cos(boxes[j, 6]), np.sin(boxes[j, 6])
        c = abs(cos * other_cos + sin * other_sin)
        s = abs(sin * other_cos - cos * other_sin)
        apart = (
            abs(dx * cos - dy * sin) >= half_w + other_w * c + other_l * s
            or abs(dx * sin + dy * cos) >= half_l + other_w * s + other_l * c
            or abs(dx * other_cos - dy * other_sin) >= other_w + half_w * c + half_l * s
            or abs(dx * other_sin + dy * other_cos) >= other_l + half_w * s + half_l * c
        )
        if not apart:
            return True
    return False


@numba.njit(cache=True)
def select_free_boxes(boxes, num_fixed):
    """Greedily choose boxes that collide with no fixed and no chosen box.

    Args:
        boxes: (M, 7) float64 C-contiguous LiDAR boxes, the fixed ones first.
        num_fixed: number of fixed boxes.

    Returns:
        (M - num_fixed,) bool, the chosen ones among the rest.
    """
    kept = boxes.copy()
    num_kept = num_fixed
    chosen = np.zeros(len(boxes) - num_fixed, np.bool_)
    for i in range(len(chosen)):
        for column in range(boxes.shape[1]):
            kept[num_kept, column] = boxes[num_fixed + i, column]
        x, y, rz = kept[num_kept, 0], kept[num_kept, 1], kept[num_kept, 6]
        if not _collides_with_any(x, y, np.cos(rz), np.sin(rz), num_kept, kept, num_kept):
            chosen[i] = True
            num_kept += 1
    return chosen


@numba.njit(cache=True)
def first_free_try(boxes, valid, moves, turns):
    """Give each box in turn the first of its moves that leaves it clear of all other boxes.

    Boxes that had their turn stand in their new places for those that follow.

    Args:
        boxes: (M, 7) float64 C-contiguous LiDAR boxes.
        valid: (M,) bool, the boxes that move.
        moves: (M, T, 3) float64 metres, added to x, y, z.
        turns: (M, T) float64 radians, added to rz.

    Returns:
        (M,) int64 number of the move taken, -1 if the box stays.
    """
    current = boxes.copy()
    num_boxes = len(boxes)
    chosen = np.full(num_boxes, -1, np.int64)
    for i in range(num_boxes):
        if not valid[i]:
            continue
        for t in range(turns.shape[1]):
            x, y = boxes[i, 0] + moves[i, t, 0], boxes[i, 1] + moves[i, t, 1]
            rz = boxes[i, 6] + turns[i, t]
            if not _collides_with_any(x, y, np.cos(rz), np.sin(rz), i, current, num_boxes):
                current[i, 0], current[i, 1], current[i, 6] = x, y, rz
                chosen[i] = t
                break
    return chosen
