"""Segments.ai: a release file of a data set with the task type pointcloud-cuboid.

A sample has attributes.pcd, whose URL ends with its scan's name, and labels by name, each with
attributes.annotations: category_id, position (the box's middle), dimensions (length, width and
height) and yaw, or a quaternion `rotation`. A sequence has `frames` on both sides. Where a scan has
an ego_pose, boxes are in the world. Of several `sensors` the one with cuboids counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    json_files,
    list_of,
    names_by_key,
    numbers_of,
    turned,
    turned_by_quaternion,
)
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError

_LABELS = "ground-truth"
_TASK, _KINDS = "pointcloud-cuboid", ("cuboid", "cuboid-sync")
_AXES, _QUATERNION = ("x", "y", "z"), ("qx", "qy", "qz", "qw")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the labelled samples of the release files below a folder."""
    found = Scans(scans)
    for path, content in json_files(source):
        data = content.get("dataset") if isinstance(content, dict) else None
        if not isinstance(data, dict) or "samples" not in data:
            continue
        names = _class_names(data, path)
        for sample in list_of(data["samples"], f"{path}: samples"):
            yield from _frames(sample, names, found, path)


def _class_names(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    (attributes,) = entry_of(data, ["task_attributes"], f"{path}: dataset")
    (categories,) = entry_of(attributes, ["categories"], f"{path}: task_attributes")
    return names_by_key(categories, "id", "name", f"{path}: categories")


def _frames(
    sample: Any, names: Mapping[str, Any], found: Scans, path: Path
) -> Iterator[ImportedFrame]:
    """The frames of a sample; none if it has no labels."""
    name, attributes, labels = entry_of(sample, ["name", "attributes", "labels"], f"{path}: sample")
    where = Path(f"{path}: sample {name}")
    label = labels.get(_LABELS) if isinstance(labels, dict) else None
    if not isinstance(label, dict) or not label.get("attributes"):
        return
    attributes, boxes = _of_lidar(attributes, where), _of_lidar(label["attributes"], where)
    pairs = [(attributes, boxes)]
    if "frames" in boxes:
        (clouds,) = entry_of(attributes, ["frames"], f"{where}: attributes")
        frames = list_of(boxes["frames"], str(where))
        if len(list_of(clouds, str(where))) != len(frames):
            raise DataError(f"{where}: {len(clouds)} frames, and labels of {len(frames)}")
        pairs = list(zip(clouds, frames))
    for cloud, of_frame in pairs:
        pcd, annotations = (
            entry_of(cloud, ["pcd"], f"{where}: attributes")[0],
            entry_of(of_frame, ["annotations"], f"{where}: labels")[0],
        )
        (url,) = entry_of(pcd, ["url"], f"{where}: pcd")
        scan = found.find(PurePosixPath(unquote(urlsplit(str(url)).path)).name, where)
        pose = cloud.get("ego_pose")
        to_lidar = np.eye(4) if pose is None else np.linalg.inv(_motion(pose, f"{where}: ego_pose"))
        rows = _rows(list_of(annotations, str(where)), names, to_lidar, where)
        yield ImportedFrame(scan.stem, where, scan, rows.objects())


def _of_lidar(attributes: Any, where: Path) -> dict[str, Any]:
    """The attributes of the sensor with cuboids, where there are several."""
    if not isinstance(attributes, dict):
        raise DataError(f"{where}: attributes: expected a mapping, got {attributes!r}"[:300])
    if "sensors" not in attributes:
        return attributes
    for sensor in list_of(attributes["sensors"], f"{where}: sensors"):
        task, of_sensor = entry_of(sensor, ["task_type", "attributes"], f"{where}: sensors")
        if str(task).startswith(_TASK):
            return _of_lidar(of_sensor, where)
    raise DataError(f"{where}: sensors: expected one with the task_type {_TASK}")


def _motion(pose: Any, where: str) -> np.ndarray:
    """(4, 4) of a position and a heading."""
    position, heading = entry_of(pose, ["position", "heading"], where)
    matrix = np.eye(4)
    matrix[:3, :3] = turned_by_quaternion(numbers_of(heading, _QUATERNION, where), where)
    matrix[:3, 3] = numbers_of(position, _AXES, where)
    return matrix


def _rows(
    annotations: list[Any], names: Mapping[str, Any], to_lidar: np.ndarray, where: Path
) -> Rows:
    rows = Rows(where)
    for k, entry in enumerate(annotations):
        of_box = f"{where}: object {k}"
        category, position, size = entry_of(
            entry, ["category_id", "position", "dimensions"], of_box
        )
        kind = entry.get("type", _KINDS[0])
        if kind not in _KINDS or str(category) not in names:
            raise DataError(
                f"{of_box}: expected a cuboid of one of the {len(names)} categories, got {kind!r} "
                f"of {category!r}"
            )
        if entry.get("rotation") is not None:
            axes = turned_by_quaternion(numbers_of(entry["rotation"], _QUATERNION, of_box), of_box)
        else:
            axes = turned(0, 0, numbers_of(entry, ["yaw"], of_box)[0], of_box)
        center = (to_lidar @ [*numbers_of(position, _AXES, of_box), 1])[:3]
        size = numbers_of(size, _AXES, of_box)
        rows.add(k, names[str(category)], center, size, to_lidar[:3, :3] @ axes)
    return rows
