"""Whether boxes would hold more points with other headings: a mistake that sizes do not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import CustomFolder
from pcdet.utils.box_utils import RZ, H, Z
from pcdet.utils.object_points import points_of_boxes
from pcdet.viewer.sources import evenly_spread

# Frames that are looked at; of a class, points that tell something.
_NUM_FRAMES, _LEAST_POINTS = 10, 200
# So many times the points must another heading hold.
_FACTOR = 1.25
# Sine of the angle from which on an alternative is another box.
_LEAST_TURN = 0.3
# Metres of a box that the ground fills.
_GROUND = 0.3
_ALTERNATIVES = {
    "turned by 90 degrees": (
        lambda rz: rz + np.pi / 2,
        "are headings measured from another axis, or are length and width exchanged? A heading of "
        "0 looks along x, and dx is the length along it",
    ),
    "with headings of the other sign": (
        lambda rz: -rz - np.pi,
        "headings must turn from x towards y",
    ),
}


def heading_warnings(folder: CustomFolder, infos: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each class whether its boxes hold more points if they are turned.

    Args:
        folder: reads the points.
        infos: of its frames, see `datasets.custom.infos.build_infos`.
    """
    labelled = [info for info in infos if len(info["annos"]["name"])]
    chosen = [labelled[k] for k in evenly_spread(_NUM_FRAMES, len(labelled))] if labelled else []
    counts: dict[str, np.ndarray] = {}
    for info in chosen:
        points = folder.read_points(info["point_cloud"]["lidar_idx"])
        annos = info["annos"]
        for name, pairs in zip(annos["name"], _counts(points, annos["gt_boxes_lidar"])):
            counts[str(name)] = counts.get(str(name), 0) + pairs
    for name, of_class in sorted(counts.items()):
        for (what, (_, remedy)), (own, other) in zip(_ALTERNATIVES.items(), of_class):
            if other >= max(_LEAST_POINTS, _FACTOR * own):
                yield f"boxes of {name} hold {own} points, and {other} {what}: {remedy}"
                break


def _counts(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points above the ground in (M, 7) boxes, as they are and in each of A alternatives.

    Returns:
        (M, A, 2) int; 0 where an alternative is nearly the same box.
    """
    raised = boxes.copy()
    raised[:, Z] += _GROUND
    raised[:, H] = np.maximum(raised[:, H] - _GROUND, 0.01)
    versions = [raised]
    for turn, _ in _ALTERNATIVES.values():
        turned = raised.copy()
        turned[:, RZ] = turn(turned[:, RZ])
        versions.append(turned)
    held = points_of_boxes(points, np.concatenate(versions))
    own, *others = np.array([len(rows) for rows in held]).reshape(len(versions), -1)
    differs = [np.abs(np.sin(v[:, RZ] - raised[:, RZ])) > _LEAST_TURN for v in versions[1:]]
    pairs = [np.stack((own, other), axis=1) * d[:, None] for other, d in zip(others, differs)]
    return np.stack(pairs, axis=1)
