"""Calibration against numbers of PCDet v0.1, by hand, and with broken files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pcdet.utils.box_utils import boxes3d_camera_to_imageboxes, boxes3d_lidar_to_camera
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.calib import Calibration

# Camera 0.1 m behind and 0.2 m below the LiDAR, focal length 100, centre (50, 40).
SIMPLE = {
    "P2": np.array([[100, 0, 50, 0], [0, 100, 40, 0], [0, 0, 1, 0.5]]),
    "R0": np.eye(3),
    "Tr_velo2cam": np.array([[0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0.1]]),
}
LINES = {
    "P2": "P2: 100 0 50 0 0 100 40 0 0 0 1 0.5",
    "R0_rect": "R0_rect: 1 0 0 0 1 0 0 0 1",
    "Tr_velo_to_cam": "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.2 1 0 0 0.1",
}


def write(tmp_path, **changed):
    lines = {**LINES, **changed}
    path = tmp_path / "000007.txt"
    path.write_text("\n".join(line for line in lines.values() if line is not None) + "\n\n")
    return path


@pytest.mark.parametrize("sign", [[1, -1, 1], [-1, -1, -1]])
def test_a_mirror_is_no_calibration(sign):
    mirrored = {**SIMPLE, "Tr_velo2cam": SIMPLE["Tr_velo2cam"] * np.array([*sign, 1])}
    with pytest.raises(DataError, match="expected rotations, whose determinant is 1, got -1"):
        Calibration(mirrored)


def test_points_by_hand():
    calib = Calibration(SIMPLE)
    rect = calib.lidar_to_rect(np.array([[9.9, 2.0, 0.8]], dtype=np.float32))
    np.testing.assert_allclose(rect, [[-2, -1, 10]], atol=1e-6)
    assert rect.dtype == np.float32
    pixels, depth = calib.rect_to_img(rect)
    # Pixels divide by the rectified depth (10), not by the projected one (10.5).
    np.testing.assert_allclose(pixels, [[30, 30]], atol=1e-5)
    np.testing.assert_allclose(depth, [10], atol=1e-6)
    np.testing.assert_allclose(calib.rect_to_lidar(rect), [[9.9, 2.0, 0.8]], atol=1e-6)


def test_point_in_the_camera_plane_has_no_pixel_and_warns_nothing():
    pixels, _ = Calibration(SIMPLE).rect_to_img(np.zeros((1, 3), dtype=np.float32))
    assert not np.isfinite(pixels).any()


def test_corners_divide_by_projected_depth():
    corners = np.tile(np.array([[1.0, 2.0, 9.5]]), (1, 8, 1))
    boxes, pixels = Calibration(SIMPLE).corners3d_to_img_boxes(corners)
    np.testing.assert_allclose(boxes, [[57.5, 58, 57.5, 58]])
    assert pixels.shape == (1, 8, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_points(dtype):
    calib, none = Calibration(SIMPLE), np.zeros((0, 3), dtype=dtype)
    assert calib.lidar_to_rect(none).shape == (0, 3)
    assert calib.rect_to_lidar(none).dtype == dtype
    assert calib.rect_to_img(none)[0].shape == (0, 2)


def test_file_dict_info_and_pickle_agree(tmp_path):
    calib = Calibration(write(tmp_path))
    info = {"P2": np.eye(4), "R0_rect": np.eye(4, dtype=np.float32), "Tr_velo_to_cam": np.eye(4)}
    info["P2"][:3], info["Tr_velo_to_cam"][:3] = calib.P2, calib.V2C
    others = (Calibration(SIMPLE), Calibration.from_info(info), pickle.loads(pickle.dumps(calib)))
    for other in others:
        for name in ("P2", "R0", "V2C"):
            matrix = getattr(other, name)
            assert matrix.dtype == np.float32
            np.testing.assert_array_equal(matrix, getattr(calib, name))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"P2": None}, "P2 is missing: expected a line 'P2: ' with 12 numbers"),
        ({"R0_rect": "R0_rect: 1 0 0"}, "R0_rect: expected .* 9 numbers, got 3"),
        ({"Tr_velo_to_cam": LINES["Tr_velo_to_cam"] + "x"}, "Tr_velo_to_cam: expected .*'0.1x'"),
        ({"P2": LINES["P2"].replace("100", "nan")}, "P2: .* expected a number, got .nan."),
        ({"P2": "P2:" + " 0" * 12}, r"P2: expected a projection, got \[\[0.0, 0.0"),
        ({"P2": f"{LINES['P2']}\n{LINES['P2']}"}, "P2: expected one line, got another"),
    ],
)
def test_broken_file_is_named(tmp_path, changed, message):
    path = write(tmp_path, **changed)
    with pytest.raises(DataError, match=message) as error:
        Calibration(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"000009\.txt: calibration cannot be read"):
        Calibration(tmp_path / "000009.txt")


def test_boxes_as_pcdet(reference):
    data = reference("box_utils.npz")
    calib = Calibration(
        {"P2": data["calib_P2"], "R0": data["calib_R0"], "Tr_velo2cam": data["calib_V2C"]}
    )
    camera = data["lidar_to_camera"]
    np.testing.assert_allclose(
        calib.rect_to_lidar(camera[:, :3]), data["camera_to_lidar_of_that"][:, :3], atol=1e-5
    )
    lidar = data["camera_to_lidar_of_that"]
    np.testing.assert_allclose(boxes3d_lidar_to_camera(lidar, calib), camera, atol=1e-5)
    boxes = boxes3d_camera_to_imageboxes(camera, calib, (375, 1242))
    np.testing.assert_allclose(boxes, data["image_boxes_clip375x1242"], rtol=1e-4, atol=2e-3)
