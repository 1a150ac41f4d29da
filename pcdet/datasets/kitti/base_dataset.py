"""A split of KITTI without any setting of a model: files, infos, ground-truth database."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets import ground_database
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.datasets.kitti import splits
from pcdet.datasets.kitti.frame_builder import BuiltFrame, build_frame
from pcdet.datasets.kitti.kitti_files import KittiFiles
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.kitti_format.folders import NUM_POINT_FEATURES, part_of_split
from pcdet.utils.kitti_format.infos import load_infos
from pcdet.utils.kitti_format.split import read_split, split_path

_LOGGER = logging.getLogger("pcdet.datasets.kitti")


class BaseKittiDataset(KittiFiles, DatasetTemplate):
    """One split of KITTI: its files, its infos and its ground-truth database.

    Attributes:
        root_path: the data folder.
        split: name of the split.
        root_split_path: its training/ or testing/ folder.
        sample_id_list: names of the split's frames; None if ImageSets does not list it.
    """

    def __init__(
        self,
        root_path: str | os.PathLike,
        split: str = "train",
        num_stored_features: int = NUM_POINT_FEATURES,
    ) -> None:
        super().__init__()
        self.num_stored_features = num_stored_features
        self.root_path = Path(root_path)
        self.set_split(split)

    def set_split(self, split: str) -> None:
        """Turn to another split: train, val, test or any other that ImageSets lists."""
        self.split = split
        self.root_split_path = self.root_path / part_of_split(split)
        path = split_path(self.root_path, split)
        self.sample_id_list = read_split(path) if path.exists() else None

    def check_listed(self) -> None:
        """Raise a DataError if ImageSets does not list the split, or frames without any file."""
        path = split_path(self.root_path, self.split)
        if self.sample_id_list is None:
            raise splits.missing_split(path)
        splits.check_frames(path, self.sample_id_list, self.root_split_path)

    def get_lidar(self, idx: str) -> np.ndarray:
        """Read the (N, C) points of a frame, see `KittiFiles.get_lidar`; drop those with NaN."""
        return self.finite_points(super().get_lidar(idx), idx)

    def get_infos(
        self,
        num_workers: int = 4,
        has_label: bool = True,
        count_inside_pts: bool = True,
        sample_id_list: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Collect the infos of the split's frames, in order; see `build_frames`."""
        built = self.build_frames(num_workers, has_label, count_inside_pts, sample_id_list)
        return [frame.info for frame in built]

    def build_frames(
        self,
        num_workers: int = 4,
        has_label: bool = True,
        count_inside_pts: bool = True,
        sample_id_list: Sequence[str] | None = None,
        objects_folder: Path | None = None,
    ) -> list[BuiltFrame]:
        """Collect infos and facts of the split's frames, in order.

        Args:
            num_workers: processes at most.
            has_label: add `annos`.
            count_inside_pts: count the points that the camera sees of each object.
            sample_id_list: frames to take instead of all of the split.
            objects_folder: also cut the objects out of the points, into small files there.

        Returns:
            Infos, facts and objects, see `frame_builder.build_frame`.

        Raises:
            DataError: the split is not listed, or a file of a frame is missing or broken.
        """
        if sample_id_list is None:
            self.check_listed()
        frames = self.sample_id_list if sample_id_list is None else sample_id_list
        work = functools.partial(
            build_frame,
            dataset=self,
            has_label=has_label,
            count_inside_pts=count_inside_pts,
            objects_folder=objects_folder,
        )
        return list(map_frames(work, frames, frames, num_workers, f"infos of {self.split}"))

    def create_groundtruth_database(
        self,
        info_path: str | os.PathLike | None = None,
        used_classes: Sequence[str] | None = None,
        split: str = "train",
        save_path: str | os.PathLike | None = None,
        num_workers: int = 4,
    ) -> None:
        """Cut all labelled objects out of a split's frames, for ground-truth sampling.

        Writes gt_database/<id>_<class>_<k>.bin, kitti_dbinfos_<split>.pkl and the packed points.

        Args:
            info_path: infos of the split; None for kitti_infos_<split>.pkl in `save_path`.
            used_classes: classes to list in the dbinfos; None for all.
            split: name of the split, for the names of the files.
            save_path: where they go; None for the data folder.
            num_workers: processes at most.

        Raises:
            DataError: the infos or points cannot be read, or another preparation is at work.
        """
        root = self.root_path if save_path is None else Path(save_path)
        infos = load_infos(info_path or root / f"kitti_infos_{split}.pkl", has_label=True)
        folder = ground_database.database_dir(root, split)
        with ground_database.preparing(folder):
            counts = ground_database.create_database(
                dataset=self,
                infos=infos,
                folder=folder,
                dbinfos_path=dbinfos_path(root, split),
                num_features=self.num_stored_features,
                used_classes=used_classes,
                num_workers=num_workers,
            )
        tell_database(counts)


def dbinfos_path(root: Path, split: str) -> Path:
    """The list of a split's objects for ground-truth sampling."""
    return root / f"kitti_dbinfos_{split}.pkl"


def tell_database(counts: Mapping[str, int]) -> None:
    """Log how many objects of each class a ground-truth database has."""
    for name, count in counts.items():
        _LOGGER.info("Database %s: %d", name, count)
