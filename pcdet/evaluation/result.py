"""What an evaluation returns: AP, curves, counts and reasons, in the forms that others read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.precision_recall import Curve
from pcdet.evaluation.protocol import KITTI, Protocol

_RECALL_SET_TITLES = {
    "R40": "AP_R40 in percent (40 recall points, the benchmark's since 2019)",
    "R11": "AP_R11 in percent (11 recall points, the benchmark's before)",
}
# Names of the metrics in TensorBoard tags, which PCDet's users know.
_TAGS = {"bbox": "image", "aos": "aos", "bev": "bev", "3d": "3d"}


@dataclass(frozen=True)
class EvalResult:
    """The evaluation of one set of detections at one overlap for each class.

    Attributes:
        class_names: the classes, in the order asked for.
        overlaps: by class, the overlap that a hit must exceed.
        metrics: of bbox, aos, bev, 3d those that were asked for.
        num_frames: number of frames evaluated.
        curves: (metric, class) to the curves, one for each level; no entry where nothing
            is evaluated.
        num_valid: by class the number of valid ground truth objects at each level;
            empty if there are no labels.
        reasons: by class the sentences that say why an AP is missing, undefined or 0; also of
            classes that were asked for and cannot be evaluated.
        protocol: which objects counted.
    """

    class_names: tuple[str, ...]
    overlaps: dict[str, float]
    metrics: tuple[str, ...]
    num_frames: int
    curves: dict[tuple[str, str], tuple[Curve, ...]]
    num_valid: dict[str, tuple[int, ...]]
    reasons: dict[str, list[str]]
    protocol: Protocol = KITTI

    @property
    def has_labels(self) -> bool:
        """Whether there was ground truth to compare with."""
        return bool(self.num_valid)

    def ap(self, recall_set: str, metric: str, class_name: str) -> list[float] | None:
        """Return the AP in percent at each level; None where nothing is evaluated.

        Args:
            recall_set: "R40" or "R11".
            metric: bbox, aos, bev or 3d.
            class_name: one of `class_names`.
        """
        curves = self.curves.get((metric, class_name))
        if curves is None:
            return None
        return [curve.average_precision(recall_set) for curve in curves]

    def to_json(self) -> dict[str, dict[str, dict[str, list[float] | None]]]:
        """Return {"R40" | "R11": {metric: {class: [AP at each level] or None}}}.

        AP in percent with all digits. A value is NaN where the official program's is.
        """
        return {
            recall_set: {
                metric: {name: self.ap(recall_set, metric, name) for name in self.class_names}
                for metric in self.metrics
            }
            for recall_set in self.protocol.recall_sets
        }

    def to_dict(self, show_overlap: bool = False) -> dict[str, float | None]:
        """Return one number a tag for TensorBoard, such as `Car_3d/moderate_R40`.

        Args:
            show_overlap: put the overlap into the tag, `Car_3d_0.50/moderate_R40`.

        Returns:
            AP in percent; None where nothing is evaluated or the AP is undefined.
        """
        tags: dict[str, float | None] = {}
        names = self.protocol.level_names
        for name in self.class_names:
            overlap = f"_{self.overlaps[name]:.2f}" if show_overlap else ""
            for metric in self.metrics:
                for recall_set in self.protocol.recall_sets:
                    values = self.ap(recall_set, metric, name) or [None] * len(names)
                    for level, value in zip(names, values):
                        tag = f"{name}_{_TAGS[metric]}{overlap}/{level}_{recall_set}"
                        tags[tag] = None if value is None or np.isnan(value) else value
        return tags

    def table(self) -> str:
        """Return the AP as text: one table a recall set, and under them the reasons."""
        lines = [f"{self.protocol.title} of {self.num_frames} frames"]
        if not self.has_labels:
            why = {reason for of_class in self.reasons.values() for reason in of_class}
            return "\n".join([*lines, *sorted(why), ""])
        for recall_set in self.protocol.recall_sets:
            lines += ["", *_table(self, recall_set)]
        notes = [reason for of_class in self.reasons.values() for reason in of_class]
        if notes:
            lines += ["", "Why an AP is missing or 0:", *(f"  {note}" for note in notes)]
        return "\n".join([*lines, ""])


def _table(result: EvalResult, recall_set: str) -> list[str]:
    width = max(len("class"), *(len(name) for name in result.class_names))
    names = result.protocol.level_names
    header = f"{'class':<{width}}  {'metric':<6}  {'overlap':>7}"
    header += "".join(f"  {name:>9}" for name in names)
    header += f"    valid objects ({' / '.join(names)})"
    lines = [_RECALL_SET_TITLES[recall_set], header, "-" * len(header)]
    for name in result.class_names:
        counts = " / ".join(str(count) for count in result.num_valid[name])
        for row, metric in enumerate(result.metrics):
            line = f"{name if row == 0 else '':<{width}}  {rules.METRIC_TITLES[metric]:<6}"
            line += f"  {'> ' + format(result.overlaps[name], '.2f'):>7}"
            line += _cells(result.ap(recall_set, metric, name), len(names))
            lines.append(line + (f"    {counts}" if row == 0 else ""))
    return lines


def _cells(values: list[float] | None, count: int) -> str:
    if values is None:
        width = count * 11
        return f"{'not evaluated':>{width}}"
    return "".join(f"  {'undefined' if np.isnan(v) else format(v, '.4f'):>9}" for v in values)
