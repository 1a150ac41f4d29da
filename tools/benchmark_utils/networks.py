"""What the benchmarks of networks share: a network of a yaml, a made-up frame, a training step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from easydict import EasyDict
from torch import nn
from torch.nn.utils import clip_grad_norm_

from benchmark_utils.common import median_ms
from pcdet.config import cfg_from_yaml_file
from pcdet.engine.optimization import build_optimizer
from pcdet.models import build_network

_CFGS = Path(__file__).resolve().parents[1] / "cfgs"
_NUM_VOXELS, _NUM_BOXES = 15_000, 30


def load_network(name: str, device: torch.device) -> tuple[nn.Module, EasyDict]:
    """The network of tools/cfgs/<name>.yaml with random weights, and its settings."""
    cfg = cfg_from_yaml_file(_CFGS / f"{name}.yaml", EasyDict())
    extent = np.array(cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
    size = np.array(cfg.DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE)
    dataset = SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        num_point_features=4,
        voxel_generator=SimpleNamespace(
            grid_size=np.round((extent[3:] - extent[:3]) / size).astype(int),
            voxel_size=size,
            point_cloud_range=extent,
        ),
    )
    torch.manual_seed(0)
    return build_network(dataset, cfg).to(device), cfg


def made_up_frame(cfg: EasyDict) -> dict[str, Any]:
    """Voxels on rings of a ground plane, about as dense as a KITTI frame's, and boxes on it."""
    rng = np.random.default_rng(0)
    extent = np.array(cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
    size = np.array(cfg.DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE)
    grid = np.round((extent[3:] - extent[:3]) / size).astype(int)
    boxes = _made_up_boxes(rng)
    radius = rng.gamma(2.0, 9.0, 4 * _NUM_VOXELS) + 4
    angle = rng.uniform(-0.7, 0.7, radius.shape)
    height = np.abs(rng.normal(0, 0.4, radius.shape)) - 1.8
    places = np.stack((radius * np.cos(angle), radius * np.sin(angle), height), axis=1)
    cells = np.floor((places - extent[:3]) / size).astype(np.int32)
    cells = np.unique(cells[((cells >= 0) & (cells < grid)).all(axis=1)], axis=0)
    cells = cells[rng.permutation(len(cells))[:_NUM_VOXELS]]
    data = cfg.DATA_CONFIG
    max_points = data.TEST.get("MAX_POINTS_PER_VOXEL") or data.VOXEL_GENERATOR.MAX_POINTS_PER_VOXEL
    num_points = rng.integers(1, 6, len(cells)).astype(np.int32)
    voxels = rng.normal(size=(len(cells), max_points, 4)).astype(np.float32)
    voxels[np.arange(max_points) >= num_points[:, None]] = 0
    return {
        "voxels": voxels,
        "num_points": num_points,
        "coordinates": np.pad(cells[:, ::-1], ((0, 0), (1, 0))),
        "voxel_centers": (cells + 0.5) * size + extent[:3],
        "gt_boxes": boxes[None],
        "batch_size": 1,
    }


def _made_up_boxes(rng: np.random.Generator) -> np.ndarray:
    boxes = np.zeros((_NUM_BOXES, 8), np.float32)
    boxes[:, 0] = rng.uniform(5, 65, _NUM_BOXES)
    boxes[:, 1] = rng.uniform(-35, 35, _NUM_BOXES)
    boxes[:, 2] = -1.7
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, _NUM_BOXES)
    boxes[:, 7] = rng.integers(1, 4, _NUM_BOXES)
    sizes = np.array([[1.6, 3.9, 1.56], [0.6, 0.8, 1.73], [0.6, 1.76, 1.73]])
    boxes[:, 3:6] = sizes[boxes[:, 7].astype(int) - 1]
    return boxes


def two_frames(batch: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A batch of the frame twice; `names` are the tensors to repeat beside the coordinates."""
    second = batch["coordinates"].clone()
    second[:, 0] = 1
    both = dict(batch, batch_size=2, coordinates=torch.cat((batch["coordinates"], second)))
    both.update({name: torch.cat((batch[name], batch[name])) for name in names})
    return both


def frames(batch: dict[str, Any], count: int) -> dict[str, Any]:
    """A batch of the made-up frame so many times."""
    repeated = {
        name: np.concatenate([value] * count) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }
    repeated["coordinates"][:, 0] = np.repeat(np.arange(count), len(batch["coordinates"]))
    return {**repeated, "batch_size": count}


def synchronized(result: Any) -> Any:
    """Wait for the GPU, if there is one, and pass the result on."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def training_ms(model: nn.Module, batch: dict, cfg: EasyDict, repeat: int = 5) -> float:
    """Median time of a forward pass, a backward pass and an optimiser's step."""
    optim_cfg = cfg.MODEL.TRAIN.OPTIMIZATION
    optimizer = build_optimizer(model, optim_cfg)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(batch)[0]["loss"].backward()
        clip_grad_norm_(model.parameters(), optim_cfg.GRAD_NORM_CLIP)
        synchronized(optimizer.step())

    return median_ms(step, repeat)
