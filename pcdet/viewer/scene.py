"""What the viewer shows: scenes of points and boxes, and which detection found which object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pcdet.evaluation import rules
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.visualize_utils import DrawnBoxes

# Choices of the page: the overlaps of AP, and looser ones.
OVERLAP_CHOICES = ("strict", "loose")
# For a class that the data set's rules do not know.
_USUAL_OVERLAP = {"strict": 0.5, "loose": 0.25}


@dataclass(frozen=True)
class HitRules:
    """What makes a detection a hit; KITTI's rules unless others are given.

    Attributes:
        strict: what the 3D IoU must exceed, by class in lower case.
        loose: the same, looser.
        neighbours: class to another, both in lower case, whose objects excuse a detection.
    """

    strict: Mapping[str, float] = field(default_factory=lambda: rules.OVERLAPS)
    loose: Mapping[str, float] = field(default_factory=lambda: rules.LOOSE_OVERLAPS)
    neighbours: Mapping[str, str] = field(default_factory=lambda: rules.NEIGHBOURS)

    def overlap(self, name: str, choice: str) -> float:
        """What the 3D IoU of a class must exceed, by one of `OVERLAP_CHOICES`."""
        return getattr(self, choice).get(name.lower(), _USUAL_OVERLAP[choice])


def rules_of(dataset: Any) -> HitRules:
    """The rules by which the AP of a data set is computed."""
    return HitRules(*dataset.overlap_sets, dataset.neighbours)


@dataclass
class Pane:
    """One of the pictures of a scene, side by side.

    Attributes:
        title: names it, such as the checkpoint whose detections it shows.
        points: (N, 3 + C) LiDAR points, intensity in column 3 if there is one.
        truth: labelled objects, of all classes; None for a frame without labels.
        found: detections, with scores; None where none were made.
    """

    title: str
    points: np.ndarray
    truth: DrawnBoxes | None = None
    found: DrawnBoxes | None = None


@dataclass
class Scene:
    """A frame with its panes.

    Attributes:
        name: of the frame.
        panes: one or two.
        image: (H, W, 3) uint8 of the camera, or None.
        calib: projects to the image, or None.
        hits: which detection is a hit; the same in all scenes of a page.
    """

    name: str
    panes: list[Pane]
    image: np.ndarray | None = None
    calib: Calibration | None = None
    hits: HitRules = field(default_factory=HitRules)


def overlaps(truth: DrawnBoxes, found: DrawnBoxes) -> np.ndarray:
    """(D, G) 3D IoU of each of D detections with each of G objects, whatever their classes."""
    if not (len(found.boxes) and len(truth.boxes)):
        return np.zeros((len(found.boxes), len(truth.boxes)))
    boxes = (torch.from_numpy(np.asarray(b.boxes, dtype=np.float64)) for b in (found, truth))
    return iou3d_nms_utils.boxes_iou3d_gpu(*boxes).numpy()


def find_partners(
    truth: DrawnBoxes,
    found: DrawnBoxes,
    iou: np.ndarray,
    hits: HitRules,
    choice: str = "strict",
) -> np.ndarray:
    """Which object each detection found: the best score chooses first, its best overlap.

    So the answer for detections above any score is the same whatever lies below, and the page can
    hide detections without matching anew. The official AP matches anew at each score, and looks at
    sizes in the image: its counts may differ a little.

    Args:
        truth: G objects, also those that only excuse a detection (a van, for a car).
        found: D detections with scores.
        iou: (D, G) of `overlaps`.
        hits: what is a hit.
        choice: of the overlap that must be exceeded, one of `OVERLAP_CHOICES`.

    Returns:
        (D,) index of the object, of the detection's own class or of one that excuses it, or -1.
    """
    partners = np.full(len(found.boxes), -1)
    truth_names = np.array([name.lower() for name in truth.names], dtype=np.str_)
    free = np.ones(len(truth_names), dtype=bool)
    for k in np.argsort(-np.asarray(found.scores), kind="stable"):
        name = found.names[k].lower()
        least = hits.overlap(name, choice)
        # Its own class first; the neighbour's objects may excuse several.
        for wanted in (free & (truth_names == name), truth_names == hits.neighbours.get(name, "")):
            candidates = np.flatnonzero(wanted & (iou[k] > least))
            if len(candidates):
                partners[k] = candidates[iou[k, candidates].argmax()]
                free[partners[k]] &= truth_names[partners[k]] != name  # not taken, if it excuses
                break
    return partners


@dataclass(frozen=True)
class Counts:
    """Of a pane: objects found and missed, and detections of nothing."""

    found: int
    missed: int
    false_positives: int

    @property
    def mistakes(self) -> int:
        """Misses and false positives."""
        return self.missed + self.false_positives


def count_outcomes(
    truth: DrawnBoxes,
    found: DrawnBoxes,
    class_names: Sequence[str],
    score_thresh: float,
    hits: HitRules,
) -> Counts:
    """Count hits, misses and false positives at the strict overlaps, above a score."""
    kept = select_boxes(found, np.asarray(found.scores) >= score_thresh)
    partners = find_partners(truth, kept, overlaps(truth, kept), hits)
    known = np.isin(np.asarray(truth.names, dtype=np.str_), class_names)
    hit = np.zeros(len(known), dtype=bool)
    for name, partner in zip(kept.names, partners):
        if partner >= 0 and truth.names[partner].lower() == name.lower():
            hit[partner] = True
    return Counts(
        found=int((known & hit).sum()),
        missed=int((known & ~hit).sum()),
        false_positives=int((partners < 0).sum()),
    )


def select_boxes(boxes: DrawnBoxes, keep: np.ndarray) -> DrawnBoxes:
    """Those boxes whose entry of `keep`, (N,) bool, is true."""
    scores = None if boxes.scores is None else np.asarray(boxes.scores)[keep]
    return DrawnBoxes(boxes.boxes[keep], [n for n, k in zip(boxes.names, keep) if k], scores)


def detections_of(anno: Mapping[str, np.ndarray], scores_are_logits: bool) -> DrawnBoxes:
    """The detections of an annotation (of result.pkl), with scores as probabilities."""
    scores = np.asarray(anno["score"], dtype=np.float64)
    if scores_are_logits:
        scores = 1 / (1 + np.exp(-scores))
    return DrawnBoxes(np.asarray(anno["boxes_lidar"]).reshape(-1, 7), list(anno["name"]), scores)


def objects_of(info: Mapping) -> DrawnBoxes:
    """The labelled objects of a frame's info, of all classes but DontCare."""
    if "annos" not in info:
        return DrawnBoxes(np.zeros((0, 7)), [])
    names = [name for name in info["annos"]["name"] if name.lower() != rules.DONT_CARE]
    return DrawnBoxes(np.asarray(info["annos"]["gt_boxes_lidar"]).reshape(-1, 7), names)
