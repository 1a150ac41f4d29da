"""Ground-truth sampling: counts, room, ground, files and errors."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import shapely

from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler, packed_points_path
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import load_pickle, save_pickle
from pcdet.utils.kitti_format.calib import Calibration

CLASSES = ["Car", "Pedestrian"]
PREPARE = {"filter_by_difficulty": [-1], "filter_by_min_points": ["Car:5", "Pedestrian:5"]}
NO_BOXES, NO_NAMES = np.zeros((0, 7)), np.zeros(0, dtype=str)


def write_database(root, num_cars=8, num_pedestrians=4, packed=True):
    """Objects side by side in the LiDAR's y; all points of car k have intensity k.

    Car 0 has too few points and car 1 an unknown difficulty.
    """
    folder = root / "gt_database"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    database, rows = {}, []
    for name, count, size, x in (
        ("Truck", 1, (3, 9, 3), 40.0),
        ("Car", num_cars, (1.6, 3.9, 1.5), 10.0),
        ("Pedestrian", num_pedestrians, (0.6, 0.8, 1.7), 20.0),
    ):
        for k in range(count):
            num_points = 3 if (name, k) == ("Car", 0) else 10 + k
            points = rng.uniform(-0.2, 0.2, (num_points, 4)).astype(np.float32)
            points[:, 2] += 0.5
            points[:, 3] = k
            path = f"gt_database/0000_{name}_{k}.bin"
            points.tofile(root / path)
            rows.append(points)
            database.setdefault(name, []).append(
                {
                    "name": name,
                    "path": path,
                    "image_idx": "0000",
                    "gt_idx": k,
                    "box3d_lidar": np.array([x, 5.0 * k, -1.5 + 0.1 * k, *size, 0.1 * k]),
                    "num_points_in_gt": num_points,
                    "difficulty": np.int32(-1 if (name, k) == ("Car", 1) else k % 3),
                    "bbox": np.zeros(4, np.float32),
                    "score": -1.0,
                }
            )
    path = root / "kitti_dbinfos_train.pkl"
    save_pickle(database, path)
    if packed:
        np.save(packed_points_path(path), np.concatenate(rows))
    return path


def make_sampler(path, groups=("Car:5", "Pedestrian:3"), **settings):
    return DataBaseSampler([path], CLASSES, PREPARE, groups, **settings)


def sample(sampler, root, boxes=NO_BOXES, names=NO_NAMES, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return sampler.sample_all(root, boxes, names, rng=rng, **settings)


def test_packed_file_lies_beside_the_infos(tmp_path):
    path = packed_points_path(tmp_path / "kitti_dbinfos_train.pkl")
    assert path == tmp_path / "kitti_gt_points_train.npy"


def test_fills_each_class_up_to_its_number(tmp_path):
    sampler = make_sampler(write_database(tmp_path))
    result = sample(sampler, tmp_path)
    names, counts = np.unique(result["gt_names"], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist())) == {"Car": 5, "Pedestrian": 3}
    assert result["gt_boxes"].shape == (8, 7)
    assert result["gt_masks"].tolist() == [True] * 8
    assert result["difficulty"].dtype == np.int32
    far = np.array([[90.0, 90 + 9 * k, 0, 1, 1, 1, 0] for k in range(4)])
    result = sample(sampler, tmp_path, far, np.array(["Car", "Car", "Car", "Van"]))
    assert np.count_nonzero(result["gt_names"] == "Car") == 2


@pytest.mark.parametrize(("rate", "expected"), [(1.0, 5), (0.5, 2), (0.7, 4), (0.0, 0)])
def test_rate_is_rounded(tmp_path, rate, expected):
    """0.5 * 5 = 2.5 is rounded to the even 2, as NumPy and PCDet round."""
    sampler = make_sampler(write_database(tmp_path), ["Car:5"], rate=rate)
    result = sample(sampler, tmp_path)
    assert (0 if result is None else len(result["gt_boxes"])) == expected


def test_filters(tmp_path):
    """Cars 0 and 1 are never drawn: too few points, unknown difficulty."""
    sampler = make_sampler(write_database(tmp_path), ["Car:50"])
    result = sample(sampler, tmp_path)
    assert sorted(set(result["points"][:, 3].tolist())) == [2, 3, 4, 5, 6, 7]


def test_points_lie_in_their_boxes(tmp_path):
    result = sample(make_sampler(write_database(tmp_path)), tmp_path)
    cars = result["gt_boxes"][result["gt_names"] == "Car"]
    k = np.round(cars[:, 1] / 5).astype(int)
    for box, number in zip(cars, k):
        points = result["points"][: sum(10 + k)]
        points = points[points[:, 3] == number]
        assert len(points) == 10 + number
        assert (np.abs(points[:, :3] - box[:3] - [0, 0, 0.5]) <= 0.2 + 1e-5).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_object_stands_on_another(tmp_path, seed):
    rng = np.random.default_rng(seed)
    own = np.array([[10.0, y, -1, 1.6, 3.9, 1.5, rng.uniform(-0.5, 0.5)] for y in (10, 20)])
    sampler = make_sampler(write_database(tmp_path), ["Car:50", "Pedestrian:50"])
    result = sample(sampler, tmp_path, own, np.array(["Van", "Van"]), seed)
    boxes = np.concatenate((own, result["gt_boxes"]))
    polygons = shapely.polygons(boxes3d_to_corners3d_lidar(boxes)[:, :4, :2])
    overlap = shapely.intersection(polygons[:, None], polygons[None])
    area = shapely.area(overlap) - np.diag(shapely.area(polygons))
    assert area.max() < 1e-9
    # Cars 2 and 4 stand where the vans are.
    assert sorted(np.round(boxes[2:, 1] / 5).tolist()) == [0, 1, 2, 3, 3, 5, 6, 7]


def make_calib():
    """A camera looking along x, tilted: R0 turns by 2 degrees about the camera's x."""
    turn = np.deg2rad(2)
    r0 = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    v2c = [[0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3]]
    return Calibration({"P2": np.eye(3, 4), "R0": np.array(r0), "Tr_velo2cam": np.array(v2c)})


def test_objects_stand_on_the_road_plane(tmp_path):
    calib, plane = make_calib(), np.array([0.02, -1.0, 0.03, 1.7])
    path = write_database(tmp_path)
    flat = sample(make_sampler(path), tmp_path)
    sampler = make_sampler(path, use_road_plane=True)
    result = sample(sampler, tmp_path, road_planes=plane, calib=calib)
    bottom = calib.lidar_to_rect(result["gt_boxes"][:, :3])
    # The bottom goes straight up or down in the LiDAR frame, by the height found at its place
    # in the camera frame: a tilt of 2 degrees leaves some millimetres.
    assert np.abs(bottom @ plane[:3] + plane[3]).max() < 0.01
    np.testing.assert_array_equal(result["gt_boxes"][:, :2], flat["gt_boxes"][:, :2])
    lift = result["gt_boxes"][:, 2] - flat["gt_boxes"][:, 2]
    counts = [round(10 + y / 5) for y in flat["gt_boxes"][:, 1]]
    moved = result["points"][:, 2] - flat["points"][:, 2]
    np.testing.assert_allclose(moved, np.repeat(lift, counts), atol=1e-5)


def warnings_in(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_empty_class(tmp_path, caplog):
    """PCDet v0.1 crashed on a group without objects."""
    sampler = make_sampler(write_database(tmp_path, num_cars=2))  # both are filtered out
    told = "no Car is sampled: none of the 2 in the database passes DB_SAMPLER.PREPARE"
    assert warnings_in(caplog) == [f"DB_SAMPLER.SAMPLE_GROUPS: {told}"]
    assert set(sample(sampler, tmp_path)["gt_names"].tolist()) == {"Pedestrian"}
    assert sample(make_sampler(write_database(tmp_path), ["Car:0"]), tmp_path) is None
    empty = tmp_path / "kitti_dbinfos_empty.pkl"
    save_pickle({}, empty)
    assert sample(make_sampler(empty), tmp_path) is None


def test_groups_of_other_classes_are_left_out(tmp_path, caplog):
    sampler = make_sampler(write_database(tmp_path), ["Truck:5", "Car:2"])
    assert set(sample(sampler, tmp_path)["gt_names"].tolist()) == {"Car"}
    told = "DB_SAMPLER.SAMPLE_GROUPS: Truck is not in CLASS_NAMES: none is sampled"
    assert warnings_in(caplog) == [told]


def test_small_files_are_read_where_there_is_no_packed_one(tmp_path):
    with_packed = sample(make_sampler(write_database(tmp_path / "a")), tmp_path / "a")
    without = sample(make_sampler(write_database(tmp_path / "b", packed=False)), tmp_path / "b")
    for key, value in with_packed.items():
        np.testing.assert_array_equal(value, without[key])


def test_two_databases(tmp_path):
    paths = [write_database(tmp_path / name) for name in "ab"]
    sampler = DataBaseSampler(paths, CLASSES, PREPARE, ["Car:50"])
    assert len(sample(sampler, tmp_path)["gt_boxes"]) == 6  # every car is there twice


def test_the_generator_decides_and_history_does_not(tmp_path):
    sampler = make_sampler(write_database(tmp_path))
    first = sample(sampler, tmp_path, seed=3)
    other = sample(sampler, tmp_path, seed=4)
    again = sample(pickle.loads(pickle.dumps(sampler)), tmp_path, seed=3)
    np.testing.assert_array_equal(first["points"], again["points"])
    assert not np.array_equal(first["gt_boxes"], other["gt_boxes"])


def test_does_not_write_to_the_database_or_the_frame(tmp_path):
    sampler = make_sampler(write_database(tmp_path), use_road_plane=True)
    own = np.array([[90.0, 90, 0, 1, 1, 1, 0]])
    before = own.copy()
    results = [
        sample(
            sampler,
            tmp_path,
            own,
            np.array(["Van"]),
            road_planes=np.array([0, -1.0, 0, 1.7]),
            calib=make_calib(),
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(own, before)
    np.testing.assert_array_equal(results[0]["gt_boxes"], results[1]["gt_boxes"])
    np.testing.assert_array_equal(results[0]["points"], results[1]["points"])


def test_data_errors(tmp_path):
    with pytest.raises(DataError, match=r"none\.pkl: the database infos .* are missing"):
        make_sampler(tmp_path / "none.pkl")
    save_pickle([1, 2], tmp_path / "list.pkl")
    with pytest.raises(DataError, match=r"list\.pkl: expected a dict of lists"):
        make_sampler(tmp_path / "list.pkl")
    path = write_database(tmp_path)
    database = load_pickle(path)
    database["Car"][2]["box3d_lidar"][5] = 0
    save_pickle(database, tmp_path / "flat.pkl")
    with pytest.raises(DataError, match=r"flat\.pkl: .* 'box3d_lidar' has a size <= 0: \[10\.0, "):
        make_sampler(tmp_path / "flat.pkl")
    packed = packed_points_path(path)
    np.save(packed, np.load(packed)[:-1])
    with pytest.raises(DataError, match=r"kitti_gt_points_train\.npy: expected float32 of shape"):
        sample(make_sampler(path), tmp_path)
    packed.write_bytes(b"\x93NUMPY broken")
    with pytest.raises(DataError, match=r"kitti_gt_points_train\.npy: expected"):
        sample(make_sampler(path), tmp_path)
    packed.unlink()
    for file in (tmp_path / "gt_database").iterdir():
        file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"Car_\d\.bin: expected a multiple of 16 bytes"):
        sample(make_sampler(path), tmp_path)
    for file in (tmp_path / "gt_database").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"Car_\d\.bin: points cannot be read: No such file"):
        sample(make_sampler(path), tmp_path)
