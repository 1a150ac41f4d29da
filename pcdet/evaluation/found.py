"""How many labelled objects were found, by class, overlap and number of points.

AP says little on a handful of frames (its curve is sampled at as many places as there are objects);
this count does, and it does not depend on difficulties that come from the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pcdet.evaluation import rules
from pcdet.ops.iou3d_nms import iou3d_nms_utils

MIN_POINTS = (1, 10, 20)


def best_overlaps(info: Mapping[str, Any], anno: Mapping[str, Any], name: str) -> np.ndarray:
    """Count the points in, and find the best 3D IoU with, each object of a class: (M, 2).

    Args:
        info: of the frame, with `annos`.
        anno: its detections.
        name: the class.
    """
    labelled = info["annos"]["name"] == name
    points = info["annos"]["num_points_in_gt"][labelled]
    # DontCare rows come last and have no box.
    boxes = info["annos"]["gt_boxes_lidar"]
    gt = torch.from_numpy(boxes[labelled[: len(boxes)]].astype(np.float64))
    found = torch.from_numpy(anno["boxes_lidar"][anno["name"] == name].astype(np.float64))
    overlaps = torch.zeros(len(gt), dtype=torch.float64)
    if len(gt) and len(found):
        overlaps = iou3d_nms_utils.boxes_iou3d_gpu(gt, found).amax(dim=1)
    return np.stack((points, overlaps.numpy()), axis=1)


def found_table(
    infos: Sequence[Mapping[str, Any]],
    annos: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    overlap_sets: Sequence[Mapping[str, float]] = (rules.OVERLAPS, rules.LOOSE_OVERLAPS),
) -> str:
    """Return a text: for each class and overlap, how many of its objects were found.

    Args:
        infos: of all frames, with `annos`.
        annos: their detections.
        class_names: the classes; those without an overlap are skipped.
        overlap_sets: what a detection must exceed, by class in lower case; all are reported.
    """
    columns = [f">= {count} point{'s' * (count > 1)}" for count in MIN_POINTS]
    lines = [f"{'objects found, 3D IoU over':<28}" + "".join(f"{c:>16}" for c in columns)]
    for name in class_names:
        rows = [best_overlaps(info, anno, name) for info, anno in zip(infos, annos)]
        points, best = np.concatenate([np.zeros((0, 2)), *rows]).T
        for overlaps in overlap_sets:
            if name.lower() not in overlaps:
                continue
            found = best > overlaps[name.lower()]
            line = f"{name:<20}{overlaps[name.lower()]:>8.2f}"
            for count in MIN_POINTS:
                there = points >= count
                line += f"{f'{(found & there).sum()} of {there.sum()}':>16}"
            lines.append(line)
    return "\n".join(lines)
