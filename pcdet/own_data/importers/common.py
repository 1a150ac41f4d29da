"""What importers share: entries become rows, files are read and written."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import COLUMNS_KEY, DATASET_FILE, LABELS, POINTS
from pcdet.datasets.custom.label_file import Objects, check_row, objects_from_rows, write_objects
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import atomic_write, read_text

_LOGGER = logging.getLogger("pcdet.own_data")
# Radians: a box that leans less is taken for upright, as a road's slope makes it lean.
_LARGEST_LEAN = 0.2
_LARGEST_TURN = 4 * np.pi


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
        axes: np.ndarray,
    ) -> None:
        """Add an object.

        Args:
            entry: its number in the file, for messages.
            name: class; blanks become underscores.
            center: x, y, z of its middle.
            size: length, width, height.
            axes: (3, 3) whose columns are the directions of its length, width and height.

        Raises:
            DataError: it is no upright box with a size and a class.
        """
        where = f"{self._path}: object {entry}"
        label = "" if name is None else "_".join(str(name).split())
        heading = float(np.arctan2(axes[1, 0], axes[0, 0]))
        # A box on its head is the same box.
        lean = float(np.arccos(min(abs(axes[2, 2]), 1.0)))
        try:
            row = [*(float(v) for v in center), *(float(v) for v in size), heading]
            check_row(row, label)
        except (ValueError, TypeError) as error:
            raise DataError(f"{where} ({name}): {error}") from error
        if not lean <= _LARGEST_LEAN:
            raise DataError(
                f"{where} ({name}): it leans by {np.degrees(lean):.0f} degrees; only boxes that "
                "turn around z can be used"
            )
        self._rows.append(row)
        self._names.append(label)

    def objects(self) -> Objects:
        """All that were added."""
        return objects_from_rows(np.array(self._rows), self._names)


def turned(x: float, y: float, z: float, where: str = "") -> np.ndarray:
    """(3, 3) of a turn around x, then around the new y, then around the new z, in radians.

    What programs that draw by three.js call a rotation (order XYZ).

    Args:
        x: angle around it.
        y: angle around it.
        z: angle around it.
        where: they stand, for the message.

    Raises:
        DataError: an angle is more than two turns, which no program writes that means radians.
    """
    if max(abs(x), abs(y), abs(z)) > _LARGEST_TURN:
        angles = [float(angle) for angle in (x, y, z)]
        raise DataError(f"{where}: expected a rotation in radians, got {angles}: degrees?")
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    around_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return around_x @ around_y @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def turned_by_quaternion(quaternion: np.ndarray, where: str) -> np.ndarray:
    """(3, 3) of a quaternion x, y, z, w of any length but 0.

    Raises:
        DataError: it is none.
    """
    length = float(np.linalg.norm(quaternion))
    if not 0 < length < np.inf:
        raise DataError(f"{where}: rotation: expected a quaternion, got {quaternion.tolist()}")
    x, y, z, w = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path, "labels"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


def json_files(folder: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the JSON files below a folder, in order, each with what it holds.

    Raises:
        DataError: one cannot be read or is no JSON.
    """
    for path in visible_files(folder):
        if path.suffix == ".json":
            yield path, read_json(path)


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
        values = np.array([float(number) for number in numbers])
        if not np.isfinite(values).all():
            raise ValueError
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: expected numbers, got {numbers}") from error
    return values


def list_of(value: Any, where: str) -> list[Any]:
    """The value, if it is a list; else a DataError."""
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def names_by_key(value: Any, key: str, name: str, where: str) -> dict[str, Any]:
    """The names in a list of mappings, by what stands at `key`, as text.

    Raises:
        DataError: it is no such list.
    """
    pairs = [entry_of(entry, [key, name], where) for entry in list_of(value, where)]
    return {str(number): of_entry for number, of_entry in pairs}


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder, in order, but for hidden ones and what macOS adds to archives."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    ]


def check_free(frames: Sequence[ImportedFrame], target: Path) -> None:
    """Raise a DataError if a file would be written over."""
    taken = [scan_of(frame, target) for frame in frames if not _lies_there(frame, target)]
    if frames[0].columns is not None:
        taken.append(target / DATASET_FILE)
    for path in taken:
        if path.exists():
            raise DataError(f"{path}: exists already; give another folder, or remove it")


def scan_of(frame: ImportedFrame, target: Path) -> Path:
    """Where the scan of a frame goes."""
    return target / POINTS / f"{frame.name}{frame.scan.suffix.lower()}"


def _lies_there(frame: ImportedFrame, target: Path) -> bool:
    scan = scan_of(frame, target)
    return scan.exists() and scan.samefile(frame.scan)


def write_frame(frame: ImportedFrame, target: Path) -> None:
    """Copy the scan of a frame, if it is not there yet, and write its labels."""
    if not _lies_there(frame, target):
        with frame.scan.open("rb") as source, atomic_write(scan_of(frame, target)) as file:
            shutil.copyfileobj(source, file)
    write_objects(target / LABELS / f"{frame.name}.txt", frame.objects)


def write_note(frames: Sequence[ImportedFrame], target: Path) -> None:
    """Write dataset.yaml if the format says what the columns of the points are."""
    columns = frames[0].columns
    if columns is not None:
        with atomic_write(target / DATASET_FILE) as file:
            file.write(f"{COLUMNS_KEY}: [{', '.join(columns)}]\n".encode())
