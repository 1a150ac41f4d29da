"""Geometry of 3D boxes, written once for NumPy arrays and torch tensors.

A LiDAR box is `[x, y, z, w, l, h, rz]` in metres and radians, z at the bottom face; at rz = 0 its
width lies along x and its length along y, and a positive rz turns clockwise seen from above. A
camera box is `[x, y, z, l, h, w, ry]`, y at the bottom face. docs/coordinates.md draws both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.utils.box_columns import (  # noqa: F401 - passed on: most take them from here
    BOX,
    CAM_H,
    CAM_L,
    CAM_RY,
    CAM_W,
    CENTER,
    DIMS,
    LABEL,
    RZ,
    H,
    L,
    W,
    X,
    Y,
    Z,
)

if TYPE_CHECKING:
    from pcdet.utils.kitti_format.calib import Calibration

# What the functions take and return: all NumPy or all torch.
Array = TypeVar("Array", np.ndarray, torch.Tensor)


def _numpy_or_torch(function: Callable) -> Callable:
    """Let a torch function take NumPy arrays: views go in, arrays of the same dtype come out.

    torch takes no array that runs backwards, and warns of one that cannot be written to: of such
    ones, copies go in.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        result = function(*map(_tensor, args), **{k: _tensor(v) for k, v in kwargs.items()})
        return result.numpy() if isinstance(result, torch.Tensor) else result

    return wrapper


def _tensor(value: Any) -> Any:
    """An array as a tensor, all else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    plain = value.flags.writeable and min(value.strides, default=0) >= 0
    return torch.as_tensor(value if plain else value.copy())


@_numpy_or_torch
def limit_period(val: Array, offset: float = 0.5, period: float = np.pi) -> Array:
    """Shift values by multiples of `period` into [-offset * period, (1 - offset) * period)."""
    return val - torch.floor(val / period + offset) * period


@_numpy_or_torch
def rotate_points_along_z(points: Array, angle: Array) -> Array:
    """Turn points about the z axis, clockwise seen from above for a positive angle (as rz does).

    Args:
        points: (B, N, 3 + C) x, y, z and further channels, which are kept.
        angle: (B,) radians.

    Returns:
        (B, N, 3 + C) the turned points.
    """
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y = points[..., X], points[..., Y]
    turned = torch.stack((x * cos + y * sin, y * cos - x * sin), dim=-1)
    return torch.cat((turned, points[..., Z:]), dim=-1)


def rotate_pc_along_z(pc: np.ndarray, rot_angle: float) -> np.ndarray:
    """Turn (N, 3 + C) points or boxes about the z axis, clockwise seen from above; in a copy.

    Whole numbers come back as float64.
    """
    pc = pc if pc.dtype.kind == "f" else pc.astype(np.float64)
    return rotate_points_along_z(pc[None], np.array([rot_angle], dtype=pc.dtype))[0]


@_numpy_or_torch
def boxes3d_to_corners3d_lidar(boxes3d: Array, bottom_center: bool = True) -> Array:
    """Compute the corners of LiDAR boxes.

    ::

        7 -------- 6      corners 0-3 are the bottom face: (+w, -l), (-w, -l), (-w, +l), (+w, +l)
       /|         /|      in halves of the width and length, along the box's own x and y;
      4 -------- 5 .      corners 4-7 are the same on the top face
      | |        | |
      . 3 -------- 2
      |/         |/
      0 -------- 1

    Args:
        boxes3d: (N, 7) LiDAR boxes.
        bottom_center: z is the bottom face, else the middle of the box.

    Returns:
        (N, 8, 3) corners.
    """
    # Without a table of signs: on a GPU that would be a copy from the host each time.
    half_w, half_l, height = boxes3d[:, W] / 2, boxes3d[:, L] / 2, boxes3d[:, H]
    x = torch.stack((half_w, -half_w, -half_w, half_w) * 2, dim=-1)  # (N, 8)
    y = torch.stack((-half_l, -half_l, half_l, half_l) * 2, dim=-1)
    bottom = torch.zeros_like(height) if bottom_center else -height / 2
    z = torch.stack((bottom,) * 4 + (bottom + height,) * 4, dim=-1)
    corners = torch.stack((x, y, z), dim=-1)
    return rotate_points_along_z(corners, boxes3d[:, RZ]) + boxes3d[:, None, CENTER]


@_numpy_or_torch
def boxes3d_to_corners3d_camera(boxes3d: Array, bottom_center: bool = True) -> Array:
    """Compute the corners of camera boxes `[x, y, z, l, h, w, ry]`, numbered as LiDAR boxes'.

    The box's own axes are length along x and width along z; 0-3 lie on the bottom face.

    Returns:
        (N, 8, 3) corners in the rectified camera frame.
    """
    length, height, width = (boxes3d[:, None, k] for k in (CAM_L, CAM_H, CAM_W))
    sign_l = boxes3d.new_tensor([1, 1, -1, -1]).repeat(2) / 2
    sign_w = boxes3d.new_tensor([1, -1, -1, 1]).repeat(2) / 2
    level = boxes3d.new_tensor([0, -1]).repeat_interleave(4) + (0 if bottom_center else 0.5)
    x, y, z = sign_l * length, level * height, sign_w * width
    cos, sin = torch.cos(boxes3d[:, None, CAM_RY]), torch.sin(boxes3d[:, None, CAM_RY])
    turned = torch.stack((x * cos + z * sin, y, z * cos - x * sin), dim=-1)
    return turned + boxes3d[:, None, CENTER]


@_numpy_or_torch
def boxes3d_lidar_to_openpcdet(boxes3d: Array) -> Array:
    """Turn LiDAR boxes into OpenPCDet's, `[x, y, z, dx, dy, dz, heading]`.

    z is that of the middle, dx the length along the heading, which is counter-clockwise from +x.

    Args:
        boxes3d: (N, 7) LiDAR boxes.

    Returns:
        (N, 7), headings within half a turn of zero.
    """
    x, y, z, width, length, height, angle = boxes3d.unbind(dim=-1)
    heading = limit_period(-(angle + np.pi / 2), 0.5, 2 * np.pi)
    return torch.stack((x, y, z + height / 2, length, width, height, heading), dim=-1)


def boxes3d_lidar_to_camera(boxes3d_lidar: np.ndarray, calib: Calibration) -> np.ndarray:
    """Turn LiDAR boxes (N, 7) into camera boxes (N, 7); both name the bottom face's middle."""
    center = calib.lidar_to_rect(boxes3d_lidar[:, CENTER])
    return np.concatenate((center, boxes3d_lidar[:, [L, H, W, RZ]]), axis=1)


def boxes3d_camera_to_lidar(boxes3d_camera: np.ndarray, calib: Calibration) -> np.ndarray:
    """Turn camera boxes (N, 7) into LiDAR boxes (N, 7); both name the bottom face's middle."""
    center = calib.rect_to_lidar(boxes3d_camera[:, CENTER])
    return np.concatenate((center, boxes3d_camera[:, [CAM_W, CAM_L, CAM_H, CAM_RY]]), axis=1)


def boxes3d_camera_to_imageboxes(
    boxes3d: np.ndarray, calib: Calibration, image_shape: tuple | np.ndarray | None = None
) -> np.ndarray:
    """Find the smallest image rectangles around the projected corners of camera boxes.

    Args:
        boxes3d: (N, 7) camera boxes.
        calib: projects to the image.
        image_shape: (height, width); if given, rectangles are clipped to the image.

    Returns:
        (N, 4) x1, y1, x2, y2 in pixels.
    """
    corners = boxes3d_to_corners3d_camera(boxes3d)
    pixels = calib.rect_to_img(corners.reshape(-1, 3))[0].reshape(-1, 8, 2)
    boxes = np.concatenate((pixels.min(axis=1), pixels.max(axis=1)), axis=1)
    if image_shape is not None:
        height, width = image_shape[:2]
        boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1], dtype=boxes.dtype)
    return boxes


@_numpy_or_torch
def mask_boxes_outside_range(boxes3d: Array, limit_range: Sequence[float]) -> Array:
    """Tell which boxes lie in the range with all eight corners, bounds included.

    Args:
        boxes3d: (N, 7) LiDAR boxes.
        limit_range: x_min, y_min, z_min, x_max, y_max, z_max.

    Returns:
        (N,) bool.
    """
    limit = torch.as_tensor(limit_range, dtype=boxes3d.dtype, device=boxes3d.device)
    corners = boxes3d_to_corners3d_lidar(boxes3d)
    return ((corners >= limit[:3]) & (corners <= limit[3:])).flatten(1).all(dim=1)


@_numpy_or_torch
def enlarge_box3d(boxes3d: Array, extra_width: float) -> Array:
    """Grow LiDAR boxes by `extra_width` metres on every side, the bottom included."""
    grown = boxes3d.clone()
    grown[:, DIMS] += 2 * extra_width
    grown[:, Z] -= extra_width
    return grown


@_numpy_or_torch
def boxes3d_to_bevboxes_lidar(boxes3d: Array) -> Array:
    """Turn LiDAR boxes (N, 7) into BEV boxes (N, 5) `[x1, y1, x2, y2, rz]` before rotation."""
    center, half = boxes3d[:, X : Y + 1], boxes3d[:, W : L + 1] / 2
    return torch.cat((center - half, center + half, boxes3d[:, RZ : RZ + 1]), dim=1)


@_numpy_or_torch
def boxes3d_to_nearest_bev_boxes(boxes3d: Array) -> Array:
    """Find the axis-aligned BEV boxes nearest to LiDAR boxes: w and l swap for rz near pi / 2.

    Args:
        boxes3d: (..., 7).

    Returns:
        (..., 4) x1, y1, x2, y2.
    """
    turn = limit_period(boxes3d[..., RZ], 0.5, np.pi).abs()
    dims = boxes3d[..., W : L + 1]
    dims = torch.where((turn > np.pi / 4).unsqueeze(-1), dims.flip(-1), dims)
    center = boxes3d[..., X : Y + 1]
    return torch.cat((center - dims / 2, center + dims / 2), dim=-1)


@_numpy_or_torch
def boxes_iou_normal(boxes_a: Array, boxes_b: Array) -> Array:
    """Compute the IoU of axis-aligned rectangles.

    Args:
        boxes_a: (N, 4) x1, y1, x2, y2.
        boxes_b: (M, 4).

    Returns:
        (N, M), zero where the union is empty.
    """
    low = torch.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    high = torch.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    area_a = (boxes_a[:, 2:] - boxes_a[:, :2]).prod(dim=-1)
    area_b = (boxes_b[:, 2:] - boxes_b[:, :2]).prod(dim=-1)
    return overlap / (area_a[:, None] + area_b[None, :] - overlap).clamp(min=1e-6)


@_numpy_or_torch
def nearest_iou_similarity(boxes_a: Array, boxes_b: Array) -> Array:
    """Compute the (N, M) IoU of the axis-aligned BEV boxes nearest to boxes (N, 7) and (M, 7)."""
    return boxes_iou_normal(
        boxes3d_to_nearest_bev_boxes(boxes_a), boxes3d_to_nearest_bev_boxes(boxes_b)
    )


def in_hull(p: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """Tell which points lie in the convex hull of others, or on its faces.

    PCDet counts the points of a box by this call with its corners. The infos count them without a
    hull (`object_points.points_in_closed_box`), and must come to the same numbers.

    Args:
        p: (N, D) points.
        hull: (M, D) points, such as the (8, 3) corners of a box.

    Returns:
        (N,) bool; none lies in a hull without volume.
    """
    from scipy.spatial import Delaunay, QhullError  # slow to start, and seldom needed

    try:
        return Delaunay(hull).find_simplex(p) >= 0
    except QhullError:
        return np.zeros(len(p), dtype=bool)


def first_box_of_points(points: np.ndarray, boxes3d: np.ndarray) -> np.ndarray:
    """Tell for each point in which box it lies.

    Args:
        points: (N, 3 + C) float32 or float64, x, y, z first.
        boxes3d: (M, 7) LiDAR boxes; the test is computed in the type of the points.

    Returns:
        (N,) int32 index of the first box that holds the point, -1 if there is none.
    """
    xyz, boxes = _tensor(points[:, CENTER]), _tensor(boxes3d[:, BOX])
    return roiaware_pool3d_utils.points_in_boxes_gpu(xyz[None], boxes[None])[0].numpy()


def remove_points_in_boxes3d(points: np.ndarray, boxes3d: np.ndarray) -> np.ndarray:
    """Remove the points of (N, 3 + C) that lie in any of the LiDAR boxes (M, 7)."""
    return points.compress(first_box_of_points(points, boxes3d) < 0, axis=0)
