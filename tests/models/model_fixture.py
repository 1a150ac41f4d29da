"""Each detector on a small grid, and random batches for it, for tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.processor.part_targets import PartTargetGenerator
from pcdet.models import build_network

CFGS = Path(__file__).resolve().parents[2] / "tools" / "cfgs"
# Voxels along x, y, z of whole scenes, by yaml, and of the small range.
GRIDS = {"second": (1408, 1600, 40), "pointpillar": (432, 496, 1)}
SMALL_RANGE = [0, -6.4, -3, 12.8, 6.4, 1]
SMALL_GRIDS = {"second": (256, 256, 40), "pointpillar": (80, 80, 1)}


def load_config(name: str = "second") -> EasyDict:
    """tools/cfgs/<name>.yaml, as an object of its own."""
    return cfg_from_yaml_file(CFGS / f"{name}.yaml", EasyDict())


def fake_dataset(cfg: EasyDict, grid_size=None) -> SimpleNamespace:
    """What `build_network` reads from a data set; by default with the grid of the yaml."""
    size = np.array(grid_size or GRIDS.get(cfg.TAG, GRIDS["second"]))
    extent = np.array(cfg.DATA_CONFIG.POINT_CLOUD_RANGE, dtype=np.float64)
    return SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        num_point_features=cfg.DATA_CONFIG.NUM_POINT_FEATURES.use,
        voxel_generator=SimpleNamespace(
            grid_size=size,
            point_cloud_range=extent,
            voxel_size=(extent[3:] - extent[:3]) / size,
        ),
    )


def narrow_config(name: str = "second", extent=SMALL_RANGE) -> EasyDict:
    """The yaml's detector on another range, its layers narrow: a step takes milliseconds."""
    cfg = load_config(name)
    cfg.DATA_CONFIG.POINT_CLOUD_RANGE = list(extent)
    args = cfg.MODEL.RPN.RPN_HEAD.ARGS
    levels = len(args.layer_nums)
    args.layer_nums, args.num_upsample_filters = [1] * levels, [32] * levels
    args.num_filters = [16 * 2**k for k in range(levels)]
    for generator in cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR:
        if "anchor_offsets" in generator:
            corner = [low + step / 2 for low, step in zip(extent, generator.anchor_strides)]
            generator.anchor_offsets = [*corner, generator.anchor_offsets[2]]
            continue
        z = generator.anchor_range[2]
        generator.anchor_range = [*extent[:2], z, *extent[3:5], z]
    if cfg.MODEL.RCNN.ENABLED:
        rcnn = cfg.MODEL.RCNN
        rcnn.ROI_AWARE_POOL_SIZE, rcnn.SHARED_FC = 6, [32, 32, 32]
        rcnn.CLS_FC, rcnn.REG_FC = [32, 16], [32, 16]
        rcnn.TARGET_CONFIG.ROI_PER_IMAGE = 16
        cfg.MODEL.TRAIN.update(NMS_PRE_MAXSIZE=256, NMS_POST_MAXSIZE=32)
        cfg.MODEL.TEST.update(NMS_PRE_MAXSIZE=128, NMS_POST_MAXSIZE=20)
    return cfg


def small_dataset(cfg: EasyDict) -> SimpleNamespace:
    """A `fake_dataset` of the small range."""
    return fake_dataset(cfg, SMALL_GRIDS.get(cfg.TAG, SMALL_GRIDS["second"]))


def small_model(name: str = "second", seed: int = 0) -> torch.nn.Module:
    """The network of `narrow_config` on the small range."""
    torch.manual_seed(seed)
    cfg = narrow_config(name)
    return build_network(small_dataset(cfg), cfg)


def random_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(*shape, 8) cars in the small range."""
    boxes = np.zeros((*shape, 8), np.float32)
    boxes[..., 0] = rng.uniform(1, 12, shape)
    boxes[..., 1] = rng.uniform(-6, 6, shape)
    boxes[..., 2] = -1.7
    boxes[..., 3:6] = [1.6, 3.9, 1.5]
    boxes[..., 6] = rng.uniform(-np.pi, np.pi, shape)
    boxes[..., 7] = 1
    return boxes


def random_batch(counts=(200, 300), num_gt: int = 3, seed: int = 0, name: str = "second") -> dict:
    """A batch of `small_model(name)` with so many voxels in each frame, most at the objects."""
    rng = np.random.default_rng(seed)
    gt_boxes = random_boxes(rng, (len(counts), num_gt))
    grid = np.array(SMALL_GRIDS.get(name, SMALL_GRIDS["second"]))
    size = (np.array(SMALL_RANGE[3:]) - SMALL_RANGE[:3]) / grid
    coordinates = []
    for frame, count in enumerate(counts):
        near = (
            gt_boxes[frame, rng.integers(num_gt, size=3 * count), :3] if num_gt else SMALL_RANGE[:3]
        )
        places = np.concatenate((
            near + rng.normal([0, 0, 0.7], [1, 1, 0.5], (3 * count, 3)),
            rng.uniform(SMALL_RANGE[:3], SMALL_RANGE[3:], (4 * count, 3)),
        ))  # fmt: skip
        cells = np.floor((places - SMALL_RANGE[:3]) / size).astype(np.int64)
        cells = cells[((cells >= 0) & (cells < grid)).all(axis=1)]
        _, first = np.unique(cells, axis=0, return_index=True)
        zyx = cells[np.sort(first)[:count], ::-1]
        assert len(zyx) == count
        coordinates.append(np.pad(zyx, ((0, 0), (1, 0)), constant_values=frame))
    coordinates = np.concatenate(coordinates).astype(np.int32).reshape(-1, 4)
    centers = (coordinates[:, :0:-1] + 0.5) * size + SMALL_RANGE[:3]
    max_points = 32 if name == "pointpillar" else 5
    num_points = rng.integers(1, max_points + 1, len(centers)).astype(np.int32)
    voxels = rng.uniform(-0.5, 0.5, (len(centers), max_points, 4))
    voxels[..., :3] = voxels[..., :3] * size + centers[:, None]
    voxels[np.arange(max_points) >= num_points[:, None]] = 0
    return {
        "voxels": voxels.astype(np.float32),
        "num_points": num_points,
        "coordinates": coordinates,
        "voxel_centers": centers,
        "gt_boxes": gt_boxes,
        "batch_size": len(counts),
        "sample_idx": [f"{k:06d}" for k in range(len(counts))],
        **voxel_labels(centers, coordinates, gt_boxes),
    }


def voxel_labels(centers: np.ndarray, coordinates: np.ndarray, gt_boxes: np.ndarray) -> dict:
    """seg_labels (V,) and part_labels (V, 3) of a batch, as the data set makes them."""
    seg, part = np.zeros(len(centers), np.int32), np.zeros((len(centers), 3), np.float32)
    generate = PartTargetGenerator(extra_width=0.2)
    for frame, boxes in enumerate(gt_boxes.astype(np.float64)):
        own = coordinates[:, 0] == frame
        boxes = boxes[boxes[:, 7] > 0]
        seg[own], part[own], _ = generate(centers[own], boxes[:, :7], boxes[:, 7].astype(np.int32))
    return {"seg_labels": seg, "part_labels": part}
