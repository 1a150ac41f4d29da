"""Points whose numbers have names, as in .pcd and .ply files and NumPy's structured arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_INTENSITY = ("intensity", "i", "reflectance", "reflectivity", "remission")
# Three colours packed into one number: no measurement. What begins with _ pads a row.
_PACKED = ("rgb", "rgba")


def points_of_fields(fields: Mapping[str, np.ndarray], num_features: int) -> np.ndarray:
    """Put the numbers of points side by side.

    Args:
        fields: name to (N,) numbers, in the order of the file.
        num_features: columns that are wanted.

    Returns:
        (N, num_features) float32: x, y, z, the intensity if there is one, then the other fields in
        the order of the file.

    Raises:
        ValueError: x, y or z is missing, or there are fewer fields.
    """
    by_name = {name.lower().removeprefix("scalar_"): values for name, values in fields.items()}
    intensity = [name for name in by_name if name in _INTENSITY][:1]
    first = ["x", "y", "z", *intensity]
    others = [name for name in by_name if name not in (*first, *_PACKED)]
    order = [*first, *(name for name in others if not name.startswith("_"))]
    if not {"x", "y", "z"} <= by_name.keys() or len(order) < num_features:
        raise ValueError(
            f"expected x, y, z and {num_features - 3} more numbers of each point "
            f"(NUM_POINT_FEATURES.total {num_features}), got the fields {' '.join(fields)}"
        )
    columns = [by_name[name] for name in order[:num_features]]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([np.asarray(c, dtype=np.float32) for c in columns], axis=1)


def fields_of_text(text: bytes, names: list[str], count: int) -> dict[str, np.ndarray]:
    """Split the text of `count` rows of numbers into fields: name to (count,) float64.

    Raises:
        ValueError: a word is no number, or there are too few.
    """
    words = text.split(None, count * len(names))[: count * len(names)]
    if len(words) < count * len(names):
        raise ValueError(f"expected {count} rows of {len(names)} numbers, got {len(words)} numbers")
    table = np.array(words, dtype=np.bytes_).astype(np.float64).reshape(count, len(names))
    return dict(zip(names, table.T))
