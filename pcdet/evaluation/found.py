"""How many labelled objects were found: by class, overlap, distance and number of points.

AP says little on a handful of frames (its curve is sampled at as many places as there are objects);
this count does, and it does not depend on difficulties that come from the image.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pcdet.evaluation import rules
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils.box_utils import X, Y

MIN_POINTS = (1, 10, 20)
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
        overlap: (M,) the best 3D IoU with a detection of the class.
        least: what it must exceed for the object to be found.
    """

    distance: np.ndarray
    points: np.ndarray
    overlap: np.ndarray
    least: float

    @property
    def found(self) -> np.ndarray:
        """(M,) bool, whether a detection of the class overlaps it enough."""
        return self.overlap > self.least

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
    """Gather the objects of a class in all frames, and how well they were found.

    Args:
        infos: of all frames, with `annos`.
        annos: their detections.
        name: the class.
        least_overlaps: to exceed, by class in lower case; 0.5 for a class that is not in it.
    """
    distances, counts, overlaps = ([np.zeros(0)] for _ in range(3))
    for info, anno in zip(infos, annos):
        labelled = info["annos"]["name"] == name
        # DontCare rows come last and have no box.
        boxes = info["annos"]["gt_boxes_lidar"]
        boxes = boxes[labelled[: len(boxes)]]
        distances.append(np.hypot(boxes[:, X], boxes[:, Y]))
        counts.append(info["annos"]["num_points_in_gt"][labelled])
        overlaps.append(_best_overlaps(boxes, anno["boxes_lidar"][anno["name"] == name]))
    least = least_overlaps.get(name.lower(), _USUAL_OVERLAP)
    return LabelledObjects(*map(np.concatenate, (distances, counts, overlaps)), least)


def _best_overlaps(boxes: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(M,) the best 3D IoU of each of (M, 7) boxes with one of (N, 7); 0 if there is none."""
    if not len(boxes) or not len(found):
        return np.zeros(len(boxes))
    pair = (torch.from_numpy(array.astype(np.float64)) for array in (boxes, found))
    return iou3d_nms_utils.boxes_iou3d_gpu(*pair).amax(dim=1).numpy()


def found_table(
    objects: Mapping[str, LabelledObjects],
    overlap_sets: Sequence[Mapping[str, float]] = (rules.OVERLAPS, rules.LOOSE_OVERLAPS),
) -> str:
    """Return a text: for each class and overlap, how many of its objects were found.

    Args:
        objects: by class; classes without an overlap are skipped.
        overlap_sets: what a detection must exceed, by class in lower case; all are reported.
    """
    columns = [f">= {count} point{'s' * (count > 1)}" for count in MIN_POINTS]
    lines = [f"{'objects found, 3D IoU over':<28}" + "".join(f"{c:>16}" for c in columns)]
    for name, own in objects.items():
        for overlaps in overlap_sets:
            if name.lower() not in overlaps:
                continue
            found = own.overlap > overlaps[name.lower()]
            line = f"{name:<20}{overlaps[name.lower()]:>8.2f}"
            for count in MIN_POINTS:
                there = own.points >= count
                line += f"{f'{(found & there).sum()} of {there.sum()}':>16}"
            lines.append(line)
    return "\n".join(lines)


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
