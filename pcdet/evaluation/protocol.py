"""What an evaluation judges by: which objects count at each of its levels.

KITTI's levels are difficulties, which come from the image. Data without a camera has levels of
distance. Matching, recall points and everything after are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.label_arrays import Labels
from pcdet.evaluation.precision_recall import RECALL_SETS


class Level(Interface):
    """A share of the objects, of which there is an AP of its own."""

    name: str

    def counts(self, gt: Labels) -> np.ndarray:
        """Tell which ground truth, of its class, must be found: (G,) bool."""

    def ignores(self, det: Labels, own: np.ndarray) -> np.ndarray:
        """Tell which detections are neither hit nor false positive here: (D,) bool.

        They can take an object all the same. `own`: (D,) bool, those of the class.
        """

    def why_none_counts(self, det: Labels, own: np.ndarray) -> str | None:
        """Say why all detections `own`, (D,) bool, are ignored, if they are."""


@dataclass(frozen=True)
class ImageLevel:
    """One of KITTI's difficulties."""

    difficulty: rules.Difficulty

    @property
    def name(self) -> str:
        """Easy, moderate or hard."""
        return self.difficulty.name

    def counts(self, gt: Labels) -> np.ndarray:
        """Those that are high, visible and whole enough."""
        return (
            (gt.bbox[:, 3] - gt.bbox[:, 1] > self.difficulty.min_height)
            & (gt.occluded <= self.difficulty.max_occlusion)
            & (gt.truncated <= self.difficulty.max_truncation)
        )

    def ignores(self, det: Labels, own: np.ndarray) -> np.ndarray:
        """Those of any class that are too low in the image, in whole pixels."""
        return np.floor(det.heights()) < self.difficulty.min_height

    def why_none_counts(self, det: Labels, own: np.ndarray) -> str | None:
        """All are too low, or have no height at all."""
        if np.all(det.heights()[own] == 0):
            return f"the {own.sum()} detections have no 2D box, so all count as too low"
        if np.all(self.ignores(det, own)[own]):
            return (
                f"all {own.sum()} detections are below the minimum height of "
                f"{self.difficulty.min_height} pixels"
            )
        return None


@dataclass(frozen=True)
class DistanceLevel:
    """Objects whose middle is so many metres away along the ground, `high` not included."""

    name: str
    low: float = 0.0
    high: float = np.inf

    def counts(self, gt: Labels) -> np.ndarray:
        """Those at the distance."""
        return self._holds(gt)

    def ignores(self, det: Labels, own: np.ndarray) -> np.ndarray:
        """Those of the class at another distance; other classes take no object of it."""
        return own & ~self._holds(det)

    def why_none_counts(self, det: Labels, own: np.ndarray) -> str | None:
        """All are at other distances."""
        if self._holds(det)[own].any():
            return None
        return f"none of the {own.sum()} detections is at this distance"

    def _holds(self, labels: Labels) -> np.ndarray:
        distance = np.hypot(labels.location[:, 0], labels.location[:, 2])
        return (distance >= self.low) & (distance < self.high)


@dataclass(frozen=True)
class Protocol:
    """How detections are judged.

    Attributes:
        title: what a table of results begins with.
        levels: each has an AP of its own.
        main: the level that summaries show.
        recall_sets: of "R40" and "R11", those that are reported.
        neighbours: class to another, both in lower case: ground truth of the other is neither hit
            nor miss for the class.
    """

    title: str
    levels: Sequence[Level]
    main: str
    recall_sets: tuple[str, ...]
    neighbours: Mapping[str, str] = field(default_factory=dict)

    @property
    def level_names(self) -> list[str]:
        """Names of the levels, in order."""
        return [level.name for level in self.levels]


KITTI = Protocol(
    "KITTI object evaluation",
    tuple(ImageLevel(difficulty) for difficulty in rules.DIFFICULTIES),
    main="moderate",
    recall_sets=tuple(RECALL_SETS),
    neighbours=rules.NEIGHBOURS,
)
BY_DISTANCE = Protocol(
    "Evaluation by KITTI's matching and distances",
    (
        DistanceLevel("0-20m", 0, 20),
        DistanceLevel("20-40m", 20, 40),
        DistanceLevel("40m+", 40),
        DistanceLevel("all"),
    ),
    main="all",
    recall_sets=("R40",),
)
