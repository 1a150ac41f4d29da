"""What the camera sees, and image sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pcdet.datasets.kitti.camera_view import (
    points_in_view,
    read_image,
    read_png_shape,
    rect_points_in_view,
)
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.calib import Calibration
from tiny_kitti import IMAGE_SHAPE, calibration, png_bytes

# At x metres ahead this camera sees y from -5 to 5 tenths of x and z from -4 to 6 tenths.
SIMPLE = Calibration(
    {
        "P2": np.array([[100, 0, 50, 0], [0, 100, 60, 0], [0, 0, 1, 0]]),
        "R0": np.eye(3),
        "Tr_velo2cam": np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
    }
)


def test_view_by_hand():
    points = np.array(
        [
            [10, 0, 0, 0.5],
            [10, 5, 0, 0.5],  # u = 0: the first column is seen
            [10, -5, 0, 0.5],  # u = 100: one past the last column
            [10, 0, 6, 0.5],  # v = 0
            [10, 0, 6.1, 0.5],
            [10, 0, -4, 0.5],  # v = 100: one past the last row
            [-10, 0, 0, 0.5],  # behind; its pixel would be in the image
            [0, 0, 0, 0.5],
        ],
        dtype=np.float32,
    )
    expected = [True, True, False, True, False, False, False, False]
    assert points_in_view(points, (100, 100), SIMPLE).tolist() == expected
    rect = SIMPLE.lidar_to_rect(points[:, :3])
    assert rect_points_in_view(rect, (100, 100), SIMPLE).tolist() == expected


def test_both_ways_agree():
    rng = np.random.default_rng(3)
    points = rng.uniform((-30, -40, -3, 0), (70, 40, 3, 1), (50_000, 4)).astype(np.float32)
    calib = calibration()
    fast = points_in_view(points, IMAGE_SHAPE, calib)
    plain = rect_points_in_view(calib.lidar_to_rect(points[:, :3]), IMAGE_SHAPE, calib)
    # Rounding may differ by the last bit on a point at the very edge, and nowhere else.
    pixels, _ = calib.lidar_to_img(points[fast != plain, :3])
    edges = np.array([0, 0, IMAGE_SHAPE[1], IMAGE_SHAPE[0]])
    assert (np.abs(np.tile(pixels, 2) - edges).min(axis=1) < 1e-3).all()
    assert 5_000 < fast.sum() < 25_000


@pytest.mark.parametrize("rows", [0, 1])
def test_few_points_of_any_layout(rows):
    points = np.asfortranarray(np.full((rows, 5), 3.0))
    assert points_in_view(points, IMAGE_SHAPE, calibration()).shape == (rows,)


@pytest.mark.parametrize("shape", [(375, 1242), (1, 1), (2, 70000)])
def test_png_shape(tmp_path, shape):
    path = tmp_path / "image.png"
    path.write_bytes(png_bytes(shape))
    read = read_png_shape(path)
    assert read.dtype == np.int32
    assert tuple(read) == shape


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"", "expected a PNG image"),
        (lambda b: b"\xff\xd8" + b, "expected a PNG image"),
        (lambda b: b[:20], "its header"),
        (lambda b: b[:17] + b"\x01" + b[18:], "its header"),  # a bit of the width; CRC catches it
        (lambda b: b[:-12], "truncated PNG"),
    ],
)
def test_damaged_png(tmp_path, damage, message):
    path = tmp_path / "image.png"
    path.write_bytes(damage(png_bytes((20, 30))))
    with pytest.raises(DataError, match=rf"image\.png: .*{message}"):
        read_png_shape(path)


_COLOURS = np.random.default_rng(0).integers(0, 255, (6, 9, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (_COLOURS[..., :3], _COLOURS[..., :3]),
        (_COLOURS, _COLOURS[..., :3]),
        (_COLOURS[..., 0], np.stack([_COLOURS[..., 0]] * 3, axis=-1)),
        (_COLOURS[..., :2], np.stack([_COLOURS[..., 0]] * 3, axis=-1)),
        (_COLOURS[..., 0] * np.uint16(257), np.stack([_COLOURS[..., 0]] * 3, axis=-1)),
    ],
    ids=["colours", "with alpha", "grey", "grey with alpha", "16 bits"],
)
def test_pixels_of_every_kind_of_png(tmp_path, written, expected):
    path = tmp_path / "000000.png"
    Image.fromarray(written).save(path)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 9, 3)
    np.testing.assert_array_equal(pixels, expected)
