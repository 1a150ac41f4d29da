"""What an evaluation returns: AP, curves, counts and reasons, in the forms that others read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.precision_recall import RECALL_SETS, Curve
from pcdet.evaluation.report import format_report

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
        curves: (metric, class) to the curves for easy, moderate and hard; no entry where nothing
            is evaluated.
        num_valid: by class the number of valid ground truth objects for easy, moderate and hard;
            empty if there are no labels.
        reasons: by class the sentences that say why an AP is missing, undefined or 0; also of
            classes that were asked for and cannot be evaluated.
    """

    class_names: tuple[str, ...]
    overlaps: dict[str, float]
    metrics: tuple[str, ...]
    num_frames: int
    curves: dict[tuple[str, str], tuple[Curve, ...]]
    num_valid: dict[str, tuple[int, ...]]
    reasons: dict[str, list[str]]

    @property
    def has_labels(self) -> bool:
        """Whether there was ground truth to compare with."""
        return bool(self.num_valid)

    def ap(self, recall_set: str, metric: str, class_name: str) -> list[float] | None:
        """Return the AP in percent for easy, moderate and hard; None where nothing is evaluated.

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
        """Return {"R40" | "R11": {metric: {class: [easy, moderate, hard] or None}}}.

        AP in percent with all digits. A value is NaN where the official program's is.
        """
        return {
            recall_set: {
                metric: {name: self.ap(recall_set, metric, name) for name in self.class_names}
                for metric in self.metrics
            }
            for recall_set in RECALL_SETS
        }

    def to_dict(self, show_overlap: bool = False) -> dict[str, float | None]:
        """Return one number a tag for TensorBoard, such as `Car_3d/moderate_R40`.

        Args:
            show_overlap: put the overlap into the tag, `Car_3d_0.50/moderate_R40`.

        Returns:
            AP in percent; None where nothing is evaluated or the AP is undefined.
        """
        tags: dict[str, float | None] = {}
        for name in self.class_names:
            overlap = f"_{self.overlaps[name]:.2f}" if show_overlap else ""
            for metric in self.metrics:
                for recall_set in RECALL_SETS:
                    values = self.ap(recall_set, metric, name) or [None] * len(rules.DIFFICULTIES)
                    for difficulty, value in zip(rules.DIFFICULTIES, values):
                        tag = f"{name}_{_TAGS[metric]}{overlap}/{difficulty.name}_{recall_set}"
                        tags[tag] = None if value is None or np.isnan(value) else value
        return tags

    def table(self) -> str:
        """Return the AP as readable text, with the reasons under it."""
        return format_report(self)
