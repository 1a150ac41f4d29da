"""The native operators, on the CPU, next to plain NumPy and torch; made-up boxes and points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmark_utils.common import Row, median_ms
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.ops.iou3d_nms import reference as plain_iou3d
from pcdet.ops.roiaware_pool3d import reference as plain_pooling
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend
from pcdet.ops.sparse_conv.backends.self_test import matrix_units_work
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend
from pcdet.ops.sparse_conv.gather_conv import gather_conv
from pcdet.ops.sparse_conv.plan import Geometry, LayerPlan, make_plan
from pcdet.ops.sparse_conv.sites import Sites
from pcdet.ops.three_nn import three_nn_utils

_SCENE = torch.tensor([70.0, 80.0, 3.0])  # metres
_CAR = torch.tensor([1.6, 3.9, 1.56])  # w, l, h


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure overlaps, NMS, points in boxes, RoI pooling, nearest sites and sparse convolutions.

    Args:
        data_dir: not used; these stages need no frames.
    """
    yield from _overlap_stages()
    yield from _nms_stages()
    yield _points_stage()
    yield from _pooling_stages()
    yield from _three_nn_stages()
    yield from _sparse_conv_stages()


def cars(count: int, seed: int, places: int | None = None) -> torch.Tensor:
    """(N, 7) boxes of about a car's size, spread over the scene or crowded at some places in it."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand((places or count, 3), generator=generator) * _SCENE
    if places is not None:
        center = center[torch.randint(0, places, (count,), generator=generator)]
        center += 0.5 * torch.randn((count, 3), generator=generator)
    size = _CAR * torch.exp(0.1 * torch.randn((count, 3), generator=generator))
    turn = 2 * torch.pi * torch.rand((count, 1), generator=generator)
    return torch.cat((center, size, turn), dim=1)


def bev_of(boxes: torch.Tensor) -> torch.Tensor:
    """(N, 5) BEV boxes of (N, 7) boxes."""
    center, half = boxes[:, 0:2], boxes[:, 3:5] / 2
    return torch.cat((center - half, center + half, boxes[:, 6:7]), dim=1)


def _overlap_stages() -> Iterator[Row]:
    few = bev_of(cars(60, seed=0, places=5))
    yield Row(
        stage="rotated BEV overlap, 60 x 60 boxes",
        milliseconds=median_ms(lambda: iou3d_nms_utils.boxes_overlap_bev(few, few)),
        baseline="plain NumPy",
        baseline_milliseconds=median_ms(
            lambda: plain_iou3d.boxes_overlap_bev(few.numpy(), few.numpy()), repeat=3, warmup=0
        ),
    )
    many = cars(1000, seed=1, places=20)
    yield Row(
        stage="rotated 3D IoU, 1000 x 1000 boxes",
        milliseconds=median_ms(lambda: iou3d_nms_utils.boxes_iou3d_gpu(many, many)),
        note="at 20 places",
    )


def _plain_nms(boxes: torch.Tensor, scores: torch.Tensor, thresh: float) -> torch.Tensor:
    """The IoU of all pairs, then the greedy choice."""
    order = scores.argsort(descending=True, stable=True)
    iou = iou3d_nms_utils.boxes_iou_bev(boxes[order], boxes[order])
    overlapping, alive = iou > thresh, torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlapping[i, i + 1 :]
    return order[alive]


def _nms_stages() -> Iterator[Row]:
    for count in (4096, 9000):
        for name, places in (("at 100 places", 100), ("spread out", None)):
            boxes = bev_of(cars(count, seed=2, places=places))
            scores = torch.rand(count, generator=torch.Generator().manual_seed(3))
            for thresh in (0.01, 0.8):
                arguments = (boxes, scores, thresh)
                yield Row(
                    stage=f"rotated NMS, {count} boxes {name}, IoU {thresh}",
                    milliseconds=_ms(iou3d_nms_utils.nms_gpu, *arguments),
                    baseline="IoU of all pairs",
                    baseline_milliseconds=median_ms(
                        lambda arguments=arguments: _plain_nms(*arguments), repeat=1, warmup=0
                    ),
                    note=f"{len(iou3d_nms_utils.nms_gpu(*arguments))} kept",
                )


def _ms(function: Callable[..., object], *arguments: object) -> float:
    return median_ms(lambda: function(*arguments), repeat=20)


def _points_stage() -> Row:
    points = torch.rand((120_000, 3), generator=torch.Generator().manual_seed(4)) * _SCENE
    boxes = cars(20, seed=5)
    return Row(
        stage="points in boxes, 120,000 points x 20 boxes",
        milliseconds=_ms(roiaware_pool3d_utils.points_in_boxes_cpu, points, boxes),
        baseline="plain torch",
        baseline_milliseconds=_ms(plain_pooling.points_in_boxes_cpu, points, boxes),
    )


def _pooling_stages() -> Iterator[Row]:
    generator = torch.Generator().manual_seed(6)
    extent = torch.tensor([15.0, 15.0, 3.0])  # crowded: about 250 points a RoI
    points = torch.rand((16_000, 3), generator=generator) * extent
    features = torch.randn((16_000, 16), generator=generator).requires_grad_()
    rois = cars(128, seed=7)
    rois[:, 0:3] *= extent / _SCENE

    def step(pool: Callable[..., torch.Tensor], method: str) -> None:
        pool(rois, points, features, (14, 14, 14), 128, method).sum().backward()

    for method in ("max", "avg"):
        ours, plain = roiaware_pool3d_utils.roiaware_pool3d, plain_pooling.roiaware_pool3d
        yield Row(
            stage=f"RoI pooling ({method}), forward and backward",
            milliseconds=median_ms(lambda ours=ours, method=method: step(ours, method)),
            baseline="plain torch",
            baseline_milliseconds=median_ms(
                lambda plain=plain, method=method: step(plain, method), repeat=1, warmup=0
            ),
            note="128 RoIs, 16,000 points, 16 channels, 14^3",
        )


def _three_nn_stages() -> Iterator[Row]:
    """Points of a scan, dense close by and sparse far off, and as many sites of coarser voxels."""
    count = 20_000
    zeros = torch.zeros(count, dtype=torch.int32)
    for stride in (2, 4, 8):
        size = stride * torch.tensor([0.05, 0.05, 0.1])
        points = _scan(count, seed=9)
        cells = torch.unique((_scan(60 * count, seed=10) / size).floor(), dim=0)
        order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(11))
        sites = (cells[order[:count]] + 0.5) * size
        arguments = (points, sites, zeros, zeros[: len(sites)], 1)

        def all_pairs(points=points, sites=sites) -> None:
            for part in points.split(1000):  # at once they would take gigabytes
                torch.cdist(part, sites).topk(3, largest=False)

        yield Row(
            stage=f"three nearest sites, {count} points, {len(sites)} at stride {stride}",
            milliseconds=_ms(three_nn_utils.three_nn, *arguments),
            baseline="all pairs, in torch",
            baseline_milliseconds=median_ms(all_pairs, repeat=1, warmup=0),
        )


def _scan(count: int, seed: int) -> torch.Tensor:
    """(N, 3) places on rings of a ground with things on it."""
    rng = np.random.default_rng(seed)
    radius, angle = rng.gamma(2.0, 9.0, count) + 4, rng.uniform(-0.7, 0.7, count)
    height = np.abs(rng.normal(0, 0.4, count)) - 1.8
    places = np.stack((radius * np.cos(angle), radius * np.sin(angle), height), axis=1)
    return torch.from_numpy(places).float()


def _sparse_conv_stages() -> Iterator[Row]:
    """Plans and layers on some 25,000 voxels of a surface, each with 9 neighbours or so."""
    generator = torch.Generator().manual_seed(8)
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    z = 10 + 4 * torch.sin(x / 12) + 3 * torch.cos(y / 9)
    cells = torch.stack((torch.zeros_like(x), z.round().long(), y, x), dim=2).flatten(0, 1)
    cells = cells[torch.randperm(len(cells), generator=generator)]
    geometries = {
        "submanifold": Geometry((3, 3, 3), submanifold=True),
        "strided": Geometry((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    }

    def plan(geometry: Geometry, as_pairs: bool) -> LayerPlan:
        return make_plan(Sites(cells, [21, 160, 160], 1), geometry, as_pairs)

    for name, geometry in geometries.items():
        yield Row(
            stage=f"plan of a {name} convolution, 3x3x3",
            milliseconds=_ms(plan, geometry, True),
            baseline="plain torch",
            baseline_milliseconds=_ms(plan, geometry, False),
            note=f"{len(cells)} voxels, {plan(geometry, True).neighbours.num_pairs()} pairs",
        )
    native = CpuBackend()
    backends = {backend: plan(geometries["submanifold"], backend.takes_pairs).neighbours
                for backend in (native, TorchBackend())}  # fmt: skip
    for channels in (16, 32, 64):
        features = torch.randn((len(cells), channels), generator=generator).requires_grad_()
        weight = torch.randn((27, channels, channels), generator=generator).requires_grad_()

        def step(backend: Backend, features=features, weight=weight) -> None:
            gather_conv(features, weight, backends[backend], backend).sum().backward()

        ours, plain = (_ms(step, backend) for backend in backends)
        yield Row(
            stage=f"sparse convolution, {channels} channels, forward and backward",
            milliseconds=ours,
            baseline="plain torch",
            baseline_milliseconds=plain,
            note=f"{len(cells)} voxels, plan given",
        )
        if matrix_units_work():

            def half_step(step=step) -> None:
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    step(native)

            yield Row(
                stage=f"sparse convolution, {channels} channels, in bfloat16",
                milliseconds=_ms(half_step),
                baseline="float32",
                baseline_milliseconds=ours,
                note="in matrix units, rounded from float32 and back",
            )
