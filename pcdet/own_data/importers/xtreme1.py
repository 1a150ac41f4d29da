"""Xtreme1 (BasicAI): result/<frame>.json, with `objects`, as it exports them beside data/.

An object of the type 3D_BOX has className, and in its contour center3D, the box's middle, size3D,
its length, width and height, and rotation3D around x, y, z in radians. Boxes of images are left
out, and the results of models where people's are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    json_files,
    list_of,
    numbers_of,
    turned,
)
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError

_BOX = "3D_BOX"
# Whose results count if those of a model stand beside them.
_BY_PEOPLE = "Ground Truth"
_IMAGE_TYPES = ("2D_BOX", "2D_RECT")
_AXES = ("x", "y", "z")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the results below a folder."""
    found = Scans(scans)
    for path, content in json_files(source):
        results = [content] if isinstance(content, dict) else content
        if not results or not isinstance(results, list):
            continue
        if not all(isinstance(result, dict) and "objects" in result for result in results):
            continue
        rows = Rows(path)
        by_people = [r for r in results if r.get("sourceName") == _BY_PEOPLE]
        for result in by_people or results:
            _add_objects(result["objects"], path, rows)
        yield ImportedFrame(path.stem, path, found.find(path.stem, path), rows.objects())


def _add_objects(objects: Any, path: Path, rows: Rows) -> None:
    for k, entry in enumerate(list_of(objects or [], f"{path}: objects")):
        where = f"{path}: object {k}"
        kind, contour = entry_of(entry, ["type", "contour"], where)
        if kind in _IMAGE_TYPES:
            continue
        if kind != _BOX:
            raise DataError(f"{where}: expected a {_BOX}, got {kind!r}")
        parts = entry_of(contour, ["center3D", "size3D", "rotation3D"], where)
        center, size, rotation = (numbers_of(part, _AXES, where) for part in parts)
        name = entry.get("className") or entry.get("modelClass")
        rows.add(k, name, center, size, turned(*rotation, where))
