"""nuScenes' tables: v1.0-*/*.json, and the scans of LIDAR_TOP that they name.

Boxes are in the world: translation (the middle), size (width, length, height) and rotation (a
quaternion w, x, y, z); `ego_pose` and `calibrated_sensor` lead to the LiDAR, whose x points to the
right of the vehicle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    list_of,
    numbers_of,
    read_json,
    turned_by_quaternion,
)
from pcdet.utils.errors import DataError

_LIDAR = "LIDAR_TOP"
_COLUMNS = ("x", "y", "z", "intensity", "ring")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the labelled samples, keyframes of the LiDAR; `scans` is what file names start from."""
    tables = [path.parent for path in sorted(source.rglob("sample_annotation.json"))]
    if len(tables) != 1:
        raise DataError(
            f"{source}: expected one folder with sample_annotation.json, got {len(tables)}"
        )
    (folder,) = tables
    data = {name: _table(folder, name) for name in ("ego_pose", "calibrated_sensor", "sensor")}
    names = _class_names(folder)
    path = folder / "sample_annotation.json"
    boxes: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for k, box in enumerate(list_of(read_json(path), str(path))):
        (sample,) = entry_of(box, ["sample_token"], f"{path}: object {k}")
        boxes.setdefault(sample, []).append((k, box))
    for record in _table(folder, "sample_data").values():
        sensor = _row(data, "calibrated_sensor", record, folder)
        where = f"{folder / 'sample_data.json'}: row {record['token']}"
        keys = ["sample_token", "is_key_frame", "filename"]
        sample, is_key_frame, file = entry_of(record, keys, where)
        (channel,) = entry_of(
            _row(data, "sensor", sensor, folder), ["channel"], f"{folder}: sensor"
        )
        if channel != _LIDAR or not is_key_frame:
            continue
        rows = Rows(path)
        to_lidar = _to_lidar(_row(data, "ego_pose", record, folder), sensor)
        for k, box in boxes.get(sample, []):
            _add(k, box, names, to_lidar, rows, f"{path}: object {k}")
        scan = scans / str(file)
        if not scan.is_file():
            raise DataError(f"{scan}: missing, which {folder / 'sample_data.json'} names")
        name = scan.name.removesuffix(".bin").removesuffix(".pcd")
        columns = _COLUMNS if scan.suffix == ".bin" else None
        yield ImportedFrame(name, Path(where), scan, rows.objects(), columns)


def _table(folder: Path, name: str) -> dict[str, Mapping[str, Any]]:
    """The rows of a table by token."""
    path = folder / f"{name}.json"
    rows = list_of(read_json(path), str(path))
    return {entry_of(row, ["token"], f"{path}: row {k}")[0]: row for k, row in enumerate(rows)}


def _row(
    data: Mapping[str, Mapping[str, Any]], table: str, of: Mapping[str, Any], folder: Path
) -> Mapping[str, Any]:
    """The row of a table that another row refers to."""
    (token,) = entry_of(of, [f"{table}_token"], f"{folder}: {of.get('token')}")
    if token not in data[table]:
        raise DataError(f"{folder / table}.json: no row {token!r}, to which {of['token']!r} refers")
    return data[table][token]


def _class_names(folder: Path) -> dict[str, str]:
    """Class of each instance."""
    categories = _table(folder, "category")
    names = {}
    for token, instance in _table(folder, "instance").items():
        (category,) = entry_of(instance, ["category_token"], f"{folder}: instance {token}")
        if category not in categories:
            raise DataError(f"{folder / 'category.json'}: no row {category!r} of {token!r}")
        (names[token],) = entry_of(categories[category], ["name"], f"{folder}: {category}")
    return names


def _to_lidar(pose: Mapping[str, Any], sensor: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) from the world to the LiDAR."""
    return np.linalg.inv(_motion(pose) @ _motion(sensor))


def _motion(row: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) of a translation and a rotation."""
    matrix = np.eye(4)
    where = f"row {row['token']}"
    rotation, translation = entry_of(row, ["rotation", "translation"], where)
    matrix[:3, :3] = _axes(rotation, where)
    matrix[:3, 3] = numbers_of(translation, 3, f"{where}: translation")
    return matrix


def _axes(rotation: Any, where: str) -> np.ndarray:
    """(3, 3) of a quaternion w, x, y, z."""
    return turned_by_quaternion(numbers_of(rotation, 4, f"{where}: rotation")[[1, 2, 3, 0]], where)


def _add(
    k: int,
    box: Mapping[str, Any],
    names: Mapping[str, str],
    to_lidar: np.ndarray,
    rows: Rows,
    where: str,
) -> None:
    keys = ["instance_token", "translation", "size", "rotation"]
    instance, translation, size, rotation = entry_of(box, keys, where)
    if instance not in names:
        raise DataError(f"{where}: unknown instance {instance!r}")
    axes = to_lidar[:3, :3] @ _axes(rotation, where)
    center = (to_lidar @ [*numbers_of(translation, 3, f"{where}: translation"), 1])[:3]
    width, length, height = numbers_of(size, 3, f"{where}: size")
    rows.add(k, names[instance], center, (length, width, height), axes)
