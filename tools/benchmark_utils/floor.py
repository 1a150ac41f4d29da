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
    synchronized,
    training_ms,
)
from benchmark_utils.ops import bev_of, cars
from benchmark_utils.work import Ceilings, Work, counted, measure_ceilings, work_of
from pcdet.engine.device_options import compile_dense_network, cpu_gains_by_bfloat16
from pcdet.engine.optimization import build_optimizer
from pcdet.models import example_convert_to_torch
from pcdet.models.folding import PatchProduct, folded
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
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

    @property
    def device(self) -> torch.device:
        """That of the batch."""
        return self.batch["voxels"].device

    def row(self, stage: str, run: Callable[[], Any], work: Work) -> Row:
        """Time a stage and put its floor beside it."""
        milliseconds = median_ms(lambda: synchronized(run()), _REPEAT)
        return self.beside_floor(stage, milliseconds, work)

    def beside_floor(self, stage: str, milliseconds: float, work: Work) -> Row:
        """A time beside its floor."""
        floor = self.ceilings.floor_ms(work, self.dtype)
        counts = f"{work.flop / 1e9:.1f} GFLOP, {work.bytes / 1e9:.2f} GB"
        return Row(f"{stage}, {self.where}", milliseconds, note=counts, floor_ms=floor)


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure on made-up frames at full range; `data_dir` is not needed."""
    del data_dir
    device = device_utils.default_device()
    dtypes = [torch.float32]
    if device.type == "cuda":
        dtypes += [torch.bfloat16, torch.float16]
    elif cpu_gains_by_bfloat16():
        dtypes.append(torch.bfloat16)
    ceilings = measure_ceilings(device, tuple(dtypes))
    yield Row("ceiling: copy of 1 GB", 2e12 / ceilings.copy, note=f"{ceilings.copy / 1e9:.1f} GB/s")
    for dtype, rate in ceilings.product.items():
        name = f"ceiling: product of 1 TFLOP in {_name(dtype)}"
        yield Row(name, 1e15 / rate, note=f"{rate / 1e12:.3f} TFLOP/s")
    yield from _operator_rows(ceilings, device)
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
            image = model.head_input(features, batch["coordinates"], batch["batch_size"])
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
        yield setting.row("whole test, as trained", lambda: model(batch), forward)
        detector = folded(model)
        yield setting.row("whole test", lambda: detector(batch), forward)
        yield _dense_row(detector, setting)
    yield from _step_rows(model, cfg, setting, forward)


def _dense_row(detector: nn.Module, setting: Setting) -> Row:
    """The dense convolutions alone, each with the input that it has in the network."""
    calls: list[tuple[nn.Module, torch.Tensor, dict]] = []
    work = Work()

    def keep(layer: nn.Module, inputs: tuple, options: dict, output: torch.Tensor) -> None:
        calls.append((layer, inputs[0], options))
        work.layers.append(work_of(layer, inputs[0], output))

    layers = [m for m in detector.rpn_head.modules() if isinstance(m, (nn.Conv2d, PatchProduct))]
    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
    detector(setting.batch)
    for hook in hooks:
        hook.remove()
    return setting.row("dense convolutions alone", lambda: [m(x, **o) for m, x, o in calls], work)


def _step_rows(model: nn.Module, cfg: Any, setting: Setting, forward: Work) -> Iterator[Row]:
    """The update of the weights and a whole step of training, on a GPU compiled, too."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer = build_optimizer(model, cfg.MODEL.TRAIN.OPTIMIZATION)
    # Adam reads weight, gradient and two averages, and writes three of them.
    update = Work([(0, 7 * 4 * sum(p.numel() for p in model.parameters()))])
    yield setting.row("optimiser", optimizer.step, update)
    step = Work([*forward.times(3).layers, *update.layers])
    milliseconds = training_ms(model, setting.batch, cfg, _REPEAT)
    yield setting.beside_floor("whole step", milliseconds, step)
    if setting.device.type == "cuda":
        compile_dense_network(model, setting.device)
        milliseconds = training_ms(model, setting.batch, cfg, _REPEAT)
        yield setting.beside_floor("whole step, compiled", milliseconds, step)
        model.eval()
        with torch.no_grad():
            yield setting.row("whole test, compiled", lambda: model(setting.batch), forward)


def _operator_rows(ceilings: Ceilings, device: torch.device) -> Iterator[Row]:
    """NMS and pooling; their floor is to read what comes in and to write what goes out."""
    setting = Setting(ceilings, torch.float32, {}, "float32")
    for count in (4096, 9000):
        bev = bev_of(cars(count, seed=2, places=100)).to(device)
        scores = torch.rand(count, generator=torch.Generator().manual_seed(3)).to(device)
        yield setting.row(
            f"rotated NMS, {count} boxes at 100 places, IoU 0.8",
            lambda bev=bev, scores=scores: iou3d_nms_utils.nms_gpu(bev, scores, 0.8),
            _bytes_of(bev, scores),
        )
    generator = torch.Generator().manual_seed(6)
    points = (torch.rand((16_000, 3), generator=generator) * 15).to(device)
    features = torch.randn((16_000, 16), generator=generator).to(device)
    rois = cars(128, seed=7)
    rois[:, 0:3] *= 15 / rois[:, 0:3].amax()
    arguments = (rois.to(device), points, features, (14, 14, 14), 128, "max")
    yield setting.row(
        "RoI pooling (max), 128 RoIs, 16,000 points",
        lambda: roiaware_pool3d_utils.roiaware_pool3d(*arguments),
        _bytes_of(points, features, roiaware_pool3d_utils.roiaware_pool3d(*arguments)),
    )


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
