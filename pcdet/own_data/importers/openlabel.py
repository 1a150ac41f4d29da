"""ASAM OpenLABEL, as 3D BAT and the TUM Traffic data sets write it: frames in JSON files.

An object of a frame has `object_data` with `cuboid`, one or a list of them, whose `val` is the
middle of the box, a quaternion x, y, z, w or three angles around x, y, z in radians, and length,
width and height. Its class is `type` there, or in the list of all objects. A frame names its scan
in `frame_properties` as point_cloud_file_name, or has its file's name. Boxes must be in the frame
of the scan: those in a coordinate system of a vehicle or a map are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pcdet.own_data.importers.common import (
    ImportedFrame,
    Rows,
    entry_of,
    json_files,
    numbers_of,
    turned,
    turned_by_quaternion,
)
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError

_ROOT = "openlabel"
_SENSOR_SYSTEM = "sensor_cs"  # type of a coordinate system
_SCAN_KEYS = ("point_cloud_file_name", "point_cloud_file_names")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the frames of all files below a folder."""
    found = Scans(scans)
    for path, content in json_files(source):
        if not isinstance(content, dict) or _ROOT not in content:
            continue
        (frames,) = entry_of(content[_ROOT], ["frames"], f"{path}: {_ROOT}")
        classes = content[_ROOT].get("objects", {})
        systems = _other_systems(content[_ROOT].get("coordinate_systems"))
        for key, frame in entries_of(frames, f"{path}: frames"):
            where = Path(f"{path}: frame {key}")
            scan = found.find(_scan_name(frame, path, len(frames)), where)
            rows = _rows(frame, classes, where, systems)
            yield ImportedFrame(scan.stem, where, scan, rows.objects())


def entries_of(value: Any, where: str) -> list[tuple[str, Any]]:
    """The entries of a mapping, or a DataError."""
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected a mapping, got {type(value).__name__}")
    return list(value.items())


def _scan_name(frame: Any, path: Path, count: int) -> str:
    """The name of a frame's scan; without one, a file of one frame is named as its scan."""
    properties = frame.get("frame_properties") if isinstance(frame, dict) else None
    for key in _SCAN_KEYS:
        name = properties.get(key) if isinstance(properties, dict) else None
        name = name[0] if isinstance(name, list) and name else name
        if isinstance(name, str) and name:
            return name
    if count == 1:
        return path.stem
    raise DataError(f"{path}: frame_properties: expected {_SCAN_KEYS[0]} of each frame")


def _other_systems(systems: Any) -> set[str]:
    """Names of the coordinate systems that are not a sensor's, where a sensor has its own."""
    kinds = {
        name: system.get("type") if isinstance(system, dict) else None
        for name, system in (systems.items() if isinstance(systems, dict) else ())
    }
    if _SENSOR_SYSTEM not in kinds.values():
        return set()
    return {name for name, kind in kinds.items() if kind != _SENSOR_SYSTEM}


def _rows(frame: Any, classes: Any, where: Path, other_systems: set[str]) -> Rows:
    rows = Rows(where)
    (objects,) = entry_of({"objects": {}, **dict(entries_of(frame, str(where)))}, ["objects"], "")
    for k, (key, entry) in enumerate(entries_of(objects, f"{where}: objects")):
        of_object = f"{where}: object {key}"
        (data,) = entry_of(entry, ["object_data"], of_object)
        cuboids = dict(entries_of(data, of_object)).get("cuboid", [])
        known = classes.get(key) if isinstance(classes, dict) else None
        name = data.get("type") or (known.get("type") if isinstance(known, dict) else None)
        for cuboid in cuboids if isinstance(cuboids, list) else [cuboids]:
            (values,) = entry_of(cuboid, ["val"], f"{of_object}: cuboid")
            system = cuboid.get("coordinate_system")
            if isinstance(system, str) and system in other_systems:
                raise DataError(
                    f"{of_object}: cuboid: expected a box in the frame of the sensor, got one in "
                    f"the coordinate system {system!r}: export it in that of the scan"
                )
            count = len(values) if isinstance(values, list) and len(values) == 9 else 10
            numbers = numbers_of(values, count, f"{of_object}: cuboid")
            turn = numbers[3:-3]
            axes = turned(*turn, of_object) if count == 9 else turned_by_quaternion(turn, of_object)
            rows.add(k, name, numbers[:3], numbers[-3:], axes)
    return rows
