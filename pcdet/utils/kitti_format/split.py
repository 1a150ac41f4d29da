"""The lists of frames in ImageSets: one frame name on each line."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import first_of_one_name, is_file_name
from pcdet.utils.io_utils import atomic_write, read_text

# SHA-256 of the sorted names of KITTI's usual splits (Chen et al., 3D Object Proposals for Accurate
# Object Class Detection, 2015), each followed by a newline.
_USUAL_SPLITS = {
    "e85ce0142be11c7e4196fd7b79a8bc8c2cefdd6fe754ac61fef8d421e37aba5c": "train",
    "6e2394d97c866c3af1ffb049f828abdf3d5b707d9575d16885fd0de87b72b0c8": "val",
    "0ad0a4faa04ab93944abb4579c62ae451ec650613135ba72789d9d6788909f1c": "test",
}
# Infos that are made of several lists: an ImageSets/trainval.txt of KITTI's may list other frames.
_UNIONS = {"trainval": ("train", "val")}


def usual_split(frames: Sequence[str]) -> str | None:
    """Tell which of KITTI's usual splits frames are, in any order: train, val, test or None."""
    text = "".join(f"{name}\n" for name in sorted(frames))
    return _USUAL_SPLITS.get(hashlib.sha256(text.encode()).hexdigest())


def is_of_another_split(info_paths: Sequence[str], split: str) -> bool:
    """Tell whether files of infos are named as those of another split.

    Args:
        info_paths: of the files; other names than <data set>_infos_<split>.pkl of KITTI's splits
            may hold anything, and those of trainval serve for train and val, too.
        split: which is stated.
    """
    names = {Path(path).stem.partition("_infos_")[2] for path in info_paths}
    if not names <= {*_USUAL_SPLITS.values(), *_UNIONS}:
        return False
    names.update(*(_UNIONS.get(name, ()) for name in names))
    return split not in names and not names >= set(_UNIONS.get(split, {split}))


def split_path(root_path: str | os.PathLike, split: str) -> Path:
    """Return the file that lists the frames of a split."""
    return Path(root_path) / "ImageSets" / f"{split}.txt"


def frame_names(folder: Path, suffix: str) -> list[str]:
    """The sorted names of a folder's files, without those that begin with a dot (macOS, `._*`).

    Raises:
        DataError: a name cannot stand in a list of frames.
    """
    names = sorted(path.stem for path in folder.glob(f"[!.]*{suffix}"))
    for name in names:
        if not is_file_name(name) or name.split() != [name]:
            raise DataError(
                f"{folder}: expected names of frames without blanks, got {name[:80]!r}: rename it"
            )
    return names


def read_split(split_file: str | os.PathLike) -> list[str]:
    """Return the frame names of a split file, one a line; blank lines are skipped.

    Raises:
        DataError: the file is missing or empty, or a line names two frames or one a second time.
    """
    path = Path(split_file)
    frames: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 1:
            raise DataError(f"{path}:{number}: expected one frame name, got {line.strip()[:80]!r}")
        if not is_file_name(fields[0]):
            raise DataError(f"{path}:{number}: expected a frame name, got {fields[0][:80]!r}")
        if fields[0] in frames:
            raise DataError(
                f"{path}:{number}: frame {fields[0]} is named a second time, "
                f"first in line {frames[fields[0]]}"
            )
        frames[fields[0]] = number
    if not frames:
        raise DataError(f"{path}: expected one frame name a line, the file is empty")
    return list(frames)


def warn_of_other_frames(
    infos_path: Path,
    infos: Sequence[Mapping[str, Any]],
    command: str,
    logger: logging.Logger,
) -> None:
    """Warn if infos are not of the frames that the ImageSets beside them lists for their split.

    Args:
        infos_path: <kind>_infos_<split>.pkl; without the list of that split nothing is said.
        infos: what it holds, one dict a frame.
        command: makes the infos anew.
        logger: where the warning goes, also one that a list cannot be read.
    """
    split = infos_path.stem.rpartition("_infos_")[2]
    lists = [split_path(infos_path.parent, part) for part in _UNIONS.get(split, (split,))]
    if not all(path.exists() for path in lists):
        return
    try:
        listed = {name for path in lists for name in read_split(path)}
    except DataError as error:  # nothing more than this check needs it
        logger.warning("%s", error)
        return
    frames = [info["point_cloud"]["lidar_idx"] for info in infos]
    others = sorted(listed.symmetric_difference(frames))
    if others:
        names = " and ".join(f"ImageSets/{path.name}" for path in lists)
        logger.warning(
            "%s holds %d frames, %s %d, and frame %s is in one of them alone: the infos count; to "
            "make them anew, run `%s`",
            *(infos_path, len(frames), names, len(listed), others[0], command),
        )


def check_no_frame_twice(files: Iterable[tuple[Path, Sequence[Mapping[str, Any]]]]) -> None:
    """Raise a DataError if a frame is in files of infos twice: it would count or be learned so.

    Args:
        files: path and infos, one dict a frame, of each entry of INFO_PATH.
    """
    named = (
        (info["point_cloud"]["lidar_idx"], (info["point_cloud"]["lidar_idx"], path))
        for path, infos in files
        for info in infos
    )
    if pair := first_of_one_name(named):
        (frame, first), (_, second) = pair
        raise DataError(
            f"frame {frame} is in {first} and again in {second}: expected each frame once in the "
            "files of INFO_PATH; name those whose frames differ"
        )


def write_split(split_file: str | os.PathLike, frames: Sequence[str]) -> None:
    """Write the names of a split's frames, one a line."""
    with atomic_write(split_file) as file:
        file.write("".join(f"{name}\n" for name in frames).encode())
