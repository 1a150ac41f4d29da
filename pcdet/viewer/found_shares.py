"""The share of labelled objects that were found, by distance and by number of points."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.found import best_overlaps
from pcdet.utils.box_utils import X, Y

# Metres from the sensor, and points in the box; the last bin has no upper end.
DISTANCES = (0, 10, 20, 30, 40, 50)
POINTS = (1, 5, 10, 20, 50, 100, 500)
_USUAL_OVERLAP = 0.5


@dataclass(frozen=True)
class LabelledObjects:
    """The objects of a class.

    Attributes:
        distance: (M,) metres from the sensor, along the ground.
        points: (M,) number of points in the box.
        found: (M,) bool, whether a detection of the class overlaps it enough.
    """

    distance: np.ndarray
    points: np.ndarray
    found: np.ndarray

    def by_distance(self) -> dict[str, float]:
        """Return the share that was found, by distance as in "10-20 m", where there are objects."""
        found, total = count_by(self.distance, self.found, DISTANCES)
        names = bin_names(DISTANCES, " m")
        return {name: float(f / t) for name, f, t in zip(names, found, total) if t}


def labelled_objects(
    infos: Sequence[Mapping[str, Any]],
    annos: Sequence[Mapping[str, Any]],
    name: str,
    least_overlaps: Mapping[str, float] = rules.OVERLAPS,
) -> LabelledObjects:
    """Gather the objects of a class in all frames, and whether they were found.

    Args:
        infos: of all frames, with `annos`.
        annos: their detections.
        name: the class.
        least_overlaps: to exceed, by class in lower case; 0.5 for a class that is not in it.
    """
    overlaps, distances = [np.zeros((0, 2))], [np.zeros(0)]
    for info, anno in zip(infos, annos):
        overlaps.append(best_overlaps(info, anno, name))
        boxes = info["annos"]["gt_boxes_lidar"]
        boxes = boxes[info["annos"]["name"][: len(boxes)] == name]
        distances.append(np.hypot(boxes[:, X], boxes[:, Y]))
    points, best = np.concatenate(overlaps).T
    least = least_overlaps.get(name.lower(), _USUAL_OVERLAP)
    return LabelledObjects(np.concatenate(distances), points, best > least)


def count_by(
    values: np.ndarray, found: np.ndarray, starts: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Count objects, and those found, in bins of a value.

    Args:
        values: (M,) of each object.
        found: (M,) bool.
        starts: lower ends of B bins, ascending; each ends where the next starts, the last never.

    Returns:
        (B,) found and (B,) there; objects below the first bin are in none.
    """
    bins = np.digitize(values, starts) - 1
    inside = bins >= 0
    total = np.bincount(bins[inside], minlength=len(starts))
    return np.bincount(bins[inside & found], minlength=len(starts)), total


def bin_names(starts: Sequence[float], unit: str = "") -> list[str]:
    """Such as "0-10 m" and "50+ m"."""
    ends = [f"{low}-{high}" for low, high in itertools.pairwise(starts)]
    return [f"{name}{unit}" for name in (*ends, f"{starts[-1]}+")]
