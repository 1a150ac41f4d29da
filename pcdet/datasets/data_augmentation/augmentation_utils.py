"""Augmentations of boxes and points.

All return new arrays and keep the points of a box in it, but for `global_slope`, after which some
of those at its faces lie outside by a few centimetres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcdet.datasets.data_augmentation.collision import first_free_try
from pcdet.utils import box_utils
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, X, Y, Z


def noise_per_object_v3_(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    valid_mask: np.ndarray | None = None,
    rotation_perturb: float | Sequence[float] = np.pi / 4,
    center_noise_std: float | Sequence[float] = 1.0,
    num_try: int = 100,
    scaling: Sequence[float] = (1.0, 1.0),
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scale, move and turn each object with its points, so that none comes to lie on another.

    Boxes are scaled about the centre of their bottom, so that they stay on the ground, and are then
    taken in turn. Of `num_try` random moves of a box, the first is taken that leaves it
    clear of all other boxes as they stand then, seen from above; if there is none, the box stays.
    A point in several moved boxes goes with the first of them. Points of no moved box that an
    object would land on are removed. The name is PCDet's; the arguments are not written to.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) float32, LiDAR frame, metres.
        valid_mask: (M,) bool, boxes that may move; None for all.
        rotation_perturb: range (low, high) of the turn in radians, or r for (-r, r).
        center_noise_std: standard deviation of the move along x, y, z in metres.
        num_try: moves tried for each box.
        scaling: range (low, high) of the factor of a box and its points. A box that finds no place
            keeps its size, too.
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N', 3 + C) points, N' <= N.

    Raises:
        ValueError: `valid_mask` is not one of M.
    """
    rng = np.random.default_rng() if rng is None else rng
    num_boxes = len(gt_boxes)
    valid = np.ones(num_boxes, bool) if valid_mask is None else np.asarray(valid_mask, bool)
    if valid.shape != (num_boxes,):
        raise ValueError(f"valid_mask must be of shape ({num_boxes},), got {valid.shape}")
    moves = rng.normal(scale=center_noise_std, size=(num_boxes, num_try, 3))
    turns = rng.uniform(*_low_high(rotation_perturb), size=(num_boxes, num_try))
    factors = np.ones(num_boxes)
    if tuple(scaling) != (1.0, 1.0):
        factors[valid] = rng.uniform(*scaling, size=np.count_nonzero(valid))
    chosen = first_free_try(gt_boxes, valid, moves, turns, factors)

    moved = np.flatnonzero(chosen >= 0)
    new_boxes = gt_boxes.copy()
    new_boxes[moved, DIMS] *= factors[moved, None]
    new_boxes[moved, CENTER] += moves[moved, chosen[moved]]
    new_boxes[moved, RZ] += turns[moved, chosen[moved]]
    return new_boxes, move_points_with_boxes(points, gt_boxes[moved], new_boxes[moved])


def move_points_with_boxes(
    points: np.ndarray, boxes: np.ndarray, new_boxes: np.ndarray
) -> np.ndarray:
    """Take the points in boxes along to the boxes' new places, and clear these of other points.

    Args:
        points: (N, 3 + C) LiDAR frame, metres.
        boxes: (M, 7) LiDAR boxes; a point in several goes with the first.
        new_boxes: (M, 7) the same boxes, scaled by one factor each, moved and turned.

    Returns:
        (N', 3 + C) points without those that were in no box and are in one or more new ones.
    """
    if not len(boxes):
        return points.copy()
    owner = box_utils.first_box_of_points(points, boxes)
    landed_on = box_utils.first_box_of_points(points, new_boxes) >= 0
    new_points = points.copy()
    carried = np.flatnonzero(owner >= 0)
    box = owner[carried]
    local = points[carried, CENTER] - boxes[box, CENTER]
    turn = new_boxes[box, RZ] - boxes[box, RZ]
    turned = box_utils.rotate_points_along_z(local[:, None], turn)[:, 0]
    factor = new_boxes[box, H] / boxes[box, H]
    new_points[carried, CENTER] = turned * factor[:, None] + new_boxes[box, CENTER]
    return new_points.compress((owner >= 0) | ~landed_on, axis=0)


def random_flip(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    probability: float = 0.5,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror the scene left to right (y to -y) with the given probability.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) LiDAR frame, metres.
        probability: of a flip.
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N, 3 + C) points.
    """
    rng = np.random.default_rng() if rng is None else rng
    gt_boxes, points = gt_boxes.copy(), points.copy()
    if rng.random() < probability:
        gt_boxes[:, Y] *= -1
        gt_boxes[:, RZ] = np.pi - gt_boxes[:, RZ]
        points[:, Y] *= -1
    return gt_boxes, points


def global_rotation(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    rotation: float | Sequence[float] = np.pi / 4,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the scene about the sensor's vertical axis, clockwise for positive angles, as rz does.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) LiDAR frame, metres.
        rotation: range (low, high) of the angle in radians, or r for (-r, r).
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N, 3 + C) points.
    """
    rng = np.random.default_rng() if rng is None else rng
    angle = rng.uniform(*_low_high(rotation))
    gt_boxes = box_utils.rotate_pc_along_z(gt_boxes, angle)
    gt_boxes[:, RZ] += angle
    return gt_boxes, box_utils.rotate_pc_along_z(points, angle)


def global_scaling(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    min_scale: float = 0.95,
    max_scale: float = 1.05,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scale the scene, positions and sizes alike, about the sensor.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) LiDAR frame, metres.
        min_scale: smallest factor.
        max_scale: largest factor.
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N, 3 + C) points.
    """
    rng = np.random.default_rng() if rng is None else rng
    scale = rng.uniform(min_scale, max_scale)
    gt_boxes, points = gt_boxes.copy(), points.copy()
    gt_boxes[:, CENTER] *= scale
    gt_boxes[:, DIMS] *= scale
    points[:, CENTER] *= scale
    return gt_boxes, points


def global_translation(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    noise_std: Sequence[float],
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Move the scene as a whole, SECOND's `global_translate`.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) LiDAR frame, metres.
        noise_std: (3,) standard deviations of the normal noise along x, y, z, metres.
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N, 3 + C) points.
    """
    rng = np.random.default_rng() if rng is None else rng
    shift = rng.normal(0.0, noise_std)
    gt_boxes, points = gt_boxes.copy(), points.copy()
    gt_boxes[:, CENTER] += shift
    points[:, CENTER] += shift.astype(points.dtype)
    return gt_boxes, points


def global_slope(
    gt_boxes: np.ndarray,
    points: np.ndarray,
    noise_std: Sequence[float],
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Let the ground rise or fall: heights grow in proportion to x and y, boxes stay upright.

    A network that has seen few scenes learns their slopes by heart, and is wrong about the height
    of far objects elsewhere.

    Args:
        gt_boxes: (M, 7) LiDAR boxes.
        points: (N, 3 + C) LiDAR frame, metres.
        noise_std: (2,) standard deviations of the normal rise along x and y, metres a metre.
        rng: random numbers; None for fresh ones.

    Returns:
        (M, 7) boxes and (N, 3 + C) points.
    """
    rng = np.random.default_rng() if rng is None else rng
    rise = rng.normal(0.0, noise_std)
    gt_boxes, points = gt_boxes.copy(), points.copy()
    gt_boxes[:, Z] += gt_boxes[:, [X, Y]] @ rise
    points[:, Z] += points[:, [X, Y]] @ rise.astype(points.dtype)
    return gt_boxes, points


def global_dropout(
    points: np.ndarray, share: Sequence[float], rng: np.random.Generator | None = None
) -> np.ndarray:
    """Drop points at random, as many of near things as of far ones.

    Args:
        points: (N, 3 + C) of a scene.
        share: range (low, high) of the share that is dropped, in [0, 1).
        rng: random numbers; None for fresh ones.

    Returns:
        (N', 3 + C) points, N' <= N.
    """
    rng = np.random.default_rng() if rng is None else rng
    return points.compress(rng.random(len(points)) >= rng.uniform(*share), axis=0)


def _low_high(value: float | Sequence[float]) -> tuple[float, float]:
    """A range given as (low, high), or as r for (-r, r)."""
    low, high = (-value, value) if np.isscalar(value) else value
    return float(low), float(high)
