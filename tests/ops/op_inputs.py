"""Boxes and points, ordinary and nasty, that the tests of the operators share."""

from __future__ import annotations

import numpy as np


def to_bev(boxes: np.ndarray) -> np.ndarray:
    """(N, 5) BEV boxes [x1, y1, x2, y2, rz] of (N, 7) LiDAR boxes."""
    center, half, rz = boxes[:, 0:2], boxes[:, 3:5] / 2, boxes[:, 6:7]
    return np.concatenate((center - half, center + half, rz), axis=1)


def random_boxes(rng: np.random.Generator, count: int, spread: float = 10.0) -> np.ndarray:
    """(N, 7) float64 LiDAR boxes of some metres, with centres in a square of `spread` metres."""
    center = rng.uniform([0, 0, -1], [spread, spread, 1], (count, 3))
    size = rng.uniform([0.5, 0.5, 1], [3, 5, 2], (count, 3))
    return np.concatenate((center, size, rng.uniform(-7, 7, (count, 1))), axis=1)


def shifted(box: np.ndarray, across: float, along: float) -> np.ndarray:
    """The box moved by so many of its own widths and lengths."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    dx, dy = across * box[3], along * box[4]
    moved = box.copy()
    moved[:2] += dx * cos + dy * sin, dy * cos - dx * sin
    return moved


def changed(box: np.ndarray, **columns: float) -> np.ndarray:
    """The box with some of x, y, z, w, l, h and rz replaced."""
    other = box.copy()
    for name, value in columns.items():
        other["xyzwlh".index(name) if name != "rz" else 6] = value
    return other


def nasty_variants(box: np.ndarray) -> np.ndarray:
    """(K, 7) the box and others whose overlap with it is a special case."""
    rz, w, length = box[6], box[3], box[4]
    return np.stack(
        [
            box,
            box,
            *(shifted(box, across, along) for across, along in ((1, 0), (0, -1), (1, 1), (0.5, 0))),
            *(changed(box, rz=rz + turn) for turn in (np.pi / 2, np.pi, 1e-9, -1e-5, 1e4)),
            changed(box, w=w / 2, l=length / 2),
            changed(box, w=w * 4, l=length * 4),
            changed(box, w=0),
            changed(box, w=0, l=0, h=0),
            changed(box, w=-w),
            changed(box, w=1e-6, l=100),
            changed(box, w=1e4, l=1e4),
            changed(box, w=1e30, l=1e30),
            changed(box, x=1e6, y=-1e6),
            changed(box, x=np.nan),
            changed(box, l=np.inf),
            changed(box, rz=np.inf),
            changed(box, y=-np.inf),
        ]
    )


def nasty_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, 7) boxes: a third random, the rest nasty variants of a few of those."""
    plain = random_boxes(rng, max(1, count // 3))
    variants = np.concatenate([nasty_variants(box) for box in plain[: count // 24 + 1]])
    return rng.permutation(np.concatenate((plain, variants)))[:count]


def points_about_boxes(rng: np.random.Generator, boxes: np.ndarray, each: int) -> np.ndarray:
    """(N, 3) points in, on and around boxes; on means at a multiple of a quarter of a size."""
    steps = rng.choice([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0], (len(boxes), each, 3))
    free = rng.uniform(-0.8, 0.8, steps.shape)
    local = np.where(rng.random((len(boxes), each, 1)) < 0.5, steps, free)
    cos, sin = np.cos(boxes[:, None, 6]), np.sin(boxes[:, None, 6])
    across, along = local[..., 0] * boxes[:, None, 3], local[..., 1] * boxes[:, None, 4]
    x = boxes[:, None, 0] + across * cos + along * sin
    y = boxes[:, None, 1] + along * cos - across * sin
    z = boxes[:, None, 2] + (local[..., 2] + 0.5) * boxes[:, None, 5]
    return rng.permutation(np.stack((x, y, z), axis=-1).reshape(-1, 3))
