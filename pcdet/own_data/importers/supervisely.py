"""Supervisely's point clouds: <dataset>/ann/<scan>.json, <dataset>/pointcloud/<scan>.

A file holds `objects` with key and classTitle, and `figures`, which name their object by objectKey.
A figure of the geometryType `cuboid_3d` has position, the box's middle; dimensions: x the width, y
the length, z the height; and rotation around x, y, z, radians: a box of yaw 0 looks along y.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    find_scans,
    list_of,
    numbers_of,
    read_json,
    scan_of,
    visible_files,
)
from pcdet.utils.errors import DataError

_LABELS, _SCANS, _CUBOID = "ann", "pointcloud", "cuboid_3d"
_AXES = ("x", "y", "z")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read all data sets of a project."""
    return read_datasets(source, scans, length_along_x=False)


def read_datasets(source: Path, scans: Path, length_along_x: bool) -> Iterator[ImportedFrame]:
    """Read all data sets below a folder; frames of several have its name before their own.

    Args:
        source: folder of the project.
        scans: where to look for scans.
        length_along_x: boxes of yaw 0 look along x, and x of their dimensions is the length.
    """
    folders = sorted({path.parent for path in visible_files(source) if path.parent.name == _LABELS})
    for folder in folders:
        own = folder.parent / _SCANS
        found = find_scans(own if scans == source and own.is_dir() else scans)
        for path in sorted(folder.glob("*.json")):
            name = Path(path.stem).stem  # <frame>.pcd.json
            name = path.stem if path.stem in found else name
            frame = f"{folder.parent.name}_{name}" if len(folders) > 1 else name
            rows = _rows(path, length_along_x)
            yield ImportedFrame(frame, path, scan_of(name, found, path), rows.objects())


def _rows(path: Path, length_along_x: bool) -> Rows:
    objects, figures = entry_of(read_json(path), ["objects", "figures"], str(path))
    classes = dict(
        entry_of(entry, ["key", "classTitle"], f"{path}: objects")
        for entry in list_of(objects, f"{path}: objects")
    )
    rows = Rows(path)
    for k, figure in enumerate(list_of(figures, f"{path}: figures")):
        where = f"{path}: figure {k}"
        key, kind, geometry = entry_of(figure, ["objectKey", "geometryType", "geometry"], where)
        if kind != _CUBOID or key not in classes:
            raise DataError(
                f"{where}: expected a {_CUBOID} of one of the {len(classes)} objects, got {kind!r} "
                f"of {key!r}"
            )
        position, size, turns = _parts(geometry, where)
        heading = turns[2]
        if not length_along_x:
            size, heading = size[[1, 0, 2]], heading + np.pi / 2
        rows.add(k, classes[key], position, size, heading, turns[:2])
    return rows


def _parts(geometry: Any, where: str) -> list[np.ndarray]:
    keys = ["position", "dimensions", "rotation"]
    parts = zip(keys, entry_of(geometry, keys, where))
    return [numbers_of(part, _AXES, f"{where}: {key}") for key, part in parts]
