"""Objects found by distance and by points, worked out by hand."""

from __future__ import annotations

import numpy as np

from pcdet.evaluation.found import bin_names, count_by, labelled_objects
from viewer.made_scenes import car


def frames():
    """Two frames: cars at 5 m (found), 15 m (missed) and 60 m (found), and a cyclist at 10 m."""
    infos = [
        {
            "annos": {
                "name": np.array(["Car", "Cyclist", "Car", "DontCare"]),
                "gt_boxes_lidar": np.array([car(3, 4), car(10, 0), car(15, 0)]),
                "num_points_in_gt": np.array([200, 50, 3, -1]),
            }
        },
        {
            "annos": {
                "name": np.array(["Car"]),
                "gt_boxes_lidar": np.array([car(60, 0)]),
                "num_points_in_gt": np.array([1]),
            }
        },
    ]
    annos = [
        {"name": np.array(["Car"]), "boxes_lidar": np.array([car(3, 4)])},
        {"name": np.array(["Car"]), "boxes_lidar": np.array([car(60, 0)])},
    ]
    return infos, annos


def test_objects_of_a_class_are_gathered():
    cars = labelled_objects(*frames(), "Car")
    assert cars.distance.tolist() == [5, 15, 60]
    assert cars.points.tolist() == [200, 3, 1]
    assert cars.found.tolist() == [True, False, True]
    assert cars.by_distance() == {"0-10 m": 1.0, "10-20 m": 0.0, "50+ m": 1.0}


def test_a_class_without_objects():
    people = labelled_objects(*frames(), "Pedestrian")
    assert len(people.found) == 0 and people.by_distance() == {}


def test_bins_begin_at_their_lower_end():
    values, found = np.array([0, 1, 5, 9, 10, 99]), np.array([1, 1, 0, 1, 0, 1], bool)
    hits, total = count_by(values, found, (1, 5, 10))
    assert hits.tolist() == [1, 1, 1] and total.tolist() == [1, 2, 2]
    assert bin_names((1, 5, 10), " m") == ["1-5 m", "5-10 m", "10+ m"]
