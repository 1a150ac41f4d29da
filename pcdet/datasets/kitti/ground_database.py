"""The database of labelled objects that ground-truth sampling pastes into other frames.

For each object a small file `gt_database/<id>_<class>_<k>.bin`, as PCDet has it, one list of all
objects (the dbinfos), and beside it one packed file of all their points, which the sampler maps
into memory instead of opening thousands of files (its form: `dbsampler.packed_points_path`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.kitti.kitti_files import KittiFiles
from pcdet.datasets.kitti.kitti_infos import points_of_boxes
from pcdet.utils.box_utils import CENTER
from pcdet.utils.io_utils import atomic_write


def database_dir(root: str | os.PathLike, split: str) -> Path:
    """Return the folder of the small files."""
    return Path(root) / ("gt_database" if split == "train" else f"gt_database_{split}")


def dbinfos_path(root: str | os.PathLike, split: str) -> Path:
    """Return the file of the dbinfos."""
    return Path(root) / f"kitti_dbinfos_{split}.pkl"


def write_frame_objects(
    info: dict[str, Any], dataset: KittiFiles, folder: Path
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Cut the labelled objects out of a frame and write their small files.

    Args:
        info: of the frame, with `annos`.
        dataset: reads the points.
        folder: where the small files go.

    Returns:
        For each object its dbinfo (name, path, image_idx, gt_idx, box3d_lidar, num_points_in_gt,
        difficulty, bbox, score) and its points (N, C) float32, xyz relative to the middle of the
        box's bottom face, not rotated.
    """
    sample_idx, annos = info["point_cloud"]["lidar_idx"], info["annos"]
    points, boxes = dataset.get_lidar(sample_idx), annos["gt_boxes_lidar"]
    objects = []
    for k, inside in enumerate(points_of_boxes(points, boxes)):
        object_points = points[inside]
        object_points[:, :3] -= boxes[k, CENTER]
        name = annos["name"][k]
        filename = f"{sample_idx}_{name}_{k}.bin"
        with atomic_write(folder / filename) as file:
            file.write(object_points.tobytes())
        dbinfo = {
            "name": name,
            "path": f"{folder.name}/{filename}",
            "image_idx": sample_idx,
            "gt_idx": k,
            "box3d_lidar": boxes[k],
            "num_points_in_gt": len(object_points),
            "difficulty": annos["difficulty"][k],
            "bbox": annos["bbox"][k],
            "score": annos["score"][k],
        }
        objects.append((dbinfo, object_points))
    return objects


def group_by_class(
    objects: Iterable[tuple[dict[str, Any], np.ndarray]], used_classes: list[str] | None
) -> tuple[dict[str, list[dict[str, Any]]], np.ndarray]:
    """Sort objects into classes, in the order in which they come.

    Args:
        objects: dbinfos and points, see `write_frame_objects`.
        used_classes: classes to list; None for all.

    Returns:
        The dbinfos, class to list, and the packed points (T, C) float32 in their order.
    """
    dbinfos: dict[str, list[dict[str, Any]]] = {}
    points: dict[str, list[np.ndarray]] = {}
    for dbinfo, object_points in objects:
        name = dbinfo["name"]
        if used_classes is None or name in used_classes:
            dbinfos.setdefault(str(name), []).append(dbinfo)
            points.setdefault(str(name), []).append(object_points)
    parts = [part for name in dbinfos for part in points[name]]
    return dbinfos, np.concatenate(parts) if parts else np.zeros(0, np.float32)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files that a killed run left in the folder of the small files."""
    for path in folder.glob(".*.bin.*.tmp"):
        path.unlink(missing_ok=True)
