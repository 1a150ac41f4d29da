"""The official matching of detections to ground truth: greedy, in file order.

Frames need no loop of their own: a candidate pair never leaves its frame, so one pass over all
ground truth in file order matches every frame. Only pairs above the overlap threshold are
candidates, a few for each ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.ops.matching.matching_utils import matched_counts, matched_scores


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
    return matched_scores(*_shared_arguments(candidates, judged))


def count_hits(
    candidates: Candidates, judged: Judged, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match once for each of T score thresholds, by greatest overlap.

    Returns:
        (T,) hits, (T,) false positives, (T,) sum of the orientation similarity of the hits.
    """
    own = (candidates.overlap, candidates.similarity, judged.punished, thresholds)
    counts = matched_counts(*_shared_arguments(candidates, judged), *own)
    punished = np.sort(judged.score[judged.punished])
    above = len(punished) - np.searchsorted(punished, thresholds, side="left")
    return counts[:, 0], above - counts[:, 1], counts[:, 2]


def _shared_arguments(candidates: Candidates, judged: Judged) -> tuple[np.ndarray, ...]:
    return candidates.starts, candidates.det, judged.gt_valid, judged.det_state, judged.score
