"""What the page holds, read back as its JavaScript does."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib

import numpy as np
import pytest

from pcdet.utils.errors import DataError
from pcdet.viewer import packing
from pcdet.viewer.page import library_source, write_page
from pcdet.viewer.results import newest_result, title_of_result
from pcdet.viewer.scene import Pane, Scene
from pcdet.viewer.sources import evenly_spread
from tiny_kitti import calibration
from viewer.made_scenes import CLASSES, IMAGE_SHAPE, car, drawn, ground, image, two_scenes


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def block(page: str, name: str) -> str:
    return re.search(f'<script type="application/octet-stream" id="{name}">(.*?)</script>', page)[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "view.html"
    size = write_page(two_scenes(), CLASSES, path, "<a> & b")
    assert size == path.stat().st_size
    return path.read_text(encoding="utf-8")


def test_points_come_back_within_half_a_step():
    points = ground(1000)
    data = unpacked(packing.pack_points(points))
    steps = np.frombuffer(data[: 6 * 1000], "<i2").reshape(3, 1000).T
    assert np.abs(steps * packing.STEP - points[:, :3]).max() <= packing.STEP / 2 + 1e-6
    intensity = np.frombuffer(data[6 * 1000 :], np.uint8) / 255
    assert np.abs(intensity - points[:, 3]).max() <= 0.5 / 255 + 1e-6


def test_points_beyond_the_reach_of_16_bits_are_left_out():
    """Clipped, they would stand as a wall at 163 m."""
    points = np.zeros((7, 4), np.float32)
    points[:6, :3] = np.repeat([[200.0], [-170.0]], 3, axis=0) * np.tile(np.eye(3), (2, 1))
    points[6] = 163, -163, 5, 1
    data = unpacked(packing.pack_points(points))
    assert np.frombuffer(data[:6], "<i2").tolist() == [32600, -32600, 1000]
    assert data[6:] == b"\xff"


def test_the_largest_intensity_is_white():
    points = ground(4)
    points[:, 3] = 0, 51, 255, np.float32(102)
    assert unpacked(packing.pack_points(points))[24:] == bytes([0, 51, 255, 102])


def test_points_without_intensity_and_no_points():
    assert len(unpacked(packing.pack_points(ground(10)[:, :3]))) == 70
    assert unpacked(packing.pack_points(np.zeros((0, 4), np.float32))) == b""


def test_boxes_tell_points_distance_overlap_and_partner(page):
    index = json.loads(unpacked(block(page, "index")))
    boxes = index["scenes"][0]["panes"][0]["boxes"]
    assert [box["truth"] for box in boxes] == [True] * 3 + [False] * 3
    assert [box["known"] for box in boxes] == [True, True, False, True, True, True]
    first, hit = boxes[0], boxes[3]
    assert first["distance"] == 12.0 and first["size"] == [3.9, 1.6, 1.5]
    assert hit["score"] == 0.9 and hit["partner"] == {"strict": 0, "loose": 0}
    assert hit["iou"] == pytest.approx((3.9 - 0.1) / (3.9 + 0.1), abs=1e-3) == first["iou"]
    assert boxes[5]["partner"]["loose"] == -1 and boxes[5]["iou"] == 0
    corners = np.reshape(first["corners"], (8, 3))
    assert corners.mean(axis=0) == pytest.approx([12, 0, -1.7 + 0.75])
    points = two_scenes()[0].panes[0].points
    inside = (np.abs(points[:, 0] - 12) < 0.8) & (np.abs(points[:, 1]) < 1.95)
    assert first["points"] == (inside & (points[:, 2] >= -1.7)).sum() > 0


def test_the_camera_stands_where_the_calibration_says():
    calib = calibration()
    camera = packing.describe_camera(Scene("0", [], image(), calib))
    projection = np.reshape(camera["projection"], (3, 4))
    points = ground(500).astype(np.float64)
    points = points[np.abs(points[:, 1]) < points[:, 0] / 2]  # in front of the camera
    projected = calib.cart_to_hom(points[:, :3]) @ projection.T
    # `rect_to_img` divides by a depth that is 3 mm less.
    assert projected[:, :2] / projected[:, 2:] == pytest.approx(
        calib.lidar_to_img(points[:, :3])[0], abs=1.5
    )
    assert projection @ [*camera["position"], 1] == pytest.approx(np.zeros(3), abs=1e-2)
    u, v, depth = projection @ [*camera["target"], 1]
    assert [u / depth, v / depth] == pytest.approx(
        [IMAGE_SHAPE[1] / 2, IMAGE_SHAPE[0] / 2], abs=0.1
    )
    assert np.dot(camera["up"], [0, 0, 1]) > 0.99
    assert packing.describe_camera(Scene("0", [], None, calib)) is None


def test_panes_share_a_cloud_and_training_panes_do_not():
    points, other = ground(10), ground(20)
    nothing = drawn([], [])
    shared = Scene("0", [Pane("a", points, nothing), Pane("b", points, nothing)])
    assert [len(cloud) for cloud in packing.clouds_of(shared)] == [10]
    apart = Scene("0", [Pane("a", points, nothing), Pane("b", other, nothing)])
    panes = packing.describe_scene(apart, CLASSES)["panes"]
    assert [pane["cloud"] for pane in panes] == [0, 1]


def test_the_page_holds_all_and_names_no_other_place(page):
    assert html.escape("<a> & b") in page and "<a> & b" not in page
    own = re.sub(r'<script type="application/octet-stream".*?</script>', "", page)
    assert not re.search(r"(src|href)=|https?:|url\(|import\(|fetch\(", own)
    assert unpacked(block(page, "library")) == library_source()
    assert b"url(fonts/" not in library_source()
    assert block(page, "image-1").startswith("data:image/jpeg;base64,")
    assert len(unpacked(block(page, "points-1-0"))) == 7 * 6000


def test_twenty_frames_stay_below_15_megabytes(tmp_path):
    scenes = (
        Scene(f"{k:06d}", [Pane("", ground(20000, k), drawn([car(12, 0)], ["Car"]))], image(k))
        for k in range(20)
    )
    assert write_page(scenes, CLASSES, tmp_path / "view.html", "20 frames") < 15e6


def test_no_frame_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"view\.html: no frame to show"):
        write_page([], CLASSES, tmp_path / "view.html", "nothing")
    assert not list(tmp_path.iterdir())


def test_frames_are_spread_from_first_to_last():
    assert evenly_spread(3, 101) == [0, 50, 100]
    assert evenly_spread(5, 2) == [0, 1]


def test_the_newest_result_of_a_run_is_found_and_named(tmp_path):
    assert newest_result(tmp_path, "val") is None
    run = tmp_path / "second" / "tag"
    for name in ("epoch_2/val", "epoch_10/val", "epoch_12/train"):
        path = run / "eval" / name / "default" / "result.pkl"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    newest = newest_result(run, "val")
    assert newest is not None and title_of_result(newest) == "second/tag, epoch 10"
    assert newest_result(run, "val", weights="epoch_2").parts[-4] == "epoch_2"
    assert newest_result(run, "val", eval_tag="default") == newest
    assert newest_result(run, "val", weights="epoch_12") is None
    assert newest_result(run, "val", weights="epoch_1*") is None
    assert newest_result(run, "val", eval_tag="another") is None
    released = run / "eval" / "second_7862" / "val" / "default" / "result.pkl"
    assert title_of_result(released) == "second/tag, second_7862"
    assert title_of_result(tmp_path / "elsewhere" / "result.pkl") == "elsewhere"
