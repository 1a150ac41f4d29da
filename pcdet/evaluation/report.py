"""The printed result: one table a recall set, and the reasons under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.precision_recall import RECALL_SETS

if TYPE_CHECKING:
    from pcdet.evaluation.result import EvalResult

_TITLES = {
    "R40": "AP_R40 in percent (40 recall points, the benchmark's since 2019)",
    "R11": "AP_R11 in percent (11 recall points, the benchmark's before)",
}


def format_report(result: EvalResult) -> str:
    """Return the tables of `result` and, under them, why an AP is missing, undefined or 0."""
    lines = [f"KITTI object evaluation of {result.num_frames} frames"]
    if not result.has_labels:
        why = {reason for reasons in result.reasons.values() for reason in reasons}
        return "\n".join([*lines, *sorted(why), ""])
    for recall_set in RECALL_SETS:
        lines += ["", *_table(result, recall_set)]
    notes = [reason for of_class in result.reasons.values() for reason in of_class]
    if notes:
        lines += ["", "Why an AP is missing or 0:", *(f"  {note}" for note in notes)]
    return "\n".join([*lines, ""])


def _table(result: EvalResult, recall_set: str) -> list[str]:
    width = max(len("class"), *(len(name) for name in result.class_names))
    names = [difficulty.name for difficulty in rules.DIFFICULTIES]
    header = f"{'class':<{width}}  {'metric':<6}  {'overlap':>7}"
    header += "".join(f"  {name:>9}" for name in names)
    header += f"    valid objects ({' / '.join(names)})"
    lines = [_TITLES[recall_set], header, "-" * len(header)]
    for name in result.class_names:
        counts = " / ".join(str(count) for count in result.num_valid[name])
        for row, metric in enumerate(result.metrics):
            line = f"{name if row == 0 else '':<{width}}  {rules.METRIC_TITLES[metric]:<6}"
            line += f"  {'> ' + format(result.overlaps[name], '.2f'):>7}"
            line += _cells(result.ap(recall_set, metric, name))
            lines.append(line + (f"    {counts}" if row == 0 else ""))
    return lines


def _cells(values: list[float] | None) -> str:
    if values is None:
        width = len(rules.DIFFICULTIES) * 11
        return f"{'not evaluated':>{width}}"
    return "".join(f"  {'undefined' if np.isnan(v) else format(v, '.4f'):>9}" for v in values)
