"""Which class objects were taken for: a table of labelled classes against detected ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pcdet.ops.iou3d_nms import iou3d_nms_utils


def confusion_counts(
    gt_annos: Sequence[Mapping],
    det_annos: Sequence[Mapping],
    class_names: Sequence[str],
    overlaps: Mapping[str, float],
) -> np.ndarray:
    """Count pairs of an object and a detection, whatever their classes.

    In each frame the detection with the best score chooses first: the free object that it overlaps
    most, if by more than the overlap of the object's class.

    Args:
        gt_annos: of each frame `name` (M,) and `gt_boxes_lidar` (M, 7).
        det_annos: of each frame `name` (N,), `boxes_lidar` (N, 7) and `score` (N,); only those that
            are to be counted.
        class_names: K classes; objects of others are left out.
        overlaps: of each class, what the 3D IoU of a pair must exceed.

    Returns:
        (K + 1, K + 1) int64: rows are what is labelled, then nothing; columns are what was
        detected, then nothing.
    """
    index = {name: k for k, name in enumerate(class_names)}
    nothing = len(class_names)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for gt, det in zip(gt_annos, det_annos):
        known = np.isin(gt["name"], class_names)
        labels = [index[name] for name in np.asarray(gt["name"])[known]]
        found = [index[name] for name in det["name"]]
        overlap = _iou(det["boxes_lidar"], gt["gt_boxes_lidar"][known])
        overlap[overlap <= np.array([overlaps[class_names[k]] for k in labels])] = 0
        missed = np.ones(len(labels), bool)
        for d in np.argsort(-np.asarray(det["score"]), kind="stable"):
            row = np.where(missed, overlap[d], 0) if len(labels) else np.zeros(1)
            partner = nothing
            if row.max() > 0:
                partner = labels[row.argmax()]
                missed[row.argmax()] = False
            counts[partner, found[d]] += 1
        np.add.at(counts[:, nothing], np.array(labels, np.int64)[missed], 1)
    return counts


def _iou(detected: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """(N, M) 3D IoU."""
    if not (len(detected) and len(labelled)):
        return np.zeros((len(detected), len(labelled)))
    boxes = (torch.from_numpy(np.asarray(b, dtype=np.float64)) for b in (detected, labelled))
    return iou3d_nms_utils.boxes_iou3d_gpu(*boxes).numpy()


def confusion_table(counts: np.ndarray, class_names: Sequence[str], title: str) -> str:
    """Return the counts of `confusion_counts` as text."""
    width = max(12, *(len(name) + 2 for name in class_names))
    first = max(len("labelled as"), *(len(name) for name in class_names))
    columns = [*class_names, "not found"]
    lines = [title, f"{'labelled as':<{first}}" + "".join(f"{c:>{width}}" for c in columns)]
    for name, row in zip([*class_names, "nothing"], counts):
        cells = [str(count) for count in row]
        if name == "nothing":
            cells[-1] = ""
        lines.append(f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells).rstrip())
    return "\n".join(lines)
