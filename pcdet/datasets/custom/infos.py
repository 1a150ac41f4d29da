"""The info of one frame of one's own data, and the files of them."""

from __future__ import annotations

import dataclasses
import functools
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import CustomFolder, FiniteReader
from pcdet.datasets.custom.label_file import Objects
from pcdet.datasets.ground_plane import RoadArea, find_road_plane
from pcdet.utils.box_utils import CENTER, DIMS, Z
from pcdet.utils.data_report import describe_scan
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import check_array, check_file_name, is_file_name
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.io_utils import load_pickle, read_file, regular_file_size
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.planes import is_road
from pcdet.utils.object_points import points_of_boxes
from pcdet.utils.point_files.fields import intensity_column
from pcdet.utils.preparing_commands import prepare_command

# Ground is looked for so many metres around the sensor; where it is not the objects', once more so
# many metres above and below their bottoms.
_ROAD_REACH, _ROAD_DEPTH = 60.0, 1.0
# A plane that misses the bottoms of a frame's objects by more metres is not believed.
_LARGEST_MISS = 0.5
# Bytes of a scan that its checksum is of: enough to see that points were moved or turned.
_SCAN_HEAD = 1 << 16


def infos_path(root: Path, split: str) -> Path:
    """Return the file of a split's infos."""
    return root / f"custom_infos_{split}.pkl"


def dbinfos_path(root: Path) -> Path:
    """Return the list of the database's objects."""
    return root / "custom_dbinfos_train.pkl"


def lidar_as_camera() -> Calibration:
    """The calibration of a camera in the LiDAR's origin that looks along x.

    What is stored or computed in a camera's frame elsewhere, such as road planes, needs one.
    """
    axes = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]], np.float32)
    identity = np.eye(3, 4, dtype=np.float32)
    return Calibration({"P2": identity, "R0": np.eye(3, dtype=np.float32), "Tr_velo2cam": axes})


def build_infos(
    folder: CustomFolder,
    frames: Sequence[str],
    logger: logging.Logger,
    labelled: bool = True,
    num_workers: int = 4,
    errors: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Collect the infos of frames, in order.

    Args:
        folder: reads the files.
        frames: their names.
        logger: where warnings go.
        labelled: read the labels; else the infos have no `annos`.
        num_workers: processes at most.
        errors: takes what is wrong with frames, which are then left out; None to stop at the first.

    Returns:
        One dict a frame: point_cloud (lidar_idx, num_features) and, of a labelled one, annos (name
        (M,), gt_boxes_lidar (M, 7), num_points_in_gt (M,), difficulty (M,)), ground_plane (4,),
        what the points show, if anything, road_plane (4,), what is believed of it (see
        `road_below`), both as seen by `lidar_as_camera`, scan (the numbers of `data_report.Scan`),
        label_crc, the checksum of the label file, scan_state, see the function of that name, and
        file_stats, size and time in nanoseconds of both files.

    Raises:
        DataError: a file is missing or broken; it is named.
    """
    bottoms, sound = [np.zeros(0)], list(frames)
    if labelled:
        objects = [_read_or_note(folder, frame, errors) for frame in frames]
        sound = [frame for frame, of_frame in zip(frames, objects) if of_frame is not None]
        bottoms += [of_frame.boxes[:, Z] for of_frame in objects if of_frame is not None]
    ground = np.concatenate(bottoms)
    work = functools.partial(
        _build_info,
        folder=folder,
        reader=FiniteReader(folder, logger),
        labelled=labelled,
        ground=float(np.median(ground)) if len(ground) else None,
    )
    if errors is None:
        return list(map_frames(work, sound, sound, num_workers, "infos"))
    work, infos = functools.partial(_info_or_error, work=work), []
    for result in map_frames(work, sound, sound, num_workers, "reading"):
        (errors if isinstance(result, str) else infos).append(result)
    return infos


def _read_or_note(folder: CustomFolder, frame: str, errors: list[str] | None) -> Objects | None:
    """The objects of a frame, or None after a note of what is wrong with its labels."""
    try:
        return folder.read_objects(frame)
    except DataError as error:
        if errors is None:
            raise
        errors.append(str(error))
        return None


def _info_or_error(frame: str, work: Callable[[str], dict[str, Any]]) -> dict[str, Any] | str:
    try:
        return work(frame)
    except DataError as error:
        return str(error)


def _build_info(
    frame: str, folder: CustomFolder, reader: FiniteReader, labelled: bool, ground: float | None
) -> dict[str, Any]:
    point_cloud = {"num_features": len(folder.columns), "lidar_idx": frame}
    if not labelled:
        folder.points_path(frame)
        return {"point_cloud": point_cloud}
    files = folder.label_path(frame), folder.points_path(frame)
    stats = [_size_and_time(path) for path in files if path.exists()]  # before they are read
    objects, points = folder.read_objects(frame), reader.get_lidar(frame)
    info = {
        "point_cloud": point_cloud,
        "annos": {
            "name": objects.names,
            "gt_boxes_lidar": objects.boxes,
            "num_points_in_gt": np.array(
                [len(rows) for rows in points_of_boxes(points, objects.boxes)], np.int32
            ),
            "difficulty": np.zeros(len(objects), np.int32),
        },
        "scan": dataclasses.asdict(describe_scan(points, column=intensity_column(folder.columns))),
        "label_crc": label_checksum(folder, frame),
        "scan_state": scan_state(files[1]),
        "file_stats": stats,
    }
    if ground is not None:
        shown = _find_plane(points, None)
        if shown is not None:
            info["ground_plane"] = shown
        info["road_plane"] = road_below(points, objects.boxes, ground, shown)
    return info


def road_below(
    points: np.ndarray, boxes: np.ndarray, ground: float, shown: np.ndarray | None
) -> np.ndarray:
    """Choose the road of a frame; one that the labelled objects contradict is not believed.

    Args:
        points: (N, 3 + C) LiDAR frame, metres.
        boxes: (M, 7) LiDAR boxes of objects that stand on the road.
        ground: height of the road in other frames.
        shown: (4,) plane that the points show, or None.

    Returns:
        (4,) plane as seen by `lidar_as_camera`.
    """
    height = float(np.median(boxes[:, Z])) if len(boxes) else ground
    standing = boxes[:, CENTER] if len(boxes) else np.array([[0, 0, height]])
    standing = lidar_as_camera().lidar_to_rect(standing)

    def is_below(plane: np.ndarray | None) -> bool:
        return plane is not None and (
            abs(np.median(standing @ plane[:3] + plane[3])) < _LARGEST_MISS
        )

    if is_below(shown):
        return shown
    plane = _find_plane(points, (height - _ROAD_DEPTH, height + _ROAD_DEPTH))
    return plane if is_below(plane) else np.array([0.0, -1.0, 0.0, -height])


def _find_plane(points: np.ndarray, heights: tuple[float, float] | None) -> np.ndarray | None:
    """The ground that points show between two heights, or wherever they are dense; or None."""
    reach = (-_ROAD_REACH, _ROAD_REACH)
    area = RoadArea(reach, reach, heights)
    return find_road_plane(points, lidar_as_camera(), area, rng=np.random.default_rng(0))


def label_checksum(folder: CustomFolder, frame: str) -> int:
    """A number that changes with the bytes of a frame's label file."""
    return zlib.crc32(read_file(folder.label_path(frame), "labels"))


def _size_and_time(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def scan_state(path: Path) -> list[int]:
    """Size in bytes of a scan's file, and the checksum of its beginning.

    Raises:
        DataError: the file cannot be read.
    """
    size = regular_file_size(path, "points")
    try:
        with path.open("rb") as file:
            return [size, zlib.crc32(file.read(_SCAN_HEAD))]
    except OSError as error:
        raise DataError(f"{path}: points cannot be read: {error.strerror}") from error


def load_infos(path: Path, has_label: bool) -> list[dict[str, Any]]:
    """Read a file of infos, and check what is used of each.

    Args:
        path: custom_infos_<split>.pkl.
        has_label: every frame must have `annos`.

    Raises:
        DataError: the file cannot be read, or an info lacks a key or has a value that does not fit.
    """
    if not path.exists():
        raise DataError(f"{path}: missing; make it with `{prepare_command(path.parent)}`")
    infos = load_pickle(path)
    try:
        if not isinstance(infos, list) or not infos:
            got = "an empty one" if infos == [] else f"a {type(infos).__name__}"
            raise ValueError(f"expected a list of infos, got {got}")
        for info in infos:
            _check_info(info, has_label)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        command = prepare_command(path.parent)
        raise DataError(f"{path}: {error}; make it with `{command}`") from error
    return infos


def _check_info(info: Any, has_label: bool) -> None:
    """Raise a ValueError, TypeError or KeyError if an info is not as `build_infos` makes it."""
    frame = info["point_cloud"]["lidar_idx"]
    check_file_name(frame, "lidar_idx")
    if "annos" not in info:
        if has_label:
            raise ValueError(f"frame {frame}: it has no labels (`annos`), which are needed here")
        return
    annos = info["annos"]
    count = len(annos["name"])
    check_array(annos["name"], f"frame {frame}: name", (count,), kinds="U")
    check_array(annos["gt_boxes_lidar"], f"frame {frame}: gt_boxes_lidar", (count, 7))
    for key in ("num_points_in_gt", "difficulty"):
        check_array(annos[key], f"frame {frame}: {key}", (count,), kinds="iu")
    has_sizes = count == 0 or (annos["gt_boxes_lidar"][:, DIMS] > 0).all()
    if not (has_sizes and all(map(is_file_name, annos["name"].tolist()))):
        raise ValueError(f"frame {frame}: an object has an impossible size or class")
    if "road_plane" in info:
        check_array(info["road_plane"], f"frame {frame}: road_plane", (4,))
        if not is_road(info["road_plane"]):
            raise ValueError(f"frame {frame}: road_plane: not a road")


def check_files_unchanged(folder: CustomFolder, infos: Sequence[dict[str, Any]]) -> None:
    """Raise a DataError if labels or scans are no longer those that the infos were made of.

    A file is read only if its size or time is another. Scans are compared by `scan_state`, which a
    change far from the beginning leaves as it is.
    Files that are not there any more, as in a copy of the infos alone, are not missed.
    """
    found = (_changed_file(folder, info) for info in infos)
    changed = [path for path in found if path is not None]
    if changed:
        raise DataError(
            f"{changed[0]}: changed since the infos were made, as did files of {len(changed) - 1} "
            f"other frames of {len(infos)}; run `{prepare_command(folder.root)}`"
        )


def _changed_file(folder: CustomFolder, info: dict[str, Any]) -> Path | None:
    """The label file of a frame, or else its scan, if it has changed."""
    frame = info["point_cloud"]["lidar_idx"]
    label, known = folder.label_path(frame), info.get("label_crc")
    label_stat, scan_stat = info.get("file_stats", (None, None))
    if (
        known is not None
        and label.exists()
        and _size_and_time(label) != label_stat
        and label_checksum(folder, frame) != known
    ):
        return label
    if "scan_state" not in info:
        return None
    try:
        scan = folder.points_path(frame)
    except DataError:  # a frame without its one scan is named when it is read
        return None
    if _size_and_time(scan) == scan_stat:
        return None
    return scan if scan_state(scan) != info["scan_state"] else None
