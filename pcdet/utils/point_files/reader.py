"""The reader of scans, whatever the form of their file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_file, regular_file_size
from pcdet.utils.point_files.fields import points_of_fields, usual_names
from pcdet.utils.point_files.likeness import (
    disorder,
    implausible,
    looks_like,
    sample_blocks,
    sample_rows,
    signature,
)
from pcdet.utils.point_files.pcd import read_pcd
from pcdet.utils.point_files.ply import read_ply

SCAN_SUFFIXES = (".bin", ".npy", ".pcd", ".ply")
_HEAD = 256
_LONGEST_REASON = 300
_NUMPY = b"\x93NUMPY"
# Forms whose points have named fields.
_FIELDS = {".pcd": read_pcd, ".ply": read_ply}


def list_scans(path: str | os.PathLike) -> list[Path]:
    """The scans of a folder, by their suffix, in order; or the one file that `path` is.

    Names that begin with a dot do not count: macOS leaves files `._<scan>` beside scans.

    Raises:
        DataError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        regular_file_size(path, "scan")
        return [path]
    files = sorted(
        f
        for f in path.iterdir()
        if f.suffix.lower() in SCAN_SUFFIXES and not f.name.startswith(".")
    )
    if not files:
        raise DataError(f"{path}: expected scans in it, files *{', *'.join(SCAN_SUFFIXES)}")
    return files


def read_points(
    path: str | os.PathLike, num_features: int, columns: Sequence[str] | None = None
) -> np.ndarray:
    """Read a scan: a file .npy, .pcd or .ply by its suffix, else rows of float32.

    Args:
        path: of the file.
        num_features: numbers of each point, NUM_POINT_FEATURES.total: x, y, z in metres, LiDAR
            frame, the intensity, then others. Plain rows must have just these. So must an array of
            NumPy, which may also be float64 or in one row. Of named fields (.pcd, .ply, structured
            arrays) the first of these are taken, see `points_of_fields`.
        columns: names of these numbers, by which named fields are taken.

    Returns:
        (N, num_features) float32; single points that are not finite are still in it.

    Raises:
        DataError: the file cannot be read, or cannot hold such points; what it looks like is said.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".pcd", ".ply"):
        points = read_rows(path, num_features)
        check_points(points, path)
        return points
    content = read_file(path, "points")
    try:
        if suffix == ".npy":
            points = _points_of_npy(content, num_features, columns)
        else:
            fields = _FIELDS[suffix](content)
            points = points_of_fields(fields, num_features, columns)
        reason = implausible(points)
        if reason:
            raise ValueError(f"expected points, x, y, z in metres: {reason}")
    except ValueError as error:
        raise _told(path, content, error) from error
    return points


def _told(path: Path, content: bytes, error: ValueError) -> DataError:
    """The error about a file, with what it looks like if its suffix says another thing."""
    other = signature(content[:_HEAD])
    own = path.suffix.lower() in other.partition(":")[0]
    hint = "" if not other or own else f"; it looks like {other}"
    return DataError(f"{path}: {str(error)[:_LONGEST_REASON]}{hint}")


def named_columns(path: str | os.PathLike) -> tuple[tuple[str, ...], list[str]] | None:
    """What the points of a scan are, if its fields have names.

    Returns:
        x, y, z, and intensity if there is one; and all names of the file. None if they have none.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _FIELDS and suffix != ".npy":
        return None
    content = read_file(path, "points")
    try:
        if suffix == ".npy":
            array = _load_npy(content)
            names = array.dtype.names
            fields = None if names is None else {name: array[name] for name in names}
        else:
            fields = _FIELDS[suffix](content)
    except ValueError as error:
        raise _told(path, content, error) from error
    return None if fields is None else (usual_names(fields), list(fields))


def check_points(points: np.ndarray, path: str | os.PathLike) -> None:
    """Raise a DataError that says what a file looks like, if rows cannot be points.

    Args:
        points: (N, C) float32, the rows of the file, cut where they are believed to end.
        path: of the file, for the message.
    """
    columns = points.shape[1]
    values = points.ravel()
    reason = signature(values[: _HEAD // 4].tobytes()) and "it is no plain float32"
    reason = reason or implausible(sample_rows(sample_blocks(values), columns))
    if not reason:
        found = disorder(values, columns)
        if not found:
            return
        reason = "the columns are mixed up"
    else:
        found = looks_like(values.tobytes()) or "it looks like no scan"
    raise DataError(f"{path}: {_expected(columns)}: {reason}; {found}{_remedy(found)}")


def read_rows(path: str | os.PathLike, num_features: int) -> np.ndarray:
    """Read rows of float32, such as the points of an object, whatever their values.

    Returns:
        (N, num_features) float32; what is not finite is still in it.

    Raises:
        DataError: the file cannot be read or does not hold whole rows.
    """
    size = regular_file_size(path, "points")
    row = 4 * num_features
    if size % row:
        found = looks_like(read_file(path, "points"))
        raise DataError(
            f"{path}: expected a multiple of {row} bytes ({num_features} float32 for each point, "
            f"NUM_POINT_FEATURES.total), got {size}: "
            f"{found or 'the file is truncated'}{_remedy(found)}"
        )
    try:
        values = np.fromfile(path, dtype=np.float32, count=size // 4)
    except OSError as error:
        raise DataError(f"{path}: points cannot be read: {error.strerror}") from error
    if values.size != size // 4:
        raise DataError(f"{path}: the file was cut while it was read")
    return values.reshape(-1, num_features)


def _expected(columns: int) -> str:
    return f"expected {columns} columns of float32 (NUM_POINT_FEATURES.total)"


def _remedy(found: str) -> str:
    """What to do about rows of float32 of another length, behind what they look like."""
    columns = re.fullmatch(r"it looks like (\d+) columns", found)
    if columns is None:
        return ""
    if columns[1] == "3":
        return ": add an intensity of 0 to each point"
    return f": `--set DATA_CONFIG.NUM_POINT_FEATURES.total {columns[1]}` reads them so"


def _load_npy(content: bytes) -> np.ndarray:
    """The array of a NumPy file; a ValueError if it holds something else."""
    if not content.startswith(_NUMPY):
        raise ValueError("no array of numbers: it does not begin as a .npy file does")
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged header may raise anything
        raise ValueError(f"no array of numbers: {error or type(error).__name__}"[:200]) from error
    if not isinstance(array, np.ndarray):
        raise ValueError("expected one array of points, got an archive of several")
    return array


def _points_of_npy(content: bytes, num_features: int, columns: Sequence[str] | None) -> np.ndarray:
    """The points of a NumPy file; a ValueError if it holds something else."""
    array = _load_npy(content)
    if array.dtype.names is not None:
        return points_of_fields(
            {name: array.ravel()[name] for name in array.dtype.names}, num_features, columns
        )
    if array.dtype.kind not in "iuf":
        raise ValueError(f"expected an array of numbers, got {array.dtype}")
    shape = array.shape
    flat = array.ndim == 1 and array.size % num_features == 0
    if not flat and (array.ndim != 2 or shape[1] != num_features):
        hint = ": transpose it" if array.ndim == 2 and shape[0] == num_features else ""
        raise ValueError(f"{_expected(num_features)}, got an array of shape {shape}{hint}")
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.ascontiguousarray(array, dtype=np.float32).reshape(-1, num_features)
    found = disorder(points.ravel(), num_features) if flat else ""
    if found:
        raise ValueError(f"{_expected(num_features)}; {found}{_remedy(found)}")
    return points
