"""Importers of CVAT's exports and Supervisely's, on files made by hand after what these write."""

from __future__ import annotations

import numpy as np
import pytest

from own_data.made_labels import CAR, LIFT, assert_car_and_lift, imported, scan, write
from pcdet.datasets.custom.folder import CustomFolder
from pcdet.own_data.importers import import_folder
from pcdet.utils.errors import DataError


def cuboid(label, row, kind="cuboid_3d"):
    rotation = [0.0, 0.0, row[6]]
    return {
        "id": 0,
        "type": kind,
        "attributes": {"occluded": False},
        "group": 0,
        "label_id": label,
        "position": row[:3],
        "rotation": rotation,
        "scale": row[3:6],
    }


def datumaro(annotations, name="000000"):
    labels = [{"name": n, "parent": "", "attributes": []} for n in ("Forklift", "Car")]
    item = {"id": name, "annotations": annotations, "attr": {"frame": 0}}
    return {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}


@pytest.mark.parametrize("item", ["000000", "velodyne/000000"])
def test_cvat(tmp_path, item):
    scan(tmp_path / "src" / "point_clouds" / "default" / "000000.bin")
    content = datumaro([cuboid(1, CAR), cuboid(0, LIFT)], item)
    write(tmp_path / "src" / "annotations" / "default.json", content)
    write(tmp_path / "src" / "annotations" / "._default.json", "macOS")
    result = imported("cvat", tmp_path / "src", tmp_path / "out")
    assert_car_and_lift(result, ("Car", "Forklift"))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (cuboid(1, CAR, "bbox"), "item 000000: object 0: expected a cuboid_3d, got 'bbox'"),
        (cuboid(2, CAR), "expected a label_id below 2, got 2"),
        ({"type": "cuboid_3d"}, "expected the keys"),
        (7, "got None"),
    ],
)
def test_cvat_entries_that_cannot_be_mapped_are_named(tmp_path, annotation, message):
    scan(tmp_path / "src" / "000000.bin")
    write(tmp_path / "src" / "annotations" / "default.json", datumaro([annotation]))
    with pytest.raises(DataError, match=message):
        import_folder("cvat", tmp_path / "src", tmp_path / "out")


TRACKLET = """<item><objectType>{}</objectType><h>{}</h><w>{}</w><l>{}</l>
<first_frame>{}</first_frame><poses class_id="2"><count>{}</count><item_version>2</item_version>{}
</poses><finished>1</finished></item>"""


def tracklet(name, row, first, truncations):
    values = zip(("tx", "ty", "tz", "rx", "ry", "rz"), (*row[:3], 0.0, 0.0, row[6]))
    tags = "".join(f"<{key}>{value}</{key}>" for key, value in values)
    poses = "".join(f"<item>{tags}<truncation>{t}</truncation></item>" for t in truncations)
    # As Datumaro writes them: w, h, l are the extents along x, y, z.
    return TRACKLET.format(name, row[4], row[3], row[5], first, len(truncations), poses)


def write_tracklets(folder, *tracklets):
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><!DOCTYPE boost_serialization>'
    body = f"<count>{len(tracklets)}</count><item_version>1</item_version>{''.join(tracklets)}"
    text = f"{head}<boost_serialization><tracklets>{body}</tracklets></boost_serialization>"
    write(folder / "tracklet_labels.xml", text)


def test_cvat_kitti_raw(tmp_path):
    """The lift is outside of the image in frame 1; frame 2 is empty."""
    source = tmp_path / "src"
    for name in ("a.1", "b", "c"):
        scan(source / "velodyne_points" / "data" / f"{name}.bin")
    write(source / "frame_list.txt", "0 a.1\n1 velodyne_points/data/b\n2 c\n")
    write_tracklets(source, tracklet("Car", CAR, 0, [0, 1]), tracklet("Fork lift", LIFT, 0, [0, 2]))
    assert_car_and_lift(imported("cvat", source, tmp_path / "out", "a.1"))
    folder = CustomFolder(tmp_path / "out")
    assert folder.labelled_frames() == ["a.1", "b", "c"]
    assert [len(folder.read_objects(name)) for name in ("b", "c")] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tracklet("Car", CAR, 3, [0]), r"frame 3: no scan 0000000003"),
        (tracklet("", CAR, 0, [0]), r"tracklet_labels.xml: object 0 \(\): class: expected a name"),
        (tracklet("Car", CAR, "x", [0]), "tracklet 0: first_frame: expected a number, got 'x'"),
        (tracklet("Car", CAR, 0, ["visible"]), "frame 0: truncation: expected a number, got 'visi"),
        ("<item>", "not valid XML"),
    ],
)
def test_cvat_tracklets_that_cannot_be_mapped_are_named(tmp_path, text, message):
    scan(tmp_path / "src" / "velodyne_points" / "data" / "0000000000.bin")
    write_tracklets(tmp_path / "src", text)
    with pytest.raises(DataError, match=message):
        import_folder("cvat", tmp_path / "src", tmp_path / "out")


def figure(key, row, swap):
    """Supervisely's boxes look along y where their yaw is 0, CVAT's along x."""
    size = [row[4], row[3], row[5]] if swap else row[3:6]
    turn = row[6] - np.pi / 2 if swap else row[6]
    geometry = {
        "position": dict(zip("xyz", row[:3])),
        "dimensions": dict(zip("xyz", size)),
        "rotation": {"x": 0, "y": 0, "z": turn},
    }
    return {"key": "f", "objectKey": key, "geometryType": "cuboid_3d", "geometry": geometry}


@pytest.mark.parametrize("name", ["supervisely", "cvat"])
def test_supervisely_and_cvats_export_of_it(tmp_path, name):
    source = tmp_path / "src"
    scan(source / "ds0" / "pointcloud" / "000000.bin")
    scan(source / "ds0" / "related_images" / "000000.bin")
    objects = [{"key": "a", "classTitle": "Car"}, {"key": "b", "classTitle": "Fork lift"}]
    figures = [figure(k, row, name == "supervisely") for k, row in (("a", CAR), ("b", LIFT))]
    labels = source / "ds0" / "ann" / "000000.bin.json"
    write(source / "meta.json", {"classes": []})
    write(labels, {"tags": [], "objects": objects, "figures": figures})
    assert_car_and_lift(imported(name, source, tmp_path / "out"))
    figures[1]["objectKey"] = "c"
    write(labels, {"objects": objects, "figures": figures})
    with pytest.raises(DataError, match=r"000000\.bin\.json: figure 1: .*of one of the 2 objects"):
        import_folder(name, source, tmp_path / "other")
