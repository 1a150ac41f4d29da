"""What must hold for any label set: AP and its curves as functions of the input."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kitti_eval_oracle import Object
from kitti_eval_sets import annos_of, assert_same_ap, make_object, random_frames

from pcdet.evaluation import evaluate
from pcdet.evaluation.precision_recall import NUM_SAMPLES, score_thresholds

SEEDS = st.integers(0, 10**6)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def ap_of(frames) -> dict:
    return evaluate(*annos_of(frames)).to_json()


@FEW
@given(SEEDS, st.floats(0.1, 10), st.floats(-5, 5))
def test_a_monotone_map_of_the_scores_changes_nothing(seed, scale, shift):
    frames = random_frames(seed)
    want = ap_of(frames)
    levels = sorted({det.score for _, dets in frames for det in dets})
    rank = {score: scale * k + shift for k, score in enumerate(levels)}
    for _, dets in frames:
        for det in dets:
            det.score = rank[det.score]
    assert_same_ap(ap_of(frames), want)


@FEW
@given(SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_frames_does_not_matter(seed, random):
    frames = random_frames(seed)
    want = ap_of(frames)
    random.shuffle(frames)
    assert_same_ap(ap_of(frames), want)


@FEW
@given(SEEDS, st.floats(0, 1))
def test_a_false_positive_never_raises_ap(seed, score):
    """It stands where no object is, so it takes nothing away from others."""
    frames = random_frames(seed)
    frames.append(([], [make_object(alpha=0.0, score=-2.0)]))  # the class is evaluated either way
    before = evaluate(*annos_of(frames))
    stray = make_object(box=(900.0, 10.0, 950.0, 300.0), x=60.0, z=60.0, alpha=0.0, score=score)
    frames[0] = (frames[0][0], [*frames[0][1], stray])
    after = evaluate(*annos_of(frames))
    for recall_set in ("R40", "R11"):
        for metric in ("bbox", "aos", "bev", "3d"):
            old, new = (one.ap(recall_set, metric, "Car") for one in (before, after))
            if old is not None:
                fell = np.array(new) <= np.array(old) + 1e-9
                assert np.all(fell | np.isnan(old))


@FEW
@given(SEEDS)
def test_ground_truth_as_detections_has_no_false_positive(seed):
    """Precision and similarity are 1 at each sample, and every valid object is found."""
    frames = []
    for gts, _ in random_frames(seed):
        # Apart, or they would compete for the same detections; and only those with a 3D box.
        apart = [
            Object(**{**vars(gt), "x1": 200.0 * i, "x2": 200.0 * i + 50, "x": 20.0 * i, "z": 30.0})
            for i, gt in enumerate(gts)
            if gt.y != -1000
        ]
        dets = [Object(**{**vars(gt), "score": 1.0 - 0.001 * i}) for i, gt in enumerate(apart)]
        frames.append((apart, dets))
    result = evaluate(*annos_of(frames))
    for curves in result.curves.values():
        for curve in curves:
            samples = curve.samples[: len(curve.thresholds)]
            assert np.allclose(samples[~np.isnan(samples)], 1)
            assert curve.num_found == curve.num_valid


def test_ground_truth_as_detections_has_100_with_enough_objects():
    classes = ("Car", "Pedestrian", "Cyclist")
    objects = [
        make_object(name, (200.0 * i, 100.0, 200.0 * i + 90, 180.0), x=12.0 * i)
        for i, name in enumerate(classes)
    ]
    result = evaluate(*annos_of([(objects, objects)] * 41))
    for value in result.to_dict().values():
        assert abs(value - 100) < 1e-9


@FEW
@given(SEEDS)
def test_curves_are_curves(seed):
    result = evaluate(*annos_of(random_frames(seed)))
    for curves in result.curves.values():
        for curve in curves:
            samples = curve.samples[~np.isnan(curve.samples)]
            assert np.all((samples >= 0) & (samples <= 1 + 1e-12))
            assert np.all(np.diff(samples) <= 0)
            assert np.all(np.diff(curve.thresholds) <= 0)
            assert np.all((curve.recall >= 0) & (curve.recall <= 1))
            assert len(curve.thresholds) == len(curve.recall) <= NUM_SAMPLES


@FEW
@given(SEEDS)
def test_orientation_similarity_is_at_most_precision(seed):
    result = evaluate(*annos_of(random_frames(seed)))
    for (metric, name), curves in result.curves.items():
        for k, curve in enumerate(curves if metric == "aos" else ()):
            precision = result.curves["bbox", name][k].samples
            assert np.all((curve.samples <= precision + 1e-12) | np.isnan(precision))


@FEW
@given(st.lists(st.floats(-10, 10), max_size=300), st.integers(0, 300))
def test_thresholds_are_hit_scores_in_descending_order(scores, missed):
    chosen = score_thresholds(np.array(scores), len(scores) + missed)
    assert set(chosen) <= set(scores)
    assert np.all(np.diff(chosen) <= 0)
    assert len(chosen) <= min(len(scores), NUM_SAMPLES)
    if scores:
        assert chosen[-1] == min(scores)


def test_thresholds_worked_out_by_hand():
    """Four hits of four: recall 1/4 to 1, each nearest to the next of the wanted 1/40 steps."""
    assert score_thresholds(np.array([0.2, 0.9, 0.7, 0.4]), 4).tolist() == [0.9, 0.7, 0.4, 0.2]
    every_second = score_thresholds(np.arange(80.0), 80)
    assert len(every_second) == 41
    assert every_second[:3].tolist() == [79, 78, 76]
    assert score_thresholds(np.zeros(0), 0).tolist() == []
