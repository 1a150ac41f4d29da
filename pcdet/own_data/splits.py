"""Which frames are for training and which for validation, where the folder does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pcdet.datasets.custom.folder import LABELS, POINTS, CustomFolder
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.split import split_path, write_split

SEED = 0
_VAL_SHARE = 0.2


def complete_splits(folder: CustomFolder, seed: int = SEED) -> tuple[dict[str, list[str]], str]:
    """Read ImageSets/{train,val}.txt, and draw what is missing, for `write_drawn` to write.

    Args:
        folder: of the data.
        seed: decides the draw.

    Returns:
        Split to frames, and what was drawn, in words; empty if both files were there.

    Raises:
        DataError: there are fewer than two labelled frames, or a listed frame has no labels or
            is in both splits.
    """
    paths = {split: split_path(folder.root, split) for split in ("train", "val")}
    splits = {s: folder.frames_of_split(s) for s, path in paths.items() if path.exists()}
    note = ""
    if len(splits) < 2:
        drawn = _draw(folder, splits, seed)
        how = (
            f"drawn at random with seed {seed}" if len(drawn) == 2 else "all that the other leaves"
        )
        note = (
            f"{' and '.join(str(paths[split]) for split in drawn)} are new: "
            + ", ".join(f"{split} {len(frames)}" for split, frames in drawn.items())
            + f" frames, {how}; frames of one drive resemble each other: to test on other places, "
            "list the frames yourself"
        )
        splits.update(drawn)
    labelled = set(folder.labelled_frames())
    for split, frames in splits.items():
        missing = [frame for frame in frames if frame not in labelled]
        if missing:
            raise DataError(
                f"{paths[split]}: {len(missing)} of its frames have no labels, the first is "
                f"{missing[0]}: take it out of the list, or write {folder.label_path(missing[0])}"
            )
    twice = sorted(set(splits["train"]) & set(splits["val"]))
    if twice:
        raise DataError(
            f"{paths['val']}: {len(twice)} of its frames are in train.txt, too, the first is "
            f"{twice[0]}: a test on them says nothing about other frames"
        )
    return {split: splits[split] for split in ("train", "val")}, note


def write_drawn(folder: CustomFolder, splits: Mapping[str, Sequence[str]]) -> None:
    """Write the lists of `complete_splits` that are not there yet."""
    for split, frames in splits.items():
        path = split_path(folder.root, split)
        if not path.exists():
            write_split(path, frames)


def _draw(folder: CustomFolder, splits: dict[str, list[str]], seed: int) -> dict[str, list[str]]:
    """The missing ones of train and val."""
    labelled = folder.labelled_frames()
    if splits:
        (given,) = splits
        missing = "val" if given == "train" else "train"
        rest = [frame for frame in labelled if frame not in set(splits[given])]
        if not rest:
            raise DataError(
                f"{split_path(folder.root, given)}: lists all labelled frames, and there is no "
                f"{missing}.txt: leave some frames out of it"
            )
        return {missing: rest}
    if len(labelled) < 2:
        raise DataError(
            f"{folder.root / LABELS}: expected labels <frame>.txt of two frames at least, as one "
            f"is for validation, got {len(labelled)}; points are in {folder.root / POINTS}"
        )
    count = min(max(1, round(_VAL_SHARE * len(labelled))), len(labelled) - 1)
    order = np.random.default_rng(seed).permutation(len(labelled))
    chosen = set(order[:count].tolist())
    return {
        "train": [frame for k, frame in enumerate(labelled) if k not in chosen],
        "val": [frame for k, frame in enumerate(labelled) if k in chosen],
    }
