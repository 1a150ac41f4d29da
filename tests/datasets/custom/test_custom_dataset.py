"""The data set of one's own: files, infos, samples, annotations."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from easydict import EasyDict

from pcdet.datasets.custom import infos
from pcdet.datasets.custom.custom_dataset import CustomDataset
from pcdet.datasets.custom.folder import CustomFolder, stated_columns
from pcdet.datasets.custom.infos import (
    build_infos,
    dbinfos_path,
    infos_path,
    lidar_as_camera,
    road_below,
)
from pcdet.datasets.custom.label_file import (
    Objects,
    label_lines,
    objects_from_rows,
    read_objects,
    rows_from_boxes,
)
from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import save_pickle
from pcdet.utils.kitti_format.split import split_path, write_split
from pcdet.utils.object_points import points_of_boxes
from tiny_custom import GROUND_Z, make_tiny_custom

_LOGGER = logging.getLogger("test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = make_tiny_custom(tmp_path_factory.mktemp("custom"))
    infos = build_infos(CustomFolder(root), ["0000", "0001", "0002"], _LOGGER)
    save_pickle(infos, infos_path(root, "train"))
    return root


def config(root):
    from models.model_fixture import narrow_config

    cfg = narrow_config()
    cfg.CLASS_NAMES = ["Car", "Forklift"]
    cfg.DATA_CONFIG.update(DATASET="CustomDataset", DATA_DIR=str(root), FOV_POINTS_ONLY=False)
    cfg.DATA_CONFIG.POINT_CLOUD_RANGE = [-12.8, -12.8, -3, 12.8, 12.8, 1]
    for mode in ("TRAIN", "TEST"):
        cfg.DATA_CONFIG[mode].INFO_PATH = [f"{root}/custom_infos_train.pkl"]
    cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER = EasyDict(ENABLED=False)
    cfg.MODEL.TEST.BOX_FILTER = EasyDict(LIMIT_RANGE=None)
    return cfg


def make_dataset(root, training=False, **changes):
    cfg = config(root)
    cfg.DATA_CONFIG.update(changes)
    return CustomDataset(root, cfg.CLASS_NAMES, "train", training, cfg=cfg)


def write_label(tmp_path, text):
    path = tmp_path / "0000.txt"
    path.write_text(text)
    return path


def test_a_line_becomes_a_box_with_the_corners_that_the_format_means():
    """A car at (10, 5) that looks along +y: its front is at the greatest y."""
    objects = objects_from_rows(np.array([[10, 5, -1, 4, 2, 1.5, np.pi / 2]]), ["Car"])
    corners = boxes3d_to_corners3d_lidar(objects.boxes)[0]
    np.testing.assert_allclose(corners.min(axis=0), [9, 3, -1.75], atol=1e-6)
    np.testing.assert_allclose(corners.max(axis=0), [11, 7, -0.25], atol=1e-6)
    front = corners[[0, 1]].mean(axis=0)
    assert front[1] == pytest.approx(7)


def test_rows_survive_the_way_to_boxes_and_back():
    rng = np.random.default_rng(0)
    rows = np.column_stack((rng.uniform(-9, 9, (50, 3)), rng.uniform(1, 5, (50, 3))))
    rows = np.column_stack((rows, rng.uniform(-np.pi, np.pi, 50)))
    back = rows_from_boxes(objects_from_rows(rows, ["Car"] * 50).boxes)
    np.testing.assert_allclose(back, rows, atol=1e-9)


def test_labels_are_written_as_they_are_read(tmp_path):
    path = write_label(tmp_path, "1 2 3 4 5 6 0.5 Car\n\n-1 0 0 1 1 1 -3 Traffic-Cone\n")
    objects = read_objects(path)
    assert objects.names.tolist() == ["Car", "Traffic-Cone"]
    lines = label_lines(objects)
    assert lines[0] == "1.0000 2.0000 3.0000 4.0000 5.0000 6.0000 0.5000 Car"
    assert label_lines(objects, np.array([0.25, 1.5]))[1].endswith(" Traffic-Cone 1.5000")
    assert len(read_objects(write_label(tmp_path, ""))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 2 3 4 5 6 0.5\n",
            "0000.txt:1: expected 8 fields, `x y z dx dy dz heading class`, got 7",
        ),
        ("1 2 3 4 5 6 0.5 Traffic Cone\n", "got 9; a class must not hold a blank"),
        ("\n1 2 3 -4.2 5 6 0.5 Car\n", "0000.txt:2: dx: expected a size above 0"),
        ("1 2 3 4 nan 6 0.5 Car\n", "0000.txt:1: dy: expected a number, got 'nan'"),
        ("1 2 3 4 0 6 0.5 Car\n", "dy: expected a size above 0"),
        ("1 2 3 4 5 6 0.5 a/b\n", "class: expected a name without blanks, slashes or colons"),
        ("Car 0 0 0 1 2 3 4 1.5 1.6 4 1 2 20 0\n", "expected 8 fields"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(DataError) as error:
        read_objects(write_label(tmp_path, text))
    assert message in str(error.value)


def test_angles_in_degrees_stay_visible_and_full_turns_do_not():
    turns = objects_from_rows(np.array([[0, 0, 0, 1, 1, 1, a] for a in (6.2, -6.2, 90)]), "abc")
    assert np.abs(turns.boxes[:2, 6]).max() <= np.pi
    assert abs(turns.boxes[2, 6]) > 2 * np.pi


def test_a_frame_has_one_file_of_points(tmp_path):
    root = make_tiny_custom(tmp_path, frames=1)
    folder = CustomFolder(root, columns_from="0000.npy")  # which has nothing to do with it
    with pytest.raises(
        DataError, match=r"frame 0007: expected one file 0007\.\{bin,npy,pcd,ply\}$"
    ):
        folder.read_points("0007")
    path = folder.points_path("0000")
    path.rename(path.with_suffix(".NPY"))
    assert len(folder.read_points("0000")) > 0
    (root / "points" / "0000.NPY").rename(path)
    (root / "points" / "0000.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"got 0000\.bin, 0000\.npy: keep one"):
        folder.read_points("0000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("POINT_COLUMNS: [x, z, y]\n", "x, y, z first"),
        ("POINT_COLUMNS: [x, y, z, i, i]\n", "none twice"),
        ("COLUMNS: [x, y, z]\n", "expected the key POINT_COLUMNS alone"),
        ("- 1\n", "expected the key POINT_COLUMNS alone"),
        ("POINT_COLUMNS: 4\n", "expected a list of names"),
        ("a: [\n", "not valid yaml"),
        ("POINT_COLUMNS: [x, y, z, on]\n", "expected a list of names"),
        ("POINT_COLUMNS: [x, y, z, 2020-13-40]\n", "month must be in 1..12"),
        ("POINT_COLUMNS: [x, y, z]\nPOINT_COLUMNS: [x, y, z, i]\n", "POINT_COLUMNS"),
        ("[" * 5000, "not valid yaml"),
    ],
)
def test_a_wrong_dataset_yaml_is_named(tmp_path, text, message):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"dataset\.yaml") as error:
        stated_columns(tmp_path)
    assert message in str(error.value)


def test_infos_hold_what_the_files_say(folder):
    (info, *_) = build_infos(CustomFolder(folder), ["0001"], _LOGGER)
    assert info["point_cloud"] == {"num_features": 4, "lidar_idx": "0001"}
    assert info["annos"]["name"].tolist() == ["Car", "Forklift", "Car", "Forklift"]
    assert (info["annos"]["num_points_in_gt"] >= 150).all()
    # The plane as a camera at the LiDAR sees it: y points down, so the ground is at y = 2.2.
    np.testing.assert_allclose(info["road_plane"], [0, -1, 0, -GROUND_Z], atol=0.01)


def test_broken_frames_are_noted_or_raised(tmp_path):
    root = make_tiny_custom(tmp_path, frames=3)
    (root / "labels" / "0001.txt").write_text("1 2 3\n")
    (root / "points" / "0002.npy").unlink()
    errors: list[str] = []
    frames = ["0000", "0001", "0002"]
    infos = build_infos(CustomFolder(root), frames, _LOGGER, errors=errors)
    assert [info["point_cloud"]["lidar_idx"] for info in infos] == ["0000"]
    assert "0001.txt:1" in errors[0] and "frame 0002" in errors[1]
    with pytest.raises(DataError, match=r"0001\.txt:1"):
        build_infos(CustomFolder(root), frames, _LOGGER)


def test_a_plane_that_the_labels_contradict_is_not_believed():
    rng = np.random.default_rng(0)
    points = np.column_stack((rng.uniform(-20, 20, (4000, 2)), np.full(4000, -1.2)))
    boxes = np.array([[8.0, 0, -2.0, 1.6, 4, 1.5, 0]] * 3)
    points = points.astype(np.float32)
    np.testing.assert_allclose(
        road_below(points, boxes, -2.0, np.array([0, -1, 0, 1.2])), [0, -1, 0, 2.0]
    )
    boxes[:, 2] = -1.25
    flat = np.array([0, -1, 0, 1.2])
    assert road_below(points, boxes, -2.0, flat) is flat
    # The largest plane is a roof: the road below the objects is looked for once more.
    roof = np.array([0, -1, 0, -1.5])
    np.testing.assert_allclose(road_below(points, boxes, -2.0, roof), flat, atol=1e-5)


def test_a_sample_has_the_points_in_its_boxes(folder):
    dataset = make_dataset(folder)
    assert len(dataset) == 3 and dataset.sample_ids == ["0000", "0001", "0002"]
    sample = dataset[1]
    assert sample["gt_boxes"].shape == (4, 8)
    assert sorted(sample["gt_boxes"][:, 7]) == [1, 1, 2, 2]
    inside = points_of_boxes(sample["points"], sample["gt_boxes"][:, :7])
    assert min(map(len, inside)) >= 140
    assert dataset.camera_view(dataset.infos[0]) is None


def test_labels_that_changed_after_the_infos_are_told(tmp_path):
    root = make_tiny_custom(tmp_path, frames=2)
    save_pickle(build_infos(CustomFolder(root), ["0000"], _LOGGER), infos_path(root, "train"))
    make_dataset(root)
    label = root / "labels" / "0000.txt"
    text = label.read_text()
    label.write_text(text)  # touched, not changed
    make_dataset(root)
    label.write_text(text.replace("Forklift", "Truck"))
    with pytest.raises(DataError, match=r"0000\.txt: changed since the infos were made"):
        make_dataset(root)
    label.unlink()
    make_dataset(root)


def test_scans_that_changed_after_the_infos_are_told(tmp_path):
    root = make_tiny_custom(tmp_path, frames=2)
    infos = build_infos(CustomFolder(root), ["0000", "0001"], _LOGGER)
    save_pickle(infos, infos_path(root, "train"))
    make_dataset(root)
    scan = root / "points" / "0001.npy"
    points = np.load(scan)
    np.save(scan, points + np.float32([1, 0, 0, 0]))
    with pytest.raises(DataError, match=r"0001\.npy: changed .*files of 0 other frames of 2; run"):
        make_dataset(root)
    points.tofile(scan.with_suffix(".bin"))
    scan.unlink()
    with pytest.raises(DataError, match=r"0001\.bin: changed since the infos were made"):
        make_dataset(root)
    scan.with_suffix(".bin").unlink()
    make_dataset(root)  # not missed before it is read
    np.save(scan, points[:-1])
    for info in infos:
        del info["scan_state"]  # as an earlier version made them
    save_pickle(infos, infos_path(root, "train"))
    make_dataset(root)


def test_files_that_nobody_touched_are_not_read_at_each_start(tmp_path, monkeypatch):
    root = make_tiny_custom(tmp_path, frames=2)
    old = build_infos(CustomFolder(root), ["0000", "0001"], _LOGGER)
    save_pickle(old, infos_path(root, "train"))
    read = []
    for name in ("label_checksum", "scan_state"):
        monkeypatch.setattr(infos, name, lambda *what, name=name: read.append(name))
    make_dataset(root)
    assert not read
    for info in old:
        del info["file_stats"]  # as an earlier version made them
    save_pickle(old, infos_path(root, "train"))
    with pytest.raises(DataError, match=r"0000\.txt: changed since"):
        make_dataset(root)
    assert read


def test_lists_that_were_edited_after_the_infos_are_told(tmp_path, caplog):
    root = make_tiny_custom(tmp_path, frames=2)
    save_pickle(build_infos(CustomFolder(root), ["0000"], _LOGGER), infos_path(root, "train"))
    train = split_path(root, "train")
    write_split(train, ["0000"])
    make_dataset(root)
    assert not caplog.messages
    write_split(train, ["0000", "0001"])
    make_dataset(root)
    (told,) = caplog.messages
    assert "custom_infos_train.pkl holds 1 frames, ImageSets/train.txt 2, and frame 0001" in told
    assert told.endswith(f"run `pcdet-custom prepare {root}`")
    train.write_text("0000 0001\n")
    make_dataset(root)
    assert "train.txt:1: expected one frame name" in caplog.messages[-1]


def test_a_frame_that_two_files_of_infos_hold_is_told(folder):
    cfg = config(folder)
    cfg.DATA_CONFIG.TEST.INFO_PATH *= 2
    told = r"frame 0000 is in (.*custom_infos_train\.pkl) and again in \1: expected each frame once"
    with pytest.raises(DataError, match=told):
        CustomDataset(folder, cfg.CLASS_NAMES, "train", False, cfg=cfg)


def test_a_missing_database_is_told_with_the_command_for_own_data(folder):
    told = r"custom_dbinfos_train\.pkl: .* are missing; make them with `pcdet-custom prepare /"
    with pytest.raises(DataError, match=told):
        DataBaseSampler([dbinfos_path(folder)], ["Car"], {}, ["Car:5"])


def test_infos_of_something_else_are_refused(tmp_path):
    root = make_tiny_custom(tmp_path, frames=1)
    with pytest.raises(DataError, match="missing; make it with `pcdet-custom prepare"):
        make_dataset(root)
    for wrong in ([{}], [{"point_cloud": {"lidar_idx": "../x"}}], [{"point_cloud": 3}]):
        save_pickle(wrong, infos_path(root, "train"))
        with pytest.raises(DataError, match=r"custom_infos_train\.pkl"):
            make_dataset(root, training=True)
    for wrong, got in (([], "an empty one"), ({}, "a dict")):
        save_pickle(wrong, infos_path(root, "train"))
        with pytest.raises(DataError, match=f"expected a list of infos, got {got}; make it with"):
            make_dataset(root, training=True)
    (info,) = build_infos(CustomFolder(root), ["0000"], _LOGGER)
    info["annos"]["gt_boxes_lidar"][0, 3] = -1
    save_pickle([info], infos_path(root, "train"))
    with pytest.raises(DataError, match="frame 0000: an object has an impossible size"):
        make_dataset(root)


def test_columns_of_the_yaml_must_be_as_many_as_the_numbers(folder):
    with pytest.raises(ConfigError, match=r"POINT_COLUMNS: expected 4 names"):
        make_dataset(folder, POINT_COLUMNS=["x", "y", "z"])


def test_annotations_keep_boxes_with_a_size_within_the_limits(folder, tmp_path):
    dataset = make_dataset(folder)
    dataset._limit_range = [-5, -5, -3, 5, 5, 3]
    boxes = np.array(
        [[1, 1, -2, 1, 2, 1, 0], [9, 0, -2, 1, 2, 1, 0], [1, 0, -2, -1, 2, 1, 0]], float
    )
    found = {"boxes": boxes, "scores": np.array([2.0, 1, 0]), "labels": np.array([2, 1, 1])}
    (anno,) = dataset.generate_annotations({"sample_idx": ["0000"]}, [found], ["Car", "Forklift"])
    assert anno["name"].tolist() == ["Forklift"] and anno["sample_idx"] == "0000"
    empty = {**anno, "name": anno["name"][:0], "score": anno["score"][:0]}
    empty["boxes_lidar"] = anno["boxes_lidar"][:0]
    written = dataset.save_results([anno, empty, empty], tmp_path)
    (line,) = (written / "0000.txt").read_text().splitlines()
    assert line == "1.0000 1.0000 -1.5000 2.0000 1.0000 1.0000 -1.5708 Forklift 2.0000"
    assert (written / "0001.txt").read_text() == ""


def test_the_report_has_distances_and_confusions(folder):
    dataset = make_dataset(folder)
    annos = [
        {
            "sample_idx": info["point_cloud"]["lidar_idx"],
            "name": info["annos"]["name"],
            "score": np.full(4, 3.0),
            "boxes_lidar": info["annos"]["gt_boxes_lidar"],
        }
        for info in dataset.infos
    ]
    table, numbers, figures = dataset.evaluation_report(annos, dataset.class_names)
    assert "0-20m" in table and "labelled as" in table
    assert numbers["Car_3d/all_R40"] > 0 and dataset.overlaps == {"Car": 0.7, "Forklift": 0.5}
    assert set(figures) == {"Car/precision_recall", "Forklift/precision_recall"}
    assert dataset.overlap_sets[1] == {"car": 0.5, "forklift": 0.25}


def test_the_camera_at_the_lidar_looks_along_x():
    calib = lidar_as_camera()
    np.testing.assert_allclose(calib.lidar_to_rect(np.array([[5.0, 2, -1]])), [[-2, 1, 5]])


def test_objects_may_be_none():
    assert len(Objects(np.zeros(0, np.str_), np.zeros((0, 7)))) == 0
