"""Importers of OpenLABEL, Segments.ai and Xtreme1; names of frames; what the wrong format says."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from own_data.made_labels import CAR, LIFT, assert_car_and_lift, imported, scan, write
from pcdet.datasets.custom.folder import CustomFolder
from pcdet.own_data.importers import FORMATS, import_folder
from pcdet.own_data.importers.common import Rows, turned
from pcdet.utils.errors import DataError, PcdetError

PAIR = (("Car", CAR), ("Fork lift", LIFT))


def xyz(values):
    return dict(zip("xyz", values))


def quaternion(angle):
    """X, y, z, w of a turn around z."""
    return [0.0, 0.0, float(np.sin(angle / 2)), float(np.cos(angle / 2))]


def xtreme1(name, row, kind="3D_BOX"):
    contour = {"pointN": 12, "points": [], "size3D": xyz(row[3:6]), "center3D": xyz(row[:3])}
    contour["rotation3D"] = {"x": 0, "y": 0, "z": row[6]}
    return {"id": "1", "type": kind, "className": name, "trackId": "a", "contour": contour}


def test_xtreme1(tmp_path):
    """Data beside results; a box of an image; what a model found beside the truth."""
    source = tmp_path / "src"
    scan(source / "lidar_point_cloud_0" / "000000.bin")
    write(source / "data" / "000000.json", {"name": "000000", "pointCloud": {"url": "x"}})
    image = {"type": "2D_BOX", "className": "Car", "contour": {"points": []}}
    truth = {"sourceName": "Ground Truth", "objects": [*(xtreme1(*pair) for pair in PAIR), image]}
    model = {"sourceName": "CenterPoint", "objects": [xtreme1("Car", LIFT)]}
    write(source / "result" / "000000.json", [truth, model])
    assert_car_and_lift(imported("xtreme1", source, tmp_path / "out"))
    truth["objects"][0]["type"] = "3D_SEGMENTATION"
    write(source / "result" / "000000.json", [truth])
    with pytest.raises(DataError, match=r"000000\.json: object 0: expected a 3D_BOX, got '3D_SEG"):
        import_folder("xtreme1", source, tmp_path / "other")


def openlabel(rows, **of_frame):
    objects = {
        str(k): {"object_data": {"type": name, "cuboid": {"name": "shape3D", "val": values}}}
        for k, (name, values) in enumerate(rows)
    }
    return {"objects": objects, **of_frame}


def test_openlabel(tmp_path):
    """A frame named by its file with quaternions, and one that names its scan, with angles."""
    source = tmp_path / "src"
    for name in ("000000", "b"):
        scan(source / "points" / f"{name}.bin")
    rows = [(name, [*row[:3], *quaternion(row[6]), *row[3:6]]) for name, row in PAIR]
    write(source / "labels" / "000000.json", {"openlabel": {"frames": {"7": openlabel(rows)}}})
    angles = [(None, [*row[:3], 0, 0, row[6], *row[3:6]]) for _, row in PAIR]
    other = openlabel(angles, frame_properties={"point_cloud_file_names": ["b.pcd"]})
    for entry in other["objects"].values():
        entry["object_data"]["cuboid"] = [entry["object_data"]["cuboid"]]
    classes = {"0": {"type": "Car"}, "1": {"type": "Fork lift"}}
    content = {"openlabel": {"frames": {"0": other}, "objects": classes}}
    write(source / "labels" / "any.json", content)
    assert_car_and_lift(imported("openlabel", source, tmp_path / "out"))
    objects = CustomFolder(tmp_path / "out").read_objects("b")
    first = CustomFolder(tmp_path / "out").read_objects("000000")
    np.testing.assert_allclose(objects.boxes, first.boxes, atol=1e-3)
    assert objects.names.tolist() == ["Car", "Fork_lift"]
    systems = {"top": {"type": "sensor_cs"}, "car": {"type": "local_cs"}}
    for entry in other["objects"].values():
        entry["object_data"]["cuboid"][0]["coordinate_system"] = "top"
    content = {"openlabel": {**content["openlabel"], "coordinate_systems": systems}}
    write(source / "labels" / "any.json", content)
    imported("openlabel", source, tmp_path / "same")
    systems["top"], systems["car"] = systems["car"], systems["top"]
    write(source / "labels" / "any.json", content)
    with pytest.raises(
        DataError, match=r"cuboid: expected a box in the frame of the sensor.*'top'"
    ):
        import_folder("openlabel", source, tmp_path / "other")
    rows[1][1][3:7] = [0, 0, 0, 0]
    write(source / "labels" / "000000.json", {"openlabel": {"frames": {"7": openlabel(rows)}}})
    with pytest.raises(DataError, match="frame 7: object 1: rotation: expected a quaternion"):
        import_folder("openlabel", source, tmp_path / "other")


def cuboid(category, row):
    return {
        "category_id": category,
        "type": "cuboid",
        "position": xyz(row[:3]),
        "dimensions": xyz(row[3:6]),
        "yaw": row[6],
    }


def release(samples):
    categories = [{"name": "Car", "id": 1}, {"name": "Fork lift", "id": 2}]
    data = {"name": "a", "task_type": "pointcloud-cuboid", "samples": samples}
    return {"name": "v1", "dataset": {**data, "task_attributes": {"categories": categories}}}


def sample(attributes, labels):
    label = None if labels is None else {"label_status": "LABELED", "attributes": labels}
    return {"name": "s", "attributes": attributes, "labels": {"ground-truth": label}}


def test_segments_frames_and_sequences(tmp_path):
    """The vehicle of the sequence stands at (100, 200) and looks along y of the world."""
    source = tmp_path / "src"
    for name in ("000000", "b c"):
        scan(source / "points" / f"{name}.bin")
    boxes = {"annotations": [cuboid(1, CAR), cuboid(2, LIFT)]}
    single = sample({"pcd": {"url": "https://host/d/000000.bin?key=1"}}, boxes)
    in_world = [[100 - r[1], 200 + r[0], *r[2:6], r[6] + np.pi / 2] for r in (CAR, LIFT)]
    pose = {"position": xyz([100, 200, 0])}
    pose["heading"] = dict(zip(("qx", "qy", "qz", "qw"), quaternion(np.pi / 2)))
    cloud = {"pcd": {"url": "https://host/b%20c.bin"}, "ego_pose": pose}
    frames = [{"annotations": [cuboid(1, in_world[0]), cuboid(2, in_world[1])]}]
    lidar = {"task_type": "pointcloud-cuboid-sequence"}
    sequence = sample(
        {"sensors": [{**lidar, "attributes": {"frames": [cloud]}}]},
        {"sensors": [{**lidar, "attributes": {"frames": frames}}]},
    )
    unlabelled = sample({"pcd": {"url": "none.bin"}}, None)
    write(source / "a-v1.json", release([single, sequence, unlabelled]))
    assert_car_and_lift(imported("segments", source, tmp_path / "out"))
    assert_car_and_lift(imported("segments", source, tmp_path / "again", "b_c"))
    sequence["labels"]["ground-truth"]["attributes"]["sensors"][0]["attributes"]["frames"] = []
    write(source / "a-v1.json", release([sequence]))
    with pytest.raises(DataError, match="sample s: 1 frames, and labels of 0"):
        import_folder("segments", source, tmp_path / "other")
    write(source / "a-v1.json", release([sample({"pcd": {"url": "a.bin"}}, [1])]))
    with pytest.raises(DataError, match=r"attributes: expected a mapping, got \[1\]"):
        import_folder("segments", source, tmp_path / "other")
    boxes["annotations"][1]["category_id"] = 3
    write(source / "a-v1.json", release([single]))
    with pytest.raises(DataError, match=r"sample s: object 1: .*one of the 2 categories, got .* 3"):
        import_folder("segments", source, tmp_path / "other")


def psr(row):
    """A label of early SUSTechPOINTS: along y, with vertices of which the front's come first."""
    x, y, z, length, width, height, heading = row
    turn = turned(0, 0, heading)
    corners = [
        [*(turn @ [ahead * length / 2, side * width / 2, up * height / 2] + [x, y, z]), 1.0]
        for ahead in (1, -1)
        for side, up in ((1, -1), (-1, -1), (-1, 1), (1, 1))
    ]
    return {
        "obj_type": "Car" if row is CAR else "Fork lift",
        "vertices": np.ravel(corners).tolist(),
        "psr": {
            "position": xyz([x, y, z]),
            "scale": xyz([width, length, height]),
            "rotation": {"x": 0, "y": 0, "z": heading - np.pi / 2},
        },
    }


@pytest.mark.parametrize("converted", [False, True])
def test_sustechpoints_of_early_versions(tmp_path, converted):
    """Labels that the program's own script has converted kept the vertices."""
    scan(tmp_path / "src" / "scene" / "pcd" / "000000.bin")
    objects = [psr(CAR), psr(LIFT)]
    for row, entry in zip((CAR, LIFT), objects) if converted else ():
        entry["psr"]["scale"] = xyz(row[3:6])
        entry["psr"]["rotation"]["z"] = row[6]
    write(tmp_path / "src" / "scene" / "label" / "000000.json", objects)
    assert_car_and_lift(imported("sustechpoints", tmp_path / "src", tmp_path / "out"))


def test_a_box_on_its_head_looks_where_its_length_leads(tmp_path):
    rows = Rows(tmp_path)
    rows.add(0, "Car", CAR[:3], CAR[3:6], turned(np.pi, 0, -CAR[6]))
    upright = Rows(tmp_path)
    upright.add(0, "Car", CAR[:3], CAR[3:6], turned(0, 0, CAR[6]))
    np.testing.assert_allclose(rows.objects().boxes, upright.objects().boxes, atol=1e-9)
    with pytest.raises(DataError, match=r"object 0 \(Car\): it leans by 17 degrees"):
        rows.add(0, "Car", CAR[:3], CAR[3:6], turned(0.3, 0, 1))


def datumaro(ids, annotations=()):
    labels = [{"name": "Car"}, {"name": "Fork lift"}]
    items = [{"id": name, "annotations": list(annotations)} for name in ids]
    return {"info": {}, "categories": {"label": {"labels": labels}}, "items": items}


def test_scans_of_one_name_keep_apart_by_their_folders(tmp_path):
    source = tmp_path / "src"
    for drive in ("drive 1", "drive 2"):
        scan(source / "point_clouds" / "default" / drive / "000000.bin")
    write(source / "annotations" / "default.json", datumaro(["drive 1/000000", "drive 2\\000000"]))
    import_folder("cvat", source, tmp_path / "out")
    folder = CustomFolder(tmp_path / "out")
    assert folder.labelled_frames() == ["drive_1_000000", "drive_2_000000"]
    write(source / "annotations" / "default.json", datumaro(["000000"]))
    with pytest.raises(DataError, match=r"000000\.bin have the same name; give the folder by"):
        import_folder("cvat", source, tmp_path / "other")


def test_what_a_track_of_cvat_has_left_does_not_count(tmp_path):
    scan(tmp_path / "src" / "000000.bin")
    parts = {"position": CAR[:3], "rotation": [0, 0, CAR[6]], "scale": CAR[3:6]}
    inside = {"type": "cuboid_3d", "label_id": 0, "attributes": {"outside": False}, **parts}
    outside = {**inside, "attributes": {"outside": True, "track_id": 0}}
    content = datumaro(["000000"], [inside, outside])
    write(tmp_path / "src" / "annotations" / "default.json", content)
    assert import_folder("cvat", tmp_path / "src", tmp_path / "out") == {"Car": 1}


def figure(row):
    geometry = {"position": xyz(row[:3]), "dimensions": xyz([row[4], row[3], row[5]])}
    geometry["rotation"] = {"x": 0, "y": 0, "z": row[6] - np.pi / 2}
    kind = "cuboid_3d"
    return {"objectKey": "Car" if row is CAR else "b", "geometryType": kind, "geometry": geometry}


OBJECTS = [{"key": "Car", "classTitle": "Car"}, {"key": "b", "classTitle": "Fork lift"}]


def test_supervisely_episodes(tmp_path):
    folder = tmp_path / "src" / "ds0"
    scan(folder / "pointcloud" / "000000.bin")
    frames = [{"index": 3, "figures": [figure(CAR), figure(LIFT)]}]
    write(folder / "annotation.json", {"objects": OBJECTS, "frames": frames, "framesCount": 9})
    write(folder / "frame_pointcloud_map.json", {"3": "000000.bin"})
    assert_car_and_lift(imported("supervisely", tmp_path / "src", tmp_path / "out"))
    write(folder / "frame_pointcloud_map.json", {"0": "000000.bin"})
    with pytest.raises(DataError, match=r"frame_pointcloud_map\.json: expected the keys \['3'\]"):
        import_folder("supervisely", tmp_path / "src", tmp_path / "other")


def test_the_wrong_format_and_archives_are_told(tmp_path):
    """CVAT's files of Supervisely's format have another meaning, and a mark by which they show."""
    source = tmp_path / "src"
    scan(source / "ds0" / "pointcloud" / "000000.bin")
    objects = [{**entry, "objects": [], "figures": []} for entry in OBJECTS]
    content = {"objects": objects, "figures": [figure(CAR)]}
    write(source / "ds0" / "ann" / "000000.bin.json", content)
    with pytest.raises(DataError, match=r"CVAT wrote this, .*; it looks like cvat$"):
        import_folder("supervisely", source, tmp_path / "out")
    with pytest.raises(DataError, match=r"no labels of the format sustechpoints.*looks like cvat$"):
        import_folder("sustechpoints", source, tmp_path / "out")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.zip: no such folder; unpack the archive"):
        import_folder("cvat", tmp_path / "a.zip", tmp_path / "out")


def places(value, path=()):
    """The paths of all values within a JSON value."""
    yield path
    keys = value if isinstance(value, dict) else ()
    keys = range(len(value)) if isinstance(value, list) else keys
    for key in keys:
        yield from places(value[key], (*path, key))


def changed(value, path, new):
    """A copy of a JSON value in which `new` stands at a path."""
    if not path:
        return new
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


def contents():
    row = [*CAR[:3], *quaternion(CAR[6]), *CAR[3:6]]
    objects = {"objects": OBJECTS, "figures": [figure(CAR)]}
    return {
        "openlabel": {"openlabel": {"frames": {"0": openlabel([("Car", row)])}}},
        "segments": release([sample({"pcd": {"url": "0.bin"}}, {"annotations": [cuboid(1, CAR)]})]),
        "supervisely": objects,
        "xtreme1": [{"sourceName": "Ground Truth", "objects": [xtreme1("Car", CAR)]}],
    }


@pytest.mark.parametrize("name", sorted(contents()))
def test_whatever_stands_in_an_entry_is_read_or_told(tmp_path, name):
    scan(tmp_path / "0.bin")
    path, content = tmp_path / "ann" / "0.json", contents()[name]
    told = 0
    for place in places(content):
        for new in (None, [], {}, "x", -1, [[1]], float("inf")):
            write(path, changed(content, place, new))
            try:
                list(FORMATS[name](tmp_path, tmp_path))
            except PcdetError:
                told += 1
    assert told > 50
