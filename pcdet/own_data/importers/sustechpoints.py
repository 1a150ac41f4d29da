"""SUSTechPOINTS: a JSON file a frame, a list of objects or a section `objs` with one.

::

    <scene>/lidar/<frame>.pcd (or pcd/)     <scene>/label/<frame>.json

An object is `obj_type` and `psr`: position, the box's middle; scale, its length, width and height;
rotation around x, y, z, radians. Early versions had boxes of rotation 0 look along y, with x of the
scale as their width; they wrote `vertices` of four numbers each, too, the front's four first.
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
    list_of,
    numbers_of,
    read_json,
    turned,
)
from pcdet.own_data.importers.scans import Scans

_LABEL, _SCANS = "label", ("lidar", "pcd")
_AXES = ["x", "y", "z"]


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read all scenes below a folder; frames of several have the scene's name before their own."""
    folders = [path for path in sorted(source.rglob(_LABEL)) if path.is_dir()]
    folders = folders or [source]
    for folder in folders:
        scene = folder.parent if folder.name == _LABEL else folder
        found = Scans(_scan_folder(scene) if scans == source else scans)
        for path in sorted(folder.glob("[!.]*.json")):
            name = f"{scene.name}_{path.stem}" if len(folders) > 1 else path.stem
            yield ImportedFrame(name, path, found.find(path.stem, path), _objects(path).objects())


def _scan_folder(scene: Path) -> Path:
    """The folder of a scene's main LiDAR; aux_lidar/ and radar/ hold scans of the same names."""
    return next((path for name in _SCANS if (path := scene / name).is_dir()), scene)


def _objects(path: Path) -> Rows:
    content, rows = read_json(path), Rows(path)
    if isinstance(content, dict):
        (content,) = entry_of(content, ["objs"], str(path))
    for k, entry in enumerate(list_of(content, str(path))):
        where = f"{path}: object {k}"
        name, place = entry_of(entry, ["obj_type", "psr"], where)
        parts: list[Any] = entry_of(place, ["position", "scale", "rotation"], where)
        position, scale, rotation = (numbers_of(part, _AXES, where) for part in parts)
        axes = turned(*rotation, where)
        if "vertices" in entry and _looks_along_y(axes, entry["vertices"], where):
            scale, axes = scale[[1, 0, 2]], axes @ turned(0, 0, np.pi / 2)
        rows.add(k, name, position, scale, axes)
    return rows


def _looks_along_y(axes: np.ndarray, vertices: Any, where: str) -> bool:
    """Tell whether the vertices show that the front is not in x of the box but in its y.

    Labels that were converted kept the vertices, which then show their x.
    """
    front, back = numbers_of(vertices, 32, f"{where}: vertices").reshape(2, 4, 4)[..., :3]
    ahead = (front - back).mean(axis=0)
    return abs(ahead @ axes[:, 1]) > abs(ahead @ axes[:, 0])
