"""From the files of a frame to its info, and to the facts that are kept beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pcdet.datasets.ground_database import CutObject, write_frame_objects
from pcdet.datasets.ground_plane import FLAT_GROUND, find_road_plane
from pcdet.datasets.kitti.camera_view import rect_points_in_view
from pcdet.datasets.kitti.image_boxes import has_area
from pcdet.datasets.kitti.kitti_files import KittiFiles
from pcdet.datasets.kitti.kitti_infos import object_annotations
from pcdet.utils.box_utils import enlarge_box3d
from pcdet.utils.data_report import describe_scan
from pcdet.utils.data_report.facts import few_points
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.frame_facts import facts_of_frame
from pcdet.utils.kitti_format.infos import check_objects
from pcdet.utils.kitti_format.label import DONT_CARE
from pcdet.utils.kitti_format.planes import heights_above_plane
from pcdet.utils.object_points import points_in_closed_box, points_of_boxes

# Metres, wider than any rounding: boxes grown by it preselect points.
_MARGIN = 0.01


class BuiltFrame(NamedTuple):
    """What was made of a frame's files.

    Attributes:
        info: PCDet's.
        facts: see `kitti_format.frame_facts`; None if the points were not read.
        objects: for the ground-truth database, if they were cut out.
    """

    info: dict[str, Any]
    facts: dict[str, Any] | None = None
    objects: Sequence[CutObject] = ()


def build_frame(
    sample_idx: str,
    dataset: KittiFiles,
    has_label: bool,
    count_inside_pts: bool,
    objects_folder: Path | None = None,
) -> BuiltFrame:
    """Collect the info of one frame, with the keys, shapes and dtypes of PCDet v0.1.

    Args:
        sample_idx: the frame.
        dataset: reads its files.
        has_label: add `annos`.
        count_inside_pts: also read the points, to add `num_points_in_gt` to `annos` and, for a
            frame without a planes file, `road_plane`, the ground estimated from them.
        objects_folder: also cut the objects out of these points, into small files there.

    Returns:
        The info: point_cloud, image (with `has_camera`, False, for a frame without one), calib and,
        with labels, annos, see `object_annotations`; and what else of a `BuiltFrame` there is.

    Raises:
        DataError: a file is missing or broken, or an object has an impossible class or size.
    """
    calib = dataset.get_calib(sample_idx)
    image_shape = dataset.get_image_shape(sample_idx)
    info = _info_without_labels(sample_idx, dataset, image_shape, calib)
    if not has_label:
        return BuiltFrame(info)
    objects = dataset.get_label(sample_idx)
    seen_shape = image_shape if dataset.has_camera else None
    info["annos"] = annos = object_annotations(objects, calib, seen_shape)
    check_objects(annos)
    if not count_inside_pts:
        return BuiltFrame(info)
    points = dataset.get_lidar(sample_idx)
    near = points_of_boxes(points, enlarge_box3d(annos["gt_boxes_lidar"], _MARGIN))
    counts, annos["num_points_in_gt"] = _count_points(
        [points[rows] for rows in near], annos, seen_shape, calib
    )
    if dataset.has_road_plane(sample_idx):
        plane = ground = dataset.get_road_plane(sample_idx)
    else:
        plane = find_road_plane(points, calib, rng=np.random.default_rng(0))
        ground = info["road_plane"] = FLAT_GROUND.copy() if plane is None else plane
    marked = [obj.box2d for obj in objects if obj.cls_type != DONT_CARE]
    of_objects = {
        "counts": counts,
        "heights": heights_above_plane(annos["gt_boxes_lidar"], ground, calib),
        "has_box2d": has_area(np.array(marked).reshape(-1, 4)),
    }
    seen = None if seen_shape is None else _share_in_view(points, seen_shape, calib)
    scan = describe_scan(points, seen, has_ground=plane is not None)
    facts = facts_of_frame(dataset.root_split_path, sample_idx, of_objects, scan)
    if objects_folder is None:
        return BuiltFrame(info, facts)
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *near]))
    return BuiltFrame(info, facts, write_frame_objects(info, points[rows], objects_folder))


def _info_without_labels(
    sample_idx: str, dataset: KittiFiles, image_shape: np.ndarray, calib: Calibration
) -> dict[str, Any]:
    """The entries of an info that a frame without labels has, too."""
    info = {
        "point_cloud": {"num_features": dataset.num_stored_features, "lidar_idx": sample_idx},
        "image": {"image_idx": sample_idx, "image_shape": image_shape},
        "calib": {
            "P2": _as_4x4(calib.P2, np.float64),
            "R0_rect": _as_4x4(calib.R0, np.float32),
            "Tr_velo_to_cam": _as_4x4(calib.V2C, np.float64),
        },
    }
    if not dataset.has_camera:
        info["image"]["has_camera"] = False
    return info


def _as_4x4(matrix: np.ndarray, dtype: type) -> np.ndarray:
    extended = np.eye(4, dtype=dtype)
    extended[: matrix.shape[0], : matrix.shape[1]] = matrix
    return extended


def _share_in_view(points: np.ndarray, image_shape: np.ndarray, calib: Calibration) -> float | None:
    """Which share of the points (N, 3 + C) the camera sees, about; None of no points."""
    few = calib.lidar_to_rect(few_points(points)[:, :3])
    return float(rect_points_in_view(few, image_shape, calib).mean()) if len(few) else None


def _count_points(
    candidates: Sequence[np.ndarray],
    annos: dict[str, np.ndarray],
    image_shape: np.ndarray | None,
    calib: Calibration,
) -> tuple[np.ndarray, np.ndarray]:
    """Count the points of each object.

    Args:
        candidates: M arrays (N, 3 + C), points in and around each object.
        annos: the objects.
        image_shape: (height, width); None without a camera.
        calib: of the frame.

    Returns:
        (M,) int32 all points of the objects; (G,) int32 those that the camera sees, all of them
        without a camera, -1 for DontCare.
    """
    boxes = annos["gt_boxes_lidar"]
    counts = np.zeros(len(boxes), dtype=np.int32)
    seen_counts = np.full(len(annos["name"]), -1, dtype=np.int32)
    for k, points in enumerate(candidates):
        inside = points[points_in_closed_box(points, boxes[k]), :3]
        counts[k] = seen_counts[k] = len(inside)
        if image_shape is not None:
            in_view = rect_points_in_view(calib.lidar_to_rect(inside), image_shape, calib)
            seen_counts[k] = np.count_nonzero(in_view)
    return counts, seen_counts
