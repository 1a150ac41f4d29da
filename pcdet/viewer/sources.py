"""Scenes from what the other rooms have: a split with its results, or training samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.visualize_utils import DrawnBoxes
from pcdet.viewer.scene import Pane, Scene, detections_of, objects_of, rules_of

_RESULT_KEYS = ("sample_idx", "name", "score", "boxes_lidar")
# Logits from 0 to 1 alone are probabilities of 0.5 to 0.73: of so many scores some would differ.
_MANY_SCORES = 100


def evenly_spread(count: int, total: int) -> list[int]:
    """`count` of `total` indices, the first and the last among them."""
    return sorted({int(k) for k in np.linspace(0, total - 1, min(count, total))})


def scenes_of_split(
    dataset: Any,
    indices: Sequence[int],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    scores_are_logits: bool,
    whole_scan: bool = False,
) -> Iterator[Scene]:
    """Frames of a split with their labels, and with detections if there are any.

    Args:
        dataset: a data set for testing.
        indices: of the frames.
        results: by title the annotations of all frames; one title a pane, at most two. Empty for
            labels alone.
        scores_are_logits: the annotations hold logits (USE_RAW_SCORE).
        whole_scan: show all points, not only those that the network sees.
    """
    dataset = copy.copy(dataset)
    dataset.unused = frozenset()  # what its model does not read is shown
    hits = rules_of(dataset)
    for k in indices:
        info = dataset.infos[k]
        name = info["point_cloud"]["lidar_idx"]
        points = dataset.get_lidar(name) if whole_scan else dataset[k]["points"]
        truth = objects_of(info) if "annos" in info else None
        panes = [
            Pane(title, points, truth, detections_of(annos[k], scores_are_logits))
            for title, annos in results.items()
        ]
        image, calib = dataset.camera_view(info) or (None, None)
        yield Scene(name, panes or [Pane("labels", points, truth)], image, calib, hits)


def training_scenes(dataset: Any, recorded: Any, indices: Sequence[int]) -> Iterator[Scene]:
    """Training samples beside the frames that they were made from.

    Args:
        dataset: a data set for training; its seed and epoch decide the samples.
        recorded: the same frames without augmentation.
        indices: of the samples.
    """
    names = dataset.class_names
    for k in indices:
        before, after = (
            Pane(title, sample["points"], boxes_of_sample(sample, names))
            for title, sample in (("as recorded", recorded[k]), ("as training sees it", dataset[k]))
        )
        yield Scene(dataset.sample_ids[k], [before, after])


def boxes_of_sample(sample: Mapping[str, Any], class_names: Sequence[str]) -> DrawnBoxes:
    """The labelled boxes of a sample of `DatasetTemplate.prepare_data`."""
    labelled = np.asarray(sample["gt_boxes"])
    return DrawnBoxes(labelled[:, :7], [class_names[int(label) - 1] for label in labelled[:, 7]])


def check_frames(annos: Sequence[Mapping[str, Any]], dataset: Any, path: str | Path) -> None:
    """Raise a DataError if annotations are no detections of the frames of a data set, in order."""
    if not (isinstance(annos, Sequence) and all(_is_detections(anno) for anno in annos)):
        raise DataError(
            f"{path}: expected the result.pkl of a test: of each frame {', '.join(_RESULT_KEYS)}, "
            "with finite numbers, one row for each name"
        )
    found = [str(anno["sample_idx"]) for anno in annos]
    if found != dataset.sample_ids:
        raise DataError(
            f"{path}: expected the detections of the {len(dataset)} frames of the split "
            f"{dataset.split!r}, got {len(found)} frames, the first {found[:1]}; was it made on "
            "another split (--split) or data set (--data_dir)?"
        )


def check_scores(
    annos: Sequence[Mapping[str, Any]], path: str | Path, scores_are_logits: bool
) -> None:
    """Raise a DataError if scores that another command wrote cannot be of the expected kind.

    Args:
        annos: see `check_frames`.
        path: of the annotations, for messages.
        scores_are_logits: whether they should hold logits (USE_RAW_SCORE).
    """
    scores = np.concatenate([np.zeros(0), *(np.ravel(anno["score"]) for anno in annos)])
    in_unit = bool(((scores >= 0) & (scores <= 1)).all())
    if (in_unit and len(scores) < _MANY_SCORES) or in_unit != scores_are_logits:
        return
    kinds = ("probabilities", "logits")
    raise DataError(
        f"{path}: expected {kinds[scores_are_logits]}, as MODEL.TEST.USE_RAW_SCORE says, "
        f"got {kinds[not scores_are_logits]}: end the command with --set MODEL.TEST.USE_RAW_SCORE "
        f"{not scores_are_logits}, as the test's"
    )


def _is_detections(anno: Any) -> bool:
    """Whether it is what `generate_annotations` makes of a frame, as far as the viewer reads it."""
    if not isinstance(anno, Mapping) or any(key not in anno for key in _RESULT_KEYS):
        return False
    try:
        boxes, scores = (np.asarray(anno[key], np.float64) for key in ("boxes_lidar", "score"))
        numbers = np.column_stack((boxes.reshape(-1, 7), scores.reshape(-1)))
    except (TypeError, ValueError):
        return False
    return len(numbers) == len(anno["name"]) and bool(np.isfinite(numbers).all())
