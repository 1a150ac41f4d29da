"""Selections of points by value and of boxes by the names of their classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

# Files of which it is told that points were dropped.
_MOST_REPORTED = 5


class FinitePoints:
    """Drops points that hold NaN or infinity.

    How many were dropped goes to the log, once for each of the first few files in each process: a
    training meets the same frame in every epoch, and clouds in rows and columns, as drivers write
    them, have a NaN for every beam that met nothing.
    """

    def __init__(self, columns: Sequence[str] = ("x", "y", "z", "intensity")) -> None:
        """Remember the names of the first numbers of a point, for the log."""
        self._columns = columns
        self._reported: set[str] = set()

    def __call__(self, points: np.ndarray, name: str, logger: logging.Logger) -> np.ndarray:
        """Those of (N, C) points that are finite.

        Args:
            points: of a sample or an object.
            name: what they belong to, for the log.
            logger: where the count goes.
        """
        finite = np.isfinite(points)
        if finite.all():
            return points
        rows = finite.all(axis=1)
        if name not in self._reported and len(self._reported) < _MOST_REPORTED:
            self._reported.add(name)
            logger.warning(
                "%s: dropped %d of %d points that hold NaN or infinity%s%s",
                *(name, len(points) - rows.sum(), len(points), self._blamed(finite)),
                "; others are not told" if len(self._reported) == _MOST_REPORTED else "",
            )
        return points.compress(rows, axis=0)

    def _blamed(self, finite: np.ndarray) -> str:
        """Words for the measurements beside x, y, z that no point has, given (N, C) bool."""
        empty = ~finite.any(axis=0)
        if empty[:3].any() or not empty.any():
            return ""
        names = dict(enumerate(self._columns))
        told = " and ".join(names.get(k, f"column {k + 1}") for k in np.flatnonzero(empty).tolist())
        return (
            f"; {told} is NaN or infinite in all points: correct the scans, or leave it out by "
            "POINT_COLUMNS"
        )


def as_numpy(values: Any) -> np.ndarray:
    """Return a tensor on any device, or what NumPy takes, as an array."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def keep_arrays_by_name(names: np.ndarray, used_names: Sequence[str]) -> np.ndarray:
    """Return the indices (K,) int64 of the names (N,) that are in `used_names`."""
    return np.flatnonzero(np.isin(names, used_names)) if len(names) else np.zeros(0, np.int64)


def drop_arrays_by_name(names: np.ndarray, unused_names: Sequence[str]) -> np.ndarray:
    """Return the indices (K,) int64 of the names (N,) that are not in `unused_names`."""
    if not len(names):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.isin(names, unused_names, invert=True))


def mask_points_by_range(points: np.ndarray, limit_range: Sequence[float]) -> np.ndarray:
    """Return the points (N, 3 + C) in x_min, y_min, z_min, x_max, y_max, z_max or on a bound."""
    limit = np.asarray(limit_range, dtype=points.dtype)
    inside = np.ones(len(points), dtype=bool)
    for axis in range(3):  # one column at a time is several times as fast as all at once
        inside &= (points[:, axis] >= limit[axis]) & (points[:, axis] <= limit[axis + 3])
    return points.compress(inside, axis=0)


def zero_padded(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Stack B arrays (m, C) as (B, M, C) float32, M the largest m; zeros fill the shorter ones."""
    padded = np.zeros((len(boxes), max(map(len, boxes)), boxes[0].shape[1]), np.float32)
    for row, box in zip(padded, boxes):
        row[: len(box)] = box
    return padded
