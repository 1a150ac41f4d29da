"""Pictures of frames: colours, labels that do not overlap, frames without an image."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageColor

from pcdet.utils import palette, visualize_utils
from pcdet.utils.visualize_utils import draw_bev, draw_on_image
from pcdet.viewer.pictures import draw_frames, save_picture
from tiny_kitti import calibration
from viewer.made_scenes import CLASSES, car, drawn, ground, image

RANGE = (0, -20, -3, 50, 20, 1)
# How colours look without one kind of cone (Viénot, Brettel and Mollon 1999; linear RGB).
SEEN_BY = {
    "protanope": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranope": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    "all cones": np.eye(3),
}


def count(picture, color, within=12):
    return (np.abs(picture.astype(int) - ImageColor.getrgb(color)).max(axis=2) < within).sum()


def test_labels_and_each_class_have_their_colour():
    truth = drawn([car(10, 5)], ["Car"])
    found = drawn([car(20, -5), car(30, 5)], ["Car", "Cyclist"], [0.9, 0.8])
    picture = draw_bev(ground(2000), [truth, found], CLASSES, RANGE, "000000")
    assert picture.shape == (960, 768, 3) and picture.dtype == np.uint8
    colours = (palette.FOUND, palette.CLASSES[0], palette.CLASSES[2])
    assert min(count(picture, colour) for colour in colours) > 20
    assert count(draw_bev(ground(2000), [], CLASSES, RANGE), palette.CLASSES[0]) == 0


def test_a_box_stands_where_its_corners_are():
    found = drawn([car(25, 10)], ["Car"], [0.9])
    picture = draw_bev(np.zeros((0, 4)), [found], CLASSES, RANGE)
    rows, columns = np.nonzero(picture[60:].any(axis=2))  # below the legend
    # 19.2 pixels a metre; y = 10 +- 1.95 is left of the middle, x = 25 +- 0.8 half way up.
    assert columns.min() == pytest.approx(19.2 * (20 - 11.95), abs=3)
    assert rows.max() + 60 == pytest.approx(19.2 * (50 - 24.2), abs=3)


@pytest.mark.parametrize("crowd", [3, 40])
def test_labels_do_not_overlap_and_the_best_scores_have_one(crowd, monkeypatch):
    written = []
    write = visualize_utils._write
    monkeypatch.setattr(
        visualize_utils,
        "_write",
        lambda draw, at, text, *rest: (
            written.append((text, write(draw, at, text, *rest))) or written[-1][1]
        ),
    )
    rng = np.random.default_rng(0)
    boxes = [car(*rng.uniform((18, -4), (26, 4)), rng.uniform(0, 3)) for _ in range(crowd)]
    scores = np.linspace(0.9, 0.3, crowd)
    found = drawn(boxes, ["Car"] * crowd, list(scores))
    for make in (
        lambda: draw_bev(ground(100), [found], CLASSES, RANGE, "title"),
        lambda: draw_on_image(image(), calibration(), [found], CLASSES, "title"),
    ):
        height, width = make().shape[:2]
        for (_, a), (_, b) in itertools.combinations(written, 2):
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        for _, (left, top, right, bottom) in written:
            assert left >= 0 and top >= 0 and right < width and bottom < height
        texts = [text for text, _ in written]
        assert "Car 0.90" in texts and len(texts) >= min(crowd, 8) + 2
        written.clear()


@pytest.mark.parametrize("who", SEEN_BY)
def test_all_eyes_tell_the_colours_apart(who):
    def seen(color):
        linear = (np.array(ImageColor.getrgb(color)) / 255) ** 2.2
        return np.clip(SEEN_BY[who] @ linear, 0, 1) ** (1 / 2.2)

    outcomes = (palette.FOUND, palette.HIT, palette.MISSED, palette.FALSE_POSITIVE)
    for colours in (outcomes, (palette.FOUND, *palette.CLASSES[:3])):
        for a, b in itertools.combinations(colours, 2):
            assert np.linalg.norm(seen(a) - seen(b)) > 0.15, (a, b)


def test_boxes_behind_the_camera_and_far_outside_are_harmless():
    found = drawn([car(-10, 0), car(1, 0), car(1e4, 1e4)], ["Car"] * 3, [0.9, 0.8, 0.7])
    assert draw_on_image(image(), calibration(), [found], CLASSES).shape == (375, 1242, 3)
    assert draw_bev(ground(0), [found], CLASSES, RANGE).shape == (960, 768, 3)


def test_a_frame_without_an_image_gets_the_picture_from_above_alone():
    names = np.array(["Car", "Van", "DontCare"])
    boxes = np.array([car(10, 0), car(20, 0)])
    calib = calibration()
    info = {
        "point_cloud": {"lidar_idx": "000007"},
        "annos": {"name": names, "gt_boxes_lidar": boxes},
    }
    dataset = SimpleNamespace(
        infos=[info],
        class_names=CLASSES,
        get_lidar=lambda name: ground(100),
        camera_view=lambda info: None,
    )
    anno = {"name": np.array(["Car"]), "score": np.array([2.0]), "boxes_lidar": boxes[:1]}
    arguments = (dataset, [anno], [0], RANGE, 0.3, True)
    assert [name for name, _ in draw_frames(*arguments)] == ["000007_bev"]
    dataset.camera_view = lambda info: (image(), calib)
    pictures = dict(draw_frames(*arguments))
    assert list(pictures) == ["000007_bev", "000007_image"]
    assert pictures["000007_image"].shape == (375, 1242, 3)


def test_a_saved_picture_is_read_back(tmp_path):
    save_picture(image(), tmp_path / "new" / "picture.png")
    assert (np.array(Image.open(tmp_path / "new" / "picture.png")) == image()).all()
