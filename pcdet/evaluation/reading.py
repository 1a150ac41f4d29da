"""Folders of KITTI label and result files to `Labels`: which frames, and their objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcdet.evaluation.label_arrays import Labels, labels_from_table
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.label import NUM_LABEL_FIELDS, NUM_RESULT_FIELDS
from pcdet.utils.kitti_format.label_table import read_label_table
from pcdet.utils.kitti_format.split import read_split

GT_FIELDS = NUM_LABEL_FIELDS
DET_FIELDS = NUM_RESULT_FIELDS


def list_frames(folder: str | os.PathLike) -> list[str]:
    """Return the sorted names, without `.txt`, of the label files in `folder`.

    Raises:
        DataError: the folder does not exist or holds no label file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of label files, found none")
    # Plain names, here and in `read_labels`: thousands of paths take as long as their files.
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.name.endswith(".txt")]
    names = sorted(name.removesuffix(".txt") for name in files if not name.startswith("."))
    if not names:
        raise DataError(f"{folder}: expected label files NNNNNN.txt, the folder holds none")
    return names


def choose_frames(
    gt_dir: str | os.PathLike,
    det_dir: str | os.PathLike,
    split_file: str | os.PathLike | None = None,
) -> list[str]:
    """Return the frames to evaluate: those of the split, or else those of both folders.

    A frame without a result file is never skipped silently: its objects would count as missed in
    the official program, and skipping it would raise the AP.

    Raises:
        DataError: a frame lacks its label or its result file, or both folders are the same one.
    """
    if os.path.realpath(gt_dir) == os.path.realpath(det_dir):
        raise DataError(
            f"{det_dir}: expected a folder of results beside one of labels, got one folder for "
            "both: name the folder of the labels as ground truth"
        )
    try:
        labelled = list_frames(gt_dir)
    except DataError as error:
        raise DataError(
            f"{error}; without labels, as for KITTI's test split, there is no AP"
        ) from None
    detected = list_frames(det_dir)
    if split_file is None:
        _require(labelled, detected, f"{det_dir}: no result file for", " (the label folder has it)")
        _require(detected, labelled, f"{gt_dir}: no label file for", " (the result folder has it)")
        return labelled
    frames = read_split(split_file)
    _require(frames, labelled, f"{gt_dir}: no label file for", f" of {split_file}")
    _require(frames, detected, f"{det_dir}: no result file for", f" of {split_file}")
    return frames


def _require(wanted: Sequence[str], present: Sequence[str], problem: str, why: str) -> None:
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise DataError(
            f"{problem} {len(missing)} of {len(wanted)} frames, the first is {missing[0]}{why}; "
            "a frame without objects needs an empty file, and a split file names the frames to use"
        )


def read_labels(folder: str | os.PathLike, frames: Sequence[str], num_fields: int) -> Labels:
    """Read the label files of `frames`, see `read_label_table`.

    Args:
        folder: holds FRAME.txt for every frame.
        frames: names of the frames, in the order of the result.
        num_fields: 15 for ground truth, 16 for detections.

    Raises:
        DataError: a file is missing, or a line of it is not what it should be.
    """
    folder = Path(folder)
    paths = [f"{folder}{os.sep}{name}.txt" for name in frames]
    names, values, counts = read_label_table(paths, num_fields)
    if num_fields == GT_FIELDS:
        values = np.column_stack([values, np.zeros(len(values))])
    return labels_from_table(names, values, counts)
