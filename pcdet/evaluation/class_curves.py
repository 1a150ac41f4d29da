"""Which objects count for a class and difficulty, and the curves that their matching gives."""

from __future__ import annotations

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.matching import (
    ABSENT,
    NORMAL,
    SMALL,
    Candidates,
    Judged,
    count_hits,
    hit_scores,
)
from pcdet.evaluation.overlaps import Overlaps
from pcdet.evaluation.precision_recall import Curve, sample_curve, score_thresholds


def class_curves(
    gt: Labels, det: Labels, pairs: Overlaps, name: str, metric: str, min_overlap: float
) -> tuple[Curve, ...]:
    """Return the curves of a class for easy, moderate and hard.

    Args:
        gt: G ground truth objects.
        det: D detections of the same frames.
        pairs: their overlaps.
        name: the class.
        metric: bbox, aos, bev or 3d; aos follows the matches of bbox.
        min_overlap: what the overlap of a match must exceed.
    """
    key = name.lower()
    in_turn = np.flatnonzero((gt.name == key) | (gt.name == rules.NEIGHBOURS.get(key)))
    candidates = _candidates(gt, det, pairs, in_turn, metric, min_overlap)
    # DontCare boxes have no 3D box that could excuse a detection in BEV or 3D.
    excused = (pairs.dont_care > min_overlap) & (metric in ("bbox", "aos"))
    curves = []
    for difficulty in rules.DIFFICULTIES:
        valid = valid_gt(gt, name, difficulty)
        state = _det_state(det, name, difficulty)
        judged = Judged(valid[in_turn], state, (state == NORMAL) & ~excused, det.score)
        scores = hit_scores(candidates, judged)
        num_valid = int(valid.sum())
        thresholds = score_thresholds(scores, num_valid)
        hits, false_positives, similarity = count_hits(candidates, judged, thresholds)
        samples = sample_curve(similarity if metric == "aos" else hits, hits + false_positives)
        curves.append(Curve(thresholds, hits / max(num_valid, 1), samples, num_valid, len(scores)))
    return tuple(curves)


def valid_gt(gt: Labels, name: str, difficulty: rules.Difficulty) -> np.ndarray:
    """Tell which ground truth (G,) is of the class, and easy enough for the difficulty."""
    return (
        (gt.name == name.lower())
        & (gt.bbox[:, 3] - gt.bbox[:, 1] > difficulty.min_height)
        & (gt.occluded <= difficulty.max_occlusion)
        & (gt.truncated <= difficulty.max_truncation)
    )


def _det_state(det: Labels, name: str, difficulty: rules.Difficulty) -> np.ndarray:
    """(D,) int8: SMALL whatever the class is, else NORMAL for the class and ABSENT for others."""
    state = np.where(det.name == name.lower(), NORMAL, ABSENT).astype(np.int8)
    state[np.floor(det.heights()) < difficulty.min_height] = SMALL
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
