"""CVAT's export "Datumaro": annotations/<subset>.json with cuboids.

An item is a frame, whose annotations of the type `cuboid_3d` have label_id, position (the box's
middle), rotation around x, y, z in radians, and scale: length, width and height.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    find_scans,
    list_of,
    read_json,
    scan_of,
)
from pcdet.utils.errors import DataError

_CUBOID = "cuboid_3d"


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the frames of all subsets; those without a scan must have no objects."""
    found = find_scans(scans)
    for path in sorted((source / "annotations").glob("*.json")) or sorted(source.glob("*.json")):
        categories, items = entry_of(read_json(path), ["categories", "items"], str(path))
        names = _class_names(categories, path)
        for item in list_of(items, f"{path}: items"):
            name, annotations = entry_of(item, ["id", "annotations"], f"{path}: item")
            where = Path(f"{path}: item {name}")
            rows = _rows(list_of(annotations, str(where)), names, where)
            frame = Path(str(name)).name  # an id may hold the folders of its file
            frame = frame if frame in found else Path(frame).stem
            yield ImportedFrame(frame, scan_of(frame, found, where), rows.objects())


def _class_names(categories: Any, path: Path) -> list[str]:
    (label,) = entry_of(categories, ["label"], f"{path}: categories")
    (labels,) = entry_of(label, ["labels"], f"{path}: categories.label")
    return [
        str(entry_of(entry, ["name"], f"{path}: label {k}")[0])
        for k, entry in enumerate(list_of(labels, f"{path}: labels"))
    ]


def _rows(annotations: list[Any], names: list[str], where: Path) -> Rows:
    rows = Rows(where)
    for k, annotation in enumerate(annotations):
        kind = annotation.get("type") if isinstance(annotation, dict) else None
        if kind != _CUBOID:
            raise DataError(f"{where}: object {k}: expected a {_CUBOID}, got {kind!r}")
        keys = ["label_id", "position", "rotation", "scale"]
        label, *parts = entry_of(annotation, keys, f"{where}: object {k}")
        position, rotation, scale = (list_of(part, f"{where}: object {k}") for part in parts)
        if type(label) is not int or not 0 <= label < len(names) or len(rotation) != 3:
            raise DataError(
                f"{where}: object {k}: expected a label_id below {len(names)} and three angles, "
                f"got {label!r} and {rotation!r}"
            )
        rows.add(k, names[label], position, scale, rotation[2], rotation[:2])
    return rows
