"""SECOND and PointPillar by stages, each beside the least time that this machine could take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark_utils.common import Row, median_ms
from benchmark_utils.networks import (
    frames,
    load_network,
    made_up_frame,
    peak_gib,
    synchronized,
    training_ms,
)
from benchmark_utils.work import Ceilings, Work, counted, measure_ceilings
from pcdet.engine.device_options import cpu_has_bfloat16
from pcdet.models import example_convert_to_torch
from pcdet.ops.sparse_conv import SparseTensor, dense_bev, plan_ahead
from pcdet.utils import device_utils

_REPEAT = 5


@dataclass
class Setting:
    """What a table is measured with.

    Attributes:
        ceilings: of the device.
        dtype: of products: float32, or that of autocast.
        batch: of so many frames, on the device.
        where: ends the name of each stage.
    """

    ceilings: Ceilings
    dtype: torch.dtype
    batch: dict[str, Any]
    where: str

    def row(self, stage: str, run: Callable[[], Any], work: Work) -> Row:
        """Time a stage and put its floor beside it."""
        milliseconds = median_ms(lambda: synchronized(run()), _REPEAT)
        return self.beside_floor(stage, milliseconds, work)

    def beside_floor(self, stage: str, milliseconds: float, work: Work, note: str = "") -> Row:
        """A time beside its floor."""
        floor = self.ceilings.floor_ms(work, self.dtype)
        counts = f"{work.flop / 1e9:.1f} GFLOP, {work.bytes / 1e9:.2f} GB"
        return Row(f"{stage}, {self.where}", milliseconds, note=f"{counts}{note}", floor_ms=floor)


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure on made-up frames at full range; `data_dir` is not needed."""
    del data_dir
    device = device_utils.default_device()
    dtypes = [torch.float32]
    if device.type == "cuda":
        dtypes += [torch.bfloat16, torch.float16]
    elif cpu_has_bfloat16():
        dtypes.append(torch.bfloat16)
    ceilings = measure_ceilings(device, tuple(dtypes))
    yield Row("ceiling: copy of 1 GB", 2e12 / ceilings.copy, note=f"{ceilings.copy / 1e9:.1f} GB/s")
    for dtype, rate in ceilings.product.items():
        name = f"ceiling: product of 1 TFLOP in {_name(dtype)}"
        yield Row(name, 1e15 / rate, note=f"{rate / 1e12:.3f} TFLOP/s")
    for name in ("second", "pointpillar"):
        for dtype in dtypes:
            for count in (1, 4, 16) if device.type == "cuda" else (1,):
                model, cfg = load_network(name, device)
                batch = example_convert_to_torch(frames(made_up_frame(cfg), count), device=device)
                where = f"{name}, batch {count}, {_name(dtype)}"
                setting = Setting(ceilings, dtype, batch, where)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    yield from _table(model, cfg, setting)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _table(model: nn.Module, cfg: Any, setting: Setting) -> Iterator[Row]:
    batch, head = setting.batch, model.rpn_head
    model.eval()
    with torch.no_grad():
        with counted(model.vfe) as work:
            features = model.encode_voxels(batch)
        yield setting.row("encoder", lambda: model.encode_voxels(batch), _read_once(work, batch))
        if hasattr(model.rpn_net, "sparse_shape"):
            image = yield from _sparse_rows(model.rpn_net, features, setting)
        else:
            image = model.rpn_net(features, batch["coordinates"], batch["batch_size"])
        with counted(head) as work:
            predictions = head(image)
        yield setting.row("network in bird's-eye view", lambda: head(image), work)
        yield setting.row(
            "choice of boxes",
            lambda: model.predict_from_rpn(predictions, batch["batch_size"]),
            _bytes_of(predictions["cls_preds"]),
        )
        targets = head.assign_targets(batch["gt_boxes"])
        yield setting.row(
            "targets", lambda: head.assign_targets(batch["gt_boxes"]), _bytes_of(*targets.values())
        )
        yield setting.row(
            "loss", lambda: head.get_loss(predictions, targets), _bytes_of(*predictions.values())
        )
        with counted(model) as forward:
            model(batch)
        yield setting.row("whole test", lambda: model(batch), forward)
    parameters = sum(p.numel() for p in model.parameters())
    # Adam reads weight, gradient and two averages, and writes three of them.
    step = Work([*forward.times(3).layers, (0, 7 * 4 * parameters)])
    milliseconds = training_ms(model, batch, cfg, _REPEAT)
    yield setting.beside_floor("whole step", milliseconds, step, f", {peak_gib(features.device)}")


def _sparse_rows(net: nn.Module, features: torch.Tensor, setting: Setting) -> Iterator[Row]:
    """Plan and levels of SECOND's backbone; returns its image."""

    def start() -> SparseTensor:
        return SparseTensor(
            features, setting.batch["coordinates"], net.sparse_shape, setting.batch["batch_size"]
        )

    def planned() -> SparseTensor:
        x = start()
        plan_ahead(x, net)
        return x

    x = planned()
    tables = [t for plan in x.plans.values() for t in vars(plan.neighbours).values()]
    tensors = [t for t in tables if isinstance(t, torch.Tensor)]
    yield setting.row("plan", planned, _bytes_of(*tensors))
    levels = [nn.Sequential(net.conv_input, net.conv1), net.conv2, net.conv3, net.conv4]
    for k, level in enumerate([*levels, net.conv_out]):
        with counted(level) as work:
            output = level(x)
        name = f"sparse level {k + 1}" if k < len(levels) else "sparse output"
        yield setting.row(name, lambda level=level, x=x: level(x), work)
        x = output
    return dense_bev(x)


def _bytes_of(*tensors: torch.Tensor) -> Work:
    return Work([(0, sum(t.numel() * t.element_size() for t in tensors))])


def _read_once(work: Work, batch: dict[str, Any]) -> Work:
    return Work([*work.layers, *_bytes_of(batch["voxels"]).layers])
