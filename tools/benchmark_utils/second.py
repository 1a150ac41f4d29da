"""SECOND's network: target assignment, forward pass, training step, and memory."""

from __future__ import annotations

import copy
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from easydict import EasyDict
from torch import nn
from torch.nn.utils import clip_grad_norm_

from benchmark_utils.common import Row, median_ms
from pcdet.config import cfg_from_yaml_file
from pcdet.models import build_network, example_convert_to_torch
from pcdet.utils import box_utils, common_utils
from pcdet.utils.spconv_utils import sparse_tensor
from train_utils.optimization import build_optimizer

_CFG_FILE = Path(__file__).resolve().parents[1] / "cfgs" / "second.yaml"
_NUM_VOXELS, _NUM_BOXES = 15_000, 30
_PLAIN = "PCDet's layers, NCHW"


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure `second.yaml` at full range on a made-up frame; `data_dir` is not needed."""
    del data_dir
    device = common_utils.default_device()
    model, batch, cfg = _second_and_frame(device)
    plain = _PlainSecond(model)
    yield _assignment_row(model.rpn_head, batch["gt_boxes"])
    model.eval(), plain.eval()
    with torch.inference_mode():
        yield Row(
            "SECOND, forward, one frame",
            median_ms(lambda: _synchronized(model(batch)), 5),
            _PLAIN,
            median_ms(lambda: _synchronized(plain(batch)), 5),
            f"{_NUM_VOXELS} voxels, {device}",
        )
    note = f"one frame, {device}"
    times = [_training_ms(network, batch, cfg) for network in (model, plain)]
    yield Row("SECOND, training step, float32", times[0], _PLAIN, times[1], note)
    yield _memory_row(batch, cfg, device)


def _synchronized(result: Any) -> Any:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def _second_and_frame(device: torch.device) -> tuple[nn.Module, dict, EasyDict]:
    cfg = cfg_from_yaml_file(_CFG_FILE, EasyDict())
    grid = np.array([1408, 1600, 40])
    dataset = SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        num_point_features=4,
        voxel_generator=SimpleNamespace(grid_size=grid),
    )
    torch.manual_seed(0)
    model = build_network(dataset, cfg).to(device)
    return model, example_convert_to_torch(_made_up_frame(), device=device), cfg


def _made_up_frame() -> dict[str, Any]:
    """Voxels on rings of a ground plane, about as dense as a KITTI frame's, and boxes on it."""
    rng = np.random.default_rng(0)
    radius = rng.gamma(2.0, 9.0, 4 * _NUM_VOXELS) + 4
    angle = rng.uniform(-0.7, 0.7, radius.shape)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    z = np.abs(rng.normal(0, 4, radius.shape)) + 12
    zyx = np.stack((z, (y + 40) / 0.05, x / 0.05), axis=1).astype(np.int32)
    inside = ((zyx >= 0) & (zyx < [40, 1600, 1408])).all(axis=1)
    zyx = np.unique(zyx[inside], axis=0)
    zyx = zyx[rng.permutation(len(zyx))[:_NUM_VOXELS]]
    boxes = np.zeros((1, _NUM_BOXES, 8), np.float32)
    boxes[0, :, 0] = rng.uniform(5, 65, _NUM_BOXES)
    boxes[0, :, 1] = rng.uniform(-35, 35, _NUM_BOXES)
    boxes[0, :, 2] = -1.7
    boxes[0, :, 6] = rng.uniform(-np.pi, np.pi, _NUM_BOXES)
    boxes[0, :, 7] = rng.integers(1, 4, _NUM_BOXES)
    sizes = np.array([[1.6, 3.9, 1.56], [0.6, 0.8, 1.73], [0.6, 1.76, 1.73]])
    boxes[0, :, 3:6] = sizes[boxes[0, :, 7].astype(int) - 1]
    return {
        "voxels": rng.normal(size=(len(zyx), 5, 4)).astype(np.float32),
        "num_points": rng.integers(1, 6, len(zyx)).astype(np.int32),
        "coordinates": np.pad(zyx, ((0, 0), (1, 0))),
        "gt_boxes": boxes,
        "batch_size": 1,
    }


class _PlainSecond(nn.Module):
    """The same network as PCDet v0.1 lays it out: padding layers, NCHW, a layer for each output."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.second = copy.deepcopy(model)
        self.second.rpn_head.to(memory_format=torch.contiguous_format)
        for block in self.second.rpn_head.blocks:
            block[0] = nn.ZeroPad2d(1)
            block[1].padding = (0, 0)
        self.global_step = self.second.global_step

    def forward(self, batch: dict[str, Any]) -> Any:
        net, head = self.second.rpn_net, self.second.rpn_head
        features = self.second.vfe(batch["voxels"], batch["num_points"])
        x = sparse_tensor(features, batch["coordinates"], net.sparse_shape, batch["batch_size"])
        for stage in (net.conv_input, net.conv1, net.conv2, net.conv3, net.conv4, net.conv_out):
            x = stage(x)
        image = x.dense().flatten(1, 2)
        levels = []
        for block, deblock in zip(head.blocks, head.deblocks):
            image = block(image)
            levels.append(deblock(image))
        image = torch.cat(levels, dim=1)
        convs = {"cls": head.conv_cls, "box": head.conv_box, "dir_cls": head.conv_dir_cls}
        predictions = {
            f"{name}_preds": conv(image).permute(0, 2, 3, 1).contiguous()
            for name, conv in convs.items()
        }
        if not self.training:
            return self.second.predict_from_rpn(predictions, batch["batch_size"])
        loss, tb_dict = head.get_loss(predictions, head.assign_targets(batch["gt_boxes"]))
        return {"loss": loss}, tb_dict, {}


def _training_ms(model: nn.Module, batch: dict, cfg: EasyDict) -> float:
    optim_cfg = cfg.MODEL.TRAIN.OPTIMIZATION
    optimizer = build_optimizer(model, optim_cfg)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(batch)[0]["loss"].backward()
        clip_grad_norm_(model.parameters(), optim_cfg.GRAD_NORM_CLIP)
        _synchronized(optimizer.step())

    return median_ms(step, 5)


def _assignment_row(head: nn.Module, gt_boxes: torch.Tensor) -> Row:
    assigner = head.target_assigner

    def every_pair() -> None:
        """IoU of each anchor with each ground truth of its class, as PCDet computes it."""
        for label in assigner.anchor_label.unique():
            anchors = assigner.anchors[:, :, assigner.anchor_label == label].reshape(-1, 7)
            boxes = gt_boxes[0][gt_boxes[0, :, 7] == label][:, :7]
            iou = box_utils.nearest_iou_similarity(anchors, boxes)
            iou.max(dim=1), iou.max(dim=0)

    return Row(
        "target assignment, one frame",
        median_ms(lambda: _synchronized(assigner(gt_boxes)), 20),
        "IoU of all pairs alone",
        median_ms(lambda: _synchronized(every_pair()), 10),
        f"{gt_boxes.shape[1]} objects; PCDet v0.1 on KITTI frames: 7.1 ms",
    )


def _memory_row(batch: dict, cfg: EasyDict, device: torch.device) -> Row:
    """A training step of two frames, timed, with the greatest memory of the process so far."""
    both = dict(batch, batch_size=2)
    second = batch["coordinates"].clone()
    second[:, 0] = 1
    both["coordinates"] = torch.cat((batch["coordinates"], second))
    for name in ("voxels", "num_points", "gt_boxes"):
        both[name] = torch.cat((batch[name], batch[name]))
    model, _, _ = _second_and_frame(device)
    milliseconds = _training_ms(model, both, cfg)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Row("SECOND, training step, two frames", milliseconds, note=f"peak {peak:.1f} GiB")
