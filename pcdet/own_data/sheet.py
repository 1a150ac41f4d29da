"""The page of a check: frames from above, objects of each class, histograms."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pcdet.datasets.custom.folder import CustomFolder
from pcdet.own_data.check import Checked
from pcdet.own_data.object_views import draw_object
from pcdet.own_data.objects import ObjectTable, table_of_infos
from pcdet.utils import palette
from pcdet.utils.box_utils import RZ, H, L, W, Z
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.visualize_utils import DrawnBoxes, class_color, draw_bev
from pcdet.viewer.packing import image_url
from pcdet.viewer.page import ASSETS
from pcdet.viewer.pictures import render
from pcdet.viewer.sources import evenly_spread

# Objects of a class that are shown with most and with fewest points.
_NUM_OBJECTS = 6
# Metres around all objects that the pictures show, and at most from the sensor.
_MARGIN, _FARTHEST = 5.0, 120.0
_BINS = 40


class ClassColoredBoxes(DrawnBoxes):
    """Labelled boxes in the colours of their classes, with their names."""

    def __init__(self, boxes: np.ndarray, names: Sequence[str]) -> None:
        super().__init__(boxes, names, np.ones(len(names)))

    def color(self, k: int, class_names: Sequence[str]) -> str:
        """Return the colour of the class."""
        return class_color(self.names[k], class_names)

    def text(self, k: int) -> str:
        """Return the class."""
        return self.names[k]


def write_sheet(checked: Checked, path: Path, num_frames: int) -> None:
    """Write the page, one HTML file that needs nothing else.

    Args:
        checked: the folder.
        path: of the file.
        num_frames: frames that are shown from above.
    """
    body = [
        f"<h1>{html.escape(str(checked.folder.root))}</h1>",
        *_listed("Errors", checked.errors),
        *_listed("Warnings", checked.warnings),
        f"<h2>Classes</h2><pre>{html.escape(checked.table)}</pre>",
    ]
    if any(len(info["annos"]["name"]) for info in checked.infos):
        objects = table_of_infos(checked.infos)
        body += [
            *_frames(checked, objects, num_frames),
            *_histograms(objects),
            *_objects(checked.folder, objects),
        ]
    page = Template((ASSETS / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"Check of {checked.folder.root.name}"),
        css=(ASSETS / "report.css").read_text(encoding="utf-8"),
        body="\n".join(body),
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return [f"<h2>{title}</h2>", f"<ul>{items}</ul>"]


def _frames(checked: Checked, objects: ObjectTable, count: int) -> Iterator[str]:
    yield "<h2>Frames from above</h2>"
    yield (
        '<p class="soft">x points upwards, y to the left; points are coloured by height, the line '
        "in a box leads to its front. Boxes must lie around the points of their objects, and their "
        "lines point where the objects drive.</p>"
    )
    limit_range = _shown_range(objects)
    for k in evenly_spread(count, len(checked.infos)):
        info = checked.infos[k]
        name, annos = info["point_cloud"]["lidar_idx"], info["annos"]
        boxes = ClassColoredBoxes(annos["gt_boxes_lidar"], annos["name"].tolist())
        title = f"{name}: {len(boxes.names)} objects"
        points = checked.folder.read_points(name)
        yield _image(
            draw_bev(points, [boxes], objects.class_names, limit_range, title), "frame-picture"
        )


def _shown_range(objects: ObjectTable) -> tuple[float, ...]:
    reach = objects.boxes[:, :2]
    low = np.maximum(reach.min(axis=0) - _MARGIN, -_FARTHEST)
    high = np.minimum(reach.max(axis=0) + _MARGIN, _FARTHEST)
    bottom = float(np.median(objects.boxes[:, Z]))
    low, high = np.minimum(low, 0), np.maximum(high, low + 1)
    return (*low, bottom - 0.5, *high, bottom + 3)


def _objects(folder: CustomFolder, objects: ObjectTable) -> Iterator[str]:
    yield "<h2>Objects</h2>"
    yield (
        '<p class="soft">From above, from the right side, from behind; white points lie in the '
        "box. Sides and heights are right where the box closes around the points.</p>"
    )
    for name in objects.class_names:
        own = objects.of_class(name)
        order = np.argsort(-own.points, kind="stable")
        chosen = [*order[:_NUM_OBJECTS], *order[_NUM_OBJECTS:][-_NUM_OBJECTS:]]
        yield f"<h3>{html.escape(name)}: most points, then fewest</h3>"
        for k in chosen:
            yield _image(_picture(folder, own, k))


def _picture(folder: CustomFolder, own: ObjectTable, k: int) -> np.ndarray:
    box, frame = own.boxes[k], own.frames[own.frame[k]]
    caption = (
        f"{frame}: {own.points[k]} points, {own.distance[k]:.0f} m away\n"
        f"l {box[L]:.2f}  w {box[W]:.2f}  h {box[H]:.2f}  bottom {box[Z]:.2f}"
    )
    return draw_object(folder.read_points(frame), box, caption)


def _histograms(objects: ObjectTable) -> Iterator[str]:
    yield "<h2>Sizes, places, points</h2>"
    heading = -objects.boxes[:, RZ] - np.pi / 2
    values = {
        "length, m": objects.boxes[:, L],
        "width, m": objects.boxes[:, W],
        "height, m": objects.boxes[:, H],
        "bottom, m": objects.boxes[:, Z],
        "distance, m": objects.distance,
        "heading, degrees": np.degrees(np.arctan2(np.sin(heading), np.cos(heading))),
        "points, log10 (1 + n)": np.log10(1 + objects.points),
    }
    yield _image(render(_draw(values, objects)))


def _draw(values: Mapping[str, np.ndarray], objects: ObjectTable) -> Figure:
    """A row a class, a column a value."""
    names = objects.class_names
    figure = Figure(figsize=(1.9 * len(values), 1.5 * len(names)))
    FigureCanvasAgg(figure)
    for row, name in zip(figure.subplots(len(names), len(values), squeeze=False), names):
        for axes, (title, column) in zip(row, values.items()):
            counts, edges = np.histogram(column[objects.name == name], _BINS)
            axes.stairs(counts, edges, fill=True, color=palette.BLUE)
            axes.set_title(title, fontsize=8)
            axes.tick_params(labelsize=6)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(name, fontsize=8, parse_math=False)
    figure.subplots_adjust(0.04, 0.1 / len(names), 0.99, 1 - 0.2 / len(names), 0.3, 0.5)
    return figure


def _image(pixels: Any, kind: str = "") -> str:
    return f'<img class="{kind}" src="{image_url(pixels)}" alt="">'
