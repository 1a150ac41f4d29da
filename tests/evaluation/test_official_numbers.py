"""AP equals the official program's on stored sets, and the plain rules on random ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from kitti_eval_oracle import evaluate_slowly
from kitti_eval_sets import (
    NUMBERS,
    annos_of,
    assert_same_ap,
    make_object,
    random_frames,
    unpack,
    write_set,
)

from pcdet.evaluation import evaluate, evaluate_folders


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_equals_the_official_program(name, tmp_path):
    folder = unpack(name, tmp_path)
    result = evaluate_folders(folder / "gt", folder / "det")
    want = {key: NUMBERS[name][key] for key in ("R40", "R11")}
    assert result.num_frames == NUMBERS[name]["frames"]
    assert_same_ap(result.to_json(), want)


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_plain_rules_on_random_sets(seed, tmp_path):
    frames = random_frames(seed)
    want = evaluate_slowly(frames)
    folder = write_set(frames, tmp_path)
    assert_same_ap(evaluate_folders(folder / "gt", folder / "det").to_json(), want)
    assert_same_ap(evaluate(*annos_of(frames)).to_json(), want)


@pytest.mark.parametrize("seed", range(60, 70))
def test_equals_the_plain_rules_for_other_classes_and_overlaps(seed):
    frames = random_frames(seed)
    overlaps = {"Van": 0.3, "car": 0.0, "Person_sitting": 0.6, "Tram": 0.25}
    result = evaluate(*annos_of(frames), class_names=list(overlaps), overlaps=overlaps)
    assert_same_ap(result.to_json(), evaluate_slowly(frames, overlaps))


def test_pairs_in_blocks_are_the_same_pairs(monkeypatch):
    frames = random_frames(70)
    want = evaluate(*annos_of(frames)).to_json()
    monkeypatch.setattr("pcdet.evaluation.overlaps._PAIRS_PER_BLOCK", 7)
    assert_same_ap(evaluate(*annos_of(frames)).to_json(), want, tolerance=0)


def test_random_sets_hold_what_they_are_for():
    """The plain rules find AP that is missing, 0, small and large."""
    found = [evaluate_slowly(random_frames(seed)) for seed in range(60)]
    aps = [ap for one in found for metric in one["R40"].values() for ap in metric.values()]
    values = np.array([ap for ap in aps if ap is not None])
    assert 0 < aps.count(None) < len(aps) / 2
    assert (values == 0).any()
    assert (values > 0).mean() > 0.3
    assert (values > 20).any()


def one_frame(gts, dets):
    """AP in the image of one frame, repeated so that every recall sample can be reached."""
    frames = [(gts, dets)] * 41
    result = evaluate(*annos_of(frames))
    assert_same_ap(result.to_json(), evaluate_slowly(frames))
    return result


def test_perfect_detections_have_100():
    car = make_object()
    result = one_frame([car], [car])
    for metric in ("bbox", "aos", "bev", "3d"):
        assert result.ap("R40", metric, "Car") == pytest.approx([100, 100, 100])


def test_ten_objects_all_found_reach_few_samples():
    car = make_object()
    result = evaluate(*annos_of([([car], [car])] * 10))
    assert result.ap("R40", "bev", "Car") == pytest.approx([22.5] * 3)
    assert result.ap("R11", "bev", "Car") == pytest.approx([300 / 11] * 3)


@pytest.mark.parametrize(
    ("height", "counts"),
    [(40.0, (0, 1, 1)), (40.01, (1, 1, 1)), (25.0, (0, 0, 0)), (25.01, (0, 1, 1))],
)
def test_a_ground_truth_as_high_as_the_limit_does_not_count(height, counts):
    car = make_object(box=(0.0, 0.0, 50.0, height))
    assert evaluate(*annos_of([([car], [car])])).num_valid["Car"] == counts


def test_float32_annotations_fall_on_the_same_side_of_the_height_limit():
    y1, y2 = 0.02, 40.02
    assert not y2 - y1 > 40
    assert float(np.float32(y2)) - float(np.float32(y1)) > 40  # what must not decide
    car = make_object(box=(0.0, y1, 50.0, y2))
    gt, det = annos_of([([car], [car])])
    gt[0]["bbox"] = gt[0]["bbox"].astype(np.float32)
    assert evaluate(gt, det).num_valid["Car"] == (0, 1, 1)


def test_a_small_detection_of_another_class_takes_the_ground_truth_away():
    car = make_object(box=(0.0, 0.0, 60.0, 41.0))
    small = make_object("Cyclist", box=(0.0, 0.0, 60.0, 39.0), score=0.9)
    found = one_frame([car], [make_object(box=(0.0, 0.0, 60.0, 41.0), score=0.1)])
    hidden = one_frame([car], [small, make_object(box=(300.0, 0.0, 360.0, 41.0), score=0.1)])
    assert found.ap("R40", "bbox", "Car") == pytest.approx([100, 100, 100])
    assert hidden.ap("R40", "bbox", "Car") == [0, 0, 0]


def test_of_equal_overlaps_the_first_detection_in_the_file_counts():
    car = make_object(alpha=0.0)
    towards, away = make_object(alpha=0.0), make_object(alpha=np.pi)
    assert one_frame([car], [towards, away]).ap("R40", "aos", "Car") == pytest.approx([50] * 3)
    assert one_frame([car], [away, towards]).ap("R40", "aos", "Car") == pytest.approx([0] * 3)


def test_dont_care_excuses_false_positives_in_the_image_only():
    car = make_object()
    stray = make_object(box=(300.0, 100.0, 400.0, 180.0), x=9.0, score=0.9)
    region = make_object("DontCare", (290.0, 90.0, 410.0, 190.0), x=-1000.0, z=-1000.0, y=-1000.0)
    result = one_frame([car, region], [car, stray])
    assert result.ap("R40", "bbox", "Car") == pytest.approx([100, 100, 100])
    assert result.ap("R40", "bev", "Car") == pytest.approx([50, 50, 50])


def test_neighbouring_class_is_neither_hit_nor_miss():
    van = make_object("Van")
    car = make_object(box=(300.0, 100.0, 400.0, 180.0), x=9.0)
    on_van = make_object("Car", score=0.9)
    result = one_frame([van, car], [car, on_van])
    assert result.num_valid["Car"] == (41, 41, 41)
    assert result.ap("R40", "3d", "Car") == pytest.approx([100, 100, 100])


def test_one_missing_alpha_switches_aos_off_for_every_class():
    car, cyclist = make_object(), make_object("Cyclist", x=9.0, alpha=-10.0)
    result = evaluate(*annos_of([([car], [car, cyclist])]))
    assert result.ap("R40", "aos", "Car") is None
    assert result.ap("R40", "bbox", "Car") is not None


def test_sample_without_hit_and_false_positive_is_nan_and_does_not_spread():
    """At the highest threshold the only normal detection is taken by an ignored ground truth.

    The first pass gives that ground truth a small detection with a higher score, so the normal one
    sets a threshold; in the second pass it goes to the ignored ground truth and nothing counts.
    """
    van = make_object("Van", (0.0, 0.0, 60.0, 41.0))
    car = make_object("Car", (0.0, 0.0, 60.0, 41.0))
    small = make_object("Car", (0.0, 0.0, 60.0, 39.5), score=0.9)
    normal = make_object("Car", (0.0, 0.0, 60.0, 41.0), score=0.8)
    frames = [([van, car], [small, normal])]
    frames += [([make_object()], [make_object(score=0.5)])] * 60
    result = evaluate(*annos_of(frames))
    assert_same_ap(result.to_json(), evaluate_slowly(frames))
    samples = result.curves["bbox", "Car"][0].samples
    assert np.isnan(samples[0]) and not np.isnan(samples[1:]).any()
    assert np.isnan(result.ap("R11", "bbox", "Car")[0])
    assert result.ap("R40", "bbox", "Car")[0] > 95
    assert result.to_dict()["Car_image/easy_R11"] is None
    assert "undefined" in result.table()


def test_evaluation_leaves_its_input_alone():
    gt, det = annos_of(random_frames(3))
    before = copy.deepcopy((gt, det))
    evaluate(gt, det)
    for old, new in zip([*before[0], *before[1]], [*gt, *det]):
        for key, value in old.items():
            assert np.array_equal(value, new[key])
