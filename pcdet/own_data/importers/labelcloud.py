"""labelCloud's five formats, as its exporters write them (version 1.1).

::

    pointclouds/<frame>.*     labels/<frame>.json or .txt     labels/_classes.json
    calib/<frame>.txt         of the format kitti alone

- centroid_rel, centroid_abs: JSON with centroid, dimensions and rotations around x, y, z, which are
  radians from -pi to pi, or degrees from 0 to 360.
- vertices: JSON with eight corners; from the first to the fourth leads the length, to the second
  the width, to the fifth the height.
- kitti_untransformed: KITTI's lines with the middle of the box and its heading, LiDAR frame.
- kitti: the same in the camera's frame, the bottom's middle, and pi / 2 minus the heading, which is
  half a turn from what KITTI's own labels have.

Version 0.7, which kept its format in config.ini, wrote length, width and height instead of KITTI's
height, width and length into kitti_untransformed; and into kitti the middle of the box, by axes and
a height that it took for granted, without a calibration.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator, Sequence
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
    visible_files,
)
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_number, read_text
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import DONT_CARE, NUM_LABEL_FIELDS

FORMATS = ("centroid_rel", "centroid_abs", "vertices", "labelcloud_kitti", "kitti_untransformed")
_CLASSES, _SETTINGS = "_classes.json", "config.ini"
_AXES = ("x", "y", "z")
_CALIB, _LABELS, _KITTIS_LABELS = "calib", "labels", "label_2"
# Metres that version 0.7 adds to heights in the format kitti.
_OLD_HEIGHT = 2.3
_TINY = 1e-9


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
    (stated, is_old), found = _stated_format(source), Scans(scans)
    labels = _label_files(source, found)
    chosen = format_name or stated or _guess(labels, source)
    labels = [path for path in labels if path.suffix == (".txt" if "kitti" in chosen else ".json")]
    for path in labels:
        rows = Rows(path)
        if path.suffix == ".json":
            _read_json_labels(path, chosen, rows)
        else:
            place = _old_place(chosen) if is_old else _new_place(path, chosen, source)
            _read_kitti(path, place, rows)
        yield ImportedFrame(path.stem, path, found.find(path.stem, path), rows.objects())


def _label_files(source: Path, scans: Scans) -> list[Path]:
    """Text in a folder labels/ or named as a scan, but no calibration; and JSON with objects."""
    return [
        path
        for path in visible_files(source)
        if path.name != _CLASSES
        and path.parent.name != _CALIB
        and (
            (path.suffix == ".txt" and (path.stem in scans or path.parent.name == _LABELS))
            or (path.suffix == ".json" and (path.stem in scans or _holds_objects(path)))
        )
    ]


def _holds_objects(path: Path) -> bool:
    """Tell whether a JSON file holds labels; others, as of settings, may lie beside them."""
    content = read_json(path)
    return isinstance(content, dict) and "objects" in content


def _stated_format(source: Path) -> tuple[str | None, bool]:
    """The format by labelCloud's list of classes, or by the settings of 0.7; and if it is these."""
    files = visible_files(source)
    for path in files:
        if path.name == _CLASSES:
            content = read_json(path)
            stated = content.get("format") if isinstance(content, dict) else None
            return _known(stated, path), False
    for path in files:
        settings = configparser.ConfigParser()
        if path.name == _SETTINGS:
            try:
                settings.read_string(read_text(path, "settings"))
            except configparser.Error as error:
                raise DataError(f"{path}: {error}".replace("\n", " ")) from error
            if settings.has_option("LABEL", "label_format"):
                return _known(settings.get("LABEL", "label_format"), path), True
    return None, False


def _known(stated: Any, path: Path) -> str:
    stated = "labelcloud_kitti" if stated == "kitti" else stated
    if stated not in FORMATS:
        raise DataError(f"{path}: format: expected one of {list(FORMATS)}, got {stated!r}")
    return stated


def _guess(labels: Sequence[Path], source: Path) -> str:
    """The format that the files show.

    Raises:
        DataError: they fit two formats, as angles that may be radians or degrees.
    """
    suffixes = sorted({path.suffix for path in labels})
    if len(suffixes) == 2:
        raise DataError(f"{source}: labels as .json and as .txt: give the format")
    if suffixes == [".txt"]:
        if any(path.parent.name == _KITTIS_LABELS for path in labels):
            raise DataError(
                f"{source}: {_KITTIS_LABELS}/ may be KITTI's or labelCloud's: give the format, "
                "kitti, labelcloud_kitti or kitti_untransformed"
            )
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
            turned(*angles),
        )


def _add_vertices(k: int, entry: dict[str, Any], where: str, rows: Rows) -> None:
    try:
        corners = np.array(entry["vertices"], dtype=np.float64).reshape(8, 3)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: vertices: expected eight points: {error}") from error
    along, across, up = corners[3] - corners[0], corners[1] - corners[0], corners[4] - corners[0]
    edges = np.stack((along, across, up), axis=1)
    size = np.linalg.norm(edges, axis=0)
    rows.add(k, entry["name"], corners.mean(axis=0), size, edges / np.maximum(size, _TINY))


# From the sizes, the place and the angle of a line to middle, sizes (l, w, h) and heading.
_Place = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray, float]]


def _read_kitti(path: Path, place: _Place, rows: Rows) -> None:
    for number, line in enumerate(read_text(path, "labels").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] == DONT_CARE:
            continue
        where = f"{path}:{number}"
        if len(fields) < NUM_LABEL_FIELDS:
            raise DataError(f"{where}: expected {NUM_LABEL_FIELDS} fields, got {len(fields)}")
        try:
            numbers = np.array([read_number(word) for word in fields[8:15]])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        middle, size, heading = place(numbers[:3], numbers[3:6], float(numbers[6]))
        rows.add(number, fields[0], middle, size, turned(0, 0, heading))


def _new_place(path: Path, chosen: str, source: Path) -> _Place:
    if chosen != "labelcloud_kitti":
        return lambda sizes, middle, angle: (middle, sizes[::-1], angle)
    calib = _calibration(path, source)

    def place(sizes, bottom, angle):
        middle = calib.rect_to_lidar(bottom[None])[0] + [0, 0, sizes[0] / 2]
        return middle, sizes[::-1], np.pi / 2 - angle

    return place


def _old_place(chosen: str) -> _Place:
    if chosen != "labelcloud_kitti":
        return lambda sizes, middle, angle: (middle, sizes, angle)

    def place(sizes, middle, angle):
        lidar = np.array([middle[2], -middle[0], middle[1] - _OLD_HEIGHT])
        return lidar, sizes[::-1], np.pi / 2 - angle

    return place


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
