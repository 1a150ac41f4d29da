"""Precision-recall curves as figures, for PNG files and for TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pcdet.evaluation import rules
from pcdet.evaluation.precision_recall import NUM_SAMPLES
from pcdet.evaluation.result import EvalResult
from pcdet.utils import palette
from pcdet.utils.io_utils import atomic_write

_COLOURS = (palette.GREEN, palette.BLUE, palette.VERMILION, palette.GREY)
_VALUE_NAMES = {"aos": "orientation similarity"}


def plot_class(result: EvalResult, class_name: str) -> Figure:
    """Draw precision over recall of one class: a panel a metric, a line a level.

    Args:
        result: an evaluation.
        class_name: one of its classes.

    Returns:
        The figure, which is not registered anywhere and needs no closing.
    """
    metrics = result.metrics
    figure = Figure(figsize=(3.6 * len(metrics), 4.1), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(panels, metrics):
        _draw_panel(panel, result, class_name, metric)
    overlap = result.overlaps[class_name]
    title = f"{class_name}, overlap > {overlap:.2f}, {result.num_frames} frames"
    figure.suptitle(title, parse_math=False)
    return figure


def _draw_panel(panel: Axes, result: EvalResult, class_name: str, metric: str) -> None:
    recall = np.linspace(0, 1, NUM_SAMPLES)
    values = result.ap("R40", metric, class_name)
    if values is None:
        panel.text(0.5, 0.5, "not evaluated", ha="center", va="center")
    else:
        curves = result.curves[metric, class_name]
        for name, curve, value, colour in zip(
            result.protocol.level_names, curves, values, _COLOURS
        ):
            panel.plot(recall, curve.samples, color=colour, label=f"{name}: {value:.2f}")
        panel.legend(
            title="AP_R40 in percent",
            fontsize="small",
            title_fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18),  # below the axes, where no curve runs
            ncols=min(len(curves), 3),
            handlelength=1,
            columnspacing=1,
        )
    panel.set(
        title=rules.METRIC_TITLES[metric],
        xlabel="recall",
        ylabel=_VALUE_NAMES.get(metric, "precision"),
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    panel.grid(alpha=0.3)


def plot_figures(result: EvalResult) -> dict[str, Figure]:
    """Return one figure a class by tag, such as `Car/precision_recall`, for `add_figure`."""
    if not result.has_labels:
        return {}
    return {f"{name}/precision_recall": plot_class(result, name) for name in result.class_names}


def save_plots(result: EvalResult, folder: str | os.PathLike) -> list[Path]:
    """Write `folder`/CLASS.png for each class, and return the paths."""
    paths = []
    for name in result.class_names if result.has_labels else ():
        path = Path(folder) / f"{name}.png"
        with atomic_write(path) as file:
            plot_class(result, name).savefig(file, format="png", dpi=120)
        paths.append(path)
    return paths
