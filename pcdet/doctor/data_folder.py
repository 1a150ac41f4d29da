"""The folder of the data set: lists of frames, their files, planes, infos and the database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pcdet.doctor.findings import Finding
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.folders import (
    IMAGE_SUFFIXES,
    NUM_POINT_FEATURES,
    SUFFIXES,
    TESTING,
    TRAINING,
    file_stems,
    frame_path,
    part_of_split,
)
from pcdet.utils.preparing_commands import create_infos_command

_SPLITS = ("train", "val", "test")


def examine_data(root: Path, given: bool) -> list[Finding]:
    """The data folder.

    Args:
        root: the folder.
        given: the user named it, so that it has to be there.

    Raises:
        OSError: the folder, or one in it, may not be read.
    """
    if not root.is_dir():
        advice = (
            f"{root} is not there: put KITTI (or a link to it) there, or name its folder by "
            "--data_path (README.md shows the layout), or one of your own points/ and labels/ "
            "(docs/own_data.md)"
        )
        return [Finding("data folder", f"{root}, missing", advice, broken=given)]
    os.stat(f"{root}/.")  # noqa: PTH116 - a Path drops the point, which asks for the right to enter
    findings = [Finding("data folder", str(root))]
    frames = {split: listed_frames(root, split) for split in _SPLITS}
    for split, names in frames.items():
        findings.append(_split(root, split, names))
    for folder in (TRAINING, TESTING):
        if (root / folder).is_dir():
            wanted = [n for split, n in frames.items() if part_of_split(split) == folder and n]
            findings.append(
                _frame_files(root / folder, {name for names in wanted for name in names})
            )
    if (root / TRAINING).is_dir():
        findings.append(_planes(root / TRAINING))
        findings += _first_scan(root, frames["train"] or ())
    remedy = f"run {preparation(root)}"
    for split, names in frames.items():
        path = root / f"kitti_infos_{split}.pkl"
        # A list for test alone comes with each download; its frames do not.
        if names and (split != "test" or path.is_file() or (root / TESTING).is_dir()):
            finding = infos_finding(path, f"ImageSets/{split}.txt", len(names), remedy)
            finding.broken &= split != "test" or path.is_file()
            findings.append(finding)
    findings.append(database_finding(root / "kitti_dbinfos_train.pkl", remedy))
    return findings


def preparation(root: Path, options: str = "") -> str:
    """The command that prepares a folder, between backticks."""
    return f"`{create_infos_command(root, options)}`"


def listed_frames(root: Path, split: str) -> list[str] | None:
    """Frames of a split, none if its list cannot be read, None if ImageSets does not have it."""
    from pcdet.utils.kitti_format.split import read_split, split_path  # need a NumPy that works

    path = split_path(root, split)
    try:
        return read_split(path)
    except DataError:
        return [] if path.exists() else None


def _split(root: Path, split: str, names: list[str] | None) -> Finding:
    name = f"ImageSets/{split}.txt"
    if names:
        return Finding(name, f"{len(names)} frames")
    state = "missing" if names is None else "empty or damaged"
    if split == "test":
        return Finding(name, f"{state} (needed only for testing/)")
    advice = (
        f"{root / name} is {state}: take the list of the standard split, or draw one by "
        f"{preparation(root, '--make_random_split SEED')}"
    )
    return Finding(name, state, advice, broken=True)


def _frame_files(folder: Path, wanted: set[str]) -> Finding:
    """Counts of files, and which of the listed frames lack one."""
    counts, gaps = [], []
    for kind, suffix in SUFFIXES.items():
        if kind == "planes" or (kind == "label_2" and folder.name == TESTING):
            continue
        suffixes = IMAGE_SUFFIXES if kind == "image_2" else (suffix,)
        there = {name for each in suffixes for name in file_stems(folder / kind, each)}
        counts.append(f"{kind} {len(there)}")
        missing = sorted(wanted - there)
        if missing and (there or kind != "image_2"):  # a sensor may be without a camera
            gaps.append(f"{len(missing)} in {kind}, such as {missing[0]}{suffix}")
    finding = Finding(f"{folder.name}/", ", ".join(counts))
    if gaps:
        finding.advice = (
            f"{folder}: files of listed frames are missing ({'; '.join(gaps)}): unpack the archive "
            "again, or take the frames out of ImageSets"
        )
        finding.broken = True
    return finding


def _planes(folder: Path) -> Finding:
    count = len(file_stems(folder / "planes", SUFFIXES["planes"]))
    state = f"{count} files" if count else "none: estimated from the points"
    return Finding("training/planes", state)


def _first_scan(root: Path, names: Sequence[str]) -> list[Finding]:
    """What is wrong with the format of scans that no infos have been made of; nothing if right."""
    from pcdet.utils.point_files import read_points  # needs a NumPy that works

    paths = (frame_path(root / TRAINING, "velodyne", name) for name in names)
    path = next((path for path in paths if path.is_file()), None)
    if path is None or (root / "kitti_infos_train.pkl").is_file():
        return []
    try:
        read_points(path, NUM_POINT_FEATURES)
    except DataError as error:
        command = preparation(root, "--num_point_features N")
        advice = f"{error}; scans of other columns need {command}"
        return [Finding("training/velodyne", "not as it should be", advice, broken=True)]
    return []


def infos_finding(path: Path, split_file: str, count: int, remedy: str) -> Finding:
    """Infos: there, of the present format, and of the `count` frames that their split lists."""
    from pcdet.utils import info_record  # needs a NumPy that works

    finding = Finding(path.name, "missing")
    if not path.is_file():
        finding.advice = f"{path} is missing: {remedy}"
        finding.broken = True
        return finding
    record = info_record.read_record(path)
    if record is None:
        finding.state = "there, without a record of its format"
        finding.advice = (
            f"{path} was not made by this version (or was changed since): to be sure that it is "
            f"up to date, {remedy}"
        )
        return finding
    finding.state = f"{record['frames']} frames, format {record['format']}"
    reasons = []
    if record["format"] != info_record.INFO_FORMAT:
        reasons.append(
            f"has format {record['format']} and this version writes {info_record.INFO_FORMAT}"
        )
    if record["frames"] != count:
        reasons.append(f"holds {record['frames']} frames and {split_file} {count}")
    if reasons:
        finding.advice = f"{path} {' and '.join(reasons)}: {remedy}"
        finding.broken = True
    return finding


def database_finding(path: Path, remedy: str) -> Finding:
    """The list of the ground-truth database, from which training samples objects.

    Files of gt_database are not counted: those of objects that are no longer labelled stay there.
    """
    from pcdet.utils.io_utils import load_pickle  # needs a NumPy that works

    if not path.is_file():
        return Finding(path.name, "missing", f"{path} is missing: {remedy}")
    try:
        objects = sum(map(len, load_pickle(path).values()))
    except (DataError, AttributeError, TypeError) as error:
        return Finding(path.name, "damaged", f"{path} ({error}): {remedy}", broken=True)
    return Finding(path.name, f"there; lists {objects} objects")
