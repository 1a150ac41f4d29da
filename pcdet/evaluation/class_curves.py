"""Which objects count for a class and level, and the curves that their matching gives."""

from __future__ import annotations

import numpy as np

from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.matching import (
    ABSENT,
    IGNORED,
    NORMAL,
    Candidates,
    Judged,
    count_hits,
    hit_scores,
)
from pcdet.evaluation.overlaps import Overlaps
from pcdet.evaluation.precision_recall import Curve, sample_curve, score_thresholds
from pcdet.evaluation.protocol import Level, Protocol


def class_curves(
    gt: Labels,
    det: Labels,
    pairs: Overlaps,
    name: str,
    metric: str,
    min_overlap: float,
    protocol: Protocol,
) -> tuple[Curve, ...]:
    """Return the curves of a class, one for each level.

    Args:
        gt: G ground truth objects.
        det: D detections of the same frames.
        pairs: their overlaps.
        name: the class.
        metric: bbox, aos, bev or 3d; aos follows the matches of bbox.
        min_overlap: what the overlap of a match must exceed.
        protocol: its levels and neighbours.
    """
    key = name.lower()
    in_turn = np.flatnonzero((gt.name == key) | (gt.name == protocol.neighbours.get(key)))
    candidates = _candidates(gt, det, pairs, in_turn, metric, min_overlap)
    # DontCare boxes have no 3D box that could excuse a detection in BEV or 3D.
    excused = (pairs.dont_care > min_overlap) & (metric in ("bbox", "aos"))
    curves = []
    for level in protocol.levels:
        valid = valid_gt(gt, name, level)
        state = _det_state(det, name, level)
        judged = Judged(valid[in_turn], state, (state == NORMAL) & ~excused, det.score)
        scores = hit_scores(candidates, judged)
        num_valid = int(valid.sum())
        thresholds = score_thresholds(scores, num_valid)
        hits, false_positives, similarity = count_hits(candidates, judged, thresholds)
        samples = sample_curve(similarity if metric == "aos" else hits, hits + false_positives)
        curves.append(Curve(thresholds, hits / max(num_valid, 1), samples, num_valid, len(scores)))
    return tuple(curves)


def valid_gt(gt: Labels, name: str, level: Level) -> np.ndarray:
    """Tell which ground truth (G,) is of the class, and counts at the level."""
    return (gt.name == name.lower()) & level.counts(gt)


def _det_state(det: Labels, name: str, level: Level) -> np.ndarray:
    """(D,) int8: IGNORED whatever the class is, else NORMAL for the class and ABSENT for others."""
    state = np.where(det.name == name.lower(), NORMAL, ABSENT).astype(np.int8)
    state[level.ignores(det)] = IGNORED
    return state


def _candidates(
    gt: Labels, det: Labels, pairs: Overlaps, in_turn: np.ndarray, metric: str, min_overlap: float
) -> Candidates:
    """List the pairs above `min_overlap` of each ground truth in `in_turn` (ascending indices)."""
    overlap = pairs.of_metric(metric)
    takes_part = np.zeros(len(gt), bool)
    takes_part[in_turn] = True
    keep = np.flatnonzero((overlap > min_overlap) & takes_part[pairs.gt])
    gt_index, det_index = pairs.gt[keep], pairs.det[keep]
    bounds = np.append(in_turn, len(gt))
    return Candidates(
        starts=np.searchsorted(gt_index, bounds),
        det=det_index,
        overlap=overlap[keep],
        similarity=(1 + np.cos(gt.alpha[gt_index] - det.alpha[det_index])) / 2,
    )
