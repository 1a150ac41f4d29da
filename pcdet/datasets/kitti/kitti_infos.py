"""The info of one frame: what is known about it without opening its images and points again."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.ground_plane import estimate_road_plane
from pcdet.datasets.kitti.camera_view import rect_points_in_view
from pcdet.datasets.kitti.kitti_files import KittiFiles
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, L, W, enlarge_box3d
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import check_array, check_file_name, is_file_name
from pcdet.utils.io_utils import load_pickle
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import DONT_CARE, Object3d
from pcdet.utils.kitti_format.planes import is_road
from pcdet.utils.object_points import points_in_closed_box, points_of_boxes

CREATE_COMMAND = "python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos"
# Metres, wider than any rounding: boxes grown by it preselect points.
_MARGIN = 0.01

_CALIB_SHAPES = {
    "P2": ((4, 4), (3, 4)),
    "R0_rect": ((4, 4), (3, 3)),
    "Tr_velo_to_cam": ((4, 4), (3, 4)),
}
# Arrays of `annos` that every info has, and those that only some uses need: their numbers a label.
_ANNO_WIDTHS = {"difficulty": (), "bbox": (4,), "score": ()}
_FURTHER_ANNO_WIDTHS = {
    **dict.fromkeys(("truncated", "occluded", "alpha", "rotation_y", "num_points_in_gt"), ()),
    **dict.fromkeys(("dimensions", "location"), (3,)),
}
_LARGEST_IMAGE = 1 << 16


def load_infos(path: str | os.PathLike, has_label: bool = False) -> list[dict[str, Any]]:
    """Read an info file, and check what this package uses of every info.

    Args:
        path: kitti_infos_<split>.pkl.
        has_label: every frame must have `annos`.

    Raises:
        DataError: the file cannot be read, or an info lacks a key or has a value that does not fit.
    """
    infos = load_pickle(path)
    if not isinstance(infos, list):
        raise DataError(f"{path}: expected a list of infos, got a {type(infos).__name__}")
    for number, info in enumerate(infos):
        try:
            _check_info(info, has_label)
        except ValueError as error:  # DataErrors are such, too
            raise DataError(
                f"{path}: info {number}: {error}; expected the infos that create_kitti_infos writes"
            ) from error
    return infos


def load_info_files(
    paths: Sequence[Path], has_label: bool, logger: logging.Logger
) -> list[dict[str, Any]]:
    """Load the infos of all files that exist; log a warning for each missing one.

    Args:
        paths: of the files.
        has_label: every frame must have `annos`.
        logger: where warnings go.

    Raises:
        DataError: none exists, or see `load_infos`.
    """
    present = [path for path in paths if path.exists()]
    if not present:
        names = ", ".join(map(str, paths)) or "INFO_PATH is empty"
        raise DataError(f"no info file is there ({names}); make them with `{CREATE_COMMAND}`")
    for path in paths:
        if path not in present:
            logger.warning("%s of INFO_PATH is missing: skipped", path)
    return [info for path in present for info in load_infos(path, has_label)]


def _check_info(info: Any, has_label: bool) -> None:
    """Raise a ValueError that says what of an info is missing or does not fit."""
    if not isinstance(info, dict):
        raise ValueError(f"it is a {type(info).__name__} and no dict")
    check_file_name(_entry(info, "point_cloud", "lidar_idx"), "lidar_idx")
    shape = _entry(info, "image", "image_shape")
    check_array(shape, "image_shape", (2,), kinds="iu")
    if not ((shape > 0) & (shape < _LARGEST_IMAGE)).all():
        raise ValueError(f"image_shape: expected height and width, got {shape.tolist()}")
    for key, shapes in _CALIB_SHAPES.items():
        matrix = _entry(info, "calib", key)
        check_array(matrix, key, shapes[getattr(matrix, "shape", None) == shapes[1]])
    Calibration.from_info(info["calib"])
    if "road_plane" in info:
        check_array(info["road_plane"], "road_plane", (4,))
        if not is_road(info["road_plane"]):
            raise ValueError(f"road_plane: not a road: {info['road_plane'].tolist()}")
    if has_label and "annos" not in info:
        raise ValueError("it has no labels (`annos`), which are needed here")
    if "annos" in info:
        _check_annos(info)


def _check_annos(info: dict[str, Any]) -> None:
    names = _entry(info, "annos", "name")
    count = len(names) if isinstance(names, np.ndarray) and names.ndim == 1 else -1
    check_array(names, "name", (count,), kinds="U")
    for key, width in _ANNO_WIDTHS.items():
        check_array(_entry(info, "annos", key), key, (count, *width))
    for key, width in _FURTHER_ANNO_WIDTHS.items():
        if key in info["annos"]:
            check_array(info["annos"][key], key, (count, *width))
    num_objects = int(np.count_nonzero(names != DONT_CARE)) if count else 0
    check_array(_entry(info, "annos", "gt_boxes_lidar"), "gt_boxes_lidar", (num_objects, 7))
    if num_objects:
        _check_objects(info["annos"])


def _check_objects(annos: dict[str, np.ndarray]) -> None:
    """Raise a DataError that names the first object with an impossible class or size.

    The class becomes a part of the name of a file, and the targets take the logarithm of the sizes.
    """
    names, boxes = annos["name"][annos["name"] != DONT_CARE], annos["gt_boxes_lidar"]
    for k, name in enumerate(names.tolist()):
        if not is_file_name(name):
            raise DataError(f"object {k}: expected a class that can name a file, got {name[:80]!r}")
    flat = np.flatnonzero((boxes[:, DIMS] <= 0).any(axis=1))
    if len(flat):
        raise DataError(
            f"object {flat[0]} ({names[flat[0]]}): expected height, width and length > 0, "
            f"got {boxes[flat[0], [H, W, L]].tolist()}"
        )


def _entry(info: dict[str, Any], section: str, key: str) -> Any:
    """The entry `key` of a section of an info."""
    found = info.get(section)
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f"{section} lacks {[key]}")
    return found[key]


def build_info(
    sample_idx: str, dataset: KittiFiles, has_label: bool, count_inside_pts: bool
) -> dict[str, Any]:
    """Collect the info of one frame, with the keys, shapes and dtypes of PCDet v0.1.

    Args:
        sample_idx: the frame.
        dataset: reads its files.
        has_label: add `annos`.
        count_inside_pts: also read the points, to add `num_points_in_gt` to `annos` and, for a
            frame without a planes file, `road_plane`, the ground estimated from them.

    Returns:
        point_cloud, image, calib and, with labels, annos, see `object_annotations`.

    Raises:
        DataError: a file is missing or broken, or an object has an impossible class or size.
    """
    calib = dataset.get_calib(sample_idx)
    image_shape = dataset.get_image_shape(sample_idx)
    info = {
        "point_cloud": {"num_features": dataset.num_stored_features, "lidar_idx": sample_idx},
        "image": {"image_idx": sample_idx, "image_shape": image_shape},
        "calib": {
            "P2": _as_4x4(calib.P2, np.float64),
            "R0_rect": _as_4x4(calib.R0, np.float32),
            "Tr_velo_to_cam": _as_4x4(calib.V2C, np.float64),
        },
    }
    if not has_label:
        return info
    info["annos"] = annos = object_annotations(dataset.get_label(sample_idx), calib)
    _check_objects(annos)
    if count_inside_pts:
        points = dataset.get_lidar(sample_idx)
        annos["num_points_in_gt"] = _count_points_in_view(points, annos, image_shape, calib)
        if not dataset.has_road_plane(sample_idx):
            info["road_plane"] = estimate_road_plane(points, calib, rng=np.random.default_rng(0))
    return info


def _as_4x4(matrix: np.ndarray, dtype: type) -> np.ndarray:
    extended = np.eye(4, dtype=dtype)
    extended[: matrix.shape[0], : matrix.shape[1]] = matrix
    return extended


def object_annotations(objects: list[Object3d], calib: Calibration) -> dict[str, np.ndarray]:
    """Labels as arrays; DontCare regions come last, whatever their place in the file.

    Args:
        objects: G labels, M of them not DontCare.
        calib: of the frame.

    Returns:
        name (G,) str; truncated, occluded, alpha, rotation_y, score (G,) float64; bbox (G, 4)
        float32; dimensions (G, 3) float64 l, h, w; location (G, 3) float32; difficulty, index
        (G,) int32, index -1 for DontCare; gt_boxes_lidar (M, 7) float64 LiDAR boxes.
    """
    objects = sorted(objects, key=lambda obj: obj.cls_type == DONT_CARE)
    num_objects = sum(obj.cls_type != DONT_CARE for obj in objects)
    index = np.arange(len(objects), dtype=np.int32)
    index[num_objects:] = -1
    columns = {
        "name": ([obj.cls_type for obj in objects], np.str_, ()),
        "truncated": ([obj.truncation for obj in objects], np.float64, ()),
        "occluded": ([obj.occlusion for obj in objects], np.float64, ()),
        "alpha": ([obj.alpha for obj in objects], np.float64, ()),
        "bbox": ([obj.box2d for obj in objects], np.float32, (4,)),
        "dimensions": ([(obj.l, obj.h, obj.w) for obj in objects], np.float64, (3,)),
        "location": ([obj.loc for obj in objects], np.float32, (3,)),
        "rotation_y": ([obj.ry for obj in objects], np.float64, ()),
        "score": ([obj.score for obj in objects], np.float64, ()),
        "difficulty": ([obj.level for obj in objects], np.int32, ()),
    }
    annos = {
        key: np.array(values, dtype=dtype).reshape(-1, *shape)
        for key, (values, dtype, shape) in columns.items()
    }
    length, height, width = annos["dimensions"][:num_objects].T
    boxes = np.empty((num_objects, 7))
    boxes[:, CENTER] = calib.rect_to_lidar(annos["location"][:num_objects])
    boxes[:, W], boxes[:, L], boxes[:, H] = width, length, height
    boxes[:, RZ] = annos["rotation_y"][:num_objects]
    return {**annos, "index": index, "gt_boxes_lidar": boxes}


def _count_points_in_view(
    points: np.ndarray,
    annos: dict[str, np.ndarray],
    image_shape: np.ndarray,
    calib: Calibration,
) -> np.ndarray:
    """Points (G,) int32 that the camera sees of each object; -1 for DontCare."""
    counts = np.full(len(annos["name"]), -1, dtype=np.int32)
    boxes = annos["gt_boxes_lidar"]
    for k, near in enumerate(points_of_boxes(points, enlarge_box3d(boxes, _MARGIN))):
        candidates = points[near, :3]
        inside = candidates[points_in_closed_box(candidates, boxes[k])]
        in_view = rect_points_in_view(calib.lidar_to_rect(inside), image_shape, calib)
        counts[k] = np.count_nonzero(in_view)
    return counts
