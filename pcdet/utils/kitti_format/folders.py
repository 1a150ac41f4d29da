"""Where the files of a data set in KITTI's layout lie.

::

    ImageSets/{train,val,test}.txt
    training/{velodyne,image_2,calib,label_2,planes}/<frame>.{bin,png,txt}
    testing/{velodyne,image_2,calib}/<frame>.{bin,png,txt}

`planes` is no folder of KITTI's own; PCDet's users have it. Images may also be .jpg files.
"""

from __future__ import annotations

import os
from pathlib import Path

TRAINING, TESTING = "training", "testing"
# Float32 numbers of each point in velodyne: x, y, z in metres, LiDAR frame, and intensity.
NUM_POINT_FEATURES = 4
# Folder of each kind of file, and the files' suffix.
SUFFIXES = {
    "velodyne": ".bin",
    "image_2": ".png",
    "calib": ".txt",
    "label_2": ".txt",
    "planes": ".txt",
}

# What images may be.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")


def part_of_split(split: str) -> str:
    """Name the folder that holds a split's frames: only those of test lie in testing/."""
    return TESTING if split == "test" else TRAINING


def image_path(part_path: str | os.PathLike, frame: str) -> Path:
    """Return the path of a frame's image: a .png, or a .jpg if there is that alone."""
    path = frame_path(part_path, "image_2", frame)
    others = (path.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
    return path if path.exists() else next((other for other in others if other.exists()), path)


def has_images(part_path: str | os.PathLike) -> bool:
    """Tell whether there is any image of the frames of training/ or testing/."""
    folder = Path(part_path) / "image_2"
    # Names that begin with a dot are of no frame, as those that macOS leaves beside files.
    return folder.is_dir() and any(
        f.suffix in IMAGE_SUFFIXES and not f.name.startswith(".") for f in folder.iterdir()
    )


def frame_path(part_path: str | os.PathLike, kind: str, frame: str) -> Path:
    """Return the path of a file of a frame.

    Args:
        part_path: the folder training/ or testing/.
        kind: key of `SUFFIXES`.
        frame: name of the frame, such as 000123.
    """
    return Path(part_path) / kind / f"{frame}{SUFFIXES[kind]}"


def file_stems(folder: Path, suffix: str) -> set[str]:
    """Names of the visible files of a folder, without their suffix; none if it is not there.

    Raises:
        OSError: the folder may not be read.
    """
    try:  # Path.glob finds nothing where it may not read
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {path.stem for path in paths if path.name.endswith(suffix) and path.name[0] != "."}
