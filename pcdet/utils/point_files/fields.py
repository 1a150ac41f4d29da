"""Points whose numbers have names, as in .pcd and .ply files and NumPy's structured arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

# Names of the same measurement; the first is the one that is told.
_INTENSITY = ("intensity", "i", "reflectance", "reflectivity", "remission")
_SAME = (
    _INTENSITY,
    ("ring", "channel", "laser", "laser_id", "line", "beam"),
    ("time", "t", "timestamp", "time_stamp", "offset_time"),
)
# A column whose name begins so has none: the next field of the file is taken for it.
UNNAMED = "column_"
# Three colours packed into one number: no measurement. What begins with _ pads a row.
_PACKED = ("rgb", "rgba")


def plain_names(fields: Mapping[str, np.ndarray]) -> list[str]:
    """The names of fields in lower case, as columns are called, in the order of the file.

    Fields that are no measurement are left out; CloudCompare's `scalar_` is dropped.
    """
    names = [name.lower().removeprefix("scalar_") for name in fields]
    return [name for name in names if name not in _PACKED and not name.startswith("_")]


def usual_names(fields: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """x, y, z, and intensity if a field is one, under whichever name."""
    has_intensity = any(name in _INTENSITY for name in plain_names(fields))
    return ("x", "y", "z", *_INTENSITY[:has_intensity])


def intensity_column(columns: Sequence[str]) -> int | None:
    """The number, from 0, of the first column that is an intensity by its name; None without."""
    return next((k for k, name in enumerate(columns) if name.lower() in _INTENSITY), None)


def points_of_fields(
    fields: Mapping[str, np.ndarray], num_features: int, columns: Sequence[str] | None = None
) -> np.ndarray:
    """Put the numbers of points side by side.

    Args:
        fields: name to (N,) numbers, in the order of the file.
        num_features: columns that are wanted.
        columns: their names, whose fields are taken wherever they stand; other usual names of the
            same measurement count, too. None: x, y, z, the intensity if there is one, then the
            other fields in the order of the file.

    Returns:
        (N, num_features) float32.

    Raises:
        ValueError: a column has no field; without names: x, y or z is missing, or there are fewer
            fields; or two fields have one name.
    """
    by_name = {name.lower().removeprefix("scalar_"): values for name, values in fields.items()}
    there = plain_names(fields)
    if len(set(there)) < len(there):
        raise ValueError(f"expected each field once, got {' '.join(fields)}")
    if columns is None:
        first = [*usual_names(fields)[:3], *(n for n in there if n in _INTENSITY)][:4]
        order = [*first, *(name for name in there if name not in first)]
        if not {"x", "y", "z"} <= by_name.keys() or len(order) < num_features:
            raise ValueError(
                f"expected x, y, z and {num_features - 3} more numbers of each point "
                f"(NUM_POINT_FEATURES.total {num_features}), got the fields {' '.join(fields)}"
            )
        order = order[:num_features]
    else:
        order = _fields_of_columns(there, columns)
    for name in order:
        if by_name[name].dtype.kind not in "iuf" or by_name[name].ndim != 1:
            raise ValueError(f"expected a number of each point in the field {name}, got others")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([np.asarray(by_name[name], dtype=np.float32) for name in order], axis=1)


def _fields_of_columns(there: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Of each column the field that holds it; columns without a name take what is left."""
    wanted = [name.lower() for name in columns]
    chosen = {name: name for name in wanted if name in there}
    for name in wanted:
        same = next((names for names in _SAME if name in names), ())
        others = [other for other in same if other in there and other not in chosen.values()]
        if name not in chosen and others:
            chosen[name] = others[0]
    left = iter([name for name in there if name not in chosen.values()])
    for name in wanted:
        if name not in chosen and name.startswith(UNNAMED):
            chosen[name] = next(left, "")
    missing = [name for name, key in zip(columns, wanted) if not chosen.get(key)]
    if missing:
        raise ValueError(
            f"no field {' and no field '.join(missing)}, of the columns {', '.join(columns)} "
            f"(POINT_COLUMNS); its fields are {', '.join(there)}"
        )
    return [chosen[name] for name in wanted]


def fields_of_text(
    text: bytes, names: list[str], count: int, others_follow: bool = False
) -> dict[str, np.ndarray]:
    """Split the text of `count` rows of numbers into fields: name to (count,) float64.

    Args:
        text: the rows; blank lines do not count.
        names: of the fields.
        count: of the rows.
        others_follow: whether what comes after the rows is another thing, and not more rows.

    Raises:
        ValueError: the first row has not one number for each name, a word is no number, or there
            are too few or too many.
    """
    size = count * len(names)
    first = next((line.split() for line in io.BytesIO(text) if line.strip()), [])
    if size and first and len(first) != len(names):
        raise ValueError(
            f"expected {len(names)} numbers in a row, as the header says, the first row has "
            f"{len(first)}: correct the header"
        )
    words = text.split(None, size)[:size] if others_follow else text.split()
    if len(words) != size:
        raise ValueError(
            f"expected {count} rows of {len(names)} numbers, as the header says, got {len(words)} "
            "numbers"
        )
    table = np.array(words, dtype=np.bytes_).astype(np.float64).reshape(count, len(names))
    return dict(zip(names, table.T))


def check_row_count(body: bytes, row_size: int, count: int) -> None:
    """Raise a ValueError if binary rows are not as many as the header says.

    Args:
        body: the rows, to the end of the file. Zeros behind them are padding.
        row_size: bytes of a row.
        count: of the rows, by the header.
    """
    if len(body) < count * row_size:
        raise ValueError(
            f"expected {count * row_size} bytes of points, got {len(body)}: it is truncated"
        )
    follow = len(body.rstrip(b"\0")) // row_size
    if follow > count:
        raise ValueError(f"the header says {count} points, {follow} follow: correct the header")
