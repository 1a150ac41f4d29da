"""The check of a folder: what is told, and the page."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from pcdet.cli import custom
from pcdet.datasets.custom.folder import CustomFolder
from pcdet.datasets.custom.infos import dbinfos_path
from pcdet.datasets.custom.label_file import objects_from_rows
from pcdet.datasets.ground_database import preparing
from pcdet.own_data import prepare
from pcdet.own_data.check import check_folder
from pcdet.own_data.columns import find_columns
from pcdet.own_data.object_views import draw_object, object_frame
from pcdet.own_data.prepare import read_folder
from pcdet.own_data.sheet import write_sheet
from pcdet.utils import file_checks
from pcdet.utils.errors import ConfigError, DataError
from scan_files import made_scan, write_pcd
from tiny_custom import SIZES, make_tiny_custom, points_in


def test_a_sound_folder_has_a_table_and_no_warning(tmp_path):
    make_tiny_custom(tmp_path)
    for name in ("points/._0000.npy", "labels/._0000.txt"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7 of macOS")
    checked = check_folder(tmp_path)
    assert (checked.warnings, checked.errors) == ([], [])
    assert "x, y, z, intensity (from 0000.npy)" in checked.table
    car, lift = checked.table.splitlines()[-2:]
    assert car.split()[:3] == ["Car", "10", "0"] and lift.split()[:3] == ["Forklift", "10", "0"]


def test_prepare_says_what_it_warned_of_and_refuses_names_alike(tmp_path, capfd):
    """Warnings do not stop it; two classes that AP cannot tell apart do, before it writes."""
    root = make_tiny_custom(tmp_path)
    for label in (root / "labels").glob("*.txt"):
        rows = [line.split() for line in label.read_text().splitlines()]
        lifted = [[*row[:2], str(float(row[2]) + 2), *row[3:]] for row in rows]
        label.write_text("".join(" ".join(row) + "\n" for row in lifted))
    custom.main(["prepare", str(root), "--model", "pointpillar", "--workers", "1"])
    assert "2 warnings above: look at them" in capfd.readouterr().err
    assert (root / "pointpillar_custom.yaml").is_file()
    change(root, "0000", "Car", "car")
    (root / "custom_infos_train.pkl").unlink()
    with pytest.raises(ConfigError, match="differ in capitals alone: rename one in the labels"):
        custom.main(["prepare", str(root), "--classes", "Car", "car", "--workers", "1"])
    assert not (root / "custom_infos_train.pkl").exists()


def test_lists_are_drawn_of_frames_that_can_be_used(tmp_path):
    root = make_tiny_custom(tmp_path)
    (root / "labels" / "0005.txt").touch()
    with pytest.raises(DataError, match="frame 0005: expected one file"):
        read_folder(root, workers=1)
    (root / "labels" / "0005.txt").unlink()
    prepared = read_folder(root, workers=1)
    assert len(prepared.labelled) == 5 and prepared.warnings == []


def test_a_killed_preparation_leaves_no_database_of_older_labels(tmp_path, monkeypatch):
    root = make_tiny_custom(tmp_path)
    prepare.write_infos(read_folder(root, workers=1), workers=1)
    assert dbinfos_path(root).is_file()

    def killed(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "create_database", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare.write_infos(read_folder(root, workers=1), workers=1)
    assert not dbinfos_path(root).exists()


def test_a_folder_that_cannot_be_written_is_told_before_it_is_read(tmp_path, monkeypatch):
    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_checks.tempfile, "TemporaryFile", refused)
    told = r"infos cannot be written there \(Permission denied\): copy it, or prepare a folder with"
    with pytest.raises(DataError, match=told):
        read_folder(tmp_path, workers=1)


def test_a_second_preparation_changes_nothing(tmp_path):
    root = make_tiny_custom(tmp_path)
    prepare.write_infos(read_folder(root, workers=1), workers=1)
    change(root, "0000", "Car", "Van")
    before = {path: path.read_bytes() for path in root.glob("custom_*")}
    second = read_folder(root, workers=1)
    with preparing(root / "gt_database"), pytest.raises(DataError, match="another preparation is"):
        prepare.write_infos(second, workers=1)
    assert {path: path.read_bytes() for path in root.glob("custom_*")} == before


def test_frames_labelled_after_the_lists_are_told(tmp_path):
    read_folder(make_tiny_custom(tmp_path), workers=1)
    root = make_tiny_custom(tmp_path, frames=7)
    told = "2 labelled frames are in no list of ImageSets, as 0005: add them, or remove"
    for found in (check_folder(root), read_folder(root, workers=1)):
        (warning,) = found.warnings
        assert warning.startswith(told)
    (root / "ImageSets" / "test.txt").write_text("0005\n0006\n")
    assert check_folder(root).warnings == []


def test_points_without_intensity_get_a_network_of_three_inputs(tmp_path):
    root = make_tiny_custom(tmp_path)
    for path in (root / "points").iterdir():
        np.save(path, np.load(path)[:, :3])
    custom.main(["prepare", str(root), "--size", "small", "--workers", "1"])
    config = yaml.safe_load((root / "second_custom.yaml").read_text())
    assert config["DATA_CONFIG"]["NUM_POINT_FEATURES"] == {"total": 3, "use": 3}
    assert config["MODEL"]["VFE"]["ARGS"]["input_scales"] == [0.07, 0.125, 2.0]


@pytest.mark.parametrize(
    ("columns", "use", "comment"),
    [
        ("ring, Reflectivity", 5, "from dataset.yaml"),
        ("ring, time", 3, "x, y, z alone, as no column"),
    ],
)
def test_the_intensity_is_found_by_its_name(tmp_path, columns, use, comment):
    root = make_tiny_custom(tmp_path)
    (root / "dataset.yaml").write_text(f"POINT_COLUMNS: [x, y, z, {columns}]\n")
    for path in (root / "points").iterdir():
        points = np.load(path)
        np.save(path, np.insert(points, 3, np.arange(len(points)) % 32, axis=1))
    assert check_folder(root).warnings == []  # rings above 1 are no intensities
    custom.main(["prepare", str(root), "--size", "small", "--workers", "1"])
    text = (root / "second_custom.yaml").read_text()
    assert yaml.safe_load(text)["DATA_CONFIG"]["NUM_POINT_FEATURES"] == {"total": 5, "use": use}
    assert comment in text


def change(root, frame, old, new):
    path = root / "labels" / f"{frame}.txt"
    path.write_text(path.read_text().replace(old, new))


def test_a_blank_in_the_name_of_a_frame_is_refused(tmp_path):
    root = make_tiny_custom(tmp_path)
    (root / "labels" / "0000.txt").rename(root / "labels" / "frame 0.txt")
    for command in ("check", "prepare"):
        with pytest.raises(DataError, match="labels: expected names of frames without blanks"):
            custom.main([command, str(root), "--workers", "1"])


def test_all_broken_files_are_named_at_once(tmp_path):
    root = make_tiny_custom(tmp_path)
    change(root, "0001", "Car", "A Car")
    (root / "points" / "0003.npy").write_bytes(b"\x93NUMPY broken")
    checked = check_folder(root)
    assert len(checked.infos) == 3 and len(checked.errors) == 2
    assert "0001.txt:1" in checked.errors[0] and "0003.npy" in checked.errors[1]
    with pytest.raises(DataError, match="2 frames cannot be used"):
        custom.main(["check", str(root), "--frames", "1", "--workers", "1"])
    assert (root / "check.html").is_file()


@pytest.mark.parametrize(
    "mistake",
    ["partners", "capitals", "lists", "degrees", "shifted", "elsewhere", "turned", "mirrored"],
)
def test_mistakes_are_told(tmp_path, mistake):
    root = make_tiny_custom(tmp_path, frames=6)
    rows = [np.loadtxt(path, usecols=range(7)) for path in sorted((root / "labels").glob("*"))]
    if mistake == "partners":
        (root / "labels" / "0002.txt").unlink()
        expected = "1 of 6 frames in points/ have no file in labels/ and are not used, as 0002"
    elif mistake == "capitals":
        change(root, "0002", "Car", "car")
        expected = "classes Car and car differ in capitals alone"
    elif mistake == "lists":
        (root / "ImageSets").mkdir()
        (root / "ImageSets" / "train.txt").write_text("0000\n0001\n0009\n")
        (root / "ImageSets" / "val.txt").write_text("0001\n")
        expected = "1 of its frames have no labels, as 0009"
        (root / "ImageSets" / "test.txt").write_text("0002\n0008\n")
        warnings = check_folder(root).warnings
        assert "1 frames are in train.txt and in val.txt, as 0001" in warnings
        assert any("1 of its frames have not one scan in points/, as 0008" in w for w in warnings)
        (root / "ImageSets" / "test.txt").write_text("")
        (root / "ImageSets" / "val.txt").write_text("0003\n0004\n0003\n")
        broken = " ".join(check_folder(root).warnings)
        assert "val.txt:3: frame 0003 is named a second time" in broken
        assert "test.txt: expected one frame name a line, the file is empty" in broken
    else:
        for k, of_frame in enumerate(rows):
            if mistake == "degrees":
                of_frame[:, 6] = np.degrees(of_frame[:, 6])
                expected = "must be radians, not degrees"
            elif mistake == "shifted":
                of_frame[:, 2] += 1.7
                expected = "above the ground that the points show"
            elif mistake == "turned":
                of_frame[:, 6] += np.pi / 2
                expected = "turned by 90 degrees: are headings measured from another axis"
            elif mistake == "mirrored":
                of_frame[:, 6] *= -1
                expected = "with headings of the other sign: headings must turn from x towards y"
            else:
                of_frame[:, 0] += 40
                expected = "objects of Car hold no point"
            names = ["Car", "Forklift"] * 2
            lines = [" ".join(map(str, r)) + f" {n}\n" for r, n in zip(of_frame, names)]
            (root / "labels" / f"{k:04d}.txt").write_text("".join(lines))
    assert any(expected in line for line in check_folder(root).warnings), mistake


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version https://git-lfs.github.com/spec/v1\n", r"0001\.txt: a Git LFS pointer"),
        (
            "Car 0 0 0 1 1 2 2 1.5 1.6 4 1 2 10 0\n",
            "it looks like KITTI's labels",
        ),
        ("5 1 1 4 2 1 0 Car 0.8731\n", "got 9: the last one looks like a score, as results have"),
        ("5 1 1 4 2 1 0 Fork lift\n", "got 9; a class must not hold a blank"),
        ("5 1 1 4 2 1 0 Fork\\lift\n", "class: expected a name without blanks, slashes or colons"),
        ("5,1,1,4,2,1,0,Car\n", "put blanks between them"),
        ("5 1 1 4000 2000 1500 0 Car\n", r"got 4000: sizes and places must be in metres"),
        ("5 1 1 -4 2 1 0 Car\n", "dx: expected a size above 0 and up to 200 m, got -4$"),
    ],
)
def test_labels_of_other_kinds_are_told(tmp_path, text, told):
    root = make_tiny_custom(tmp_path, frames=2)
    (root / "labels" / "0001.txt").write_text(text)
    with pytest.raises(DataError, match=told):
        CustomFolder(root).read_objects("0001")


def test_the_page_holds_pictures_of_frames_and_objects(tmp_path):
    checked = check_folder(make_tiny_custom(tmp_path))
    write_sheet(checked, tmp_path / "check.html", num_frames=2)
    page = (tmp_path / "check.html").read_text()
    # Two frames, histograms, and six objects with most and four with fewest points of both classes.
    assert page.count("<img") == 2 + 1 + 2 * 10
    assert "http" not in page.replace("http-equiv", "")


def test_a_folder_without_objects_has_a_page_of_words(tmp_path):
    root = make_tiny_custom(tmp_path, frames=2)
    for path in (root / "labels").iterdir():
        path.write_text("")
    checked = check_folder(root)
    (warning,) = checked.warnings
    assert warning.startswith("none of 2 frames has a labelled object, as frame 0000: are the")
    write_sheet(checked, tmp_path / "page.html", num_frames=2)
    assert "<img" not in (tmp_path / "page.html").read_text()


def test_points_are_seen_as_the_object_has_them():
    """An object at (10, 0) that looks along +y: what is at greater y is in front of it."""
    box = objects_from_rows(np.array([[10, 0, 0, 4, 2, 1.5, np.pi / 2]]), ["Car"]).boxes[0]
    points = np.array([[10, 1.5, 0.0, 0], [9, 0, 0.75, 0]])
    np.testing.assert_allclose(object_frame(points, box), [[1.5, 0, 0.75], [0, 1, 1.5]], atol=1e-9)


def test_views_show_points_in_the_box_brighter_than_those_around():
    row = np.array([8.0, 3.0, -1.0, *SIZES["Car"], 0.4])
    box = objects_from_rows(row[None], ["Car"]).boxes[0]
    inside = points_in(row, np.random.default_rng(0))
    white = [
        (draw_object(points, box, "")[30:] == 255).all(axis=-1).sum()
        for points in (inside, inside + np.array([0, 0, 1.6, 0], np.float32))
    ]
    assert white[0] > 200 and white[1] == 0


@pytest.mark.parametrize(("columns", "expected"), [(3, "xyz"), (4, "xyz+"), (5, "xyz+1")])
def test_columns_are_found_in_the_scans(tmp_path, columns, expected):
    (tmp_path / "points").mkdir()
    rng = np.random.default_rng(0)
    points = np.column_stack((rng.uniform(-30, 30, (500, 2)), rng.uniform(-2, 1, 500)))
    more = np.column_stack((rng.uniform(0, 1, 500), rng.integers(0, 32, 500)))
    np.save(tmp_path / "points" / "0.npy", np.column_stack((points, more))[:, :columns])
    names, where = find_columns(tmp_path)
    assert len(names) == len(expected) and names[:3] == ("x", "y", "z") and where == "0.npy"
    (tmp_path / "dataset.yaml").write_text("POINT_COLUMNS: [x, y, z, ring]\n")
    assert find_columns(tmp_path) == (("x", "y", "z", "ring"), "dataset.yaml")


def test_an_empty_scan_does_not_decide_on_columns(tmp_path):
    root = make_tiny_custom(tmp_path, frames=3)
    np.save(root / "points" / "0000.npy", np.zeros((0, 3), np.float32))
    assert find_columns(root) == (("x", "y", "z", "intensity"), "0001.npy")
    (error,) = check_folder(root).errors
    assert "0000.npy" in error and "by 0001.npy: if they are others, name them in" in error
    for path in (root / "points").iterdir():
        np.save(path, np.zeros((0, 4), np.float32))
    assert find_columns(root)[1] == "0000.npy"


def test_columns_of_named_fields(tmp_path):
    (tmp_path / "points").mkdir()
    scan = tmp_path / "points" / "0.pcd"
    write_pcd(scan, made_scan()[:, [3, 0, 1, 2]], "binary", "ring x y z")
    assert find_columns(tmp_path) == (("x", "y", "z"), "the fields ring x y z of 0.pcd")
    write_pcd(scan, made_scan()[:, [3, 0, 1, 2]], "binary", "reflectivity x y z")
    columns, _ = find_columns(tmp_path)
    assert columns == ("x", "y", "z", "intensity")
    np.testing.assert_array_equal(CustomFolder(tmp_path, columns).read_points("0"), made_scan())


def test_scans_that_are_none_are_told(tmp_path):
    (tmp_path / "points").mkdir()
    with pytest.raises(DataError, match="expected scans in it"):
        find_columns(tmp_path)
    (tmp_path / "points" / "0.npy").write_bytes(b"text")
    with pytest.raises(DataError, match=r"0\.npy: no array of numbers"):
        find_columns(tmp_path)
    np.save(tmp_path / "points" / "0.npy", np.zeros((99, 2)))
    with pytest.raises(DataError, match=r"0\.npy.*name its columns in .*dataset\.yaml"):
        find_columns(tmp_path)


def test_a_folder_must_be_there(tmp_path):
    with pytest.raises(DataError, match="expected one with points/ and labels/"):
        custom.main(["check", str(tmp_path / "nothing")])
    (tmp_path / "points").mkdir()
    np.save(tmp_path / "points" / "0.npy", np.random.default_rng(0).uniform(-9, 9, (99, 4)))
    with pytest.raises(DataError, match="expected a label file"):
        custom.main(["check", str(tmp_path)])
