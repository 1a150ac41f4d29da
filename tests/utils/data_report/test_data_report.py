"""The table of a data set's classes, and each warning on frames that ask for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pcdet.utils.box_utils import DIMS, RZ, H, L, W, X, Z
from pcdet.utils.data_report import (
    Frame,
    class_table,
    count_objects,
    data_warnings,
    describe_scan,
    other_names,
)
from scan_files import made_scan

RANGE = [-50, -50, -3, 50, 50, 3]
SIZES = {"Car": (1.6, 3.9, 1.5), "Pedestrian": (0.6, 0.8, 1.75), "Cyclist": (0.6, 1.8, 1.7)}


def good_frame(number: int) -> Frame:
    names = np.array(["Car", "Car", "Pedestrian", "Cyclist", "Barrier"])
    sizes = [SIZES.get(name, (2.5, 0.5, 1.0)) for name in names]  # barriers are wider than long
    places = np.column_stack((np.arange(10, 35, 5), np.full((5, 2), (5, -1.7))))
    boxes = np.column_stack((places, sizes, np.linspace(-3, 3, 5)))
    scan = describe_scan(made_scan(seed=number), seen=0.2, has_ground=True)
    counts, boxed = np.array([30, 4, 12, 9, 7]), np.array([True, True, True, False, True])
    return Frame(f"{number:06d}", names, boxes, counts, counts, np.full(5, 0.02), boxed, scan)


FRAMES = [good_frame(number) for number in range(4)]


def changed(**columns) -> list[Frame]:
    """The frames with some columns of the boxes changed in place."""
    frames = []
    for frame in FRAMES:
        boxes = frame.boxes.copy()
        for name, change in columns.items():
            change(boxes[:, {"sizes": DIMS, "angle": RZ, "x": X, "z": Z}[name]])
        frames.append(replace(frame, boxes=boxes))
    return frames


def with_scans(points: np.ndarray, **facts) -> list[Frame]:
    return [replace(frame, scan=describe_scan(points, **facts)) for frame in FRAMES]


def test_good_frames_give_no_warning():
    assert data_warnings(FRAMES, RANGE) == []
    assert data_warnings([], RANGE) == []
    bare = [Frame(frame.name, frame.names, frame.boxes) for frame in FRAMES]
    assert data_warnings(bare, RANGE) == []


def test_a_few_objects_without_points_are_no_fault():
    odd = replace(FRAMES[0], counts=np.array([0, 0, 12, 9, 7]))
    assert data_warnings([odd, *FRAMES[1:]], RANGE) == []


def multiply(factor):
    return lambda column: np.multiply(column, factor, out=column)


def add(value):
    return lambda column: np.add(column, value, out=column)


def exchange(a, b):
    first = DIMS.start

    def change(sizes):
        sizes[:, [a - first, b - first]] = sizes[:, [b - first, a - first]]

    return change


SCAN = made_scan()
BRIGHT = SCAN * np.float32([1, 1, 1, 255])


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (
            [replace(frame, counts=np.zeros(5, int)) for frame in FRAMES],
            ["8 of 8 objects of Car hold no point, as a Car in frame 000000"],
        ),
        (
            [*FRAMES, replace(FRAMES[0], name="odd", counts=np.zeros(5, int))],
            ["most objects of 1 of 5 frames hold no point, as 5 of 5 in frame odd"],
        ),
        (
            [replace(frame, seen_counts=np.zeros(5, int)) for frame in FRAMES],
            ["8 of 8 objects of Car hold no point that the camera sees"],
        ),
        (with_scans(SCAN[:0]), ["4 of 4 scans have no point"]),
        ([Frame("000001", FRAMES[0].names[:0], FRAMES[0].boxes[:0])], ["none of 1 frames has a"]),
        (with_scans(SCAN, seen=0.0), ["the camera sees no point of 4 of 4 frames"]),
        (with_scans(SCAN * np.float32([1000, 1000, 1000, 1])), ["not metres around the sensor"]),
        (with_scans(SCAN + np.float32([7e5, 5e6, 200, 0])), ["not metres", "UTM"]),
        (
            with_scans(SCAN * np.float32([0.01, 0.01, 0.01, 1])),
            ["points of 4 of 4 scans lie"],
        ),
        (
            with_scans(SCAN + np.float32([300, 150, 30, 0])),
            ["all points of 4 of 4 scans lie", "subtract its place"],
        ),
        (
            changed(sizes=multiply(3.28)),
            ["objects of Car are 12.79 x 5.25 x 4.92 m", "no Cyclist is: scans and labels must"],
        ),
        (changed(sizes=multiply(100)), ["20 objects are below 0.02 m or above 60 m"]),
        (
            [*FRAMES[:3], *changed(z=add(900))[3:]],
            ["5 objects lie more than 500 m from the sensor, or more than 30 m above or below"],
        ),
        ([*FRAMES[:3], *changed(x=add(-1000))[3:]], ["most others, as a Car in frame 000003: "]),
        (
            changed(x=lambda x: np.put(x, [1, 2], x[0] + [0.3, 0])),
            ["4 objects lie on another one of their class, as a Car in frame 000000: "],
        ),
        (changed(angle=multiply(57.3)), ["the angle of 16 objects is beyond 2 pi"]),
        (
            changed(sizes=exchange(W, L)),
            ["width, length and height of Car are 3.90, 1.60, 1.50", "Cyclist are 1.80, 0.60"],
        ),
        (changed(sizes=exchange(L, H)), ["Car are 1.60, 1.50, 3.90"]),
        (with_scans(SCAN, has_ground=False), ["no ground was found in 4 of 4 scans"]),
        (
            [replace(frame, heights=frame.heights + 2.7) for frame in FRAMES],
            ["stand 2.7 m above the ground that the points show"],
        ),
        (with_scans(BRIGHT), ["intensity of 4 of 4 scans is not within 0 to 1"]),
        (with_scans(SCAN + np.float32([0, 0, 9, 0])), ["no point of 4 of 4 frames lies in POINT"]),
        (changed(z=add(-3)), ["20 of 20 objects are not wholly in POINT_CLOUD_RANGE"]),
    ],
)
def test_what_cannot_be_right_is_told_in_a_line_each(frames, words):
    lines = data_warnings(frames, RANGE)
    told = " | ".join(lines)
    for word in words:
        assert word in told, told
    assert bool(lines) == bool(words)
    assert all("\n" not in line for line in lines)


def test_a_kind_of_thing_is_known_by_words():
    sizes = {"PassengerCar": True, "school_bus": True, "Trucks": True, "Pedestrain": False}
    for name, is_long in sizes.items():
        frames = [replace(f, names=np.array([name] * 5)) for f in changed(sizes=exchange(W, L))]
        frames = [replace(f, boxes=f.boxes[:1].repeat(5, axis=0)) for f in frames]
        told = " | ".join(data_warnings(frames, RANGE))
        assert (f"height of {name} are 3.90, 1.60, 1.50" in told) == is_long


def test_intensity_counts_only_where_it_is_used():
    assert data_warnings(with_scans(BRIGHT), RANGE, uses_intensity=False) == []


def test_the_table():
    lines = class_table(FRAMES, [-50, -50, -1, 50, 50, 3]).splitlines()
    assert lines[0] == "objects of 4 frames; points, sizes and heights are medians"
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert list(rows) == ["Barrier", "Car", "Cyclist", "Pedestrian"]
    assert rows["Car"] == ["8", "0", "17", "1.60", "3.90", "1.50", "0.02", "8", "0"]
    assert rows["Cyclist"] == ["4", "0", "9", "0.60", "1.80", "1.70", "0.02", "4", "4"]
    bare = class_table([Frame("a", FRAMES[0].names, FRAMES[0].boxes)]).splitlines()
    assert bare[3].split() == ["Car", "2", "-", "-", "1.60", "3.90", "1.50", "-"]
    assert len(class_table([]).splitlines()) == 2


def test_counts_and_names():
    assert count_objects(FRAMES)["Car"] == 8
    assert count_objects(FRAMES, [-50, -50, -1, 50, 50, 3]) == {}
    told = other_names("Cars", Counter({"car": 3, "Van": 5}))
    assert told == "there are Van 5, car 3; did you mean 'car'?"
    assert other_names("Car", Counter()) == "there is no object of any class"
