"""Where the files of a folder of one's own data lie, and the readers of them.

::

    dataset.yaml                       optional: POINT_COLUMNS: [x, y, z, intensity]
    points/<frame>.{npy,bin,pcd,ply}
    labels/<frame>.txt                 see `label_file`
    ImageSets/{train,val}.txt          a frame name on each line; `prepare` draws them if missing
    ImageSets/test.txt                 optional: frames that are held out, with labels or without
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from pcdet.datasets.custom.label_file import Objects, read_objects
from pcdet.utils.array_utils import FinitePoints
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import read_text
from pcdet.utils.kitti_format.split import frame_names, read_split, split_path
from pcdet.utils.point_files import SCAN_SUFFIXES, read_points
from pcdet.utils.point_files.fields import UNNAMED
from pcdet.utils.strict_yaml import load_yaml

POINTS, LABELS = "points", "labels"
DATASET_FILE = "dataset.yaml"
COLUMNS_KEY = "POINT_COLUMNS"
# Names of the first numbers of a point if none are given.
USUAL_COLUMNS = ("x", "y", "z", "intensity")


class CustomFolder:
    """The files of a folder.

    A file that is missing or broken raises a DataError that names it.

    Attributes:
        root: the folder.
        columns: names of the numbers of a point, x, y, z first.
        columns_from: where they were found, for messages; empty where a yaml says them.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        columns: Sequence[str] = USUAL_COLUMNS,
        columns_from: str = "",
    ) -> None:
        self.root = Path(root)
        self.columns = check_columns(columns, COLUMNS_KEY)
        self.columns_from = columns_from

    def points_path(self, frame: str) -> Path:
        """Find the file of a frame's points, whatever its form."""
        folder = self.root / POINTS
        names = [f"{frame}{form}" for s in SCAN_SUFFIXES for form in (s, s.upper())]
        # By small letters: some systems do not tell .bin and .BIN apart.
        there = {name.lower(): folder / name for name in names if (folder / name).exists()}
        found = list(there.values())
        if len(found) != 1:
            several = f"; got {', '.join(path.name for path in found)}: keep one" if found else ""
            forms = ",".join(suffix[1:] for suffix in SCAN_SUFFIXES)
            raise DataError(
                f"{folder}: frame {frame}: expected one file {frame}.{{{forms}}}{several}"
            )
        return found[0]

    def label_path(self, frame: str) -> Path:
        """Return the label file of a frame."""
        return self.root / LABELS / f"{frame}.txt"

    def read_points(self, frame: str) -> np.ndarray:
        """Read the points (N, C) float32 of a frame: LiDAR frame, metres."""
        path = self.points_path(frame)
        try:
            return read_points(path, len(self.columns), self.columns)
        except DataError as error:
            if not self.columns_from:
                raise
            raise DataError(
                f"{error}; the columns of all scans are {', '.join(self.columns)} by "
                f"{self.columns_from}: if they are others, name them in {self.root / DATASET_FILE}"
            ) from error

    def read_objects(self, frame: str) -> Objects:
        """Read the labelled objects of a frame."""
        return read_objects(self.label_path(frame))

    def labelled_frames(self) -> list[str]:
        """Names of all frames that have a label file, in order; see `frame_names`."""
        return frame_names(self.root / LABELS, ".txt")

    def frames_of_split(self, split: str) -> list[str]:
        """Names of the frames that ImageSets lists for a split."""
        return read_split(split_path(self.root, split))


class FiniteReader:
    """Reads the points of a folder without those that are NaN or infinite; for worker processes."""

    def __init__(self, folder: CustomFolder, logger) -> None:
        self._folder, self._logger = folder, logger
        self._finite = FinitePoints(folder.columns)

    def get_lidar(self, idx: str) -> np.ndarray:
        """Read the points (N, C) float32 of a frame."""
        return self._finite(self._folder.read_points(idx), f"frame {idx}", self._logger)


def usual_columns(count: int) -> tuple[str, ...]:
    """Names of so many numbers of a point where nobody has named them."""
    known = USUAL_COLUMNS[:count]
    return (*known, *(f"{UNNAMED}{k}" for k in range(len(known), count)))


def check_columns(columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Return names of columns as a tuple; a ConfigError unless they begin with x, y, z."""
    names = tuple(str(name) for name in columns)
    if names[:3] != ("x", "y", "z") or len(set(names)) != len(names):
        raise ConfigError(
            f"{where}: expected the names of the numbers of a point, x, y, z first and none twice, "
            f"got {list(names)}"
        )
    return names


def stated_columns(root: str | os.PathLike) -> tuple[str, ...] | None:
    """The columns that the folder's dataset.yaml states; None if there is no such file.

    Raises:
        ConfigError: the file is no yaml, or states something else.
    """
    path = Path(root) / DATASET_FILE
    if not path.exists():
        return None
    try:
        content = load_yaml(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid yaml: {error}") from error
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(content, dict) or list(content) != [COLUMNS_KEY]:
        got = list(content) if isinstance(content, dict) else type(content).__name__
        raise ConfigError(f"{path}: expected the key {COLUMNS_KEY} alone, got {got}")
    columns = content[COLUMNS_KEY]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ConfigError(f"{path}: {COLUMNS_KEY}: expected a list of names, got {columns!r}")
    return check_columns(columns, f"{path}: {COLUMNS_KEY}")
