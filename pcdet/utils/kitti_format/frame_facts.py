"""What is kept beside infos about each frame, and is no part of PCDet's infos.

The facts of a frame are plain numbers, for the record of infos (`pcdet.utils.info_record`):

    counts, heights, has_box2d   of its M objects, see `pcdet.utils.data_report.Frame`
    scan                         see `pcdet.utils.data_report.Scan`
    label_2, calib               size, time and checksum of the files that its info was made of
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.utils.box_utils import Z
from pcdet.utils.data_report import Frame, Scan, class_table, count_objects, data_warnings
from pcdet.utils.io_utils import read_file
from pcdet.utils.kitti_format.folders import frame_path
from pcdet.utils.kitti_format.label import DONT_CARE
from pcdet.utils.kitti_format.split import usual_split

_WATCHED = ("label_2", "calib")
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram")
# z of the ground below KITTI's sensor, metres, and what is far from it.
GROUND = -1.7
_OTHER_HEIGHT = 1.1


def facts_of_frame(
    part_path: Path, name: str, objects: Mapping[str, np.ndarray], scan: Scan
) -> dict[str, Any]:
    """Gather the facts of a frame.

    Args:
        part_path: the folder training/.
        name: of the frame.
        objects: counts, heights and has_box2d, (M,) each.
        scan: of its points.
    """
    numbers = {
        key: np.round(values.astype(np.float64), 3).tolist() for key, values in objects.items()
    }
    files = {kind: file_state(frame_path(part_path, kind, name)) for kind in _WATCHED}
    return {**numbers, "scan": asdict(scan), **files}


def file_state(path: Path) -> list[int]:
    """Size, time of the last change in nanoseconds, and CRC-32 of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, zlib.crc32(read_file(path))]


def changed_files(part_path: Path, facts: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Those files of frames whose content is another than when their infos were made.

    A file is read only if its time or size is another; so a folder that was copied is not accused.

    Args:
        part_path: the folder training/.
        facts: of the frames, by their names.
    """
    changed = []
    for name, known in facts.items():
        for kind in _WATCHED:
            path = frame_path(part_path, kind, name)
            if path.is_file() and _has_changed(path, known.get(kind)):
                changed.append(path)
    return changed


def _has_changed(path: Path, known: Any) -> bool:
    if not isinstance(known, list) or len(known) != 3:
        return False
    status = path.stat()
    if [status.st_size, status.st_mtime_ns] == known[:2]:
        return False
    return status.st_size != known[0] or file_state(path)[2] != known[2]


def told_change(changed: Sequence[Path]) -> str:
    """One line about files that changed after the infos were made."""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"labels or calibrations were changed after the infos were made: {changed[0]}{more}"


def frame_of_info(
    info: Mapping[str, Any], facts: Mapping[str, Any] | None, only_seen: bool = True
) -> Frame:
    """A labelled frame as the report of the data wants it.

    Args:
        info: of the frame, with `annos`.
        facts: of the frame; without them the info alone tells.
        only_seen: the points that the camera does not see are not used.
    """
    annos = info["annos"]
    is_object = annos["name"] != DONT_CARE
    boxes = annos["gt_boxes_lidar"].reshape(-1, 7)
    name, names = info["point_cloud"]["lidar_idx"], annos["name"][is_object]
    seen = annos.get("num_points_in_gt") if only_seen else None
    seen = None if seen is None else seen[is_object]
    if facts is None:
        sizes = annos["bbox"][is_object][:, 2:] - annos["bbox"][is_object][:, :2]
        return Frame(name, names, boxes, None, seen, None, (sizes > 0).all(axis=1))
    counts, heights, has_box2d = (np.array(facts[k]) for k in ("counts", "heights", "has_box2d"))
    scan = Scan(**facts["scan"])
    return Frame(name, names, boxes, counts, seen, heights, has_box2d.astype(bool), scan)


def frames_of_infos(
    infos: Iterable[Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, Any]],
    only_seen: bool = True,
) -> list[Frame]:
    """The labelled frames of infos, with their facts by name where there are any."""
    return [
        frame_of_info(info, facts.get(info["point_cloud"]["lidar_idx"]), only_seen)
        for info in infos
        if "annos" in info
    ]


def data_report(
    frames: Mapping[str, Sequence[Frame]],
    limit_range: Sequence[float] | None = None,
    uses_intensity: bool = True,
) -> tuple[list[str], list[str]]:
    """The report of a data set.

    Args:
        frames: labelled frames of the splits train and val.
        limit_range: POINT_CLOUD_RANGE, if it is known.
        uses_intensity: whether the network reads the fourth number of a point.

    Returns:
        Lines to read, and lines that warn.
    """
    together = [frame for of_split in frames.values() for frame in of_split]
    lines = class_table(together, limit_range).splitlines()
    warnings = data_warnings(together, limit_range, uses_intensity)
    names = {split: [frame.name for frame in of_split] for split, of_split in frames.items()}
    shared = sorted(set(names.get("train", ())) & set(names.get("val", ())))
    if shared:
        warnings.append(
            f"{len(shared)} frames are in ImageSets/train.txt and val.txt, as {shared[0]}: AP on "
            "frames that were learned means nothing; take them out of one"
        )
    lines += [told_split(split, of_split) for split, of_split in names.items() if of_split]
    warnings += _against_kitti(together, limit_range)
    return lines, warnings


def _against_kitti(frames: Sequence[Frame], limit_range: Sequence[float] | None) -> Iterator[str]:
    """Lines about what is otherwise than in KITTI, and so in the yaml files."""
    counts = count_objects(frames)
    for name in CLASSES:
        for other in counts:
            if other != name and other.lower() == name.lower():
                yield (
                    f"the class {other!r} is {name!r} in KITTI and in the yaml files: spell it as "
                    "CLASS_NAMES does"
                )
    bottoms = np.concatenate([np.zeros(0), *(frame.boxes[:, Z] for frame in frames)])
    if limit_range is None and len(bottoms) and abs(np.median(bottoms) - GROUND) > _OTHER_HEIGHT:
        yield (
            f"objects stand at z {np.median(bottoms):.1f} m (median), and {GROUND} m is what "
            "POINT_CLOUD_RANGE and anchor_range of the yaml files expect: change them, or move "
            "points and labels"
        )


def told_split(split: str, names: Sequence[str]) -> str:
    """One line that says whether a split is KITTI's usual one."""
    found, frames = usual_split(names), f"{split}: {len(names)} frames"
    if found is None:
        return f"{frames}, not KITTI's usual split: its AP does not compare with papers"
    return f"{frames}, KITTI's usual {found} split"
