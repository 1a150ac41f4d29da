"""Infos and database on made-up frames: every kind of frame, every number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.datasets import ground_database
from pcdet.datasets.data_augmentation.dbsampler import packed_points_path
from pcdet.datasets.ground_database import preparing, unfinished_folder
from pcdet.datasets.kitti.kitti_dataset import BaseKittiDataset, create_kitti_infos
from pcdet.utils import frame_pool, info_record
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import load_pickle, save_pickle
from pcdet.utils.object_points import points_in_closed_box
from tiny_kitti import DONT_CARE_FRAME, DONT_CARE_LINE, EMPTY_FRAME, make_tiny_kitti

ANNO_TYPES = {
    "name": ("U", ()),
    "truncated": ("f8", ()),
    "occluded": ("f8", ()),
    "alpha": ("f8", ()),
    "bbox": ("f4", (4,)),
    "dimensions": ("f8", (3,)),
    "location": ("f4", (3,)),
    "rotation_y": ("f8", ()),
    "score": ("f8", ()),
    "difficulty": ("i4", ()),
    "index": ("i4", ()),
    "num_points_in_gt": ("i4", ()),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_tiny_kitti(tmp_path_factory.mktemp("tiny_kitti"))


@pytest.fixture
def own_root(tmp_path):
    return make_tiny_kitti(tmp_path / "kitti")


def contents(folder):
    """Every file below a folder: its bytes, or what a pickle holds (its bytes may differ)."""
    return {
        str(path.relative_to(folder)): plain(load_pickle(path))
        if path.suffix == ".pkl"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".json"  # a record, which counts the pickle's bytes
    }


def plain(value):
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(("frame", "rows"), [("000000", 4), (EMPTY_FRAME, 0), (DONT_CARE_FRAME, 1)])
def test_annos_have_their_types_in_every_frame(root, frame, rows):
    annos = BaseKittiDataset(root).get_infos(sample_id_list=[frame])[0]["annos"]
    for key, (kind, shape) in ANNO_TYPES.items():
        values = annos.pop(key)
        assert values.dtype.str[1:].startswith(kind), key
        assert values.shape == (rows, *shape), key
    boxes = annos.pop("gt_boxes_lidar")
    assert (boxes.dtype, boxes.shape) == (np.float64, (3 if rows == 4 else 0, 7))
    assert not annos


def test_dont_care_comes_last_wherever_the_file_has_it(root):
    lines = (root / "training" / "label_2" / "000000.txt").read_text().splitlines()
    assert lines[1] == DONT_CARE_LINE
    annos = BaseKittiDataset(root).get_infos(sample_id_list=["000000"])[0]["annos"]
    assert annos["name"].tolist() == ["Car", "Pedestrian", "Cyclist", "DontCare"]
    assert annos["index"].tolist() == [0, 1, 2, -1]
    assert annos["num_points_in_gt"][-1] == -1
    # w, l, h of each box are those of the label in the same row: l, h, w.
    np.testing.assert_array_equal(
        annos["gt_boxes_lidar"][:, 3:6], annos["dimensions"][:3, [2, 0, 1]]
    )


def test_counts_are_those_of_a_plain_count(root):
    dataset = BaseKittiDataset(root)
    for info in dataset.get_infos():
        name, annos = info["point_cloud"]["lidar_idx"], info["annos"]
        calib, points = dataset.get_calib(name), dataset.get_lidar(name)
        rect = calib.lidar_to_rect(points[:, :3])
        seen = points[dataset.get_fov_flag(rect, info["image"]["image_shape"], calib)]
        counts = [points_in_closed_box(seen, box).sum() for box in annos["gt_boxes_lidar"]]
        assert annos["num_points_in_gt"][: len(counts)].tolist() == counts
        assert min(counts, default=150) >= 100


def test_closed_box_holds_its_faces_and_turns_clockwise():
    box = np.array([1.0, 2.0, -1.0, 2.0, 4.0, 1.5, np.pi / 2])
    # A quarter turn lays the length (4) along x.
    points = np.array([[3, 2, -1], [1, 3, 0.5], [1, 2, -1.01], [3.01, 2, 0], [1, 3.01, 0]])
    assert points_in_closed_box(points - [1e-9, 1e-9, 0], box).tolist() == [1, 1, 0, 0, 0]
    box[6] = 0.3  # positive angles turn the box clockwise: its +y side moves to +x
    tip = [[1 + 1.9 * np.sin(0.3), 2 + 1.9 * np.cos(0.3), 0]]
    assert points_in_closed_box(np.array(tip), box).all()


def test_points_behind_the_camera_do_not_count(own_root):
    """A box behind the camera holds points, but the camera sees none of them."""
    label = own_root / "training" / "label_2" / "000000.txt"
    label.write_text("Car 0 0 0 0 0 50 50 1.5 1.6 3.9 0 1.6 -10 0\n")
    dataset = BaseKittiDataset(own_root)
    box = dataset.get_infos(sample_id_list=["000000"])[0]["annos"]["gt_boxes_lidar"][0]
    points = np.zeros((5, 4), np.float32)
    points[:, :3] = box[:3] + np.array([0, 0, 0.5])
    (own_root / "training" / "velodyne" / "000000.bin").write_bytes(points.tobytes())
    annos = dataset.get_infos(sample_id_list=["000000"])[0]["annos"]
    assert annos["num_points_in_gt"].tolist() == [0]


def test_split_without_labels(root):
    infos = BaseKittiDataset(root, "test").get_infos(has_label=False, count_inside_pts=False)
    assert [set(info) for info in infos] == [{"point_cloud", "image", "calib"}] * 2


def test_each_file_of_infos_has_a_record(root, tmp_path):
    create_kitti_infos(root, tmp_path)
    for split, frames in {"train": 4, "val": 2, "trainval": 6, "test": 2}.items():
        path = tmp_path / f"kitti_infos_{split}.pkl"
        record = info_record.read_record(path)
        assert (record["format"], record["frames"]) == (info_record.INFO_FORMAT, frames)
    path.write_bytes(path.read_bytes()[:-1])
    assert info_record.read_record(path) is None


def test_packed_points_are_the_small_files_in_the_order_of_the_dbinfos(root, tmp_path):
    create_kitti_infos(root, tmp_path)
    path = tmp_path / "kitti_dbinfos_train.pkl"
    packed = np.load(packed_points_path(path), mmap_mode="r")
    first = 0
    for name, entries in load_pickle(path).items():
        for entry in entries:
            assert entry["name"] == name
            small = np.fromfile(tmp_path / entry["path"], np.float32).reshape(-1, 4)
            rows = packed[first : first + entry["num_points_in_gt"]]
            np.testing.assert_array_equal(rows, small)
            assert (np.abs(small[:, :2]) <= 2.3).all()
            first += len(rows)
    assert packed.shape == (first, 4)
    assert first > 800


def test_used_classes_are_the_ones_listed(root, tmp_path):
    create_kitti_infos(root, tmp_path)
    dataset = BaseKittiDataset(root)
    dataset.create_groundtruth_database(save_path=tmp_path, used_classes=["Cyclist"])
    path = tmp_path / "kitti_dbinfos_train.pkl"
    dbinfos = load_pickle(path)
    assert list(dbinfos) == ["Cyclist"]
    assert len(np.load(packed_points_path(path))) == sum(
        entry["num_points_in_gt"] for entry in dbinfos["Cyclist"]
    )


def test_database_of_frames_without_objects(root, tmp_path):
    dataset = BaseKittiDataset(root)
    infos = dataset.get_infos(sample_id_list=[EMPTY_FRAME, DONT_CARE_FRAME])
    save_pickle(infos, tmp_path / "kitti_infos_train.pkl")
    dataset.create_groundtruth_database(save_path=tmp_path)
    path = tmp_path / "kitti_dbinfos_train.pkl"
    assert load_pickle(path) == {}
    assert np.load(packed_points_path(path)).shape == (0, 4)


def test_processes_make_the_same_files(root, tmp_path, monkeypatch):
    create_kitti_infos(root, tmp_path / "one", workers=1)
    monkeypatch.setattr(frame_pool, "_LEAST_ITEMS_FOR_A_POOL", 1)
    monkeypatch.setattr(frame_pool, "available_cores", lambda: 2)
    create_kitti_infos(root, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_run_leaves_no_half_file_and_the_next_finishes(
    own_root, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(frame_pool, "_LEAST_ITEMS_FOR_A_POOL", 1)
    monkeypatch.setattr(frame_pool, "available_cores", lambda: 2)
    create_kitti_infos(own_root, tmp_path / "fresh", workers=workers)
    broken = own_root / "training" / "velodyne" / "000003.bin"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-3])
    again = tmp_path / "again"
    with pytest.raises(DataError, match=r"frame 000003: .*000003\.bin: expected a multiple of 16"):
        create_kitti_infos(own_root, again, workers=workers)
    assert not list(again.iterdir())
    broken.write_bytes(whole)
    # As a killed run would leave it behind.
    unfinished = again / ".unfinished_database" / "gt_database"
    unfinished.mkdir(parents=True)
    (unfinished / "000000_Car_9.bin").write_bytes(b"half")
    create_kitti_infos(own_root, again, workers=workers)
    assert contents(tmp_path / "fresh") == contents(again)


def test_two_preparations_at_once_are_told(root, tmp_path):
    """Also after the small files are in their place, when lists are still to be written."""
    folder = tmp_path / "gt_database"
    save_pickle([], tmp_path / "infos.pkl")
    with preparing(folder):
        with unfinished_folder(folder) as unfinished:
            (unfinished / "a.bin").write_bytes(b"mine")
        for second in (
            lambda: create_kitti_infos(root, tmp_path),
            lambda: BaseKittiDataset(root).create_groundtruth_database(
                save_path=tmp_path, info_path=tmp_path / "infos.pkl"
            ),
        ):
            with pytest.raises(DataError, match="another preparation is at work there"):
                second()
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    create_kitti_infos(root, tmp_path)


def test_a_killed_preparation_leaves_no_database_of_older_labels(root, tmp_path, monkeypatch):
    create_kitti_infos(root, tmp_path)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(ground_database, "save_database", killed)
    with pytest.raises(KeyboardInterrupt):
        create_kitti_infos(root, tmp_path)
    assert not (tmp_path / "kitti_dbinfos_train.pkl").exists()


def test_a_database_behind_a_link_is_made_where_it_leads(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "disk").mkdir()
    link = tmp_path / "data" / "gt_database"
    link.symlink_to(tmp_path / "disk" / "objects")  # which is not there yet
    with unfinished_folder(link) as unfinished:
        assert unfinished.parents[1] == tmp_path / "disk"
        (unfinished / "a.bin").write_bytes(b"mine")
    assert (link / "a.bin").read_bytes() == b"mine"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["objects"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_keeps_its_frame(root, monkeypatch, workers):
    monkeypatch.setattr(frame_pool, "_LEAST_ITEMS_FOR_A_POOL", 1)
    monkeypatch.setattr(frame_pool, "available_cores", lambda: 2)
    calls = frame_pool.map_frames(_fail_on_two, [1, 2], ["000001", "000002"], workers, "test")
    with pytest.raises(RuntimeError, match="frame 000002: ZeroDivisionError"):
        list(calls)


def _fail_on_two(value):
    return 1 / (2 - value)


def test_without_planes_the_ground_is_estimated_and_kept(tmp_path, caplog):
    root = make_tiny_kitti(tmp_path / "kitti", planes=False)
    with caplog.at_level("INFO", "pcdet"):
        create_kitti_infos(root, tmp_path / "out")
    assert sum("ground planes are estimated" in message for message in caplog.messages) == 1
    with_planes = BaseKittiDataset(make_tiny_kitti(tmp_path / "with_planes"))
    for info in load_pickle(tmp_path / "out" / "kitti_infos_train.pkl"):
        plane = with_planes.get_road_plane(info["point_cloud"]["lidar_idx"])
        np.testing.assert_allclose(info["road_plane"], plane, atol=0.01)
    assert all("road_plane" not in info for info in with_planes.get_infos())


def test_missing_test_split_is_left_out(own_root, tmp_path):
    (own_root / "ImageSets" / "test.txt").unlink()
    create_kitti_infos(own_root, tmp_path / "out")
    assert not (tmp_path / "out" / "kitti_infos_test.pkl").exists()
    assert (tmp_path / "out" / "kitti_dbinfos_train.pkl").exists()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_listed_frames_that_do_not_exist_are_told_before_the_first_info(own_root, capfd, split):
    with (own_root / "ImageSets" / f"{split}.txt").open("a") as file:
        file.write("abc\nxyz\n")
    told = rf"{split}\.txt: names 2 frames without any file in .*, such as abc: take them out"
    with pytest.raises(DataError, match=told):
        create_kitti_infos(own_root, own_root, workers=1)
    assert "infos of" not in capfd.readouterr().err  # the bar


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("velodyne/000001.bin", b"123", "expected a multiple of 16 bytes .* got 3: .* truncated"),
        ("velodyne/000001.bin", None, "points cannot be read"),
        ("label_2/000001.txt", b"Car 0 0 1 2 3\n", "line 1: expected 15 fields"),
        ("label_2/000001.txt", None, "label cannot be read"),
        ("calib/000001.txt", None, "calibration cannot be read"),
        ("calib/000001.txt", b"P2: 1 2 3\n", "P2: expected a line 'P2: ' with 12 numbers"),
        ("image_2/000001.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged PNG"),
        ("image_2/000001.png", b"JFIF" * 20, "expected a PNG image"),
        ("image_2/000001.png", None, "image cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_its_frame(own_root, path, content, message):
    file = own_root / "training" / path
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(DataError, match=f"frame 000001: .*{path}: {message}"):
        BaseKittiDataset(own_root).get_infos()


def test_a_scan_of_another_form_is_named(own_root):
    scan = own_root / "training" / "velodyne" / "000001.bin"
    scan.rename(scan.with_suffix(".npy"))
    told = r"000001\.bin: missing, found 000001\.npy: KITTI's layout needs \.bin.*pcdet-custom"
    with pytest.raises(DataError, match=f"frame 000001: .*{told}"):
        BaseKittiDataset(own_root).get_infos()


_OBJECT = "{} 0 0 0 600 170 650 200 {} 0 1.6 20 0\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_OBJECT.format("Car", "0 1.6 3.9"), r" \(Car\): expected height, .* > 0, got \[0\.0, "),
        (_OBJECT.format("Van", "1.5 -1 3.9"), r" \(Van\): .* > 0, got \[1\.5, -1\.0, 3\.9\]"),
        (_OBJECT.format("../../x", "1.5 1.6 3.9"), r": expected a class .* got '\.\./\.\./x'"),
        (_OBJECT.format("Bus/Truck", "1.5 1.6 3.9"), ": expected a class .* got 'Bus/Truck'"),
    ],
)
def test_an_object_that_cannot_be_one_is_named(own_root, line, message):
    """Here, and not in the middle of a training or in a file outside the folder."""
    good = _OBJECT.format("Car", "1.5 1.6 3.9")
    label = own_root / "training" / "label_2" / "000001.txt"
    label.write_text(f"{good}{DONT_CARE_LINE}\n{line}")
    with pytest.raises(DataError, match=f"frame 000001: object 1{message}"):
        BaseKittiDataset(own_root).get_infos()


def test_infos_with_an_object_that_cannot_be_one(root, tmp_path):
    dataset, path = BaseKittiDataset(root), tmp_path / "a" / "b" / "kitti_infos_train.pkl"
    elsewhere, flat = dataset.get_infos(), dataset.get_infos()
    elsewhere[1]["annos"]["name"][0] = "../../x"
    flat[1]["annos"]["gt_boxes_lidar"][0, 5] = 0
    for infos, message in (
        (elsewhere, "object 0: expected a class that can name a file"),
        (flat, r"object 0 \(Car\): expected height, width and length > 0"),
    ):
        save_pickle(infos, path)
        with pytest.raises(DataError, match=f"info 1: {message}"):
            dataset.create_groundtruth_database(info_path=path, save_path=path.parent)
    assert not list(tmp_path.rglob("*.bin"))


def test_broken_infos_are_named(root, tmp_path):
    dataset, path = BaseKittiDataset(root), tmp_path / "kitti_infos_train.pkl"
    for content, message in (
        ({"a": 1}, "expected a list of infos, got a dict"),
        ([*dataset.get_infos(), 3], r"info 4: it is a int and no dict"),
        (dataset.get_infos(has_label=False), "info 0: it has no labels"),
    ):
        save_pickle(content, path)
        with pytest.raises(DataError, match=message):
            dataset.create_groundtruth_database(info_path=path, save_path=tmp_path)
