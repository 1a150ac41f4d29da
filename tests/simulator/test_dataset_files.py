"""The data set on disk: KITTI's layout and formats, equal for any number of workers."""

from __future__ import annotations

import filecmp
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_sizes import TEST, TRAIN, VAL

from pcdet.simulator import __main__ as simulator
from pcdet.simulator.__main__ import main
from pcdet.simulator.compare import main as compare
from pcdet.simulator.compare import rings_of
from pcdet.simulator.recording import draw_recording
from pcdet.simulator.writer import FrameJob, write_dataset, write_frame
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import Object3d, get_objects_from_label
from pcdet.utils.point_files import read_points
from tiny_kitti import make_tiny_kitti

FRAMES = [f"{number:06d}" for number in range(TRAIN + VAL)]
FOLDERS = {"velodyne": "bin", "image_2": "png", "calib": "txt", "label_2": "txt", "planes": "txt"}


# By their focal lengths in pixels: KITTI's cameras of two recording days.
IMAGE_SIZES = {721.5377: (1242, 375), 707.0493: (1224, 370)}


def image_size(calib: Calibration) -> tuple[int, int]:
    return IMAGE_SIZES[round(float(calib.P2[0, 0]), 4)]


def files_of(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def test_layout(dataset):
    expected = {
        Path("ImageSets") / f"{split}.txt" for split in ("train", "val", "trainval", "test")
    }
    for folder, suffix in FOLDERS.items():
        expected |= {Path("training") / folder / f"{name}.{suffix}" for name in FRAMES}
    for folder in ("velodyne", "image_2", "calib"):
        names = [f"{number:06d}.{FOLDERS[folder]}" for number in range(TEST)]
        expected |= {Path("testing") / folder / name for name in names}
    assert set(files_of(dataset)) == expected


def test_image_sets(dataset):
    read = {
        split: (dataset / "ImageSets" / f"{split}.txt").read_text().split()
        for split in ("train", "val", "trainval", "test")
    }
    assert read["train"] == FRAMES[:TRAIN]
    assert read["val"] == FRAMES[TRAIN:]
    assert read["trainval"] == FRAMES
    assert read["test"] == [f"{number:06d}" for number in range(TEST)]


def test_two_workers_write_the_same_bytes(dataset, tmp_path):
    write_dataset(tmp_path, TRAIN, VAL, TEST, seed=3, workers=2)
    names = files_of(dataset)
    assert files_of(tmp_path) == names
    _, different, errors = filecmp.cmpfiles(dataset, tmp_path, list(map(str, names)), shallow=False)
    assert different == errors == []


def test_another_seed_is_another_world(dataset, tmp_path):
    write_frame(FrameJob(tmp_path, "training", 0, seed=4))
    name = Path("training") / "velodyne" / "000000.bin"
    assert (tmp_path / name).read_bytes() != (dataset / name).read_bytes()


def test_testing_frames_differ_from_training_frames(dataset):
    first = [(dataset / part / "velodyne" / "000000.bin").read_bytes()
             for part in ("training", "testing")]  # fmt: skip
    assert first[0] != first[1]


@pytest.mark.parametrize("frame", FRAMES)
def test_points_are_as_kitti_stores_them(dataset, frame):
    points = read_points(dataset / "training" / "velodyne" / f"{frame}.bin", 4)
    assert 95_000 < len(points) < 130_000
    assert np.isfinite(points).all()
    distance = np.linalg.norm(points[:, :3], axis=1)
    assert distance.min() > 1.9
    assert distance.max() <= 80.01
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 0.99
    np.testing.assert_allclose(points[:, 3] * 100, np.round(points[:, 3] * 100), atol=1e-4)
    np.testing.assert_allclose(points[:, :3], np.round(points[:, :3], 3), atol=1e-5)
    assert rings_of(points).max() == 63


@pytest.mark.parametrize("frame", FRAMES)
def test_pictures(dataset, frame):
    path = dataset / "training" / "image_2" / f"{frame}.png"
    with Image.open(path) as image:
        calib = Calibration(dataset / "training" / "calib" / f"{frame}.txt")
        assert image.size == image_size(calib)
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 20
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize("frame", FRAMES)
def test_planes_lie_under_the_points_of_the_road(dataset, frame):
    lines = (dataset / "training" / "planes" / f"{frame}.txt").read_text().splitlines()
    assert len(lines) == 4
    plane = np.array(lines[3].split(), dtype=float)
    assert plane[1] < 0
    assert np.linalg.norm(plane[:3]) == pytest.approx(1.0, abs=1e-6)
    calib = Calibration(dataset / "training" / "calib" / f"{frame}.txt")
    points = read_points(dataset / "training" / "velodyne" / f"{frame}.bin", 4)[:, :3]
    lane = points[(np.abs(points[:, 1]) < 1.0) & (points[:, 0] > 5) & (points[:, 0] < 12)]
    height = calib.lidar_to_rect(lane) @ plane[:3] + plane[3]
    assert np.abs(np.median(height)) < 0.2


def test_calibrations_are_kittis(dataset):
    calib = Calibration(dataset / "training" / "calib" / "000000.txt")
    assert calib.P2[0, 0] == pytest.approx(715, abs=10)
    np.testing.assert_allclose(calib.R0 @ calib.R0.T, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(calib.V2C[:, :3] @ calib.V2C[:, :3].T, np.eye(3), atol=1e-4)
    lines = (dataset / "training" / "calib" / "000000.txt").read_text().splitlines()
    names = [line.split(":")[0] for line in lines if line]
    assert names == ["P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"]


def test_calibrations_survive_the_file(tmp_path):
    recording = draw_recording(np.random.default_rng(8))
    path = tmp_path / "calib.txt"
    path.write_text(recording.text())
    calib = Calibration(path)
    np.testing.assert_allclose(calib.P2, recording.projections[2], rtol=1e-6)
    point = np.array([[20.0, 3.0, -1.0]])
    pixel, _ = calib.lidar_to_img(point)
    exact = recording.lidar_to_image @ [20.0, 3.0, -1.0, 1.0]
    np.testing.assert_allclose(pixel[0], exact[:2] / exact[2], atol=0.2)


def labelled(dataset):
    """Each label with the points of its frame in the camera's frame."""
    for frame in FRAMES:
        part = dataset / "training"
        calib = Calibration(part / "calib" / f"{frame}.txt")
        points = read_points(part / "velodyne" / f"{frame}.bin", 4)[:, :3]
        rect = calib.lidar_to_rect(points)
        for label in get_objects_from_label(part / "label_2" / f"{frame}.txt"):
            yield label, rect, calib


def points_on(label: Object3d, points_rect: np.ndarray) -> np.ndarray:
    """Which points (N, 3) of the rectified camera frame lie in a label's box, (N,) bool."""
    offset = points_rect - label.loc
    c, s = np.cos(label.ry), np.sin(label.ry)
    along, across = offset[:, 0] * c - offset[:, 2] * s, offset[:, 0] * s + offset[:, 2] * c
    inside = (np.abs(along) <= label.l / 2) & (np.abs(across) <= label.w / 2)
    return inside & (offset[:, 1] <= 0) & (offset[:, 1] >= -label.h)


def test_labels_are_filled_with_points(dataset):
    count = 0
    for label, rect, _ in labelled(dataset):
        if label.cls_type == "DontCare":
            continue
        count += 1
        assert points_on(label, rect).sum() >= 2, label
    assert count >= 20


def test_few_points_lie_just_outside_the_boxes(dataset):
    inside = outside = 0
    for label, rect, _ in labelled(dataset):
        if label.cls_type not in ("Car", "Cyclist", "Pedestrian") or label.occlusion > 0:
            continue
        wide = label.__class__(**{**vars(label), "l": label.l + 0.4, "w": label.w + 0.4})
        above = rect[:, 1] < label.loc[1] - 0.35
        inner = points_on(label, rect) & above
        inside += inner.sum()
        outside += (points_on(wide, rect) & above & ~inner).sum()
    assert inside > 1000
    assert outside < 0.12 * inside


def test_2d_boxes_hold_the_projected_3d_boxes(dataset):
    for label, _, calib in labelled(dataset):
        if label.cls_type == "DontCare" or label.truncation > 0:
            continue
        c, s = np.cos(label.ry), np.sin(label.ry)
        x = np.array([1, 1, -1, -1] * 2) * label.l / 2
        z = np.array([1, -1, -1, 1] * 2) * label.w / 2
        y = np.array([0] * 4 + [-1] * 4) * label.h
        corners = np.stack([c * x + s * z, y, c * z - s * x], axis=1) + label.loc
        box = calib.corners3d_to_img_boxes(corners[None])[0][0]
        # Half a hundredth of a metre or radian is some pixels close to the camera.
        np.testing.assert_allclose(label.box2d, box, atol=1.5 + 15 / label.loc[2])


def test_labels_have_legal_fields(dataset):
    for label, _, calib in labelled(dataset):
        if label.cls_type == "DontCare":
            continue
        width, height = image_size(calib)
        assert 0 <= label.truncation <= 1
        assert label.occlusion in (0, 1, 2, 3)
        assert abs(label.alpha) <= 3.15
        assert abs(label.ry) <= 3.15
        x1, y1, x2, y2 = label.box2d
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert label.loc[2] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "-1"], "--train"),
        (["--workers", "0"], "--workers"),
        (["--train", "0", "--val", "0", "--test", "0"], "at least one frame"),
        (["--seed", "-3"], "--seed"),
    ],
)
def test_bad_options(tmp_path, capsys, arguments, message):
    assert main(["--out", str(tmp_path / "out"), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["--out", str(tmp_path / "out"), "--train", "1"]) == 1
    assert "expected a folder" in capsys.readouterr().err


def test_no_folder_is_not_the_working_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--out", "", "--train", "1"])
    assert "--out: expected a folder, got ''; write . for this" in capsys.readouterr().err
    assert files_of(tmp_path) == []


def test_the_command_writes_a_frame(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    options = ["--train", "1", "--val", "0", "--test", "0", "--seed", "3", "--workers", "1"]
    assert main(["--out", str(out), *options]) == 0
    assert (out / "training" / "label_2" / "000000.txt").exists()
    listed = {path.name: path.read_text() for path in (out / "ImageSets").iterdir()}
    assert listed == {"train.txt": "000000\n", "trainval.txt": "000000\n"}
    capsys.readouterr()
    monkeypatch.setattr(simulator, "is_kept", lambda function: False)
    (out / "ImageSets" / "train.txt").unlink()  # as if it had been interrupted
    assert main(["--out", str(out), *options]) == 0
    assert (out / "ImageSets" / "train.txt").exists()
    before = {name: (out / name).stat().st_mtime_ns for name in files_of(out)}
    assert main(["--out", str(out), *options, "--seed", "4"]) == 1
    told = capsys.readouterr().err
    assert told.count("compiling for this machine") == 1
    assert '"seed": 4' in told and '"seed": 3' in told and told.endswith("give another folder\n")
    assert {name: (out / name).stat().st_mtime_ns for name in files_of(out)} == before


@pytest.mark.parametrize("name", ["training/label_2/000000.txt", "points/a.npy"])
@pytest.mark.parametrize("own", [[], ["--own_data"]])
def test_frames_of_others_are_left_alone(tmp_path, capsys, name, own):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert main(["--out", str(tmp_path), "--train", "1", *own]) == 1
    assert re.search(rf"holds frames already, in {name[:6]}.* got none", capsys.readouterr().err)
    assert files_of(tmp_path) == [Path(name)]


def test_comparing_draws_a_picture(dataset, tmp_path):
    out = tmp_path / "figure.png"
    folders = ["--real", str(dataset), "--synthetic", str(dataset)]
    assert compare([*folders, "--frame", "000001", "--out", str(out)]) == 0
    with Image.open(out) as image:
        assert image.size[0] > 1400
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [({"--out": "figure.jpg"}, ".png"), ({"--frame": "999999"}, "999999.bin"),
     ({"--real": "nowhere"}, "nowhere")],
)  # fmt: skip
def test_comparing_with_bad_options(dataset, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    options = {"--real": str(dataset), "--synthetic": str(dataset), "--out": "figure.png", **change}
    assert compare([word for pair in options.items() for word in pair]) == 1
    assert message in capsys.readouterr().err


def test_comparing_what_is_no_file_of_points(tmp_path, capsys):
    root, out = make_tiny_kitti(tmp_path / "kitti"), tmp_path / "figure.png"
    scan = root / "training" / "velodyne" / "000000.bin"
    options = ["--real", str(root), "--synthetic", str(root), "--out", str(out)]
    scan.unlink()
    scan.symlink_to("/dev/null")
    assert compare(options) == 1
    assert "000000.bin: points cannot be read: not a regular file" in capsys.readouterr().err
    scan.unlink()
    scan.write_bytes(b"")
    assert compare(options) == 1
    assert "000000.bin: expected points, got an empty file" in capsys.readouterr().err
