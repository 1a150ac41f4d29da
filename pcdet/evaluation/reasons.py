"""One sentence for every AP that is missing, undefined or 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.precision_recall import RECALL_SETS, Curve
from pcdet.evaluation.protocol import Level

_THREE_TURNS = 6 * np.pi
NO_LABELS = "labels missing for the split: no AP can be computed"


def doubt_about_angles(labels: Labels) -> str | None:
    """Say how many angles are far beyond a full turn; None if none is.

    The official program takes any, and detectors may leave some turns in them, so that these are
    evaluated all the same.
    """
    turns = np.abs(labels.rotation_y[labels.name != rules.DONT_CARE])
    many = turns > _THREE_TURNS
    if not many.any():
        return None
    return (
        f"rotation_y of {many.sum()} of {len(turns)} objects is beyond three turns, the "
        f"largest {turns.max():g}: are these degrees? They must be radians, else BEV and 3D AP are "
        "wrong"
    )


def no_overlap(name: str) -> str:
    """Say that a class is none of the benchmark's, so that no overlap makes a hit."""
    return f"{name}: not evaluated: KITTI has an overlap for {', '.join(rules.OVERLAPS)} only"


def why_not_evaluated(det: Labels, name: str, metric: str) -> str | None:
    """Say why the official program would not evaluate `metric` of a class; None if it would.

    It looks at all detections of all frames: a class counts as detected in a metric if one of its
    detections has what the metric needs.
    """
    own = det.name == name.lower()
    if not own.any():
        return f"no detections of the class {name}"
    if metric in ("bbox", "aos") and not (own & (det.bbox[:, 0] >= 0)).any():
        return f"{own.sum()} detections without a 2D box (none has x1 >= 0)"
    if metric == "aos" and (det.alpha == rules.NO_ALPHA).any():
        count = int((det.alpha == rules.NO_ALPHA).sum())
        return f"{count} detections (of any class) have alpha -10, which switches AOS off for all"
    needed = {"bev": [0, 2], "3d": [0, 1, 2]}.get(metric)
    if needed is not None:
        located = (det.location[:, needed] != rules.NO_LOCATION).all(axis=1)
        if not (own & located & (det.dimensions[:, needed] > 0).all(axis=1)).any():
            return f"{own.sum()} detections without a 3D box (location -1000 or a size <= 0)"
    return None


def explain(
    det: Labels,
    name: str,
    min_overlap: float,
    missing: Mapping[str, str | None],
    curves: Mapping[str, Sequence[Curve]],
    levels: Sequence[Level],
) -> list[str]:
    """Return the lines to print under the table for one class.

    Args:
        det: all detections.
        name: the class.
        min_overlap: its overlap.
        missing: for each metric the answer of `why_not_evaluated`.
        curves: for each metric its curves by level; none if it is not evaluated.
        levels: of the protocol.
    """
    found: dict[str, dict[str, list[str]]] = {}  # by reason: metrics and their levels
    names = [level.name for level in levels]
    for metric, curve_of in curves.items():
        title = rules.METRIC_TITLES[metric]
        if missing[metric] is not None:
            found.setdefault(f"not evaluated: {missing[metric]}", {})[title] = names
        for level, curve in zip(levels, curve_of):
            reason = _why_undefined(curve) or _why_zero(curve, metric)
            if curve.num_valid and not curve.num_found:
                reason = _why_no_hit(det, name, min_overlap, level)
            if reason is not None:
                found.setdefault(reason, {}).setdefault(title, []).append(level.name)
    everywhere = {rules.METRIC_TITLES[metric]: names for metric in curves}
    return [
        f"{name}, {'all' if where == everywhere else _told(where, names)}: {reason}"
        for reason, where in found.items()
    ]


def _told(where: Mapping[str, Sequence[str]], names: Sequence[str]) -> str:
    """Metrics and their levels as text; a metric alone where it is all levels."""
    return ", ".join(
        title if levels == names else ", ".join(f"{title} {level}" for level in levels)
        for title, levels in where.items()
    )


def _why_undefined(curve: Curve) -> str | None:
    undefined = [key for key in RECALL_SETS if np.isnan(curve.average_precision(key))]
    if not undefined:
        return None
    return (
        f"{' and '.join(undefined)} undefined (nan, as in the official program): at a score "
        "threshold all detections are neither hit nor false positive"
    )


def _why_zero(curve: Curve, metric: str) -> str | None:
    values = {key: curve.average_precision(key) for key in RECALL_SETS}
    if min(values.values()) > 0:
        return None
    if curve.num_valid == 0:
        return "AP 0: no valid ground truth"
    if values["R11"] > 0:
        return f"R40 0: too few of {curve.num_valid} objects found to reach a sample after recall 0"
    if metric == "aos":
        return "AP 0: every detection that hits points the opposite way"
    return f"AP 0: none of the {curve.num_found} matches holds at a sampled score"


def _why_no_hit(det: Labels, name: str, min_overlap: float, level: Level) -> str:
    reason = level.why_none_counts(det, det.name == name.lower())
    reason = reason or f"no detection overlaps a valid ground truth by more than {min_overlap:g}"
    return f"AP 0: {reason}"
