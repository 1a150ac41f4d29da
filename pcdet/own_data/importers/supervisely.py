"""Supervisely's point clouds and episodes.

::

    <dataset>/pointcloud/<scan>     <dataset>/ann/<scan>.json, or of an episode
    <dataset>/annotation.json       <dataset>/frame_pointcloud_map.json

A file holds `objects` with key and classTitle, and `figures`, which name their object by objectKey;
that of an episode has `frames` with figures each, whose `index` the map leads to a scan.
A figure of the geometryType `cuboid_3d` has position, the box's middle; dimensions: x the width, y
the length, z the height; and rotation around x, y, z, radians: a box of yaw 0 looks along y.
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
    json_files,
    list_of,
    names_by_key,
    numbers_of,
    read_json,
    turned,
    visible_files,
)
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError

_LABELS, _SCANS, _CUBOID = "ann", "pointcloud", "cuboid_3d"
# An empty list that CVAT's exports have in each object, and Supervisely's have not.
_CVATS_MARK = "figures"
_EPISODE, _MAP = "annotation.json", "frame_pointcloud_map.json"
_AXES = ("x", "y", "z")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read all data sets and episodes of a project."""
    yield from read_datasets(source, scans, length_along_x=False)
    for path in visible_files(source):
        if path.name == _MAP:
            yield from _of_episode(path.parent, _scans_of(path.parent, source, scans))


def _scans_of(dataset: Path, source: Path, scans: Path) -> Scans:
    own = dataset / _SCANS
    return Scans(own if scans == source and own.is_dir() else scans)


def label_folders(source: Path) -> list[Path]:
    """The folders ann/ of all data sets, in order; a source may be one itself."""
    folders = [source, *sorted(source.rglob(_LABELS))]
    return [path for path in folders if path.name == _LABELS and path.is_dir()]


def read_datasets(source: Path, scans: Path, length_along_x: bool) -> Iterator[ImportedFrame]:
    """Read all data sets below a folder.

    Args:
        source: folder of the project.
        scans: where to look for scans.
        length_along_x: boxes of yaw 0 look along x, and x of their dimensions is the length.
    """
    for folder in label_folders(source):
        found = _scans_of(folder.parent, source, scans)
        for path, content in json_files(folder):
            objects, figures = entry_of(content, ["objects", "figures"], str(path))
            classes = names_by_key(objects, "key", "classTitle", f"{path}: objects")
            if not length_along_x and any(_CVATS_MARK in entry for entry in objects):
                raise DataError(f"{path}: CVAT wrote this, and its boxes have other axes")
            rows = _rows(path, figures, classes, length_along_x)
            # <frame>.pcd.json, below the folders that the scans have.
            scan = found.find(str(path.relative_to(folder).with_suffix("")), path)
            yield ImportedFrame(scan.stem, path, scan, rows.objects())


def _of_episode(folder: Path, found: Scans) -> Iterator[ImportedFrame]:
    path, names = folder / _EPISODE, read_json(folder / _MAP)
    objects, frames = entry_of(read_json(path), ["objects", "frames"], str(path))
    classes = names_by_key(objects, "key", "classTitle", f"{path}: objects")
    for k, frame in enumerate(list_of(frames, f"{path}: frames")):
        where = Path(f"{path}: frame {k}")
        index, figures = entry_of(frame, ["index", "figures"], str(where))
        (name,) = entry_of(names, [str(index)], str(folder / _MAP))
        scan = found.find(str(name), where)
        rows = _rows(where, figures, classes, length_along_x=False)
        yield ImportedFrame(scan.stem, where, scan, rows.objects())


def _rows(path: Path, figures: Any, classes: Mapping[str, str], length_along_x: bool) -> Rows:
    rows = Rows(path)
    for k, figure in enumerate(list_of(figures, f"{path}: figures")):
        where = f"{path}: figure {k}"
        key, kind, geometry = entry_of(figure, ["objectKey", "geometryType", "geometry"], where)
        if kind != _CUBOID or str(key) not in classes:
            raise DataError(
                f"{where}: expected a {_CUBOID} of one of the {len(classes)} objects, got {kind!r} "
                f"of {key!r}"
            )
        position, size, turns = _parts(geometry, where)
        axes = turned(*turns, where)
        if not length_along_x:
            size, axes = size[[1, 0, 2]], axes @ turned(0, 0, np.pi / 2)
        rows.add(k, classes[str(key)], position, size, axes)
    return rows


def _parts(geometry: Any, where: str) -> list[np.ndarray]:
    keys = ["position", "dimensions", "rotation"]
    parts = zip(keys, entry_of(geometry, keys, where))
    return [numbers_of(part, _AXES, f"{where}: {key}") for key, part in parts]
