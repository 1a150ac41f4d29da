"""What importers share: entries become rows, files are found and written."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import COLUMNS_KEY, DATASET_FILE, LABELS, POINTS
from pcdet.datasets.custom.label_file import Objects, check_row, objects_from_rows, write_objects
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import is_file_name
from pcdet.utils.io_utils import atomic_write, read_text
from pcdet.utils.point_files import SCAN_SUFFIXES

_LOGGER = logging.getLogger("pcdet.own_data")
# Radians: a box that leans less is taken for upright, as a road's slope makes it lean.
_LARGEST_LEAN = 0.2
_ORIGINALS = "originals"


@dataclass(frozen=True)
class ImportedFrame:
    """A labelled frame of another program.

    Attributes:
        name: of the frame.
        labels: where they stand, for messages.
        scan: file of its points.
        objects: its labels, in the frame of the points.
        columns: names of the numbers of a point, where the format fixes them.
    """

    name: str
    labels: Path
    scan: Path
    objects: Objects
    columns: tuple[str, ...] | None = None


class Rows:
    """Collects the objects of a frame, and names file and entry of one that cannot be mapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[list[float]] = []
        self._names: list[str] = []

    def add(
        self,
        entry: int,
        name: Any,
        center: Sequence[float],
        size: Sequence[float],
        heading: float,
        lean: Sequence[float] = (0, 0),
    ) -> None:
        """Add an object.

        Args:
            entry: its number in the file, for messages.
            name: class; blanks become underscores.
            center: x, y, z of its middle.
            size: length, width, height.
            heading: radians.
            lean: angles around x and y, radians.

        Raises:
            DataError: it is no upright box with a size and a class.
        """
        where = f"{self._path}: object {entry}"
        label = "" if name is None else "_".join(str(name).split())
        try:
            row = [*(float(v) for v in center), *(float(v) for v in size), float(heading)]
            leans = np.abs([np.arctan2(np.sin(a), np.cos(a)) for a in map(float, lean)])
            check_row(row, label)
        except (ValueError, TypeError) as error:
            raise DataError(f"{where} ({name}): {error}") from error
        if not leans.max() <= _LARGEST_LEAN:
            raise DataError(
                f"{where} ({name}): it leans by {np.degrees(leans.max()):.0f} degrees around x or "
                "y; only boxes that turn around z can be used"
            )
        row[6] = float(np.arctan2(np.sin(row[6]), np.cos(row[6])))
        self._rows.append(row)
        self._names.append(label)

    def objects(self) -> Objects:
        """All that were added."""
        return objects_from_rows(np.array(self._rows), self._names)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path, "labels"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


def entry_of(value: Any, keys: Sequence[str], where: str) -> list[Any]:
    """The values of some keys of a mapping.

    Raises:
        DataError: it is no mapping, or lacks one of them.
    """
    if not isinstance(value, Mapping) or not all(key in value for key in keys):
        found = sorted(value) if isinstance(value, Mapping) else type(value).__name__
        raise DataError(f"{where}: expected the keys {list(keys)}, got {found}")
    return [value[key] for key in keys]


def numbers_of(value: Any, keys: Sequence[str] | int, where: str) -> np.ndarray:
    """The numbers that stand at some keys of a mapping, or in a list of some length.

    Raises:
        DataError: it is something else.
    """
    if isinstance(keys, int):
        numbers = list_of(value, where)
        if len(numbers) != keys:
            raise DataError(f"{where}: expected {keys} numbers, got {numbers}")
    else:
        numbers = entry_of(value, keys, where)
    try:
        if any(isinstance(number, bool) for number in numbers):
            raise ValueError
        return np.array([float(number) for number in numbers])
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: expected numbers, got {numbers}") from error


def list_of(value: Any, where: str) -> list[Any]:
    """The value, if it is a list; else a DataError."""
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder, in order, but for hidden ones and what macOS adds to archives."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    ]


def find_scans(folder: Path) -> dict[str, Path]:
    """All scans below a folder, by the name of their frame.

    Hidden files, as archives of macOS hold them, and folders named `originals`, where labelCloud
    keeps clouds as they were before it turned them, do not count.

    Raises:
        DataError: two scans have the same name.
    """
    found: dict[str, Path] = {}
    for path in visible_files(folder):
        if path.suffix.lower() in SCAN_SUFFIXES and path.parent.name != _ORIGINALS:
            other = found.setdefault(path.stem, path)
            if other != path:
                raise DataError(f"{path}: {other} has the same name; give the folder by --points")
    return found


def scan_of(name: str, scans: Mapping[str, Path], label: Path) -> Path:
    """The scan of a frame, or a DataError that names its labels."""
    if name not in scans:
        forms = ", ".join(SCAN_SUFFIXES)
        raise DataError(f"{label}: no scan {name} ({forms}) was found; give its folder by --points")
    return scans[name]


def check_frames(frames: Sequence[ImportedFrame]) -> None:
    """Raise a DataError if frames share a name, as where two people have labelled the same scan."""
    by_name: dict[str, ImportedFrame] = {}
    for frame in frames:
        other = by_name.setdefault(frame.name, frame)
        if other is not frame:
            raise DataError(
                f"{frame.labels}: frame {frame.name} is labelled in {other.labels}, too: "
                "keep one of them"
            )
        if not is_file_name(frame.name) or len(frame.name.split()) != 1:
            raise DataError(
                f"{frame.labels}: expected a name of the frame without blanks or slashes, "
                f"got {frame.name[:80]!r}: rename its scan and labels"
            )


def write_frame(frame: ImportedFrame, target: Path) -> None:
    """Copy the scan of a frame and write its labels."""
    suffix = frame.scan.suffix.lower()
    (target / POINTS).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(frame.scan, target / POINTS / f"{frame.name}{suffix}")
    write_objects(target / LABELS / f"{frame.name}.txt", frame.objects)


def write_note(frames: Sequence[ImportedFrame], target: Path) -> None:
    """Write dataset.yaml if the format says what the columns of the points are."""
    columns = frames[0].columns
    if columns is not None:
        with atomic_write(target / DATASET_FILE) as file:
            file.write(f"{COLUMNS_KEY}: [{', '.join(columns)}]\n".encode())
