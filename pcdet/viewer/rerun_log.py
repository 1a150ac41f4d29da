"""Scenes as a recording for the Rerun viewer, where its package is installed (pcdet[rerun])."""

from __future__ import annotations

import importlib.util
import logging
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from pcdet.utils import palette
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, Z
from pcdet.utils.visualize_utils import DrawnBoxes
from pcdet.viewer.scene import Pane, Scene

_POINT_RADIUS = 0.03  # metres


def logged(scenes: Iterable[Scene], path: Path, logger: logging.Logger) -> Iterator[Scene]:
    """Pass scenes on, and log each on the timeline "frame" of a recording.

    Args:
        scenes: in the order of the timeline.
        path: of the .rrd file.
        logger: told where the recording is, or that the package is missing.

    Yields:
        The same scenes.
    """
    if importlib.util.find_spec("rerun") is None:
        logger.warning("--rerun %s: skipped: pip install 'pcdet[rerun]' is needed for it", path)
        yield from scenes
        return
    import rerun

    path.parent.mkdir(parents=True, exist_ok=True)
    with rerun.RecordingStream("pcdet") as recording:
        recording.save(path)
        recording.log("/", rerun.ViewCoordinates.FLU, static=True)
        for k, scene in enumerate(scenes):
            recording.set_time("frame", sequence=k)
            _log_scene(rerun, recording, scene)
            yield scene
    logger.info("recording: rerun %s", shlex.quote(str(path)))


def _log_scene(rerun: Any, recording: Any, scene: Scene) -> None:
    """Points, labels and detections of each pane below its title, and the image."""
    recording.log("name", rerun.TextLog(scene.name))
    for pane in scene.panes:
        cloud = rerun.Points3D(pane.points[:, CENTER], radii=_POINT_RADIUS, colors=_grey(pane))
        recording.log([pane.title, "points"], cloud)
        if pane.truth is not None:
            recording.log([pane.title, "labels"], _boxes(rerun, pane.truth, palette.FOUND))
        if pane.found is not None:
            recording.log([pane.title, "detections"], _boxes(rerun, pane.found, palette.HIT))
    if scene.image is not None:
        recording.log("image", rerun.Image(scene.image).compress())


def _grey(pane: Pane) -> np.ndarray:
    """(N, 3) uint8, lighter the higher a point is."""
    height = np.clip((pane.points[:, Z] + 2.5) / 4, 0.2, 1)
    return np.repeat((255 * height).astype(np.uint8)[:, None], 3, axis=1)


def _boxes(rerun: Any, drawn: DrawnBoxes, color: str) -> Any:
    boxes = np.asarray(drawn.boxes, dtype=np.float64)
    centers = boxes[:, CENTER].copy()
    centers[:, 2] += boxes[:, H] / 2
    # A positive rz turns clockwise seen from above.
    half_turn = -boxes[:, RZ] / 2
    zeros = np.zeros(len(boxes))
    quaternions = np.stack((zeros, zeros, np.sin(half_turn), np.cos(half_turn)), axis=1)
    return rerun.Boxes3D(
        centers=centers,
        half_sizes=boxes[:, DIMS] / 2,
        quaternions=quaternions,
        labels=[drawn.text(k) for k in range(len(boxes))],
        colors=[ImageColor.getrgb(color)],
    )
