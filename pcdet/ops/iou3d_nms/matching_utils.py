"""KITTI's matching of detections to ground truth, on the CPU: greedy, in the order of the files.

G objects of the ground truth have K candidates, those of object g from starts[g] to starts[g + 1],
among D detections. Arguments have no gaps; what does not fit raises a RuntimeError that names it.
"""

from __future__ import annotations

import torch

from pcdet.ops.common import Operators, load_extension

load_extension("pcdet.ops.iou3d_nms.iou3d_nms_ext")
_ops = Operators("pcdet_iou3d_nms")

# What a detection is for a class and level; one that is ignored may be taken, and is then no hit.
ABSENT, NORMAL, IGNORED = -1, 0, 1


def matched_scores(
    starts: torch.Tensor,
    det: torch.Tensor,
    gt_valid: torch.Tensor,
    det_state: torch.Tensor,
    score: torch.Tensor,
) -> torch.Tensor:
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
    return _ops.matched_scores(starts, det, gt_valid, det_state, score)


def matched_counts(
    starts: torch.Tensor,
    det: torch.Tensor,
    gt_valid: torch.Tensor,
    det_state: torch.Tensor,
    score: torch.Tensor,
    overlap: torch.Tensor,
    similarity: torch.Tensor,
    punished: torch.Tensor,
    thresholds: torch.Tensor,
) -> torch.Tensor:
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
    return _ops.matched_counts(
        starts, det, gt_valid, det_state, score, overlap, similarity, punished, thresholds
    )
