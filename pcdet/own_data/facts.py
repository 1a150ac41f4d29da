"""What the report of a data set is made of, from infos; and what only folders can get wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pcdet.datasets.custom.folder import LABELS, POINTS, CustomFolder
from pcdet.datasets.custom.infos import lidar_as_camera
from pcdet.own_data.splits import SPLITS, frames_in_two
from pcdet.utils.box_utils import CENTER
from pcdet.utils.data_report import Frame, Scan
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.split import split_path
from pcdet.utils.point_files import list_scans


def frame_facts(infos: Sequence[Mapping[str, Any]]) -> list[Frame]:
    """Turn infos, see `datasets.custom.infos.build_infos`, into what the report is made of."""
    calib, frames = lidar_as_camera(), []
    for info in infos:
        annos, heights = info["annos"], None
        if "ground_plane" in info:
            plane = info["ground_plane"]
            middles = annos["gt_boxes_lidar"][:, CENTER]
            heights = calib.lidar_to_rect(middles) @ plane[:3] + plane[3]
        frames.append(
            Frame(
                name=info["point_cloud"]["lidar_idx"],
                names=annos["name"],
                boxes=annos["gt_boxes_lidar"],
                counts=annos["num_points_in_gt"],
                heights=heights,
                scan=Scan(**info["scan"]),
            )
        )
    return frames


def folder_warnings(folder: CustomFolder, class_names: Sequence[str]) -> Iterator[str]:
    """Say which files have no partner, which lists name what is not there, which names are alike.

    Args:
        folder: of the data.
        class_names: all classes of its labels.
    """
    labelled = set(folder.labelled_frames())
    counts = Counter(path.stem for path in list_scans(folder.root / POINTS))
    scans = set(counts)
    for these, others, what in (
        (scans, labelled, f"{POINTS}/ have no file in {LABELS}/ and are not used"),
        (labelled, scans, f"{LABELS}/ have no file in {POINTS}/"),
    ):
        lonely = sorted(these - others)
        if lonely:
            yield f"{len(lonely)} of {len(these)} frames in {what}, as {lonely[0]}"
    for pair in pairs_by_capitals(class_names):
        yield "classes {} and {} differ in capitals alone: rename one of them".format(*pair)
    listed, broken = _listed_frames(folder)
    yield from broken
    for split, lacking, what in (
        *((split, set(listed[split]) - labelled, "have no labels") for split in ("train", "val")),
        # Those of a test may have none, and are looked at nowhere else then.
        ("test", {f for f in listed["test"] if counts[f] != 1}, f"have not one scan in {POINTS}/"),
    ):
        if lacking:
            path = split_path(folder.root, split)
            yield f"{path}: {len(lacking)} of its frames {what}, as {min(lacking)}"
    for one, other, both in frames_in_two(listed):
        yield f"{len(both)} frames are in {one}.txt and in {other}.txt, as {both[0]}"
    yield from unlisted_warnings(folder)


def unlisted_warnings(folder: CustomFolder) -> Iterator[str]:
    """Say which labelled frames are in no list, where there are both that `prepare` would draw.

    Args:
        folder: of the data.
    """
    listed, _ = _listed_frames(folder)
    if not (listed["train"] and listed["val"]):
        return
    rest = sorted(set(folder.labelled_frames()).difference(*listed.values()))
    if rest:
        yield (
            f"{len(rest)} labelled frames are in no list of ImageSets, as {rest[0]}: add them, or "
            "remove ImageSets/train.txt and val.txt to draw anew"
        )


def _listed_frames(folder: CustomFolder) -> tuple[dict[str, list[str]], list[str]]:
    """The frames of each split, none without a sound list; and what is wrong with lists."""
    listed: dict[str, list[str]] = {split: [] for split in SPLITS}
    broken = []
    for split in SPLITS:
        try:
            if split_path(folder.root, split).exists():
                listed[split] = folder.frames_of_split(split)
        except DataError as error:
            broken.append(str(error))
    return listed, broken


def pairs_by_capitals(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each name that differs from an earlier one in capitals alone, after the earlier one."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            yield other, name
