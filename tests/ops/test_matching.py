"""KITTI's matching and its overlaps: by hand, by the definition, by the operator of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from op_inputs import nasty_variants, random_boxes, to_bev

from pcdet.ops.iou3d_nms.iou3d_nms_utils import boxes_overlap_bev
from pcdet.ops.matching.matching_utils import (
    ABSENT,
    IGNORED,
    NORMAL,
    aligned_overlap_bev,
    matched_counts,
    matched_scores,
)

# Two objects may take detection 0, the second may take 1 and 2 as well; the third counts for
# nothing and may take 3.
CASE = {
    "starts": [0, 1, 4, 5],
    "det": [0, 0, 1, 2, 3],
    "gt_valid": [True, True, False],
    "det_state": [NORMAL, NORMAL, IGNORED, NORMAL],
    "score": [0.9, 0.5, 0.8, 0.7],
}
MORE = {
    "overlap": [0.6, 0.9, 0.7, 0.8, 0.7],
    "similarity": [1.0, 0.5, 0.25, 0.0, 0.125],
    "punished": [True, True, False, True],
    "thresholds": [0.8, 0.4],
}
TYPES = {
    **dict.fromkeys(["starts", "det"], np.int64),
    **dict.fromkeys(["gt_valid", "punished"], np.bool_),
    "det_state": np.int8,
}


def arrays(case):
    return {n: np.array(v, dtype=TYPES.get(n, np.float64)) for n, v in case.items()}


def plain(case, more):
    """Both matchings by their definition; see Geiger's evaluate_object.cpp, computeStatistics."""

    def match(least, best_of):
        taken, hits = set(), []
        for g, valid in enumerate(case["gt_valid"]):
            mine = range(case["starts"][g], case["starts"][g + 1])
            free = [
                k
                for k in mine
                if case["det_state"][case["det"][k]] != ABSENT
                and case["det"][k] not in taken
                and case["score"][case["det"][k]] >= least
            ]
            if not free:
                continue
            k = best_of(free)
            taken.add(case["det"][k])
            if valid and case["det_state"][case["det"][k]] == NORMAL:
                hits.append(k)
        return taken, hits

    def by_score(free):
        return max(free, key=lambda k: case["score"][case["det"][k]])

    def by_overlap(free):
        normal = [k for k in free if case["det_state"][case["det"][k]] == NORMAL]
        return max(normal, key=lambda k: more["overlap"][k]) if normal else free[0]

    above_lowest = np.nextafter(-1e7, 0)
    scores = [case["score"][case["det"][k]] for k in match(above_lowest, by_score)[1]]
    counts = []
    for least in more["thresholds"]:
        taken, hits = match(least, by_overlap)
        punished = sum(more["punished"][d] for d in taken)
        counts.append([len(hits), punished, sum(more["similarity"][k] for k in hits)])
    return scores, counts


def test_worked_by_hand():
    case, more = arrays(CASE), arrays(MORE)
    # The first takes 0; the second, from what is left, the ignored 2, which is no hit.
    assert matched_scores(**case).tolist() == [0.9]
    # At 0.8 likewise; at 0.4 the second takes 1, for an ignored one comes last.
    counts = matched_counts(**case, **more)
    assert counts.tolist() == [[1, 1, 1.0], [2, 3, 1.25]]


@pytest.mark.parametrize("seed", range(20))
def test_random_cases_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    gts, dets = rng.integers(0, 30), rng.integers(1, 20)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 4, gts))])
    count = int(starts[-1])
    case = {
        "starts": starts.tolist(),
        "det": rng.integers(dets, size=count).tolist(),
        "gt_valid": (rng.random(gts) < 0.7).tolist(),
        "det_state": rng.integers(-1, 2, dets).tolist(),
        "score": rng.integers(0, 8, dets).astype(float).tolist(),  # equal ones, too
    }
    more = {
        "overlap": rng.integers(0, 4, count).astype(float).tolist(),
        "similarity": rng.random(count).tolist(),
        "punished": (rng.random(dets) < 0.8).tolist(),
        "thresholds": [7.0, 3.0, 0.0],
    }
    scores, counts = plain(case, more)
    assert matched_scores(**arrays(case)).tolist() == scores
    found = matched_counts(**arrays(case), **arrays(more))
    np.testing.assert_allclose(found, counts, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("starts", [0, 1, 4]),
        ("starts", [1, 1, 4, 5]),
        ("starts", [0, 4, 1, 5]),
        ("starts", [0, 1, 4, 6]),
        ("det", [0, 0, 1, 2, 4]),
        ("det", [0, 0, 1, 2, -1]),
        ("gt_valid", [1.0, 0.0, 1.0]),
        ("det_state", [NORMAL]),
        ("score", [[0.9], [0.5], [0.8], [0.7]]),
        ("overlap", [0.6]),
        ("similarity", [1, 2, 3, 4, 5]),
        ("punished", [True]),
        ("thresholds", [[0.8], [0.4]]),
    ],
)
def test_an_argument_that_does_not_fit_is_named(name, value):
    fits_by_type = name in TYPES and name != "gt_valid"
    wrong = np.array(value, dtype=TYPES[name] if fits_by_type else None)
    arguments = {**arrays({**CASE, **MORE}), name: wrong}
    with pytest.raises(ValueError, match=f"^{name} must"):
        matched_counts(**arguments)


def test_a_score_of_the_lowest_is_never_taken():
    for score in (-1e7, -2e7, np.nan):
        assert len(matched_scores(**arrays({**CASE, "score": [score] * 4}))) == 0
    assert len(matched_scores(**arrays({**CASE, "score": [-9e6] * 4}))) > 0


def test_nothing_matches_nothing():
    none = {name: np.zeros(0, TYPES.get(name, np.float64)) for name in {**CASE, **MORE}}
    assert matched_counts(
        **{**none, "starts": np.zeros(3, np.int64), "gt_valid": np.ones(2, bool)}
    ).shape == (0, 3)
    none["thresholds"] = np.array([0.5])
    assert matched_counts(**{**none, "starts": np.zeros(1, np.int64)}).tolist() == [[0, 0, 0]]


def test_arrays_may_have_gaps():
    arguments = arrays({**CASE, **MORE})
    wide = {name: np.repeat(value, 2)[::2] for name, value in arguments.items()}
    assert not wide["score"].flags.c_contiguous
    assert matched_counts(**wide).tolist() == matched_counts(**arguments).tolist()


def test_overlaps_are_those_of_the_operator_of_torch():
    rng = np.random.default_rng(0)
    boxes = to_bev(
        np.concatenate([random_boxes(rng, 500), nasty_variants(random_boxes(rng, 1)[0])])
    )
    others = np.concatenate(
        [boxes[rng.permutation(500)], np.tile(boxes[500], (len(boxes) - 500, 1))]
    )
    area = aligned_overlap_bev(boxes, others)
    tensors = torch.from_numpy(boxes), torch.from_numpy(others)
    assert area.tolist() == boxes_overlap_bev(*tensors).diagonal().tolist()
    assert (area > 0).any() and aligned_overlap_bev(*np.zeros((2, 0, 5))).shape == (0,)
    with pytest.raises(ValueError, match=r"^boxes_b must have shape \(2, 5\)"):
        aligned_overlap_bev(np.ones((2, 5)), np.ones((3, 5)))
