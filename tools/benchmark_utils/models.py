"""PointPillar, Part-A2 and SA-SSD: whole passes, proposals, and targets; made-up frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmark_utils.common import Row, median_ms
from benchmark_utils.networks import load_network, made_up_frame, synchronized, training_ms
from pcdet.models import example_convert_to_torch
from pcdet.models.detectors import PartA2Net
from pcdet.utils import device_utils
from pcdet.utils.box_utils import LABEL

_REPEAT = 3


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure the networks of pointpillar.yaml, PartA2.yaml and sassd.yaml at full range.

    Args:
        data_dir: not used; these stages need no frames.
    """
    device = device_utils.default_device()
    for name in ("pointpillar", "PartA2"):
        model, cfg = load_network(name, device)
        batch = example_convert_to_torch(made_up_frame(cfg), device=device)
        note = f"one frame, {len(batch['voxels'])} voxels, {device}"
        yield Row(f"{name}, forward", _forward_ms(model, batch), note=note)
        if isinstance(model, PartA2Net):
            model.rpn_net.generated_on = "head_gpu"
            yield from _part_a2_rows(model, batch)
        yield Row(f"{name}, training step", training_ms(model, batch, cfg, _REPEAT), note=note)
    yield from _sassd_rows(device)


def _sassd_rows(device: torch.device) -> Iterator[Row]:
    """SA-SSD beside SECOND: both grids are the same."""
    (second, _), (model, cfg) = (load_network(name, device) for name in ("second", "sassd"))
    frame = made_up_frame(cfg)
    frame["gt_boxes"][..., LABEL] = 1  # cars alone
    batch = example_convert_to_torch(frame, device=device)
    note = f"one frame, {len(batch['voxels'])} voxels, {device}"
    own, other = _forward_ms(model, batch), _forward_ms(second, batch)
    yield Row("SA-SSD, forward", own, "SECOND", other, note)
    mask = model.rpn_head.anchor_mask
    milliseconds = median_ms(lambda: synchronized(mask(batch["coordinates"], 1)), 10)
    yield Row("SA-SSD, anchors over voxels", milliseconds, note=f"{len(model.rpn_head.anchors)}")
    yield Row("SA-SSD, training step", training_ms(model, batch, cfg, _REPEAT), note=note)


@torch.inference_mode()
def _forward_ms(model: nn.Module, batch: dict) -> float:
    model.eval()
    return median_ms(lambda: synchronized(model(batch)), _REPEAT)


@torch.no_grad()
def _part_a2_rows(model: PartA2Net, batch: dict) -> Iterator[Row]:
    """What Part-A2 does in training beside its layers."""
    model.train()
    features = model.vfe(batch["voxels"], batch["num_points"])
    voxels = model.rpn_net(features, batch["coordinates"], 1)
    predictions = model.rpn_head(voxels.spatial_features)
    proposals = model.propose(predictions, 1)
    layer = model.proposal_layers["train"]
    parts = {
        "Part-A2, proposals in training": (
            lambda: model.propose(predictions, 1),
            f"NMS of {layer.nms_pre_maxsize_last} of {len(model.rpn_head.anchors)} anchors",
        ),
        "Part-A2, targets of voxels": (
            lambda: model.rpn_net.assign_targets(batch),
            f"{len(features)} voxels, {batch['gt_boxes'].shape[1]} boxes",
        ),
        "Part-A2, targets of proposals": (
            lambda: model.rcnn_net.assign_targets(proposals, batch["gt_boxes"]),
            f"{len(proposals[0]['boxes'])} proposals, {batch['gt_boxes'].shape[1]} boxes",
        ),
    }
    for stage, (function, note) in parts.items():
        yield Row(stage, median_ms(lambda f=function: synchronized(f()), 10), note=note)
