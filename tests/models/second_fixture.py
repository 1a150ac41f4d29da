"""A SECOND on a small grid, and random batches for it, for tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file
from pcdet.models import build_network

CFGS = Path(__file__).resolve().parents[2] / "tools" / "cfgs"


def second_config() -> EasyDict:
    """tools/cfgs/second.yaml, as an object of its own."""
    return cfg_from_yaml_file(CFGS / "second.yaml", EasyDict())


def fake_dataset(cfg: EasyDict, grid_size=(1408, 1600, 40)) -> SimpleNamespace:
    """What `build_network` reads from a data set."""
    return SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        num_point_features=cfg.DATA_CONFIG.NUM_POINT_FEATURES.use,
        voxel_generator=SimpleNamespace(grid_size=np.array(grid_size)),
    )


def small_config() -> EasyDict:
    """A SECOND of 12.8 m x 12.8 m with narrow layers: a step takes milliseconds."""
    cfg = second_config()
    cfg.DATA_CONFIG.POINT_CLOUD_RANGE = [0, -6.4, -3, 12.8, 6.4, 1]
    args = cfg.MODEL.RPN.RPN_HEAD.ARGS
    args.layer_nums, args.num_filters, args.num_upsample_filters = [1, 1], [16, 32], [32, 32]
    for generator in cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR:
        z = generator.anchor_range[2]
        generator.anchor_range = [0, -6.4, z, 12.8, 6.4, z]
    return cfg


def small_second(seed: int = 0) -> torch.nn.Module:
    """The network of `small_config`."""
    torch.manual_seed(seed)
    cfg = small_config()
    return build_network(fake_dataset(cfg, (256, 256, 40)), cfg)


def random_batch(counts=(200, 300), num_gt: int = 3, seed: int = 0) -> dict:
    """A batch of `small_second` with so many voxels in each frame."""
    rng = np.random.default_rng(seed)
    coordinates = []
    for frame, count in enumerate(counts):
        cells = rng.choice(40 * 256 * 256, size=count, replace=False)
        zyx = np.stack(np.unravel_index(cells, (40, 256, 256)), axis=1)
        coordinates.append(np.pad(zyx, ((0, 0), (1, 0)), constant_values=frame))
    total = sum(counts)
    gt_boxes = np.zeros((len(counts), num_gt, 8), np.float32)
    gt_boxes[..., 0] = rng.uniform(1, 12, gt_boxes.shape[:2])
    gt_boxes[..., 1] = rng.uniform(-6, 6, gt_boxes.shape[:2])
    gt_boxes[..., 2] = -1.7
    gt_boxes[..., 3:6] = [1.6, 3.9, 1.5]
    gt_boxes[..., 6] = rng.uniform(-np.pi, np.pi, gt_boxes.shape[:2])
    gt_boxes[..., 7] = 1
    return {
        "voxels": rng.normal(size=(total, 5, 4)).astype(np.float32),
        "num_points": rng.integers(1, 6, total).astype(np.int32),
        "coordinates": np.concatenate(coordinates).astype(np.int32).reshape(-1, 4),
        "gt_boxes": gt_boxes,
        "batch_size": len(counts),
        "sample_idx": [f"{k:06d}" for k in range(len(counts))],
    }
