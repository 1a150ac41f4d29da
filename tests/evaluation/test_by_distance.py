"""AP of LiDAR boxes by distance, and the table of confusions."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.evaluation import evaluate
from pcdet.evaluation.by_distance import (
    choose_overlaps,
    evaluate_by_distance,
    labels_from_lidar,
    loose_overlap,
)
from pcdet.evaluation.confusion import confusion_counts, confusion_table
from pcdet.utils.errors import ConfigError, DataError

OVERLAPS = {"Car": 0.7, "Forklift": 0.5}


def box(x, y=0.0, size=(1.6, 4.0, 1.5)):
    return [x, y, -1.5, *size, 0.3]


def truth(*boxes, name="Car"):
    return {"name": np.array([name] * len(boxes)), "gt_boxes_lidar": np.array(boxes).reshape(-1, 7)}


def found(*boxes, name="Car", scores=None):
    scores = np.linspace(0.9, 0.5, len(boxes)) if scores is None else np.array(scores)
    names = np.array([name] * len(boxes), dtype=np.str_)
    return {"name": names, "boxes_lidar": np.array(boxes).reshape(-1, 7), "score": scores}


def ap(gt, det, names=("Car",), metric="3d"):
    strict, _ = evaluate_by_distance(gt, det, names, {n: OVERLAPS[n] for n in names})
    return strict.ap("R40", metric, names[0])


def test_a_perfect_detector_has_100_at_every_distance_with_objects():
    # KITTI's thresholds need as many objects as samples to reach recall 1.
    boxes = [box(x, y) for x in (5, 25, 45) for y in np.arange(-80, 80, 4.0)]
    near = sum(np.hypot(*b[:2]) < 20 for b in boxes)
    strict, loose = evaluate_by_distance([truth(*boxes)], [found(*boxes)], ["Car"], {"Car": 0.7})
    assert strict.ap("R40", "3d", "Car")[-1] == pytest.approx(100)
    assert strict.num_valid["Car"][0] == near and strict.num_valid["Car"][-1] == len(boxes)
    assert loose.overlaps == {"Car": 0.5}
    assert strict.to_dict()["Car_3d/all_R40"] == pytest.approx(100)
    assert loose.to_dict(show_overlap=True)["Car_3d_0.50/all_R40"] == pytest.approx(100)


def test_a_false_positive_counts_at_its_own_distance_alone():
    objects = [box(x, y) for x in (8, 30) for y in (-6.0, 0.0, 6.0)]
    wrong = box(30, 15)
    values = ap([truth(*objects)], [found(wrong, *objects)])
    right = ap([truth(*objects)], [found(*objects)])
    assert values[0] == right[0] and values[1] < right[1] and values[3] < right[3]
    assert values[2] == 0  # no object beyond 40 m


def test_a_detection_of_another_class_beyond_the_limit_takes_no_object():
    gt, car = [truth(box(19.95), box(10))], found(box(19.95), box(10), scores=[0.5, 0.4])
    lift = found(box(20.05), name="Forklift", scores=[0.9])
    both = {key: np.concatenate((car[key], lift[key])) for key in car}
    assert ap(gt, [both]) == ap(gt, [car])


def test_all_distances_agree_with_kitti_where_images_let_everything_count():
    rng = np.random.default_rng(4)
    gt, det, gt_camera, det_camera = [], [], [], []
    for _ in range(12):
        boxes = np.array([box(*rng.uniform((5, -30), (70, 30))) for _ in range(5)])
        noisy = boxes + rng.normal(0, 0.12, boxes.shape)
        more = np.array([box(*rng.uniform((5, -30), (70, 30)))])
        detected = np.concatenate((noisy, more))
        scores = rng.uniform(0, 1, len(detected))
        gt.append(truth(*boxes))
        det.append(found(*detected, scores=scores))
        gt_camera.append(camera_anno(boxes, None))
        det_camera.append(camera_anno(detected, scores))
    official = evaluate(gt_camera, det_camera, ["Car"], {"Car": 0.7}, ["bev", "3d"])
    strict, _ = evaluate_by_distance(gt, det, ["Car"], {"Car": 0.7})
    for metric in ("bev", "3d"):
        expected = official.ap("R40", metric, "Car")[2]
        assert 0 < expected < 100
        assert strict.ap("R40", metric, "Car")[3] == pytest.approx(expected, abs=1e-9)


def camera_anno(boxes, scores):
    count = len(boxes)
    anno = {
        "name": np.array(["Car"] * count),
        "truncated": np.zeros(count),
        "occluded": np.zeros(count),
        "alpha": np.zeros(count),
        "bbox": np.tile([0.0, 0, 100, 100], (count, 1)),
        "dimensions": boxes[:, [4, 5, 3]],
        "location": np.stack((-boxes[:, 1], -boxes[:, 2], boxes[:, 0]), axis=1),
        "rotation_y": boxes[:, 6],
    }
    return anno if scores is None else {**anno, "score": scores}


def test_no_class_excuses_another():
    """KITTI forgives a car on a van; one's own classes are one's own."""
    gt = [{"name": np.array(["Van"]), "gt_boxes_lidar": np.array([box(10)])}]
    strict, _ = evaluate_by_distance(gt, [found(box(10))], ["Car", "Van"], {"Car": 0.7, "Van": 0.7})
    assert strict.ap("R40", "3d", "Car")[3] == 0
    assert strict.ap("R40", "3d", "Van") is None


def test_without_labels_and_without_detections_there_are_reasons():
    strict, _ = evaluate_by_distance(None, [found()], ["Car"], {"Car": 0.7})
    assert not strict.has_labels and "labels missing" in strict.table()
    strict, _ = evaluate_by_distance([truth(box(5))], [found()], ["Car"], {"Car": 0.7})
    assert "no detections of the class Car" in strict.table()
    far = evaluate_by_distance([truth(box(5))], [found(box(60))], ["Car"], {"Car": 0.7})[0]
    assert "none of the 1 detections is at this distance" in far.table()


def test_names_and_boxes_must_agree():
    broken = found(box(5), box(9))
    broken["boxes_lidar"] = broken["boxes_lidar"][:1]
    with pytest.raises(DataError, match="frame 1: expected 2 boxes of finite numbers"):
        labels_from_lidar([found(), broken], "boxes_lidar", True)
    nan = truth([np.nan] * 7)
    with pytest.raises(DataError, match="frame 0: expected 1 boxes of finite numbers"):
        labels_from_lidar([nan], "gt_boxes_lidar", False)
    for scores in ([0.5], [0.5, np.nan], [0.5] * 3):
        unscored = {**found(box(5), box(9)), "score": np.array(scores)}
        with pytest.raises(DataError, match="frame 0: expected 2 finite numbers in 'score'"):
            evaluate_by_distance([truth(box(5))], [unscored], ["Car"], {"Car": 0.7})
    del unscored["score"]
    with pytest.raises(DataError, match=r"2 finite numbers in 'score', .* got 0"):
        evaluate_by_distance([truth(box(5))], [unscored], ["Car"], {"Car": 0.7})


def test_overlaps_follow_the_size_unless_given():
    gt = [truth(box(5), box(9)), truth(box(5, size=(1.2, 2.4, 2.2)), name="Forklift")]
    assert choose_overlaps(gt, ["Car", "Forklift"], {}) == {"Car": 0.7, "Forklift": 0.5}
    assert choose_overlaps(gt, ["Car", "Cone"], {"Car": 0.6}) == {"Car": 0.6, "Cone": 0.5}
    with pytest.raises(ConfigError, match=r"EVAL_OVERLAPS: class 'Lorry' is not in CLASS_NAMES"):
        choose_overlaps(gt, ["Car"], {"Lorry": 0.5})
    assert [loose_overlap(v) for v in (0.7, 0.5, 0.3)] == [0.5, 0.25, 0.15]


def test_confusions_are_counted_by_hand():
    gt = [
        {
            "name": np.array(["Car", "Forklift", "Car", "Tree"]),
            "gt_boxes_lidar": np.array([box(5), box(12), box(20), box(40)]),
        }
    ]
    det = [
        {
            "name": np.array(["Car", "Car", "Car", "Forklift"]),
            "boxes_lidar": np.array([box(5), box(5.05), box(12), box(60)]),
            "score": np.array([0.9, 0.8, 0.7, 0.6]),
        }
    ]
    counts = confusion_counts(gt, det, ["Car", "Forklift"], OVERLAPS)
    # The first car is found, and once more: nothing is left to find there. A forklift is a car.
    assert counts.tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    table = confusion_table(counts, ["Car", "Forklift"], "title")
    assert table.splitlines()[1].split() == ["labelled", "as", "Car", "Forklift", "not", "found"]
    assert table.splitlines()[-1].split() == ["nothing", "1", "1"]


def test_confusions_of_empty_frames_are_none():
    counts = confusion_counts([truth()], [found()], ["Car"], OVERLAPS)
    assert counts.tolist() == [[0, 0], [0, 0]]
