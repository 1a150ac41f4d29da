"""A record beside each file of infos: their format, their number, and facts of the frames.

The infos themselves keep PCDet's layout, which has no place for it. It also holds facts of each
frame, for the report of the data and to see that labels were changed since. Without a record, the
infos can be read all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcdet.utils.io_utils import atomic_write

# To be raised by one whenever infos get another content than an earlier version gave them.
INFO_FORMAT = 1


def record_path(path: str | os.PathLike) -> Path:
    """Return the record of a file of infos: kitti_infos_train.json of kitti_infos_train.pkl."""
    return Path(path).with_suffix(".json")


def write_record(
    path: str | os.PathLike, num_frames: int, facts: Mapping[str, Any] | None = None
) -> None:
    """Write the record of a file of infos that has just been written.

    Args:
        path: the infos.
        num_frames: of them.
        facts: of labelled frames by name, see `pcdet.utils.kitti_format.frame_facts`.
    """
    record = {"format": INFO_FORMAT, "frames": num_frames, "bytes": Path(path).stat().st_size}
    if facts:
        record["facts"] = dict(facts)
    with atomic_write(record_path(path)) as file:
        file.write(f"{json.dumps(record)}\n".encode())


def read_record(path: str | os.PathLike) -> dict[str, Any] | None:
    """Read the record of a file of infos: format, frames, bytes, facts; None if none fits it."""
    try:
        record = json.loads(record_path(path).read_text(encoding="utf-8"))
        fits = record["bytes"] == Path(path).stat().st_size
        return record if fits and {"format", "frames"} <= record.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
