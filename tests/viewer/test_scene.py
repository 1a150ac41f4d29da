"""Which detection found which object."""

from __future__ import annotations

import numpy as np

from pcdet.viewer.scene import (
    HitRules,
    count_outcomes,
    detections_of,
    find_partners,
    objects_of,
    overlaps,
)
from viewer.made_scenes import CLASSES, car, drawn


def partners(truth, found, choice="strict", hits=None):
    return find_partners(truth, found, overlaps(truth, found), hits or HitRules(), choice).tolist()


def test_the_best_score_chooses_first_and_an_object_is_found_once():
    truth = drawn([car(10, 0)], ["Car"])
    found = drawn([car(10, 0), car(10, 0.05)], ["Car", "Car"], [0.5, 0.9])
    assert partners(truth, found) == [-1, 0]


def test_a_detection_takes_the_object_that_it_overlaps_most():
    truth = drawn([car(10, 0.3), car(10, 0.0)], ["Car", "Car"])
    assert partners(truth, drawn([car(10, 0.1)], ["Car"], [0.5])) == [1]


def test_classes_do_not_mix_but_a_van_excuses_cars():
    truth = drawn([car(10, 0), car(20, 0)], ["Cyclist", "Van"])
    found = drawn([car(10, 0), car(20, 0), car(20, 0.02)], ["Car"] * 3, [0.9, 0.8, 0.7])
    assert partners(truth, found) == [-1, 1, 1]


def test_what_a_van_excuses_is_no_hit_of_the_van():
    """A network that knows vans, too: the car's detection does not take the van from its own."""
    truth = drawn([car(20, 0), car(30, 0)], ["Van", "Van"])
    found = drawn([car(20, 0), car(20, 0), car(30, 0)], ["Car", "Van", "Car"], [0.9, 0.8, 0.7])
    assert partners(truth, found) == [0, 0, 1]
    hits = HitRules({"car": 0.7, "van": 0.7}, {"car": 0.5, "van": 0.5})
    counts = count_outcomes(truth, found, ["Car", "Van"], 0.3, hits)
    assert (counts.found, counts.missed, counts.false_positives) == (1, 1, 0)


def test_the_overlap_must_be_exceeded():
    # Shifted along x, across which a car at rz = 0 is 1.6 m: IoU = (1.6 - s) / (1.6 + s).
    truth = drawn([car(10, 0)], ["Car"])
    for shift, strict, loose in ((0.25, 0, 0), (0.3, -1, 0), (0.5, -1, 0), (0.55, -1, -1)):
        found = drawn([car(10 + shift, 0)], ["Car"], [0.5])
        assert partners(truth, found) == [strict], shift
        assert partners(truth, found, "loose") == [loose], shift


def test_other_data_sets_bring_their_own_rules():
    # IoU = (1.6 - s) / (1.6 + s): 0.45 for a shift of 0.6 m.
    truth = drawn([car(10, 0), car(30, 0)], ["Forklift", "Van"])
    found = drawn([car(10.6, 0), car(30, 0)], ["Forklift", "Car"], [0.9, 0.8])
    assert partners(truth, found) == [-1, 1]
    for strict, hit in ((0.4, 0), (0.46, -1)):
        hits = HitRules({"forklift": strict}, {"forklift": 0.2}, neighbours={})
        assert partners(truth, found, hits=hits) == [hit, -1]
        assert partners(truth, found, "loose", hits) == [0, -1]
        counts = count_outcomes(truth, found, ["Forklift"], 0.3, hits)
        assert counts.found == hit + 1


def test_counts_follow_the_score():
    truth = drawn([car(10, 0), car(20, 0), car(30, 0)], ["Car", "Car", "Van"])
    found = drawn([car(10, 0), car(40, 0), car(30, 0)], ["Car"] * 3, [0.9, 0.4, 0.6])
    low = count_outcomes(truth, found, CLASSES, 0.3, HitRules())
    assert (low.found, low.missed, low.false_positives) == (1, 1, 1)
    high = count_outcomes(truth, found, CLASSES, 0.95, HitRules())
    assert (high.found, high.missed, high.false_positives) == (0, 2, 0)


def test_frames_without_objects_or_detections():
    nothing, none_found = drawn([], []), drawn([], [], [])
    assert partners(nothing, none_found) == []
    assert partners(nothing, drawn([car(10, 0)], ["Car"], [0.5])) == [-1]
    counts = count_outcomes(drawn([car(10, 0)], ["Car"]), none_found, CLASSES, 0.3, HitRules())
    assert (counts.found, counts.missed, counts.false_positives) == (0, 1, 0)


def test_annotations_and_infos_become_boxes():
    anno = {"name": np.array(["Car"]), "score": np.array([0.0]), "boxes_lidar": np.ones((1, 7))}
    assert detections_of(anno, scores_are_logits=True).scores.tolist() == [0.5]
    assert detections_of(anno, scores_are_logits=False).scores.tolist() == [0.0]
    info = {"annos": {"name": np.array(["Van", "DontCare"]), "gt_boxes_lidar": np.ones((1, 7))}}
    assert list(objects_of(info).names) == ["Van"]
    assert len(objects_of({}).boxes) == 0
