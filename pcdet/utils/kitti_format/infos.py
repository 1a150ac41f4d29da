"""Files of infos: read, and each info checked for what this package uses of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, L, W
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import check_array, check_file_name, is_file_name
from pcdet.utils.io_utils import load_pickle
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import DONT_CARE
from pcdet.utils.kitti_format.planes import is_road
from pcdet.utils.kitti_format.split import check_no_frame_twice, warn_of_other_frames
from pcdet.utils.preparing_commands import CREATE_INFOS, create_infos_command

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
_MOST_COLUMNS = 100
# What the LiDAR boxes of an info are made of, and the metres that they may be off.
LABELLED = ("location", "dimensions", "rotation_y")
_TOLERANCE = 0.05


def has_camera(info: dict[str, Any]) -> bool:
    """Tell whether a frame has an image, or is as if it had one."""
    return info["image"].get("has_camera", True)


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
    """Load the infos of all files that exist.

    A warning is logged for each missing one, and for each that is of other frames than ImageSets
    lists.

    Args:
        paths: of the files.
        has_label: every frame must have `annos`.
        logger: where warnings go.

    Raises:
        DataError: none exists, a frame is there twice, or see `load_infos`.
    """
    present = [path for path in paths if path.exists()]
    if not present:
        names = ", ".join(map(str, paths)) or "INFO_PATH is empty"
        command = create_infos_command(paths[0].parent) if paths else CREATE_INFOS
        raise DataError(f"no info file is there ({names}); make them with `{command}`")
    for path in paths:
        if path not in present:
            logger.warning("%s of INFO_PATH is missing: skipped", path)
    files = [(path, load_infos(path, has_label)) for path in present]
    for path, of_file in files:
        warn_of_other_frames(path, of_file, create_infos_command(path.parent), logger)
    check_no_frame_twice(files)
    return [info for _, of_file in files for info in of_file]


def _check_info(info: Any, has_label: bool) -> None:
    """Raise a ValueError that says what of an info is missing or does not fit."""
    if not isinstance(info, dict):
        raise ValueError(f"it is a {type(info).__name__} and no dict")
    check_file_name(_entry(info, "point_cloud", "lidar_idx"), "lidar_idx")
    columns = info["point_cloud"].get("num_features", 4)
    if not isinstance(columns, int) or not 3 <= columns <= _MOST_COLUMNS:
        raise ValueError(f"num_features: expected a whole number above 2, got {str(columns)[:40]}")
    shape = _entry(info, "image", "image_shape")
    check_array(shape, "image_shape", (2,), kinds="iu")
    if not ((shape > 0) & (shape < _LARGEST_IMAGE)).all():
        raise ValueError(f"image_shape: expected height and width, got {shape.tolist()}")
    for key, shapes in _CALIB_SHAPES.items():
        matrix = _entry(info, "calib", key)
        check_array(matrix, key, shapes[getattr(matrix, "shape", None) == shapes[1]])
    calib = Calibration.from_info(info["calib"])
    if not isinstance(has_camera(info), bool):
        raise ValueError(f"has_camera: expected True or False, got {str(has_camera(info))[:40]}")
    if "road_plane" in info:
        check_array(info["road_plane"], "road_plane", (4,))
        if not is_road(info["road_plane"]):
            raise ValueError(f"road_plane: not a road: {info['road_plane'].tolist()}")
    if has_label and "annos" not in info:
        raise ValueError("it has no labels (`annos`), which are needed here")
    if "annos" in info:
        _check_annos(info)
        _check_agreement(info["annos"], calib)


def _check_agreement(annos: dict[str, np.ndarray], calib: Calibration) -> None:
    """Raise a ValueError if the LiDAR boxes are others than those of the labels."""
    boxes = annos["gt_boxes_lidar"]
    if not len(boxes) or not set(LABELLED) <= annos.keys():
        return
    is_object = annos["name"] != DONT_CARE
    expected = lidar_boxes_of_labels(*(annos[key][is_object] for key in LABELLED), calib)
    off = np.abs(boxes - expected)
    off[:, RZ] = np.abs(np.sin(off[:, RZ] / 2))
    odd = np.flatnonzero((off > _TOLERANCE).any(axis=1))
    if len(odd):
        k = odd[0]
        raise ValueError(
            f"gt_boxes_lidar of object {k} contradicts location, dimensions and rotation_y: "
            f"expected {np.round(expected[k], 2).tolist()}, got {np.round(boxes[k], 2).tolist()}; "
            "infos of OpenPCDet 0.3 and later have such, or the calibration is another's: make "
            f"infos and database again with `{CREATE_INFOS}`"
        )


def lidar_boxes_of_labels(
    location: np.ndarray, dimensions: np.ndarray, rotation_y: np.ndarray, calib: Calibration
) -> np.ndarray:
    """LiDAR boxes (M, 7) of (M, 3) bottoms, (M, 3) l, h, w and (M,) angles of the camera frame."""
    boxes = np.empty((len(location), 7))
    boxes[:, CENTER] = calib.rect_to_lidar(location)
    boxes[:, L], boxes[:, H], boxes[:, W] = dimensions.T
    boxes[:, RZ] = rotation_y
    return boxes


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
        check_objects(info["annos"])


def check_objects(annos: dict[str, np.ndarray]) -> None:
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
