"""How a data set scores detections, and what of its frames is looked at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcdet.evaluation import EvalResult, rules, summarize
from pcdet.utils.kitti_format.calib import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScoredFrames:
    """Base of the data sets: reports of detections, from the results that a subclass computes.

    Attributes:
        overlap_sets: what the 3D IoU of a hit must exceed, by class in lower case: the usual
            overlaps, and looser ones.
        neighbours: class to another, both in lower case, whose objects excuse a detection.
    """

    infos: Sequence[Mapping[str, Any]]
    overlap_sets: tuple[Mapping[str, float], Mapping[str, float]] = (
        rules.OVERLAPS,
        rules.LOOSE_OVERLAPS,
    )
    neighbours: Mapping[str, str] = rules.NEIGHBOURS

    def check_saving(self, output_dir: str | os.PathLike) -> None:
        """Raise a DataError if the results of these frames cannot be written into a folder."""

    def truth(self) -> list[Mapping[str, Any]] | None:
        """The labels of all frames, `annos` of their infos; None unless each frame has them."""
        if not all("annos" in info for info in self.infos):
            return None
        return [info["annos"] for info in self.infos]

    def results(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[EvalResult, EvalResult]:
        """AP of the annotations of all frames, in the order of the samples.

        Returns:
            The results at the usual overlaps and at looser ones.
        """
        raise NotImplementedError(f"{type(self).__name__} computes no AP")

    def evaluation(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[str, dict[str, float | None]]:
        """AP of the annotations of all frames, in the order of the samples.

        Returns:
            The table, and AP by tag, see `evaluation.summarize`.
        """
        table, numbers = summarize(*self.results(det_annos, class_names))
        return table + self.remark(), numbers

    def evaluation_report(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[str, dict[str, float | None], dict[str, Figure]]:
        """Return, besides what `evaluation` does, the precision-recall curves of each class."""
        from pcdet.evaluation.plots import plot_figures  # starts matplotlib

        strict, loose = self.results(det_annos, class_names)
        table, numbers = summarize(strict, loose)
        return table + self.remark(), numbers, plot_figures(strict)

    def remark(self) -> str:
        """What follows the table of AP, a line with its end; empty if there is nothing to say."""
        return ""

    def camera_view(self, info: Mapping[str, Any]) -> tuple[np.ndarray, Calibration] | None:
        """The camera's image of a frame, (H, W, 3) uint8, and its calibration; None without one."""
        del info
