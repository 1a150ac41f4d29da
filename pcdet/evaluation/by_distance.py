"""AP of LiDAR boxes of any classes, by distance: KITTI's matching and recall points, no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.protocol import BY_DISTANCE
from pcdet.evaluation.result import EvalResult
from pcdet.evaluation.scoring import evaluate_overlap_sets
from pcdet.utils.box_utils import RZ, H, L, W, X, Y, Z
from pcdet.utils.errors import DataError

_METRICS = ("bev", "3d")
# A class whose objects are longer than this, metres, needs the overlap of KITTI's cars.
_LONG = 3.0
_LONG_OVERLAP, _SHORT_OVERLAP = 0.7, 0.5


def evaluate_by_distance(
    gt_annos: Sequence[Mapping] | None,
    det_annos: Sequence[Mapping],
    class_names: Sequence[str],
    overlaps: Mapping[str, float],
) -> tuple[EvalResult, EvalResult]:
    """Evaluate in 3D and BEV, at the given overlaps and at looser ones.

    Args:
        gt_annos: of each frame `name` (M,) and `gt_boxes_lidar` (M, 7); None without labels.
        det_annos: of each frame `name` (N,), `boxes_lidar` (N, 7) and `score` (N,).
        class_names: the classes to evaluate.
        overlaps: of each class, what the overlap of a hit must exceed.

    Returns:
        The results at `overlaps` and at `loose_overlap` of them.

    Raises:
        DataError: the lists differ in length, or a number is not finite.
        ConfigError: an overlap is not in [0, 1).
    """
    loose = {name: loose_overlap(value) for name, value in overlaps.items()}
    gt = None if gt_annos is None else labels_from_lidar(gt_annos, "gt_boxes_lidar", False)
    sets = [(overlaps, _METRICS), (loose, _METRICS)]
    det = labels_from_lidar(det_annos, "boxes_lidar", True)
    return tuple(evaluate_overlap_sets(gt, det, class_names, sets, BY_DISTANCE))


def loose_overlap(overlap: float) -> float:
    """The looser overlap that is reported beside one: 0.5 for 0.7 and 0.25 for 0.5, as PCDet's."""
    return 0.5 if overlap > 0.5 else overlap / 2


def choose_overlaps(
    gt_annos: Sequence[Mapping], class_names: Sequence[str], given: Mapping[str, float]
) -> dict[str, float]:
    """The overlap of each class: as given, else 0.7 for long objects and 0.5 for others.

    Args:
        gt_annos: of each frame `name` (M,) and `gt_boxes_lidar` (M, 7).
        class_names: the classes.
        given: by class.

    Raises:
        ConfigError: an overlap is given for another class.
    """
    rules.check_given_overlaps(given, class_names)
    chosen = {}
    for name in class_names:
        lengths = [
            length
            for anno in gt_annos
            for length in anno["gt_boxes_lidar"][np.asarray(anno["name"]) == name, L]
        ]
        usual = default_overlap(float(np.median(lengths))) if lengths else _SHORT_OVERLAP
        chosen[name] = given.get(name, usual)
    return chosen


def default_overlap(length: float) -> float:
    """The overlap for a class of this usual length, metres."""
    return _LONG_OVERLAP if length > _LONG else _SHORT_OVERLAP


def labels_from_lidar(annos: Sequence[Mapping], boxes: str, scored: bool) -> Labels:
    """Build `Labels` of LiDAR boxes as a camera in the LiDAR's origin would see them.

    Its z is the LiDAR's x, its x the LiDAR's -y, its y the LiDAR's -z; `rz` is its `rotation_y`.

    Args:
        annos: one a frame, with `name` (N,), the boxes (N, 7) and, of detections, `score` (N,).
        boxes: key of the boxes.
        scored: they are detections.

    Raises:
        DataError: the numbers of names, boxes and scores differ, or one is not finite.
    """
    stacked, counts, scores = [np.zeros((0, 7))], [], [np.zeros(0)]
    for k, anno in enumerate(annos):
        stacked.append(np.asarray(anno[boxes], dtype=np.float64).reshape(-1, 7))
        counts.append(len(anno["name"]))
        if len(stacked[-1]) != counts[-1] or not np.isfinite(stacked[-1]).all():
            raise DataError(
                f"frame {k}: expected {counts[-1]} boxes of finite numbers in {boxes!r}, one for "
                f"each name, got {len(stacked[-1])}"
            )
        given = anno.get("score", ()) if scored else np.zeros(counts[-1])
        scores.append(np.asarray(given, np.float64).reshape(-1))
        if len(scores[-1]) != counts[-1] or not np.isfinite(scores[-1]).all():
            raise DataError(
                f"frame {k}: expected {counts[-1]} finite numbers in 'score', one for each name, "
                f"got {len(scores[-1])}"
            )
    boxes_lidar = np.concatenate(stacked)
    names = [str(name).lower() for anno in annos for name in anno["name"]]
    nothing = np.zeros(len(boxes_lidar))
    x, y, z = boxes_lidar[:, X], boxes_lidar[:, Y], boxes_lidar[:, Z]
    return Labels(
        frame_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        name=np.array(names, dtype=np.str_),
        truncated=nothing,
        occluded=nothing,
        alpha=nothing,
        bbox=np.zeros((len(boxes_lidar), 4)),
        dimensions=boxes_lidar[:, [L, H, W]],
        location=np.stack((-y, -z, x), axis=1),
        rotation_y=boxes_lidar[:, RZ],
        score=np.concatenate(scores),
    )
