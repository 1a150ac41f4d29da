"""What the room writes, its readers read back: labels, calibrations, splits, planes."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.calib import calib_text, get_calib_from_file
from pcdet.utils.kitti_format.folders import SUFFIXES, frame_path, part_of_split
from pcdet.utils.kitti_format.label import (
    DONT_CARE,
    FIELDS,
    NO_ALPHA,
    NO_LOCATION,
    NUM_LABEL_FIELDS,
    NUM_RESULT_FIELDS,
    Object3d,
    decimals,
    dont_care_line,
    get_objects_from_label,
    result_lines,
)
from pcdet.utils.kitti_format.label_table import read_label_table
from pcdet.utils.kitti_format.planes import is_road, read_road_plane, road_plane_text
from pcdet.utils.kitti_format.split import read_split, split_path, write_split

LINE = "Car 0.10 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


def test_numbers_have_their_decimals_and_no_minus_nought():
    assert decimals([-0.001, 1e-7, 2.5, np.float32(190.07), -1], 2) == "0.00 0.00 2.50 190.07 -1.00"
    assert decimals([], 4) == ""


def test_a_region_without_labels():
    line = dont_care_line([503.89, 169.711, 590.61, 230.13])
    assert line == ("DontCare -1 -1 -10 503.89 169.71 590.61 230.13 -1 -1 -1 -1000 -1000 -1000 -10")
    region = Object3d.from_line(line)
    assert (region.cls_type, region.alpha, region.loc[0]) == (DONT_CARE, NO_ALPHA, NO_LOCATION)


def test_results_are_read_back_by_both_readers(tmp_path):
    anno = {
        "name": np.array(["Car", "Cyclist"]),
        "alpha": np.array([0.25, -10.0]),
        "bbox": np.array([[1.5, 2, 30, 40], [5, 6, 70, 80]]),
        "dimensions": np.array([[3.9, 1.5, 1.6], [1.8, 1.7, 0.6]]),  # l, h, w
        "location": np.array([[1, 1.7, 20], [-4, 1.6, 11.25]]),
        "rotation_y": np.array([0.5, -1.25]),
        "score": np.array([0.875, -2.0]),
    }
    path = tmp_path / "000000.txt"
    path.write_text("".join(f"{line}\n" for line in result_lines(anno)))
    car, cyclist = get_objects_from_label(path)
    assert (car.l, car.h, car.w, car.score, car.alpha) == (3.9, 1.5, 1.6, 0.875, 0.25)
    assert (cyclist.cls_type, cyclist.alpha, cyclist.ry) == ("Cyclist", -10, -1.25)
    names, values, counts = read_label_table([path], NUM_RESULT_FIELDS)
    assert names.tolist() == ["Car", "Cyclist"] and counts.tolist() == [2]
    column = {name: values[:, k] for k, name in enumerate(FIELDS[1:])}
    for field, objects in (("length", [3.9, 1.8]), ("z", [20, 11.25]), ("score", [0.875, -2])):
        assert column[field].tolist() == objects


@pytest.mark.parametrize("usual", [True, False])
def test_the_table_ends_where_numbers_end(tmp_path, usual):
    """1e9 is a number and 1e10 is damage, for the quick parser and for the plain one."""
    path = tmp_path / "000000.txt"
    other = "" if usual else "\ufeff"  # a byte order mark is what the quick one leaves to the other
    path.write_text(other + LINE.replace("58.49", "1e9"), encoding="utf-8")
    names, values, _ = read_label_table([path], NUM_LABEL_FIELDS)
    assert (names.tolist(), values[0, -2]) == (["Car"], 1e9)
    path.write_text(other + LINE.replace("58.49", "1e10"), encoding="utf-8")
    message = r"000000\.txt:1: expected a finite number in field 14, got '1e10' \(z, at most 1e\+09"
    with pytest.raises(DataError, match=message):
        read_label_table([path], NUM_LABEL_FIELDS)
    with pytest.raises(DataError, match=r"000000\.txt: line 1: z: expected a number, got '1e10'"):
        get_objects_from_label(path)


def test_calibration(tmp_path):
    rng = np.random.default_rng(0)
    matrices = {
        "P2": rng.normal(size=(3, 4)),
        "R0_rect": rng.normal(size=(3, 3)),
        "Tr_velo_to_cam": rng.normal(size=(3, 4)),
    }
    path = tmp_path / "000000.txt"
    path.write_text(calib_text(matrices))
    for written, read in zip(matrices.values(), get_calib_from_file(path).values()):
        np.testing.assert_array_equal(read, written.astype(np.float32))


def test_split(tmp_path):
    path = split_path(tmp_path, "val")
    write_split(path, ["000003", "000001"])
    assert path == tmp_path / "ImageSets" / "val.txt"
    assert read_split(path) == ["000003", "000001"]
    path.write_text("000001\n../../000003\n")
    with pytest.raises(DataError, match=r"val\.txt:2: expected a frame name"):
        read_split(path)


def test_plane(tmp_path):
    plane = np.array([0.01, -0.9998, -0.02, 1.65])
    plane /= np.linalg.norm(plane[:3])
    path = tmp_path / "000000.txt"
    path.write_text(road_plane_text(plane))
    np.testing.assert_allclose(read_road_plane(path), plane, atol=1e-12)
    path.write_text(road_plane_text(-2 * plane))  # the other way up, and of another length
    np.testing.assert_allclose(read_road_plane(path), plane, atol=1e-12)
    assert not is_road(np.array([1.0, 0.1, 0, 2]))


def test_every_kind_of_file_has_its_place(tmp_path):
    assert part_of_split("test") == "testing"
    assert part_of_split("train") == part_of_split("trainval") == "training"
    paths = [frame_path(tmp_path, kind, "000007").relative_to(tmp_path) for kind in SUFFIXES]
    assert [str(path) for path in paths] == [
        *("velodyne/000007.bin", "image_2/000007.png", "calib/000007.txt"),
        *("label_2/000007.txt", "planes/000007.txt"),
    ]
