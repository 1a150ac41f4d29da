"""Infos and ground-truth database of KITTI's frames, made from its files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
from skimage import io

from benchmark_utils.common import Row, median_ms, reading_ms
from pcdet.datasets.ground_plane import estimate_road_plane
from pcdet.datasets.kitti.kitti_dataset import BaseKittiDataset
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar, in_hull
from pcdet.utils.frame_pool import available_cores
from pcdet.utils.io_utils import save_pickle
from pcdet.utils.kitti_format.folders import frame_path

# PCDet v0.1 on two quiet cores: infos with one worker, and the database.
_PCDET_INFOS_MS, _PCDET_DATABASE_MS = 24, 2.4
_FEW_FRAMES, _MANY_FRAMES = 30, 240  # of a folder with more; one with less repeats them


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure the labelled frames of a folder in KITTI's layout; nothing without one."""
    if data_dir is None:
        return
    dataset = BaseKittiDataset(data_dir)
    frames = sorted(path.stem for path in (Path(data_dir) / "training" / "label_2").glob("*.txt"))
    with tempfile.TemporaryDirectory() as name, _quiet():
        yield from _stages(dataset, frames, Path(name))


def _stages(dataset: BaseKittiDataset, frames: list[str], folder: Path) -> Iterator[Row]:
    few = frames[:_FEW_FRAMES]
    many = (frames * (_MANY_FRAMES // len(frames) + 1))[:_MANY_FRAMES]
    path = folder / "kitti_infos_train.pkl"

    def make_infos(names: list[str], processes: int = 1) -> None:
        save_pickle(dataset.get_infos(num_workers=processes, sample_id_list=names), path)

    def make_database() -> None:
        dataset.create_groundtruth_database(save_path=folder, num_workers=available_cores())

    def make_both(names: list[str]) -> None:
        make_infos(names, available_cores())
        make_database()

    note = f"PCDet v0.1: {_PCDET_INFOS_MS} ms"
    infos_ms = median_ms(lambda: make_infos(few)) / len(few)
    plain_ms = median_ms(lambda: [_plain_count(dataset, f) for f in few], 3, 1) / len(few)
    floor_ms = _reading_ms(dataset, few)
    yield Row("infos, per frame", infos_ms, "decoded image, convex hulls", plain_ms, note, floor_ms)
    database_ms = median_ms(make_database) / len(few)
    note = f"PCDet v0.1: {_PCDET_DATABASE_MS} ms"
    yield Row("ground-truth database, per frame", database_ms, note=note)
    pcdet_ms = _PCDET_INFOS_MS + _PCDET_DATABASE_MS
    for names, repeat in ((few, 10), (many, 3)):
        milliseconds = median_ms(lambda names=names: make_both(names), repeat, 1) / len(names)
        note = f"{available_cores()} processes; PCDet v0.1: {pcdet_ms} ms with one"
        yield Row(f"infos and database of {len(names)} frames, per frame", milliseconds, note=note)
    points, calib = dataset.get_lidar(frames[0]), dataset.get_calib(frames[0])
    rng = np.random.default_rng(0)
    plane_ms = median_ms(lambda: estimate_road_plane(points, calib, rng=rng))
    yield Row("ground plane, per frame", plane_ms, note=f"{len(points)} points, part of the infos")


def _reading_ms(dataset: BaseKittiDataset, frames: list[str]) -> float:
    """Time for a frame in which what its info is made of is read; of images the size alone is."""
    root, kinds = dataset.root_split_path, ("velodyne", "calib", "label_2")
    return reading_ms(frame_path(root, kind, f) for f in frames for kind in kinds) / len(frames)


def _plain_count(dataset: BaseKittiDataset, frame: str) -> list[int]:
    """The costly part of an info in the plain way: the image decoded, each box as a hull."""
    image = io.imread(dataset.root_split_path / "image_2" / f"{frame}.png")
    calib, points = dataset.get_calib(frame), dataset.get_lidar(frame)[:, :3]
    seen = points[dataset.get_fov_flag(calib.lidar_to_rect(points), image.shape[:2], calib)]
    infos = dataset.get_infos(sample_id_list=[frame], count_inside_pts=False)
    corners = boxes3d_to_corners3d_lidar(infos[0]["annos"]["gt_boxes_lidar"])
    return [int(in_hull(seen, box).sum()) for box in corners]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield
