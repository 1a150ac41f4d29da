"""The table of the report: a line for each class."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from pcdet.utils.box_utils import DIMS, mask_boxes_outside_range
from pcdet.utils.data_report.facts import Frame

_NOTHING = "-"


def joined(frames: Sequence[Frame], attribute: str) -> np.ndarray | None:
    """An array of all frames' objects, one after the other; None if a frame does not have it."""
    parts = [getattr(frame, attribute) for frame in frames]
    if not parts or any(part is None for part in parts):
        return None
    return np.concatenate(parts)


def class_table(frames: Sequence[Frame], limit_range: Sequence[float] | None = None) -> str:
    """Tell of each class how many objects there are, and how they are on the whole.

    Args:
        frames: labelled frames.
        limit_range: x, y, z of two corners, POINT_CLOUD_RANGE; None for no such column.

    Returns:
        Lines: objects; those without points (that the camera sees, if only these
        are used); median points; median width, length, height; median
        height of the bottom above the ground; those that are not wholly in the range; those without
        a 2D box, where there is a camera. A dash stands for what is not known.
    """
    titles = ["class", "objects", "no points", "points", "w", "l", "h", "above ground"]
    titles += ["out of range"] * (limit_range is not None)
    titles += ["no 2D box"] * (joined(frames, "has_box2d") is not None)
    names = joined(frames, "names")
    rows = [titles]
    for name in sorted(set(names.tolist())) if names is not None else ():
        rows.append([name, *_row(frames, names == name, limit_range)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    title = f"objects of {len(frames)} frames; points, sizes and heights are medians"
    return "\n".join([title, *lines])


def _row(
    frames: Sequence[Frame], chosen: np.ndarray, limit_range: Sequence[float] | None
) -> list[str]:
    """The numbers of a class, whose objects are `chosen` among all."""
    boxes = joined(frames, "boxes")[chosen]
    heights, boxed = joined(frames, "heights"), joined(frames, "has_box2d")
    counts = joined(frames, "seen_counts")
    counts = joined(frames, "counts") if counts is None else counts
    cells = [str(len(boxes))]
    if counts is None:
        cells += [_NOTHING, _NOTHING]
    else:
        cells += [str(int((counts[chosen] == 0).sum())), f"{np.median(counts[chosen]):.0f}"]
    cells += [f"{size:.2f}" for size in np.median(boxes[:, DIMS], axis=0)]
    cells.append(_NOTHING if heights is None else f"{np.median(heights[chosen]) + 0.0:.2f}")
    if limit_range is not None:
        cells.append(str(int((~mask_boxes_outside_range(boxes, limit_range)).sum())))
    if boxed is not None:
        cells.append(str(int((~boxed[chosen]).sum())))
    return cells


def count_objects(frames: Iterable[Frame], limit_range: Sequence[float] | None = None) -> Counter:
    """Count the objects of each class that lie wholly in a range, or all without a range."""
    counts: Counter = Counter()
    for frame in frames:
        names = frame.names
        if limit_range is not None and len(names):
            names = names[mask_boxes_outside_range(frame.boxes, limit_range)]
        counts.update(names.tolist())
    return counts


def other_names(name: str, counts: Counter) -> str:
    """Words for the classes that there are instead of `name`, the one probably meant first."""
    if not counts:
        return "there is no object of any class"
    by_capitals = {other.upper(): other for other in counts}
    near = difflib.get_close_matches(name.upper(), by_capitals, n=1)
    there = ", ".join(f"{other} {count}" for other, count in counts.most_common(12))
    return f"there are {there}" + (f"; did you mean {by_capitals[near[0]]!r}?" if near else "")
