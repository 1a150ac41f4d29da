"""Importers, on files made by hand after what each program writes."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from own_data.made_labels import CAR, LIFT, assert_car_and_lift, imported, scan, write
from pcdet.datasets.custom.folder import CustomFolder, stated_columns
from pcdet.own_data.importers import FORMATS, import_folder
from pcdet.own_data.importers.common import ImportedFrame
from pcdet.own_data.importers.scans import Scans, name_frames
from pcdet.utils.errors import ConfigError, DataError

CALIB = """R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3
"""


def centroid(turn):
    """LabelCloud's JSON; `turn` makes an angle of a heading."""
    objects = [
        {
            "name": name,
            "centroid": dict(zip("xyz", row[:3])),
            "dimensions": dict(zip(("length", "width", "height"), row[3:6])),
            "rotations": {"x": 0.0, "y": 0.0, "z": turn(row[6])},
        }
        for name, row in (("Car", CAR), ("Fork lift", LIFT))
    ]
    return {"folder": "pointclouds", "filename": "000000.bin", "path": "", "objects": objects}


@pytest.fixture
def cloud(tmp_path):
    """A labelCloud folder with one scan."""
    scan(tmp_path / "src" / "pointclouds" / "000000.bin")
    return tmp_path / "src"


@pytest.mark.parametrize("named", [True, False])
def test_labelcloud_in_radians(cloud, tmp_path, named):
    write(cloud / "labels" / "000000.json", centroid(lambda a: a))
    name = "centroid_rel" if named else "labelcloud"
    assert_car_and_lift(imported(name, cloud, tmp_path / "out"))


@pytest.mark.parametrize("named", [True, False])
def test_labelcloud_in_degrees(cloud, tmp_path, named):
    write(cloud / "labels" / "000000.json", centroid(lambda a: np.degrees(a) % 360))
    name = "centroid_abs" if named else "labelcloud"
    assert_car_and_lift(imported(name, cloud, tmp_path / "out"))


def test_labelcloud_says_its_format_in_the_list_of_classes(cloud, tmp_path):
    """An angle of 0.5 may be degrees."""
    content = centroid(lambda a: 0.5)
    write(cloud / "labels" / "000000.json", content)
    with pytest.raises(DataError, match="may be radians or degrees: give the format"):
        import_folder("labelcloud", cloud, tmp_path / "out")
    write(cloud / "labels" / "_classes.json", {"classes": [], "format": "centroid_abs"})
    _, rows = imported("labelcloud", cloud, tmp_path / "out")
    np.testing.assert_allclose(rows[:, 6], np.radians(0.5), atol=1e-4)
    write(cloud / "labels" / "_classes.json", {"classes": [], "format": "voc"})
    with pytest.raises(DataError, match=r"_classes\.json: format: expected one of"):
        import_folder("labelcloud", cloud, tmp_path / "other")


def test_labelcloud_refuses_degrees_as_radians(cloud, tmp_path):
    write(cloud / "labels" / "000000.json", centroid(lambda a: np.degrees(a) % 360))
    with pytest.raises(DataError, match=r"000000\.json: object 0: rotations: expected radians"):
        import_folder("centroid_rel", cloud, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def corners(row):
    """LabelCloud's order: the bottom from the rear right by the rear left, then the top."""
    x, y, z, dx, dy, dz, heading = row
    own = [
        [a * dx / 2, b * dy / 2, c * dz / 2]
        for c in (-1, 1)
        for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))
    ]
    cos, sin = np.cos(heading), np.sin(heading)
    return [[x + a * cos - b * sin, y + a * sin + b * cos, z + c] for a, b, c in own]


def test_labelcloud_vertices(cloud, tmp_path):
    objects = [
        {"name": name, "vertices": corners(row)}
        for name, row in (("Car", CAR), ("Fork lift", LIFT))
    ]
    write(cloud / "labels" / "000000.json", {"objects": objects})
    assert_car_and_lift(imported("labelcloud", cloud, tmp_path / "out"))
    objects[1]["vertices"] = objects[1]["vertices"][:7]
    write(cloud / "labels" / "000000.json", {"objects": objects})
    with pytest.raises(DataError, match=r"000000\.json: object 1: vertices: expected eight points"):
        import_folder("vertices", cloud, tmp_path / "other")


def in_camera(row):
    """The bottom's middle in the camera of CALIB."""
    return -row[1] + 0.1, -(row[2] - row[5] / 2) - 0.2, row[0] - 0.3


def line(name, row, location, angle):
    height, width, length = row[5], row[4], row[3]
    fields = [name, 0, 0, 0, 0, 0, 0, 0, height, width, length, *location, angle]
    return " ".join(map(str, fields)) + "\n"


def test_labelcloud_kitti_untransformed(cloud, tmp_path):
    text = line("Car", CAR, CAR[:3], CAR[6]) + line("Forklift", LIFT, LIFT[:3], LIFT[6])
    write(cloud / "labels" / "000000.txt", text)
    write(cloud / "README.txt", "no labels")
    result = imported("labelcloud", cloud, tmp_path / "out")
    assert_car_and_lift(result, ("Car", "Forklift"))
    write(cloud / "labels" / "000001.txt", text)
    with pytest.raises(DataError, match=r"labels/000001\.txt: no scan 000001"):
        import_folder("labelcloud", cloud, tmp_path / "other")


def test_labelcloud_kitti_has_the_opposite_heading_of_kittis(cloud, tmp_path):
    """Its rotation_y is pi / 2 - heading; KITTI's own is -pi / 2 - heading."""
    text = "".join(
        line(name, row, in_camera(row), np.pi / 2 - row[6])
        for name, row in (("Car", CAR), ("Forklift", LIFT))
    )
    write(cloud / "labels" / "000000.txt", "DontCare 0 0 0 1 1 2 2 -1 -1 -1 0 0 0 0\n" + text)
    with pytest.raises(DataError, match=r"no calib/000000\.txt, which the format kitti needs"):
        import_folder("labelcloud_kitti", cloud, tmp_path / "out")
    write(cloud / "calib" / "000000.txt", CALIB)
    result = imported("labelcloud", cloud, tmp_path / "out")
    assert_car_and_lift(result, ("Car", "Forklift"))


@pytest.mark.parametrize("name", ["kitti", "kitti_untransformed"])
def test_labelcloud_0_7_had_its_own_kitti(cloud, tmp_path, name):
    """Its settings hold the format; see the source of its KittiFormat."""
    text = ""
    for label, row in (("Car", CAR), ("Fork_lift", LIFT)):
        x, y, z, *sizes, heading = row
        place = (-y, z + 2.3, x) if name == "kitti" else (x, y, z)
        sizes = sizes[::-1] if name == "kitti" else sizes
        angle = np.pi / 2 - heading if name == "kitti" else heading
        text += f"{label} 0 0 0 0 0 0 0 {' '.join(map(str, (*sizes, *place, angle)))}\n"
    write(cloud / "labels" / "000000.txt", text)
    write(cloud / "config.ini", f"[LABEL]\nlabel_format = {name}\n")
    assert_car_and_lift(imported("labelcloud", cloud, tmp_path / "out"))


def test_boxes_that_lean_are_refused_unless_a_slope_does_it(cloud, tmp_path):
    content = centroid(lambda a: a)
    content["objects"][0]["rotations"]["x"] = -0.06
    write(cloud / "labels" / "000000.json", content)
    assert_car_and_lift(imported("centroid_rel", cloud, tmp_path / "out"))
    content["objects"][1]["rotations"]["y"] = 0.7
    write(cloud / "labels" / "000000.json", content)
    with pytest.raises(DataError, match=r"object 1 \(Fork lift\): it leans by 40 degrees"):
        import_folder("centroid_rel", cloud, tmp_path / "other")


def psr(name, row, lean=0.0):
    return {
        "obj_type": name,
        "obj_id": "1",
        "psr": {
            "position": dict(zip("xyz", row[:3])),
            "scale": dict(zip("xyz", row[3:6])),
            "rotation": {"x": lean, "y": 0.0, "z": row[6] + 2 * np.pi},
        },
    }


@pytest.mark.parametrize("wrap", [lambda objects: objects, lambda objects: {"objs": objects}])
def test_sustechpoints(tmp_path, wrap):
    scan(tmp_path / "src" / "scene" / "lidar" / "000000.bin")
    objects = [psr("Car", CAR, lean=-0.05), psr("Forklift", LIFT)]
    write(tmp_path / "src" / "scene" / "label" / "000000.json", wrap(objects))
    result = imported("sustechpoints", tmp_path / "src", tmp_path / "out")
    assert_car_and_lift(result, ("Car", "Forklift"))


def test_sustechpoints_scenes_keep_apart(tmp_path):
    for scene in ("a", "b"):
        scan(tmp_path / "src" / scene / "lidar" / "000000.bin")
        write(tmp_path / "src" / scene / "label" / "000000.json", [psr("Car", CAR)])
    assert import_folder("sustechpoints", tmp_path / "src", tmp_path / "out") == {"Car": 2}
    assert CustomFolder(tmp_path / "out").labelled_frames() == ["a_000000", "b_000000"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"obj_type": "Car"}], r"000000.json: object 0: expected the keys \['obj_type', 'psr'\]"),
        ({"boxes": []}, r"expected the keys \['objs'\], got \['boxes'\]"),
        ("[1,", "not valid JSON"),
        ([psr("Car", [*CAR[:3], 0, *CAR[4:]])], r"object 0 \(Car\): dx: expected a size above 0"),
        ([psr("Car", [None, *CAR[1:]])], r"object 0: expected numbers, got \[None, 4.0, -0.5\]"),
        ([psr("Car", CAR, lean=float("nan"))], r"object 0: expected numbers, got \[nan"),
        ([psr("Car", [*CAR[:3], -4, *CAR[4:]])], "dx: expected a size above 0"),
        ([psr(None, CAR)], "class: expected a name"),
        ([psr(" ", CAR)], "class: expected a name"),
        ([psr("Car", [*CAR[:6], 90.0])], r"object 0: expected a rotation in radians, got .*96\.2"),
        ([psr("DontCare", CAR)], "class: DontCare is KITTI's name of what is no object"),
        ([psr("items", CAR)], "class: 'items' cannot be a key of the yaml"),
        ([psr("a/b", CAR)], "class: expected a name without blanks, slashes or colons"),
    ],
)
def test_entries_that_cannot_be_mapped_are_named(tmp_path, content, message):
    scan(tmp_path / "src" / "lidar" / "000000.bin")
    write(tmp_path / "src" / "label" / "000000.json", content)
    with pytest.raises(DataError, match=message):
        import_folder("sustechpoints", tmp_path / "src", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_and_no_scan_is_lost(tmp_path):
    source = tmp_path / "src"
    for name in ("a b", "a_b"):
        scan(source / "lidar" / f"{name}.bin")
        write(source / "label" / f"{name}.json", [psr("Car", CAR)])
    with pytest.raises(DataError, match=r"would be named a_b, as that of .*a b\.bin: rename"):
        import_folder("sustechpoints", source, tmp_path / "out")
    (source / "label" / "a b.json").unlink()
    write(tmp_path / "out" / "points" / "a_b.bin", "mine")
    with pytest.raises(DataError, match=r"points/a_b\.bin: exists already"):
        import_folder("sustechpoints", source, tmp_path / "out")
    assert (tmp_path / "out" / "points" / "a_b.bin").read_text() == "mine"


def test_scans_that_lie_where_they_belong_stay_there(tmp_path):
    source = tmp_path / "src"
    scan(source / "points" / "a.bin")
    before = (source / "points" / "a.bin").read_bytes()
    write(source / "label" / "a.json", [psr("Car", CAR)])
    import_folder("sustechpoints", source, source, source / "points")
    assert (source / "points" / "a.bin").read_bytes() == before
    assert CustomFolder(source).labelled_frames() == ["a"]


def test_kitti_without_images(tmp_path):
    root = tmp_path / "src" / "training"
    scan(root / "velodyne" / "000000.bin")
    write(root / "calib" / "000000.txt", "P2: 1 0 0 0 0 1 0 0 0 0 1 0\n" + CALIB)
    text = "".join(
        line(name, row, in_camera(row), -np.pi / 2 - row[6])
        for name, row in (("Car", CAR), ("Forklift", LIFT))
    )
    write(root / "label_2" / "000000.txt", text)
    write(root / "label_2" / "._000000.txt", "macOS")
    result = imported("kitti", tmp_path / "src", tmp_path / "out")
    assert_car_and_lift(result, ("Car", "Forklift"))
    with pytest.raises(DataError, match=r"label_2/ may be KITTI's or labelCloud's: give the form"):
        import_folder("labelcloud", tmp_path / "src", tmp_path / "again")
    # The fields of a .ply have names of their own.
    (root / "velodyne" / "000000.bin").rename(root / "velodyne" / "000000.ply")
    import_folder("kitti", tmp_path / "src", tmp_path / "again")
    assert stated_columns(tmp_path / "out") and stated_columns(tmp_path / "again") is None
    for name, width, told in (
        ("Car", 0, r"object 2 \(Car\): .* > 0, got .*000000\.txt: line 3"),
        ("Car", 400, r"000000\.txt: object 2 \(Car\): dy: expected a size"),
        ("Car:x", 2, r"000000\.txt: object 2 \(Car:x\): class: expected"),
    ):
        wrong = line(name, [*CAR[:4], width, *CAR[5:]], in_camera(CAR), 0)
        write(root / "label_2" / "000000.txt", text + wrong)
        with pytest.raises(DataError, match=told):
            import_folder("kitti", tmp_path / "src", tmp_path / "not")
    assert not (tmp_path / "not").exists()


def quaternion(angle):
    return [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]


def test_nuscenes(tmp_path):
    """The vehicle stands at (100, 200) and looks along +y; the LiDAR is turned by -90 degrees."""
    source, tables = tmp_path / "src", tmp_path / "src" / "v1.0-mini"
    name = "samples/LIDAR_TOP/n008__LIDAR_TOP__1.pcd.bin"
    (source / "samples" / "LIDAR_TOP").mkdir(parents=True)
    np.zeros((300, 5), np.float32).tofile(source / name)
    write(tables / "category.json", [{"token": "c", "name": "vehicle.car"}])
    write(tables / "instance.json", [{"token": "i", "category_token": "c"}])
    write(tables / "sensor.json", [{"token": "s", "channel": "LIDAR_TOP"}])
    sensor = {"token": "cs", "sensor_token": "s", "rotation": quaternion(-np.pi / 2)}
    write(tables / "calibrated_sensor.json", [{**sensor, "translation": [1.0, 0, 1.8]}])
    pose = {"token": "p", "translation": [100.0, 200, 0], "rotation": quaternion(np.pi / 2)}
    write(tables / "ego_pose.json", [pose])
    record = {"token": "d", "sample_token": "a", "ego_pose_token": "p", "filename": name}
    record |= {"calibrated_sensor_token": "cs", "is_key_frame": True}
    sweep = {**record, "token": "e", "is_key_frame": False, "filename": "missing"}
    write(tables / "sample_data.json", [record, sweep])
    box = {"token": "b", "sample_token": "a", "instance_token": "i", "size": [2.0, 4.0, 1.5]}
    # 10 m ahead of the vehicle, 3 m to its left, and looking where the vehicle looks.
    box |= {"translation": [97.0, 210.0, 0.75], "rotation": quaternion(np.pi / 2)}
    write(tables / "sample_annotation.json", [box])
    names, rows = imported("nuscenes", source, tmp_path / "out", "n008__LIDAR_TOP__1")
    assert names == ["vehicle.car"]
    # The LiDAR's y points ahead and its x to the right.
    np.testing.assert_allclose(rows, [[-3, 9, -1.05, 4, 2, 1.5, np.pi / 2]], atol=1e-3)
    assert stated_columns(tmp_path / "out") == ("x", "y", "z", "intensity", "ring")
    write(tables / "instance.json", [])
    with pytest.raises(DataError, match=r"sample_annotation\.json: object 0: unknown instance"):
        import_folder("nuscenes", source, tmp_path / "other")


def without(record, key):
    return {name: value for name, value in record.items() if name != key}


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("sample_data", lambda row: without(row, "filename"), "row d: expected the keys"),
        ("sample_annotation", lambda row: row | {"rotation": [1, 0, 0]}, "expected 4 numbers"),
        ("sample_annotation", lambda row: row | {"rotation": [0] * 4}, "expected a quaternion"),
        ("sample_annotation", lambda row: row | {"size": "4"}, "size: expected a list"),
        ("ego_pose", lambda row: without(row, "rotation"), r"row p: expected the keys"),
    ],
)
def test_nuscenes_tables_that_lack_something_are_named(tmp_path, table, change, message):
    test_nuscenes(tmp_path)
    tables = tmp_path / "src" / "v1.0-mini"
    write(tables / "instance.json", [{"token": "i", "category_token": "c"}])
    path = tables / f"{table}.json"
    write(path, [change(json.loads(path.read_text())[0])])
    with pytest.raises(DataError, match=message):
        import_folder("nuscenes", tmp_path / "src", tmp_path / "other")


def test_other_lidars_of_sustechpoints_do_not_count(tmp_path):
    scene = tmp_path / "src" / "scene"
    for folder in ("lidar", "aux_lidar/front", "radar/front_points"):
        scan(scene / folder / "000000.bin")
    write(scene / "label" / "000000.json", [psr("Car", CAR), psr("Fork lift", LIFT)])
    assert_car_and_lift(imported("sustechpoints", tmp_path / "src", tmp_path / "out"))


def test_what_lies_beside_labelcloud_s_labels_does_not_count(cloud, tmp_path):
    """A BOM, settings, another JSON file, clouds as they were before they were turned."""
    scan(cloud / "pointclouds" / "originals" / "000000.bin")
    scan(cloud / "__MACOSX" / "pointclouds" / "._000000.bin")
    write(cloud / "labels" / "schema" / "label_definition.json", {"cart": 0})
    write(cloud / "config.ini", "[LABEL]\n; format\nlabel_format = centroid_abs\n")
    write(cloud / "labels" / "000000.txt", "an older format")
    text = json.dumps(centroid(lambda a: np.degrees(a) % 360))
    write(cloud / "labels" / "000000.json", "\ufeff" + text)
    assert_car_and_lift(imported("labelcloud", cloud, tmp_path / "out"))
    write(cloud / "config.ini", "[FILE]\nlabel_folder = labels/\n")
    with pytest.raises(DataError, match=r"labels as \.json and as \.txt: give the format"):
        import_folder("labelcloud", cloud, tmp_path / "other")


def test_a_frame_that_two_people_have_labelled_is_told(cloud, tmp_path):
    for person in ("a", "b"):
        write(cloud / "labels" / person / "000000.json", centroid(lambda a: a))
    told = r"b/000000\.json: frame 000000 is labelled in .*a/000000\.json, too: keep one of them"
    with pytest.raises(DataError, match=told):
        import_folder("centroid_rel", cloud, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_thousands_of_scans_of_one_name_are_told_apart_at_once(tmp_path):
    """As of a program that writes a folder for each frame; pairs of them had taken minutes."""
    names = [f"{k:06d}" for k in range(2000)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "cloud.pcd").touch()
    start, scans = time.perf_counter(), Scans(tmp_path)
    found = [scans.find(f"{name}/cloud.pcd", tmp_path) for name in names]
    frames = [ImportedFrame("cloud", path.with_suffix(".json"), path, None) for path in found]
    assert [frame.name for frame in name_frames(frames)] == [f"{name}_cloud" for name in names]
    assert time.perf_counter() - start < 20


def test_labels_without_a_scan_and_scans_of_one_name_are_told(cloud, tmp_path):
    write(cloud / "labels" / "000001.json", centroid(lambda a: a))
    with pytest.raises(DataError, match=r"000001\.json: no scan 000001 .* by --points"):
        import_folder("centroid_rel", cloud, tmp_path / "out")
    (cloud / "labels" / "000001.json").unlink()
    write(cloud / "labels" / "000000.json", centroid(lambda a: a))
    scan(cloud / "more" / "000000.npy")
    with pytest.raises(DataError, match="have the same name; give the folder by --points"):
        import_folder("centroid_rel", cloud, tmp_path / "out")


def test_folders_are_looked_at_first(cloud, tmp_path):
    write(cloud / "labels" / "000000.json", centroid(lambda a: a))
    with pytest.raises(DataError, match="no such folder"):
        import_folder("labelcloud", tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ConfigError, match="FORMAT"):
        import_folder("waymo", cloud, tmp_path / "out")
    with pytest.raises(DataError, match="no labels of the format cvat were found"):
        import_folder("cvat", cloud, tmp_path / "out")
    import_folder("labelcloud", cloud, tmp_path / "out")
    with pytest.raises(DataError, match="holds labels already"):
        import_folder("labelcloud", cloud, tmp_path / "out")
    assert len(FORMATS) == 14
