"""Where the files of a data set in KITTI's layout lie.

::

    ImageSets/{train,val,test}.txt
    training/{velodyne,image_2,calib,label_2,planes}/<frame>.{bin,png,txt}
    testing/{velodyne,image_2,calib}/<frame>.{bin,png,txt}

`planes` is no folder of KITTI's own; PCDet's users have it.
"""

from __future__ import annotations

import os
from pathlib import Path

TRAINING, TESTING = "training", "testing"
# Folder of each kind of file, and the files' suffix.
SUFFIXES = {
    "velodyne": ".bin",
    "image_2": ".png",
    "calib": ".txt",
    "label_2": ".txt",
    "planes": ".txt",
}


def part_of_split(split: str) -> str:
    """Name of the folder that holds the frames of a split: only those of test lie in testing/."""
    return TESTING if split == "test" else TRAINING


def frame_path(part_path: str | os.PathLike, kind: str, frame: str) -> Path:
    """A file of a frame.

    Args:
        part_path: the folder training/ or testing/.
        kind: key of `SUFFIXES`.
        frame: name of the frame, such as 000123.
    """
    return Path(part_path) / kind / f"{frame}{SUFFIXES[kind]}"
