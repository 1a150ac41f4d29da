"""Pictures of evaluated frames: from above, and on the camera image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.visualize_utils import DrawnBoxes, draw_bev, draw_on_image


def evenly_spread(count: int, total: int) -> list[int]:
    """Choose `count` of `total` indices, the first and the last among them."""
    return sorted({int(k) for k in np.linspace(0, total - 1, min(count, total))})


def draw_frames(
    dataset: Any,
    annos: Sequence[Mapping[str, Any]],
    indices: Sequence[int],
    limit_range: Sequence[float],
    score_thresh: float,
    scores_are_logits: bool,
) -> Iterator[tuple[str, Figure]]:
    """Draw ground truth and detections of some frames.

    Args:
        dataset: a `KittiDataset`.
        annos: detections of all its frames.
        indices: which frames.
        limit_range: what the pictures from above show.
        score_thresh: least probability of a detection that is drawn.
        scores_are_logits: the annotations hold logits (USE_RAW_SCORE).

    Yields:
        Names such as `000012_bev` and `000012_image`, and figures.
    """
    for k in indices:
        info, anno = dataset.infos[k], annos[k]
        name = info["point_cloud"]["lidar_idx"]
        scores = np.asarray(anno["score"], dtype=np.float64)
        if scores_are_logits:
            scores = 1 / (1 + np.exp(-scores))
        shown = scores >= score_thresh
        drawn = [
            _ground_truth(info, dataset.class_names),
            DrawnBoxes(anno["boxes_lidar"][shown], anno["name"][shown], scores[shown]),
        ]
        title = f"{name}: green is ground truth"
        points = dataset.get_lidar(name)
        yield f"{name}_bev", draw_bev(points, drawn, dataset.class_names, limit_range, title)
        image = dataset.get_image(name)
        calib = Calibration.from_info(info["calib"])
        yield f"{name}_image", draw_on_image(image, calib, drawn, dataset.class_names, title)


def _ground_truth(info: Mapping[str, Any], class_names: Sequence[str]) -> DrawnBoxes:
    if "annos" not in info:
        return DrawnBoxes(np.zeros((0, 7)), [])
    names = info["annos"]["name"]
    names = names[names != "DontCare"]
    known = np.isin(names, class_names)
    return DrawnBoxes(info["annos"]["gt_boxes_lidar"][known], names[known])


def render(figure: Figure) -> np.ndarray:
    """Draw a figure; return its pixels, (H, W, 3) uint8."""
    figure.set_dpi(120)
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 pixels as a PNG."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format="png")
