"""The official matching of detections to ground truth: greedy, in file order.

Frames need no loop of their own: a candidate pair never leaves its frame, so one pass over all
ground truth in file order matches every frame. Only pairs above the overlap threshold are
candidates, a few for each ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

# What a detection is for one class and level: one that is ignored may be taken, and is then no hit.
ABSENT, NORMAL, IGNORED = -1, 0, 1
# The official program looks for a score above this one; a lower one never sets a threshold.
_LOWEST_SCORE = -1.0e7


@dataclass(frozen=True)
class Candidates:
    """The K pairs whose overlap exceeds a class's threshold, listed by ground truth.

    Attributes:
        starts: (G + 1,) int64, ground truth g has the candidates [starts[g], starts[g + 1]).
        det: (K,) int64, index of the detection; ascending for each ground truth.
        overlap: (K,) float64.
        similarity: (K,) float64, (1 + cos(difference of alpha)) / 2.
    """

    starts: np.ndarray
    det: np.ndarray
    overlap: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True)
class Judged:
    """What ground truth and detections are for one class and level.

    Attributes:
        gt_valid: (G,) bool, a valid ground truth; the others are ignored.
        det_state: (D,) int8, ABSENT, NORMAL or IGNORED.
        punished: (D,) bool, a false positive unless it is taken: normal and not in a DontCare box.
        score: (D,) float64.
    """

    gt_valid: np.ndarray
    det_state: np.ndarray
    punished: np.ndarray
    score: np.ndarray


def hit_scores(candidates: Candidates, judged: Judged) -> np.ndarray:
    """Return the scores of the hits when every ground truth takes its best-scored detection."""
    return _hit_scores(
        candidates.starts, candidates.det, judged.gt_valid, judged.det_state, judged.score
    )


def count_hits(
    candidates: Candidates, judged: Judged, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match once for each of T score thresholds, by greatest overlap.

    Returns:
        (T,) hits, (T,) false positives, (T,) sum of the orientation similarity of the hits.
    """
    counts = _count_hits(
        candidates.starts,
        candidates.det,
        candidates.overlap,
        candidates.similarity,
        judged.gt_valid,
        judged.det_state,
        judged.punished,
        judged.score,
        thresholds,
    )
    punished = np.sort(judged.score[judged.punished])
    above = len(punished) - np.searchsorted(punished, thresholds, side="left")
    return counts[:, 0], above - counts[:, 1], counts[:, 2]


@numba.njit(cache=True, nogil=True)
def _hit_scores(starts, det, gt_valid, det_state, score):  # pragma: no cover (compiled)
    """(H,) scores of the hits."""
    found = np.zeros(len(starts) - 1)
    taken = np.zeros(len(score), np.bool_)
    hits = 0
    for g in range(len(starts) - 1):
        best = -1
        best_score = _LOWEST_SCORE
        for k in range(starts[g], starts[g + 1]):
            d = det[k]
            if det_state[d] != ABSENT and not taken[d] and score[d] > best_score:
                best = d
                best_score = score[d]
        if best >= 0:
            taken[best] = True
            if gt_valid[g] and det_state[best] == NORMAL:
                found[hits] = best_score
                hits += 1
    return found[:hits]


@numba.njit(cache=True, nogil=True)
def _count_hits(
    starts, det, overlap, similarity, gt_valid, det_state, punished, score, thresholds
):  # pragma: no cover (compiled)
    """(T, 3): hits, punished detections that were taken, and similarity of the hits."""
    counts = np.zeros((len(thresholds), 3))
    taken = np.full(len(score), -1)  # the last threshold at which a detection was taken
    for t in range(len(thresholds)):
        for g in range(len(starts) - 1):
            best = -1
            best_state = ABSENT
            for k in range(starts[g], starts[g + 1]):
                d = det[k]
                state = det_state[d]
                if state == ABSENT or taken[d] == t or score[d] < thresholds[t]:
                    continue
                if state == NORMAL:
                    better = best_state != NORMAL or overlap[k] > overlap[best]
                else:
                    better = best_state == ABSENT
                if better:
                    best = k
                    best_state = state
            if best < 0:
                continue
            taken[det[best]] = t
            counts[t, 1] += punished[det[best]]
            if gt_valid[g] and best_state == NORMAL:
                counts[t, 0] += 1
                counts[t, 2] += similarity[best]
    return counts
