"""The evaluation from annotations or folders to the result: what is done in which order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from pcdet.evaluation import reasons, rules
from pcdet.evaluation.class_curves import class_curves, class_objects
from pcdet.evaluation.label_arrays import Labels, labels_from_annos
from pcdet.evaluation.overlaps import Overlaps, compute_overlaps
from pcdet.evaluation.precision_recall import Curve
from pcdet.evaluation.protocol import KITTI, Protocol
from pcdet.evaluation.reading import (
    DET_FIELDS,
    GT_FIELDS,
    choose_frames,
    read_labels,
)
from pcdet.evaluation.result import EvalResult
from pcdet.utils.errors import ConfigError, DataError


def evaluate(
    gt_annos: Sequence[Mapping] | Labels | None,
    det_annos: Sequence[Mapping] | Labels,
    class_names: Sequence[str] = rules.CLASS_NAMES,
    overlaps: Mapping[str, float] | Sequence[float] | None = None,
    metrics: Sequence[str] = rules.METRICS,
) -> EvalResult:
    """Evaluate detections by the rules of KITTI's object benchmark.

    Args:
        gt_annos: one annotation dict a frame: `name` (N,), `truncated` (N,), `occluded` (N,),
            `alpha` (N,), `bbox` (N, 4) in pixels, `dimensions` (N, 3) length, height, width,
            `location` (N, 3) bottom centre in the rectified camera frame, `rotation_y` (N,);
            DontCare objects included. Or `Labels`. None (or None for every frame) where the split
            has no labels.
        det_annos: the same for the detections of the same frames in the same order, with `score`
            (N,) instead of `truncated` and `occluded`.
        class_names: the classes to evaluate; case does not count when objects are compared.
        overlaps: by class name or in the order of `class_names`, for all metrics; None: the
            benchmark's 0.7 for cars and 0.5 for pedestrians and cyclists.
        metrics: any of bbox, aos, bev, 3d.

    Returns:
        The AP, its curves, and the reason of every AP that is missing or 0.

    Raises:
        DataError: the two lists differ in length, or an annotation is not what it should be.
        ConfigError: a class has no overlap, or an option has no such choice.
    """
    return evaluate_overlap_sets(gt_annos, det_annos, class_names, [(overlaps, metrics)])[0]


def evaluate_folders(
    gt_dir: str | os.PathLike,
    det_dir: str | os.PathLike,
    split_file: str | os.PathLike | None = None,
    class_names: Sequence[str] = rules.CLASS_NAMES,
    overlaps: Mapping[str, float] | Sequence[float] | None = None,
) -> EvalResult:
    """Evaluate a folder of KITTI result files against a folder of label files.

    Args:
        gt_dir: holds NNNNNN.txt with 15 fields a line.
        det_dir: holds NNNNNN.txt with 16 fields a line, for exactly the same frames.
        split_file: names the frames to evaluate, one a line; then either folder may hold more.
        class_names: see `evaluate`.
        overlaps: see `evaluate`.

    Raises:
        DataError: a frame lacks a file, or a line is not what it should be (file and line named).
    """
    gt, det = read_folders(gt_dir, det_dir, split_file)
    return evaluate(gt, det, class_names, overlaps)


def read_folders(
    gt_dir: str | os.PathLike, det_dir: str | os.PathLike, split_file: str | os.PathLike | None
) -> tuple[Labels, Labels]:
    """Read ground truth and detections of the same frames; see `evaluate_folders`."""
    frames = choose_frames(gt_dir, det_dir, split_file)
    return read_labels(gt_dir, frames, GT_FIELDS), read_labels(det_dir, frames, DET_FIELDS)


def evaluate_overlap_sets(
    gt_annos: Sequence[Mapping] | Labels | None,
    det_annos: Sequence[Mapping] | Labels,
    class_names: Sequence[str],
    sets: Sequence[tuple[Mapping[str, float] | Sequence[float] | None, Sequence[str]]],
    protocol: Protocol = KITTI,
) -> list[EvalResult]:
    """Evaluate once for each pair of overlaps and metrics; the boxes are compared only once.

    Args:
        gt_annos: see `evaluate`.
        det_annos: see `evaluate`.
        class_names: see `evaluate`.
        sets: (overlaps, metrics) of each evaluation, see `evaluate`.
        protocol: which objects count.

    Returns:
        One result for each of `sets`.

    Raises:
        DataError: see `evaluate`.
        ConfigError: see `evaluate`.
    """
    class_names = rules.check_class_names(class_names)
    chosen = [(rules.overlaps_of(class_names, o), _check_metrics(m)) for o, m in sets]
    det = det_annos
    if not isinstance(det, Labels):
        det = labels_from_annos(det, "detections")
    if gt_annos is None or _are_all_none(gt_annos):
        why = {name: [reasons.NO_LABELS] for name in class_names}
        return [
            EvalResult(class_names, overlaps, metrics, det.num_frames, {}, {}, why, protocol)
            for overlaps, metrics in chosen
        ]
    gt = gt_annos if isinstance(gt_annos, Labels) else labels_from_annos(gt_annos, "ground truth")
    if gt.num_frames != det.num_frames:
        raise DataError(
            f"expected detections for the {gt.num_frames} frames with ground truth, "
            f"got {det.num_frames}: frames are paired by position"
        )
    pairs = _find_pairs(gt, det, class_names, protocol.neighbours)
    return [
        _evaluate_set(gt, det, pairs, overlaps, metrics, protocol) for overlaps, metrics in chosen
    ]


def _check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    for metric in metrics:
        if metric not in rules.METRICS:
            raise ConfigError(f"metrics: unknown {metric!r}; choose of {list(rules.METRICS)}")
    return tuple(metrics)


def _are_all_none(annos: Sequence[Mapping] | Labels) -> bool:
    if isinstance(annos, Labels) or not annos:
        return False
    missing = [i for i, anno in enumerate(annos) if anno is None]
    if missing and len(missing) < len(annos):
        raise DataError(f"ground truth, frame {missing[0]}: it has no labels, other frames have")
    return bool(missing)


def _find_pairs(
    gt: Labels, det: Labels, class_names: Sequence[str], neighbours: Mapping[str, str]
) -> Overlaps:
    wanted = {name.lower() for name in class_names}
    wanted |= {neighbours[name] for name in wanted if name in neighbours}
    relevant = np.flatnonzero(np.isin(gt.name, sorted(wanted)))
    return compute_overlaps(gt, det, relevant, np.flatnonzero(gt.name == rules.DONT_CARE))


def _evaluate_set(
    gt: Labels,
    det: Labels,
    pairs: Overlaps,
    overlaps: dict[str, float],
    metrics: tuple[str, ...],
    protocol: Protocol,
) -> EvalResult:
    class_names = tuple(overlaps)
    curves: dict[tuple[str, str], tuple[Curve, ...]] = {}
    num_valid, why = {}, {}
    for name in class_names:
        objects = class_objects(gt, det, name, protocol)
        num_valid[name] = tuple(int(valid.sum()) for valid in objects.valid)
        missing = {metric: reasons.why_not_evaluated(det, name, metric) for metric in metrics}
        for metric in metrics:
            if missing[metric] is None:
                curves[metric, name] = class_curves(gt, det, pairs, objects, metric, overlaps[name])
        of_class = {metric: curves.get((metric, name), ()) for metric in metrics}
        why[name] = reasons.explain(det, name, overlaps[name], missing, of_class, protocol.levels)
    return EvalResult(
        class_names, overlaps, metrics, gt.num_frames, curves, num_valid, why, protocol
    )
