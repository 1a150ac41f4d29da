"""Which objects count for a class and level, and the curves that their matching gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.matching import Candidates, Judged, count_hits, hit_scores
from pcdet.evaluation.overlaps import Overlaps
from pcdet.evaluation.precision_recall import Curve, sample_curve, score_thresholds
from pcdet.evaluation.protocol import Protocol
from pcdet.ops.matching.matching_utils import ABSENT, IGNORED, NORMAL


@dataclass(frozen=True)
class ClassObjects:
    """What ground truth and detections are for a class, whatever the metric.

    Attributes:
        takes_part: (G,) bool, ground truth of the class or of its neighbour.
        valid: for each level (G,) bool, ground truth of the class that counts.
        state: for each level (D,) int8, IGNORED where the level says so, else NORMAL for the class
            and ABSENT for others.
    """

    takes_part: np.ndarray
    valid: tuple[np.ndarray, ...]
    state: tuple[np.ndarray, ...]


def class_objects(gt: Labels, det: Labels, name: str, protocol: Protocol) -> ClassObjects:
    """Judge G ground truth objects and D detections for a class at each level."""
    key = name.lower()
    own, found = gt.name == key, det.name == key
    detected = np.where(found, NORMAL, ABSENT).astype(np.int8)
    return ClassObjects(
        takes_part=own | (gt.name == protocol.neighbours.get(key)),
        valid=tuple(own & level.counts(gt) for level in protocol.levels),
        state=tuple(
            np.where(level.ignores(det, found), np.int8(IGNORED), detected)
            for level in protocol.levels
        ),
    )


def class_curves(
    gt: Labels,
    det: Labels,
    pairs: Overlaps,
    objects: ClassObjects,
    metric: str,
    min_overlap: float,
) -> tuple[Curve, ...]:
    """Return the curves of a class, one for each level.

    Args:
        gt: G ground truth objects.
        det: D detections of the same frames.
        pairs: their overlaps.
        objects: what they are for the class.
        metric: bbox, aos, bev or 3d; aos follows the matches of bbox.
        min_overlap: what the overlap of a match must exceed.
    """
    in_turn, candidates = _candidates(gt, det, pairs, objects.takes_part, metric, min_overlap)
    # DontCare boxes have no 3D box that could excuse a detection in BEV or 3D.
    excused = (pairs.dont_care > min_overlap) & (metric in ("bbox", "aos"))
    curves = []
    for valid, state in zip(objects.valid, objects.state):
        judged = Judged(valid[in_turn], state, (state == NORMAL) & ~excused, det.score)
        scores = hit_scores(candidates, judged)
        num_valid = int(valid.sum())
        thresholds = score_thresholds(scores, num_valid)
        hits, false_positives, similarity = count_hits(candidates, judged, thresholds)
        samples = sample_curve(similarity if metric == "aos" else hits, hits + false_positives)
        curves.append(Curve(thresholds, hits / max(num_valid, 1), samples, num_valid, len(scores)))
    return tuple(curves)


def _candidates(
    gt: Labels,
    det: Labels,
    pairs: Overlaps,
    takes_part: np.ndarray,
    metric: str,
    min_overlap: float,
) -> tuple[np.ndarray, Candidates]:
    """Ground truth that takes part and has pairs above `min_overlap`, ascending, and these pairs.

    Ground truth without any takes no detection from another.
    """
    overlap = pairs.of_metric(metric)
    keep = np.flatnonzero((overlap > min_overlap) & takes_part[pairs.gt])
    gt_index, det_index = pairs.gt[keep], pairs.det[keep]
    in_turn, starts = np.unique(gt_index, return_index=True)
    return in_turn, Candidates(
        starts=np.append(starts, len(gt_index)),
        det=det_index,
        overlap=overlap[keep],
        similarity=(1 + np.cos(gt.alpha[gt_index] - det.alpha[det_index])) / 2,
    )
