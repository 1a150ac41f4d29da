"""KITTI's matching of detections to ground truth, and the overlaps it goes by, of NumPy arrays.

G objects of the ground truth have K candidates, those of object g from starts[g] to starts[g + 1],
among D detections. The functions are plain C, so that an evaluation need not wait for torch, which
takes as long to load as KITTI's validation split to evaluate. An argument that does not fit raises
a ValueError that names it.
"""

from __future__ import annotations

import ctypes

import numpy as np

from pcdet.ops.extension_file import extension_file
from pcdet.ops.plain_functions import call, checked, load_functions

# What a detection is for a class and level; one that is ignored may be taken, and is then no hit.
ABSENT, NORMAL, IGNORED = -1, 0, 1


_library = load_functions(
    extension_file("pcdet.ops.matching.matching_ext"),
    {
        "pcdet_aligned_overlap_bev": None,
        "pcdet_matched_scores": ctypes.c_int64,
        "pcdet_matched_counts": None,
    },
)


def aligned_overlap_bev(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Area shared by BEV box i of one set and box i of the other.

    The numbers are those of `iou3d_nms_utils.boxes_overlap_bev`, where the boxes are explained.

    Args:
        boxes_a: (P, 5) float64.
        boxes_b: (P, 5) float64.

    Returns:
        (P,) float64, square metres.
    """
    shape = (len(boxes_a), 5)
    boxes_a = checked("boxes_a", boxes_a, np.float64, shape)
    boxes_b = checked("boxes_b", boxes_b, np.float64, shape)
    overlap = np.empty(len(boxes_a))
    call(_library.pcdet_aligned_overlap_bev, boxes_a, boxes_b, len(boxes_a), overlap)
    return overlap


def matched_scores(
    starts: np.ndarray,
    det: np.ndarray,
    gt_valid: np.ndarray,
    det_state: np.ndarray,
    score: np.ndarray,
) -> np.ndarray:
    """Scores of the hits when every object takes its best-scored detection.

    Args:
        starts: (G + 1,) int64, rising from 0 to K.
        det: (K,) int64, the detection of each candidate.
        gt_valid: (G,) bool, whether an object counts.
        det_state: (D,) int8, ABSENT, NORMAL or IGNORED.
        score: (D,) float64; one of -1e7 or less is never taken.

    Returns:
        (H,) float64, in the order of the objects.
    """
    arguments = _matching(starts, det, gt_valid, det_state, score)
    found, taken = np.empty(len(gt_valid)), np.zeros(len(score), np.uint8)
    return found[: call(_library.pcdet_matched_scores, *arguments, taken, found)]


def matched_counts(
    starts: np.ndarray,
    det: np.ndarray,
    gt_valid: np.ndarray,
    det_state: np.ndarray,
    score: np.ndarray,
    overlap: np.ndarray,
    similarity: np.ndarray,
    punished: np.ndarray,
    thresholds: np.ndarray,
) -> np.ndarray:
    """What is hit at each of T least scores when every object takes what it overlaps most.

    Args:
        starts: (G + 1,) int64, as for `matched_scores`, like the next four.
        det: (K,) int64.
        gt_valid: (G,) bool.
        det_state: (D,) int8.
        score: (D,) float64.
        overlap: (K,) float64. Of an object's candidates the NORMAL one of greatest overlap is
            taken, and the first IGNORED one if there is none.
        similarity: (K,) float64, what a hit adds to the third sum.
        punished: (D,) bool, what a detection that is taken adds to the second sum.
        thresholds: (T,) float64, least scores.

    Returns:
        (T, 3) float64: hits, punished detections that are taken, similarity of the hits.
    """
    arguments = [
        *_matching(starts, det, gt_valid, det_state, score),
        checked("overlap", overlap, np.float64, det.shape),
        checked("similarity", similarity, np.float64, det.shape),
        checked("punished", punished, np.bool_, score.shape),
        checked("thresholds", thresholds, np.float64, (len(thresholds),)),
    ]
    counts, taken = np.zeros((len(thresholds), 3)), np.full(len(score), -1, np.int64)
    call(_library.pcdet_matched_counts, *arguments, len(thresholds), taken, counts)
    return counts


def _matching(
    starts: np.ndarray,
    det: np.ndarray,
    gt_valid: np.ndarray,
    det_state: np.ndarray,
    score: np.ndarray,
) -> list[np.ndarray | int]:
    """What both matchings take, checked."""
    arrays = [
        checked("starts", starts, np.int64, (len(gt_valid) + 1,)),
        checked("det", det, np.int64, (len(det),)),
        checked("gt_valid", gt_valid, np.bool_, (len(gt_valid),)),
        checked("det_state", det_state, np.int8, (len(score),)),
        checked("score", score, np.float64, (len(score),)),
    ]
    if starts[0] != 0 or starts[-1] != len(det) or (np.diff(starts) < 0).any():
        raise ValueError(f"starts must rise from 0 to the number of candidates, {len(det)}")
    if len(det) and not 0 <= det.min() <= det.max() < len(score):
        raise ValueError(f"det must be indices of {len(score)} detections")
    return [*arrays, len(gt_valid)]
