"""Samples: whole ones from KITTI's files; augmentations and voxels on a made-up scene."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from easydict import EasyDict

from benchmark_utils.common import Row, median_ms, reading_ms
from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.data_augmentation.augmentation_utils import (
    global_rotation,
    global_scaling,
    noise_per_object_v3_,
    random_flip,
)
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos
from pcdet.datasets.processor.part_targets import PartTargetGenerator
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.utils.box_utils import remove_points_in_boxes3d
from pcdet.utils.kitti_format.folders import TRAINING, frame_path

_CFG_FILE = Path(__file__).resolve().parents[1] / "cfgs" / "second.yaml"
_NUM_POINTS, _NUM_BOXES = 20_000, 35
_GRID = {"voxel_size": [0.05, 0.05, 0.1], "point_cloud_range": [0, -40, -3, 70.4, 40, 1]}
_REPEAT = 60


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure on one thread, as in a loader's worker process.

    Args:
        data_dir: a folder in KITTI's layout, only read; None leaves the whole samples out.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if data_dir is not None:
            yield from _sample_stages(data_dir)
        yield from _part_stages()
    finally:
        torch.set_num_threads(threads)


def _sample_stages(data_dir: Path) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_kitti_infos(data_dir, folder, workers=2)
        train = _make_dataset(data_dir, folder, training=True)
        test = _make_dataset(data_dir, folder, training=False)
        frames = [info["point_cloud"]["lidar_idx"] for info in test.infos[:_REPEAT]]
        scans = [frame_path(data_dir / TRAINING, "velodyne", frame) for frame in frames]
        floor_ms = reading_ms(scans) / len(scans)
        for mode, dataset, milliseconds in (("training", train, 22), ("test", test, 4.7)):
            yield Row(
                f"sample, {mode} mode",
                median_ms(_in_turn(dataset.__getitem__, len(dataset)), _REPEAT, len(dataset)),
                note=f"{len(dataset)} frames; PCDet v0.1 on 2 quiet cores and 6 frames: "
                f"{milliseconds} ms",
                floor_ms=floor_ms,
            )


def _make_dataset(data_dir: Path, folder: Path, training: bool) -> KittiDataset:
    """All labelled frames, with the settings of second.yaml."""
    cfg = cfg_from_yaml_file(_CFG_FILE, EasyDict())
    data = cfg.DATA_CONFIG
    data["TRAIN" if training else "TEST"].INFO_PATH = [str(folder / "kitti_infos_trainval.pkl")]
    data.AUGMENTATION.DB_SAMPLER.DB_INFO_PATH = [str(folder / "kitti_dbinfos_train.pkl")]
    return KittiDataset(data_dir, cfg.CLASS_NAMES, "train", training, cfg=cfg)


def _in_turn(function: Callable[[int], object], count: int) -> Callable[[], object]:
    """Call `function` with 0, 1, ... count - 1, 0, 1, ..."""
    indices = itertools.cycle(range(count))
    return lambda: function(next(indices))


def _numpy_voxels(points: np.ndarray, generator: VoxelGenerator) -> tuple[np.ndarray, ...]:
    """What `VoxelGenerator.generate` gives, but for the order and the limit of the voxels."""
    low = generator.point_cloud_range[:3]
    cells = np.floor((points[:, :3] - low) / generator.voxel_size)
    inside = ((cells >= 0) & (cells < generator.grid_size)).all(axis=1)
    points, cells = points[inside], cells[inside, ::-1].astype(np.int64)
    keys = np.ravel_multi_index(cells.T, generator.grid_size[::-1])
    _, first, voxel, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    coordinates = cells[first].astype(np.int32)
    order = np.argsort(voxel, kind="stable")
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < generator.max_num_points
    shape = (len(coordinates), generator.max_num_points, points.shape[1])
    voxels = np.zeros(shape, dtype=points.dtype)
    voxels[voxel[order][kept], rank[kept]] = points[order[kept]]
    return voxels, coordinates, np.minimum(counts, generator.max_num_points).astype(np.int32)


def _make_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of cars on a wide grid, and points on the ground and around the boxes."""
    spots = np.stack(np.meshgrid(np.arange(5, 68, 9), np.arange(-20, 25, 10)), axis=-1)
    boxes = np.zeros((_NUM_BOXES, 7))
    boxes[:, :2] = spots.reshape(-1, 2)[:_NUM_BOXES]
    boxes[:, 2], boxes[:, 3:6] = -1.7, (1.6, 3.9, 1.5)
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, _NUM_BOXES)
    count = _NUM_POINTS // 2
    ground = rng.uniform((0, -35, -1.75), (70, 35, -1.65), (count, 3))
    around = boxes[rng.integers(_NUM_BOXES, size=count), :3] + rng.normal(0, 0.8, (count, 3))
    points = np.concatenate((ground, around))
    intensity = rng.random(len(points))
    return boxes, np.column_stack((points, intensity)).astype(np.float32)


def _part_stages() -> Iterator[Row]:
    rng = np.random.default_rng(0)
    boxes, points = _make_scene(rng)
    note = f"{_NUM_POINTS} points, {_NUM_BOXES} boxes"
    generator = VoxelGenerator(**_GRID, max_num_points=5, max_voxels=40000)
    centers = generator.voxel_centers(generator.generate(points)[1])
    pillars = {**_GRID, "voxel_size": [0.16, 0.16, 4]}
    for name, voxel_generator in (
        ("voxels of SECOND", generator),
        ("pillars of PointPillar", VoxelGenerator(**pillars, max_num_points=32, max_voxels=40000)),
    ):
        yield Row(
            name,
            median_ms(lambda g=voxel_generator: g.generate(points), _REPEAT),
            "NumPy alone",
            median_ms(lambda g=voxel_generator: _numpy_voxels(points, g)),
            note=f"{_NUM_POINTS} points, {len(voxel_generator.generate(points)[2])} voxels",
        )
    noise = {"center_noise_std": [1.0, 1.0, 0.1], "rng": rng}
    parts = {
        "remove_points_in_boxes3d": lambda: remove_points_in_boxes3d(points, boxes),
        "noise_per_object_v3_": lambda: noise_per_object_v3_(boxes, points, **noise),
        "random_flip": lambda: random_flip(boxes, points, 1.0, rng=rng),
        "global_rotation": lambda: global_rotation(boxes, points, rng=rng),
        "global_scaling": lambda: global_scaling(boxes, points, rng=rng),
    }
    for name, function in parts.items():
        yield Row(name, median_ms(function, _REPEAT), note=note)
    targets, labels = PartTargetGenerator(extra_width=0.2), np.ones(_NUM_BOXES, np.int32)
    yield Row(
        "part targets",
        median_ms(lambda: targets(centers, boxes, labels), _REPEAT),
        note=f"{len(centers)} voxels, {_NUM_BOXES} boxes",
    )
