"""SECOND's network: target assignment, forward pass, training step, and memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from easydict import EasyDict
from torch import nn

from benchmark_utils.common import Row, median_ms
from benchmark_utils.networks import (
    load_network,
    made_up_frame,
    synchronized,
    training_ms,
    two_frames,
)
from pcdet.models import example_convert_to_torch
from pcdet.ops.sparse_conv import SparseTensor
from pcdet.utils import box_utils, device_utils

_PLAIN = "PCDet's layers, NCHW"


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure `second.yaml` at full range on a made-up frame; `data_dir` is not needed."""
    del data_dir
    device = device_utils.default_device()
    model, cfg = load_network("second", device)
    batch = example_convert_to_torch(made_up_frame(cfg), device=device)
    plain = _PlainSecond(model)
    yield _assignment_row(model.rpn_head, batch["gt_boxes"])
    model.eval(), plain.eval()
    with torch.inference_mode():
        yield Row(
            "SECOND, forward, one frame",
            median_ms(lambda: synchronized(model(batch)), 5),
            _PLAIN,
            median_ms(lambda: synchronized(plain(batch)), 5),
            f"{len(batch['voxels'])} voxels, {device}",
        )
    note = f"one frame, {device}"
    times = [training_ms(network, batch, cfg) for network in (model, plain)]
    yield Row("SECOND, training step, float32", times[0], _PLAIN, times[1], note)
    yield _two_frames_row(batch, cfg, device)


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
        x = SparseTensor(features, batch["coordinates"], net.sparse_shape, batch["batch_size"])
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
        median_ms(lambda: synchronized(assigner(gt_boxes)), 20),
        "IoU of all pairs alone",
        median_ms(lambda: synchronized(every_pair()), 10),
        f"{gt_boxes.shape[1]} objects; PCDet v0.1 on KITTI frames: 7.1 ms",
    )


def _two_frames_row(batch: dict, cfg: EasyDict, device: torch.device) -> Row:
    """A training step of two frames."""
    both = two_frames(batch, ("voxels", "num_points", "gt_boxes"))
    model, _ = load_network("second", device)
    return Row("SECOND, training step, two frames", training_ms(model, both, cfg))
