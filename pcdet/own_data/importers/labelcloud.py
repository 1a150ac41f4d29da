"""labelCloud's five formats, as its exporters write them (version 1.1).

::

    pointclouds/<frame>.*     labels/<frame>.json or .txt     labels/_classes.json
    calib/<frame>.txt         of the format kitti alone

- centroid_rel, centroid_abs: JSON with centroid, dimensions and rotations around x, y, z, which are
  radians from -pi to pi, or degrees from 0 to 360.
- vertices: JSON with eight corners; from the first to the fourth leads the length, to the second
  the width, to the fifth the height.
- kitti_untransformed: KITTI's lines with the middle of the box and its heading, LiDAR frame.
  Version 0.7 wrote length, width and height there, 1.1 height, width and length.
- kitti: the same in the camera's frame, the bottom's middle, and pi / 2 minus the heading, which is
  half a turn from what KITTI's own labels have.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pcdet.utils.io_utils import read_number, read_text
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import DONT_CARE, NUM_LABEL_FIELDS

FORMATS = ("centroid_rel", "centroid_abs", "vertices", "labelcloud_kitti", "kitti_untransformed")
_CLASSES, _SETTINGS = "_classes.json", "config.ini"
_AXES = ("x", "y", "z")
_CALIB = "calib"


def reader_of(format_name: str) -> Callable[[Path, Path], Iterator[ImportedFrame]]:
    """The importer of one of `FORMATS`."""

    def read(source: Path, scans: Path) -> Iterator[ImportedFrame]:
        return read_frames(source, scans, format_name)

    return read


def read_frames(
    source: Path, scans: Path, format_name: str | None = None
) -> Iterator[ImportedFrame]:
    """Read the labels below a folder.

    Args:
        source: of labels, point clouds and calibrations.
        scans: where to look for scans.
        format_name: one of `FORMATS`; None for what _classes.json says, or the files show.
    """
    stated, found = _stated_format(source), find_scans(scans)
    labels = _label_files(source, found)
    chosen = format_name or stated or _guess(labels, source)
    labels = [path for path in labels if path.suffix == (".txt" if "kitti" in chosen else ".json")]
    for path in labels:
        rows = Rows(path)
        if path.suffix == ".json":
            _read_json_labels(path, chosen, rows)
        else:
            _read_kitti(path, chosen, rows, source)
        yield ImportedFrame(path.stem, path, scan_of(path.stem, found, path), rows.objects())


def _label_files(source: Path, scans: Mapping[str, Path]) -> list[Path]:
    """Text that is named as a scan, but no calibration; and JSON with objects."""
    return [
        path
        for path in visible_files(source)
        if path.name != _CLASSES
        and path.parent.name != _CALIB
        and (
            (path.suffix == ".txt" and path.stem in scans)
            or (path.suffix == ".json" and (path.stem in scans or _holds_objects(path)))
        )
    ]


def _holds_objects(path: Path) -> bool:
    """Tell whether a JSON file holds labels; others, as of settings, may lie beside them."""
    content = read_json(path)
    return isinstance(content, dict) and "objects" in content


def _stated_format(source: Path) -> str | None:
    """The format that labelCloud's list of classes states, or, before version 0.8, its settings."""
    files = visible_files(source)
    for path in files:
        if path.name == _CLASSES:
            content = read_json(path)
            return _known(content.get("format") if isinstance(content, dict) else None, path)
    for path in files:
        settings = configparser.ConfigParser()
        if path.name == _SETTINGS:
            try:
                settings.read_string(read_text(path, "settings"))
            except configparser.Error as error:
                raise DataError(f"{path}: {error}".replace("\n", " ")) from error
            if settings.has_option("LABEL", "label_format"):
                return _known(settings.get("LABEL", "label_format"), path)
    return None


def _known(stated: Any, path: Path) -> str:
    stated = "labelcloud_kitti" if stated == "kitti" else stated
    if stated not in FORMATS:
        raise DataError(f"{path}: format: expected one of {list(FORMATS)}, got {stated!r}")
    return stated


def _guess(labels: Sequence[Path], source: Path) -> str:
    """The format that the files show.

    Raises:
        DataError: angles fit radians as well as degrees.
    """
    suffixes = sorted({path.suffix for path in labels})
    if len(suffixes) == 2:
        raise DataError(f"{source}: labels as .json and as .txt: give the format")
    if suffixes == [".txt"]:
        has_calib = any(path.is_dir() for path in source.rglob(_CALIB))
        return "labelcloud_kitti" if has_calib else "kitti_untransformed"
    angles = []
    for path in labels:
        for entry in _entries(path):
            if "vertices" in entry:
                return "vertices"
            angles += list(numbers_of(entry.get("rotations"), _AXES, f"{path}: rotations"))
    if any(abs(angle) > np.pi + 1e-6 for angle in angles):
        return "centroid_abs"
    if any(angle < 0 for angle in angles) or not any(angles):
        return "centroid_rel"
    raise DataError(
        f"{source}: all rotations lie from 0 to pi, so that they may be radians or degrees: give "
        "the format, centroid_rel or centroid_abs"
    )


def _entries(path: Path) -> list[dict[str, Any]]:
    (objects,) = entry_of(read_json(path), ["objects"], str(path))
    entries = list_of(objects, f"{path}: objects")
    for k, entry in enumerate(entries):
        entry_of(entry, ["name"], f"{path}: object {k}")
    return entries


def _read_json_labels(path: Path, chosen: str, rows: Rows) -> None:
    for k, entry in enumerate(_entries(path)):
        where = f"{path}: object {k}"
        if "vertices" in entry:
            _add_vertices(k, entry, where, rows)
            continue
        keys = ["centroid", "dimensions", "rotations"]
        center, size, turns = entry_of(entry, keys, where)
        angles = numbers_of(turns, _AXES, f"{where}: rotations")
        if chosen == "centroid_abs":
            angles = np.radians(angles)
        elif np.abs(angles).max() > np.pi + 1e-3:
            raise DataError(
                f"{where}: rotations: expected radians from -pi to pi ({chosen}), got "
                f"{angles.tolist()}: they look like degrees, centroid_abs"
            )
        rows.add(
            k,
            entry["name"],
            numbers_of(center, _AXES, f"{where}: centroid"),
            numbers_of(size, ("length", "width", "height"), f"{where}: dimensions"),
            angles[2],
            angles[:2],
        )


def _add_vertices(k: int, entry: dict[str, Any], where: str, rows: Rows) -> None:
    try:
        corners = np.array(entry["vertices"], dtype=np.float64).reshape(8, 3)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: vertices: expected eight points: {error}") from error
    along, across, up = corners[3] - corners[0], corners[1] - corners[0], corners[4] - corners[0]
    size = [float(np.linalg.norm(edge)) for edge in (along, across, up)]
    heading = float(np.arctan2(along[1], along[0]))
    lean = np.arctan2(across[2], np.hypot(*across[:2])), np.arctan2(along[2], np.hypot(*along[:2]))
    rows.add(k, entry["name"], corners.mean(axis=0), size, heading, lean)


def _read_kitti(path: Path, chosen: str, rows: Rows, source: Path) -> None:
    calib = _calibration(path, source) if chosen == "labelcloud_kitti" else None
    for number, line in enumerate(read_text(path, "labels").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] == DONT_CARE:
            continue
        where = f"{path}:{number}"
        if len(fields) < NUM_LABEL_FIELDS:
            raise DataError(f"{where}: expected {NUM_LABEL_FIELDS} fields, got {len(fields)}")
        try:
            height, width, length, x, y, z, angle = (read_number(word) for word in fields[8:15])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        center, heading = np.array([x, y, z]), angle
        if calib is not None:
            center = calib.rect_to_lidar(center[None])[0] + [0, 0, height / 2]
            heading = np.pi / 2 - angle
        rows.add(number, fields[0], center, (length, width, height), heading)


def _calibration(label: Path, source: Path) -> Calibration:
    for folder in sorted(source.rglob(_CALIB)):
        path = folder / f"{label.stem}.txt"
        if path.exists():
            return Calibration(_with_p2(path))
    raise DataError(f"{label}: no {_CALIB}/{label.stem}.txt, which the format kitti needs")


def _with_p2(path: Path) -> Path | dict[str, np.ndarray]:
    """The calibration file, or its matrices if it lacks the camera's, which labels do not need."""
    rows = {}
    for line in read_text(path, "calibration").splitlines():
        name, colon, values = line.partition(":")
        if colon:
            rows[name.strip()] = values.split()
    if "P2" in rows or not {"R0_rect", "Tr_velo_to_cam"} <= rows.keys():
        return path
    try:
        r0, v2c = (
            np.array([read_number(word) for word in rows[name]], np.float32)
            for name in ("R0_rect", "Tr_velo_to_cam")
        )
        return {
            "P2": np.eye(3, 4, dtype=np.float32),
            "R0": r0.reshape(3, 3),
            "Tr_velo2cam": v2c.reshape(3, 4),
        }
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
