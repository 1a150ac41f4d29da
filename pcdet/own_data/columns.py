"""How many numbers the points of a folder have, and what they are called."""

from __future__ import annotations

from pathlib import Path

from pcdet.datasets.custom.folder import (
    COLUMNS_KEY,
    DATASET_FILE,
    POINTS,
    stated_columns,
    usual_columns,
)
from pcdet.utils.errors import DataError
from pcdet.utils.point_files import list_scans, named_columns, read_points

# In the order in which they are tried: most scans have an intensity, some have not.
_CANDIDATES = (4, 3, 5, 6, 7, 8, 9, 10)


def find_columns(root: Path) -> tuple[tuple[str, ...], str]:
    """Names of the columns of a folder's points, and where they were found.

    Args:
        root: the folder; its dataset.yaml counts, else the first scan that has points.

    Raises:
        ConfigError: dataset.yaml states no columns.
        DataError: there is no scan, or that one holds no points with any number of columns.
    """
    stated = stated_columns(root)
    if stated is not None:
        return stated, DATASET_FILE
    found = None
    for scan in list_scans(root / POINTS):
        columns, source, is_empty = _columns_of(scan, root)
        if not is_empty:
            return columns, source
        found = found or (columns, source)
    return found


def _columns_of(scan: Path, root: Path) -> tuple[tuple[str, ...], str, bool]:
    """Names of a scan's columns, where they were found, and whether it has no point."""
    named = named_columns(scan)
    if named is not None:
        columns, fields = named
        points = read_points(scan, len(columns), columns)
        return columns, f"the fields {' '.join(fields)} of {scan.name}", not len(points)
    first_error = None
    for count in _CANDIDATES:
        try:
            points = read_points(scan, count)
        except DataError as error:
            first_error = first_error or error
        else:
            return usual_columns(count), scan.name, not len(points)
    raise DataError(
        f"{first_error}; if it is right, name its columns in {root / DATASET_FILE}: "
        f"`{COLUMNS_KEY}: [x, y, z, intensity]`"
    )
