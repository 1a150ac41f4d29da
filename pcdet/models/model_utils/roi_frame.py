"""Boxes in the frame of a region of interest, and the corner loss between boxes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from pcdet.utils import box_utils
from pcdet.utils.box_utils import CENTER, RZ

# A RoI's frame begins at the middle of its bottom. Its x axis runs against the RoI's length and
# its y axis along the width, as the weights of PCDet's models expect.
_QUARTER_TURN = math.pi / 2


def boxes_to_roi_frame(boxes: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
    """Boxes as seen from their RoIs, whichever end is the front.

    Args:
        boxes: (R, 7) LiDAR boxes.
        rois: (R, 7) LiDAR boxes.

    Returns:
        (R, 7) boxes with their place in the RoI's frame, and rz minus that of the RoI, turned by
        half a turn if need be into [-pi/2, pi/2).
    """
    center = (boxes[:, CENTER] - rois[:, CENTER]).unsqueeze(1)  # (R, 1, 3)
    center = box_utils.rotate_points_along_z(center, -(rois[:, RZ] + _QUARTER_TURN)).squeeze(1)
    angle = box_utils.limit_period(boxes[:, RZ] - rois[:, RZ], 0.5, math.pi)  # (R,)
    return torch.cat((center, boxes[:, CENTER.stop : RZ], angle.unsqueeze(1)), dim=1)


def boxes_from_roi_frame(boxes: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
    """The inverse of `boxes_to_roi_frame`, up to half turns.

    Args:
        boxes: (R, 7) boxes, each in the frame of its RoI.
        rois: (R, 7) LiDAR boxes.

    Returns:
        (R, 7) LiDAR boxes.
    """
    center = boxes[:, CENTER].unsqueeze(1)  # (R, 1, 3)
    center = box_utils.rotate_points_along_z(center, rois[:, RZ] + _QUARTER_TURN).squeeze(1)
    angle = boxes[:, RZ] + rois[:, RZ]  # (R,)
    return torch.cat(
        (center + rois[:, CENTER], boxes[:, CENTER.stop : RZ], angle.unsqueeze(1)), dim=1
    )


def anchors_of_rois(rois: torch.Tensor) -> torch.Tensor:
    """(R, 7) the RoIs in their own frames: their sizes, at the origin, not turned."""
    anchors = torch.zeros_like(rois)
    anchors[:, CENTER.stop : RZ] = rois[:, CENTER.stop : RZ]
    return anchors


def corner_loss(boxes: torch.Tensor, gt_boxes: torch.Tensor) -> torch.Tensor:
    """Huber loss on the distances between corners (Qi et al., Frustum PointNets, 2018, eq. 3).

    A corner counts with its distance to that of the ground truth or of the ground truth turned by
    half a turn, whichever is less.

    Args:
        boxes: (R, 7) LiDAR boxes.
        gt_boxes: (R, 7) the box that each should be.

    Returns:
        (R,) means over the eight corners.
    """
    corners = box_utils.boxes3d_to_corners3d_lidar(boxes)  # (R, 8, 3)
    wanted = box_utils.boxes3d_to_corners3d_lidar(gt_boxes)
    # The same corners after half a turn: 2, 3, 0, 1 of each face.
    turned = wanted.unflatten(1, (2, 4)).roll(2, dims=2).flatten(1, 2)
    # (R, 8)
    distance = torch.minimum((corners - wanted).norm(dim=2), (corners - turned).norm(dim=2))
    return F.huber_loss(distance, torch.zeros_like(distance), reduction="none").mean(dim=1)
