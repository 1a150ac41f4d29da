"""CVAT's exports for 3D tasks: "Datumaro", "Kitti Raw Format" and "Sly Point Cloud Format".

- Datumaro: annotations/<subset>.json. An item is a frame, whose annotations of the type `cuboid_3d`
  have label_id, position (the box's middle), rotation around x, y, z in radians, and scale: length,
  width and height.
- Kitti Raw: tracklet_labels.xml, frame_list.txt, velodyne_points/data. A tracklet is an object from
  first_frame on, with a pose in each frame. As Datumaro's writer fills them, unlike KITTI itself, w
  is the length, h the width and l the height, and tx, ty, tz is the middle.
- Sly: see `supervisely`; here x of the dimensions is the length, along the heading.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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
from pcdet.own_data.importers.supervisely import label_folders, read_datasets
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import MAX_TEXT_SIZE, read_file, read_number, read_text

_CUBOID, _TAG = "cuboid_3d", "label"
_TRACKLETS, _FRAMES = "tracklet_labels.xml", "frame_list.txt"
# Values of `truncation` where a track has no object: out of the image, behind it.
_OUTSIDE = (2, 99)
# Of a pose or tracklet: middle, angles, and length, width, height.
_NUMBERS = ("tx", "ty", "tz", "rx", "ry", "rz")
_SIZES = ("w", "h", "l")


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the frames of an export, whichever of the three formats it has."""
    tracklets = [path for path in visible_files(source) if path.name == _TRACKLETS]
    if tracklets:
        return _of_tracklets(tracklets, Scans(scans))
    if label_folders(source):
        return read_datasets(source, scans, length_along_x=True)
    return _of_datumaro(source, Scans(scans))


def _of_datumaro(source: Path, found: Scans) -> Iterator[ImportedFrame]:
    """All subsets."""
    visible = "[!.]*.json"  # macOS adds ._* to what it copies
    for path in sorted((source / "annotations").glob(visible)) or sorted(source.glob(visible)):
        categories, items = entry_of(read_json(path), ["categories", "items"], str(path))
        names = _class_names(categories, path)
        for item in list_of(items, f"{path}: items"):
            name, annotations = entry_of(item, ["id", "annotations"], f"{path}: item")
            where = Path(f"{path}: item {name}")
            rows = _rows(list_of(annotations, str(where)), names, where)
            scan = found.find(str(name), where)
            yield ImportedFrame(scan.stem, where, scan, rows.objects())


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
        if kind == _TAG or _is_outside(annotation):  # of the whole frame; a track has left it
            continue
        if kind != _CUBOID:
            raise DataError(f"{where}: object {k}: expected a {_CUBOID}, got {kind!r}")
        keys = ["label_id", "position", "rotation", "scale"]
        label, *parts = entry_of(annotation, keys, f"{where}: object {k}")
        position, rotation, scale = (numbers_of(part, 3, f"{where}: object {k}") for part in parts)
        if type(label) is not int or not 0 <= label < len(names):
            raise DataError(
                f"{where}: object {k}: expected a label_id below {len(names)}, got {label!r}"
            )
        axes = turned(*rotation, f"{where}: object {k}")
        rows.add(k, names[label], position, scale, axes)
    return rows


def _is_outside(annotation: Any) -> bool:
    attributes = annotation.get("attributes") if isinstance(annotation, dict) else None
    return isinstance(attributes, dict) and attributes.get("outside") is True


def _of_tracklets(paths: list[Path], found: Scans) -> Iterator[ImportedFrame]:
    """Frames that the list names or an object is in; several exports keep apart by their scans."""
    for path in paths:
        names = _frame_names(path.parent / _FRAMES)
        frames: dict[int, Rows] = {number: Rows(path) for number in names}
        for k, tracklet in enumerate(_tracklets(path)):
            _add_track(k, tracklet, frames, path)
        for number, rows in sorted(frames.items()):
            where = Path(f"{path}: frame {number}")
            scan = found.find(names.get(number, f"{number:010d}"), where)
            yield ImportedFrame(scan.stem, where, scan, rows.objects())


def _tracklets(path: Path) -> list[ElementTree.Element]:
    content = read_file(path, "labels", max_size=MAX_TEXT_SIZE)
    if b"<!ENTITY" in content:
        raise DataError(f"{path}: entities are not read")
    try:
        root = ElementTree.fromstring(content)  # in the encoding that it declares
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: not valid XML: {error}") from error
    tracklets = root.find("tracklets")
    if tracklets is None:
        raise DataError(f"{path}: expected the element tracklets")
    return tracklets.findall("item")


def _frame_names(path: Path) -> dict[int, str]:
    """Number of a frame to the name of its scan; empty if there is no list."""
    names = {}
    for line, text in enumerate(read_text(path).splitlines() if path.exists() else (), 1):
        number, _, name = text.strip().partition(" ")
        if not number or number.startswith("#"):
            continue
        if not number.isdecimal() or not name:
            raise DataError(f"{path}:{line}: expected a number and a name, got {text[:80]!r}")
        names[int(number)] = name.strip()
    return names


def _add_track(k: int, tracklet: ElementTree.Element, frames: dict[int, Rows], path: Path) -> None:
    """Add the poses of an object to their frames."""
    where = f"{path}: tracklet {k}"
    name = tracklet.findtext("objectType") or ""
    size = [_number(tracklet, key, where) for key in _SIZES]
    first = _number(tracklet, "first_frame", where)
    for number, pose in enumerate(tracklet.findall("poses/item"), int(first)):
        at = f"{where}, frame {number}"
        if pose.findtext("truncation") and _number(pose, "truncation", at) in _OUTSIDE:
            continue
        x, y, z, *turns = (_number(pose, key, at) for key in _NUMBERS)
        rows = frames.setdefault(number, Rows(path))
        rows.add(k, name, (x, y, z), size, turned(*turns, at))


def _number(element: ElementTree.Element, key: str, where: str) -> float:
    try:
        return read_number((element.findtext(key) or "").strip())
    except ValueError as error:
        raise DataError(f"{where}: {key}: {error}") from error
