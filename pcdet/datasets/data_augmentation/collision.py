"""Which boxes would stand on one another, seen from above.

Two boxes collide if their rectangles share more than an edge; one inside the other collides.
"""

from __future__ import annotations

import numpy as np

from pcdet.utils.compiling import compiled
from pcdet.utils.rectangles import TURN, U, V, X, Y, overlaps_any, rectangles_of_boxes


def select_free_boxes(boxes: np.ndarray, num_fixed: int) -> np.ndarray:
    """Greedily choose boxes that collide with no fixed and no chosen box.

    Args:
        boxes: (M, 7) LiDAR boxes, the fixed ones first.
        num_fixed: number of fixed boxes.

    Returns:
        (M - num_fixed,) bool, the chosen ones among the rest.
    """
    return _select_free(rectangles_of_boxes(boxes), num_fixed)


def first_free_try(
    boxes: np.ndarray,
    valid: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    factors: np.ndarray | None = None,
) -> np.ndarray:
    """Give each box in turn the first of its moves that leaves it clear of all other boxes.

    Boxes that had their turn stand in their new places for those that follow. A box that is scaled
    takes up the larger of both sizes until its turn, as it may stay, with its own size.

    Args:
        boxes: (M, 7) LiDAR boxes.
        valid: (M,) bool, the boxes that move.
        moves: (M, T, 3) float64 metres, added to x, y, z.
        turns: (M, T) float64 radians, added to rz.
        factors: (M,) float64 of the sizes of boxes that move, 1 for the others; None for 1.

    Returns:
        (M,) int64 number of the move taken, -1 if the box stays.
    """
    factors = np.ones(len(boxes)) if factors is None else factors
    return _first_free(rectangles_of_boxes(boxes), valid, moves, turns, factors)


@compiled()
def _select_free(rectangles, num_fixed):
    """`select_free_boxes` of rectangles (M, 5)."""
    kept = rectangles.copy()
    num_kept = num_fixed
    chosen = np.zeros(len(rectangles) - num_fixed, np.bool_)
    for i in range(len(chosen)):
        candidate = rectangles[num_fixed + i]
        if not overlaps_any(candidate, kept[:num_kept]):
            kept[num_kept] = candidate
            chosen[i] = True
            num_kept += 1
    return chosen


@compiled()
def _first_free(rectangles, valid, moves, turns, factors):
    """`first_free_try` of rectangles (M, 5)."""
    current = rectangles.copy()
    for i in range(len(rectangles)):
        current[i, U : V + 1] *= max(factors[i], 1.0)
    chosen = np.full(len(rectangles), -1, np.int64)
    for i in range(len(rectangles)):
        if not valid[i]:
            continue
        current[i] = rectangles[i]
        candidate = rectangles[i].copy()
        candidate[U : V + 1] *= factors[i]
        for t in range(turns.shape[1]):
            candidate[X] = rectangles[i, X] + moves[i, t, 0]
            candidate[Y] = rectangles[i, Y] + moves[i, t, 1]
            candidate[TURN] = rectangles[i, TURN] - turns[i, t]  # rz turns the other way
            if not overlaps_any(candidate, current, i):
                current[i] = candidate
                chosen[i] = t
                break
    return chosen
