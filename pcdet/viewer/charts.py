"""Charts of the report, as images for a page."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pcdet.evaluation.found import (
    DISTANCES,
    POINTS,
    LabelledObjects,
    bin_names,
    count_by,
)
from pcdet.utils import main_metric, palette

# How the names of the terms of the loss begin, of the first stage and of the second.
_TERMS = ("train/rpn_loss_", "train/rcnn_loss_")
# Of a curve with more points than this, means of neighbours are drawn over the points.
_MANY_POINTS = 200


def figure_url(figure: Figure) -> str:
    """A figure as an SVG in a data URL."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _panels(count: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def draw_found(objects: Mapping[str, LabelledObjects]) -> Figure:
    """Bars: the share of each class's objects that were found, by distance and by points."""
    figure, (by_distance, by_points) = _panels(2, 5.4, 3.4)
    for axes, starts, unit, values in (
        (by_distance, DISTANCES, " m", {name: of.distance for name, of in objects.items()}),
        (by_points, POINTS, "", {name: of.points for name, of in objects.items()}),
    ):
        width = 0.8 / max(len(objects), 1)
        for k, (name, of) in enumerate(objects.items()):
            found, total = count_by(values[name], of.found, starts)
            at = np.arange(len(starts)) + (k - (len(objects) - 1) / 2) * width
            color = palette.CLASSES[k % len(palette.CLASSES)]
            share = np.divide(found, total, out=np.zeros(len(total)), where=total > 0)
            axes.bar(at, 100 * share, 0.92 * width, color=color, label=name)
            for x, height, count in zip(at, share, total):
                if count:
                    axes.text(x, 100 * height + 1, count, ha="center", fontsize=6, color="#555")
        axes.set(ylim=(0, 108), ylabel="found, percent")
        axes.set_xticks(range(len(starts)), bin_names(starts, unit), fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    by_distance.set_title("by distance", fontsize=10)
    by_points.set_title("by points in the box", fontsize=10)
    _add_legend(by_distance, fontsize=8, loc="upper right")
    return figure


def draw_training(curves: Mapping[str, Sequence[tuple[int, float]]], split: str) -> Figure | None:
    """Loss, learning rate, and AP of the checkpoints that were tested; None without curves."""
    tags = [
        ("loss", [name for name in ("train/loss",) if name in curves]),
        ("terms of the loss", [n for n in sorted(curves) if n.startswith(_TERMS)]),
        ("learning rate", [name for name in ("train/learning_rate",) if name in curves]),
        (f"{main_metric.IN_WORDS}, by epoch", _ap_tags(curves, split)),
    ]
    tags = [(title, names) for title, names in tags if names]
    if not tags:
        return None
    figure, panels = _panels(len(tags), 3.6, 2.9)
    for axes, (title, names) in zip(panels, tags):
        for k, name in enumerate(names):
            color = palette.CLASSES[k % len(palette.CLASSES)]
            label = name.split("/")[1].removesuffix("_3d").replace("_loss_", " ")
            _draw_curve(axes, curves[name], color, label)
        if len(names) > 1:
            _add_legend(axes, fontsize=7)
        if "loss" in title:  # the first of many steps are far above all others
            values = [[value for _, value in curves[name]] for name in names]
            if max(map(len, values)) > _MANY_POINTS:
                axes.set_ylim(0, 1.1 * max(np.quantile(of, 0.97) for of in values))
        axes.set_title(textwrap.fill(title, 36), fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _ap_tags(curves: Mapping[str, Sequence[tuple[int, float]]], split: str) -> list[str]:
    """AP of each class, where more than one checkpoint was tested."""
    return [
        name
        for name, points in curves.items()
        if name.startswith(f"{split}/") and main_metric.is_main_metric(name) and len(points) > 1
    ]


def _add_legend(axes: Axes, **options: Any) -> None:
    """A legend in which a $ of a class's name begins no formula."""
    for text in axes.legend(**options).get_texts():
        text.set_parse_math(False)


def _draw_curve(axes: Axes, points: Sequence[tuple[int, float]], color: str, label: str) -> None:
    steps, values = np.array(points, dtype=np.float64).T
    if len(values) <= _MANY_POINTS:
        axes.plot(steps, values, color=color, marker="." if len(values) < 30 else None)
    else:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.6)
        width = len(values) // 50
        kernel = np.ones(width) / width
        middle = slice((width - 1) // 2, (width - 1) // 2 + len(values) - width + 1)
        axes.plot(steps[middle], np.convolve(values, kernel, mode="valid"), color=color)
    axes.lines[-1].set_label(label)
