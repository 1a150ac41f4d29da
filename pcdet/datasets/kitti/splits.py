"""Splits of the labelled frames: drawn at random, and what is said where one is missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.folders import TESTING, TRAINING, file_stems
from pcdet.utils.kitti_format.split import frame_names, read_split, split_path, write_split
from pcdet.utils.preparing_commands import create_infos_command

# KITTI's usual split gives about half of the 7481 labelled frames to training: 3712.
_TRAIN_SHARE = 0.5


def missing_split(path: Path) -> DataError:
    """Return the error for a split that is needed and missing, or for a folder without data."""
    root = path.parents[1]
    if not (root / TRAINING).is_dir():
        return DataError(
            f"{root / TRAINING}: no such folder; expected KITTI's layout, as README.md shows it, "
            f"in {root}: name another folder by --data_path"
        )
    draw = create_infos_command(root, "--make_random_split SEED")
    return DataError(
        f"{path}: missing; expected one frame name such as 000123 on each line. The standard "
        "KITTI split (3712 training and 3769 validation frames) comes with every KITTI detector; "
        f"`{draw}` draws one of your own"
    )


def check_frames(path: Path, frames: Sequence[str], part_path: Path) -> None:
    """Raise a DataError that names the list, if frames of it have no file at all.

    Args:
        path: of the list.
        frames: that it names.
        part_path: their folder, training/ or testing/.
    """
    kinds = ("velodyne", "calib", "label_2")
    there = set().union(*(file_stems(part_path / kind, "") for kind in kinds))
    strange = [frame for frame in frames if frame not in there]
    if strange:
        raise DataError(
            f"{path}: names {len(strange)} frames without any file in {part_path}, such as "
            f"{strange[0]}: take them out of the list, or unpack the archive again"
        )


def write_random_split(root_path: str | os.PathLike, seed: int) -> dict[str, list[str]]:
    """Divide the labelled frames at random and write `ImageSets/{train,val,test}.txt`.

    Files of these names are not overwritten: those that an earlier run has drawn alike are kept.

    Args:
        root_path: the data set; its frames are those of training/label_2 and testing/velodyne.
        seed: decides the division.

    Returns:
        Split to frame names, as drawn; test only if it was not listed.

    Raises:
        DataError: another train or val split exists already, or there are no labels.
    """
    root = Path(root_path)
    labels = root / TRAINING / "label_2"
    labelled = frame_names(labels, ".txt")
    if len(labelled) < 2:
        raise DataError(f"{labels}: expected labels <frame>.txt, two at least")
    order = np.random.default_rng(seed).permutation(len(labelled))
    chosen = set(order[: round(_TRAIN_SHARE * len(labelled))].tolist())
    splits = {
        "train": [name for k, name in enumerate(labelled) if k in chosen],
        "val": [name for k, name in enumerate(labelled) if k not in chosen],
    }
    for split, names in splits.items():
        path = split_path(root, split)
        if path.exists() and read_split(path) != names:
            raise DataError(
                f"{path}: exists already, and lists other frames than seed {seed} draws; a random "
                "split was not written: go without --make_random_split, or remove the lists"
            )
    unlabelled = frame_names(root / TESTING / "velodyne", ".bin")
    if unlabelled and not split_path(root, "test").exists():
        splits["test"] = unlabelled
    for split, names in splits.items():
        write_split(split_path(root, split), names)
    return splits
