"""Which frames are for training and which for validation, where the folder does not say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from pcdet.datasets.custom.folder import LABELS, POINTS, CustomFolder
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.split import split_path, write_split

SEED = 0
# Those that a folder may list.
SPLITS = ("train", "val", "test")
_VAL_SHARE = 0.2


def complete_splits(folder: CustomFolder, seed: int = SEED) -> tuple[dict[str, list[str]], str]:
    """Read ImageSets/{train,val}.txt, and draw what is missing, for `write_drawn` to write.

    Frames of ImageSets/test.txt are never drawn.

    Args:
        folder: of the data.
        seed: decides the draw.

    Returns:
        Split to frames, and what was drawn, in words; empty if both files were there.

    Raises:
        DataError: there are fewer than two labelled frames, a frame of train or val has no
            labels, or one of train is in another list.
    """
    paths = {split: split_path(folder.root, split) for split in SPLITS}
    splits = {s: folder.frames_of_split(s) for s, path in paths.items() if path.exists()}
    test, note = splits.pop("test", []), ""
    if len(splits) < 2:
        drawn = _draw(folder, splits, set(test), seed)
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
    for one, other, twice in frames_in_two({**splits, "test": test}):
        if one != "train":
            continue  # one held-out set under two names is no mistake
        raise DataError(
            f"{paths[other]}: {len(twice)} of its frames are in {one}.txt, too, the first is "
            f"{twice[0]}: a test on them says nothing about other frames"
        )
    return {split: splits[split] for split in ("train", "val")}, note


def frames_in_two(
    splits: Mapping[str, Iterable[str]],
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield two splits and the sorted frames that both list, if any, for all pairs of `SPLITS`.

    Args:
        splits: split to its frames; one that is missing has none.
    """
    for one, other in combinations(SPLITS, 2):
        twice = sorted(set(splits.get(one, ())) & set(splits.get(other, ())))
        if twice:
            yield one, other, twice


def write_drawn(folder: CustomFolder, splits: Mapping[str, Sequence[str]]) -> None:
    """Write the lists of `complete_splits` that are not there yet."""
    for split, frames in splits.items():
        path = split_path(folder.root, split)
        if not path.exists():
            write_split(path, frames)


def _but_for(held_out: set[str]) -> str:
    return " but for those of test.txt" if held_out else ""


def _draw(
    folder: CustomFolder, splits: dict[str, list[str]], held_out: set[str], seed: int
) -> dict[str, list[str]]:
    """The missing ones of train and val, of the labelled frames that are not held out."""
    labelled = [frame for frame in folder.labelled_frames() if frame not in held_out]
    if splits:
        (given,) = splits
        missing = "val" if given == "train" else "train"
        rest = [frame for frame in labelled if frame not in set(splits[given])]
        if not rest:
            raise DataError(
                f"{split_path(folder.root, given)}: lists all labelled frames"
                f"{_but_for(held_out)}, and there is no {missing}.txt: leave some frames out of it"
            )
        return {missing: rest}
    if len(labelled) < 2:
        raise DataError(
            f"{folder.root / LABELS}: expected labels <frame>.txt of two frames at least, as one "
            f"is for validation, got {len(labelled)}{_but_for(held_out)}; "
            f"points are in {folder.root / POINTS}"
        )
    count = min(max(1, round(_VAL_SHARE * len(labelled))), len(labelled) - 1)
    order = np.random.default_rng(seed).permutation(len(labelled))
    chosen = set(order[:count].tolist())
    return {
        "train": [frame for k, frame in enumerate(labelled) if k not in chosen],
        "val": [frame for k, frame in enumerate(labelled) if k in chosen],
    }
