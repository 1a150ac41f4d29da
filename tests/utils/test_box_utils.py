"""Box geometry: answers worked out by hand, PCDet's numbers, NumPy and torch alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils import box_utils
from pcdet.utils.kitti_format.calib import Calibration


def test_corners_of_a_turned_box():
    """Width 2, length 4, height 1, turned by a quarter: what was +y points to +x."""
    box = np.array([[10.0, 20.0, -1.0, 2.0, 4.0, 1.0, np.pi / 2]])
    corners = box_utils.boxes3d_to_corners3d_lidar(box)[0]
    expected = [[8, 19], [8, 21], [12, 21], [12, 19]]
    np.testing.assert_allclose(corners[:4, :2], expected, atol=1e-12)
    np.testing.assert_allclose(corners[4:, :2], expected, atol=1e-12)
    assert set(corners[:4, 2]) == {-1.0} and set(corners[4:, 2]) == {0.0}


def test_positive_angles_turn_clockwise_seen_from_above():
    point = np.array([[[0.0, 1.0, 5.0, 0.3]]])
    turned = box_utils.rotate_points_along_z(point, np.array([np.pi / 2]))
    np.testing.assert_allclose(turned, [[[1.0, 0.0, 5.0, 0.3]]], atol=1e-12)


def test_nearest_boxes_swap_sides_when_turned_by_a_quarter():
    boxes = np.array([[0, 0, 0, 2, 4, 1, angle] for angle in (0.1, np.pi / 2, -np.pi, 3.0)])
    sides = box_utils.boxes3d_to_nearest_bev_boxes(boxes)
    sides = sides[:, 2:] - sides[:, :2]
    np.testing.assert_allclose(sides, [[2, 4], [4, 2], [2, 4], [2, 4]])


def test_iou_of_rectangles():
    a, b = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [5, 5, 6, 6], [0, 0, 2, 2]])
    np.testing.assert_allclose(box_utils.boxes_iou_normal(a, b), [[1 / 7, 0, 1]])


def test_enlarged_boxes_grow_on_all_sides():
    box = np.array([[1.0, 2, 3, 2, 4, 1, 0.5]])
    np.testing.assert_allclose(box_utils.enlarge_box3d(box, 0.2), [[1, 2, 2.8, 2.4, 4.4, 1.4, 0.5]])


def test_inputs_are_not_changed():
    box = np.array([[1.0, 2, 3, 2, 4, 1, 0.5]])
    before = box.copy()
    box_utils.enlarge_box3d(box, 0.2)
    box_utils.boxes3d_to_corners3d_lidar(box)
    np.testing.assert_array_equal(box, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree_and_keep_the_type(dtype):
    boxes = np.random.default_rng(0).uniform(0.5, 3, (20, 7)).astype(dtype)
    for function in (
        box_utils.boxes3d_to_corners3d_lidar,
        box_utils.boxes3d_to_corners3d_camera,
        box_utils.boxes3d_to_bevboxes_lidar,
        box_utils.boxes3d_to_nearest_bev_boxes,
    ):
        ours = function(boxes)
        assert isinstance(ours, np.ndarray) and ours.dtype == dtype
        np.testing.assert_array_equal(ours, function(torch.from_numpy(boxes)).numpy())
        np.testing.assert_array_equal(function(boxes[::-1]), ours[::-1])


def test_arrays_that_cannot_be_written_to(recwarn):
    boxes = np.ones((2, 7), np.float32)
    boxes.flags.writeable = False
    torch.set_warn_always(True)
    try:
        box_utils.boxes3d_to_bevboxes_lidar(boxes)
        box_utils.first_box_of_points(boxes, boxes)
    finally:
        torch.set_warn_always(False)
    assert not recwarn.list


def test_points_that_run_backwards_or_are_whole_numbers():
    points = np.array([[10, 0, 1, 7], [0, 10, 2, 8]])
    turned = box_utils.rotate_pc_along_z(points, 0.9)
    np.testing.assert_allclose(turned[0], [10 * np.cos(0.9), -10 * np.sin(0.9), 1, 7])
    np.testing.assert_array_equal(box_utils.rotate_pc_along_z(points[::-1], 0.9), turned[::-1])
    boxes = np.array([[30.0, 0, 0, 2, 4, 1, 0], [10.0, 0, 0, 2, 4, 1, 0]])
    found = box_utils.first_box_of_points(points.astype(np.float32)[::-1], boxes[::-1])
    assert found.tolist() == [-1, 0]


def test_no_boxes_at_all():
    empty = np.zeros((0, 7), np.float32)
    assert box_utils.boxes3d_to_corners3d_lidar(empty).shape == (0, 8, 3)
    assert box_utils.mask_boxes_outside_range(empty, [0, 0, 0, 1, 1, 1]).shape == (0,)
    assert box_utils.nearest_iou_similarity(empty, np.ones((2, 7), np.float32)).shape == (0, 2)
    points = np.ones((5, 4), np.float32)
    assert len(box_utils.remove_points_in_boxes3d(points, empty)) == 5


def test_equals_pcdet(reference):
    data = reference("box_utils.npz")
    a, b = data["boxes_a"], data["boxes_b"]
    calib = Calibration(
        {"P2": data["calib_P2"], "R0": data["calib_R0"], "Tr_velo2cam": data["calib_V2C"]}
    )
    camera = box_utils.boxes3d_lidar_to_camera(a, calib)
    clipped = box_utils.boxes3d_camera_to_imageboxes(camera, calib, (375, 1242))
    pairs = {
        "corners_lidar": box_utils.boxes3d_to_corners3d_lidar(a),
        "corners_lidar_zcenter": box_utils.boxes3d_to_corners3d_lidar(a, bottom_center=False),
        "lidar_to_camera": camera,
        "camera_to_lidar_of_that": box_utils.boxes3d_camera_to_lidar(camera, calib),
        "corners_camera": box_utils.boxes3d_to_corners3d_camera(camera),
        "corners_camera_ycenter": box_utils.boxes3d_to_corners3d_camera(camera, False),
        "enlarged_0.2": box_utils.enlarge_box3d(a, 0.2),
        "bevboxes": box_utils.boxes3d_to_bevboxes_lidar(a),
        "nearest_bbox_a": box_utils.boxes3d_to_nearest_bev_boxes(a),
        "nearest_iou_pair": box_utils.nearest_iou_similarity(a, b).diagonal(),
        "limit_period_0.5_2pi": box_utils.limit_period(data["limit_period_in"], 0.5, 2 * np.pi),
        "limit_period_0_pi": box_utils.limit_period(data["limit_period_in"], 0, np.pi),
        "image_boxes_clip375x1242": clipped,
    }
    for name, value in pairs.items():
        tolerance = 0.05 if name.startswith("image") else 2e-5
        np.testing.assert_allclose(value, data[name], atol=tolerance, rtol=2e-5, err_msg=name)
    limit = [0, -40, -3, 70.4, 40, 1]
    np.testing.assert_array_equal(
        box_utils.mask_boxes_outside_range(a, limit), data["mask_outside_range"]
    )
    double_a, double_b = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    iou = iou3d_nms_utils.boxes_iou3d_gpu(double_a, double_b).diagonal()
    np.testing.assert_allclose(iou.numpy(), data["iou3d"], atol=1e-9)
