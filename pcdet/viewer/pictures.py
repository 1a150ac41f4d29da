"""Pictures of evaluated frames: from above, and on the camera image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pcdet.utils.io_utils import atomic_write
from pcdet.utils.visualize_utils import draw_bev, draw_on_image
from pcdet.viewer.scene import detections_of, objects_of, select_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_frames(
    dataset: Any,
    annos: Sequence[Mapping[str, Any]],
    indices: Sequence[int],
    limit_range: Sequence[float],
    score_thresh: float,
    scores_are_logits: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """Draw ground truth and detections of some frames.

    Args:
        dataset: of the frames.
        annos: detections of all its frames.
        indices: which frames.
        limit_range: what the pictures from above show.
        score_thresh: least probability of a detection that is drawn.
        scores_are_logits: the annotations hold logits (USE_RAW_SCORE).

    Yields:
        Names such as `000012_bev` and, of a frame with an image, `000012_image`, and pixels,
        (H, W, 3) uint8.
    """
    for k in indices:
        info, names = dataset.infos[k], dataset.class_names
        name = info["point_cloud"]["lidar_idx"]
        truth, found = objects_of(info), detections_of(annos[k], scores_are_logits)
        drawn = [
            select_boxes(truth, np.isin(np.asarray(truth.names, dtype=np.str_), names)),
            select_boxes(found, found.scores >= score_thresh),
        ]
        yield f"{name}_bev", draw_bev(dataset.get_lidar(name), drawn, names, limit_range, name)
        seen = dataset.camera_view(info)
        if seen is not None:
            yield f"{name}_image", draw_on_image(*seen, drawn, names, name)


def render(figure: Figure) -> np.ndarray:
    """Draw a figure; return its pixels, (H, W, 3) uint8."""
    figure.set_dpi(120)
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 pixels as a PNG, quickly rather than small."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, format="png", compress_level=1)
