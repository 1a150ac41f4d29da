"""Every operator, sparse layer and detector on this device next to float64 on the CPU.

    python tools/gpu_day/parity.py JSON

Each line: what, how it was computed, and the largest difference over the largest number. Without a
GPU the device is the CPU.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_utils.networks import frames, load_network, made_up_frame
from pcdet.models import example_convert_to_torch, model_fn_decorator
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.ops.sparse_conv import SparseConv3d, SparseInverseConv3d, SparseTensor, SubMConv3d
from pcdet.ops.sparse_conv.backends import BACKENDS, ENVIRONMENT, choose_backend
from pcdet.utils import box_utils, device_utils

CPU = torch.device("cpu")
TYPES = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Largest difference over the largest number of the exact one."""
    found, exact = found.detach().double().cpu(), exact.detach().double().cpu()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1e-30))


def boxes_and_scores(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 7) LiDAR boxes that overlap now and then, and scores."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(count, 7, generator=generator) * torch.tensor([60, 60, 1, 2, 4, 1, 6.28])
    boxes[:, 3:6] += 0.5
    return boxes, torch.rand(count, generator=generator)


def operators(device: torch.device) -> Iterator[tuple[str, str, float]]:
    """Overlaps, NMS, points in boxes and pooling."""
    boxes, scores = boxes_and_scores(3000)
    bev = box_utils.boxes3d_to_bevboxes_lidar(boxes)
    for name in ("boxes_iou_bev", "boxes_iou3d_gpu"):
        rows = bev if "bev" in name else boxes
        function = getattr(iou3d_nms_utils, name)
        exact = function(rows[:500].double(), rows[500:1000].double())
        found = function(rows[:500].to(device), rows[500:1000].to(device))
        yield name, "float32", difference(found, exact)
    for name in ("nms_gpu", "nms_normal_gpu"):
        function = getattr(iou3d_nms_utils, name)
        for threshold in (0.01, 0.5):
            exact = function(bev, scores, threshold).tolist()
            found = function(bev.to(device), scores.to(device), threshold).tolist()
            yield f"{name} {threshold}, boxes chosen otherwise", "float32", len({*exact} ^ {*found})
    points = torch.rand(20_000, 3) * torch.tensor([60.0, 60, 2])
    exact = roiaware_pool3d_utils.points_in_boxes_gpu(points[None], boxes[None, :50])
    found = roiaware_pool3d_utils.points_in_boxes_gpu(
        points[None].to(device), boxes[None, :50].to(device)
    )
    yield "points_in_boxes_gpu, points otherwise", "float32", int((found.cpu() != exact).sum())
    features = torch.randn(len(points), 16)
    layer = roiaware_pool3d_utils.RoIAwarePool3d(14, 128)
    for method in ("max", "avg"):
        exact = layer(boxes[:50], points, features, method)
        found = layer(*(t.to(device) for t in (boxes[:50], points, features)), method)
        yield f"RoIAwarePool3d {method}", "float32", difference(found, exact)


def sparse_layers(device: torch.device) -> Iterator[tuple[str, str, float]]:
    """Outputs and gradients of the layers, by each backend that can be had."""
    generator = torch.Generator().manual_seed(0)
    cells = (torch.rand(2, 21, 80, 80, generator=generator) < 0.05).nonzero()
    features = torch.randn(len(cells), 32, generator=generator)
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({
        "submanifold": SubMConv3d(32, 32, 3, bias=False, indice_key="a"),
        "strided": SparseConv3d(32, 64, 3, 2, 1, bias=False, indice_key="b"),
        "inverse": SparseInverseConv3d(64, 32, 3, "b", bias=False),
    })  # fmt: skip

    def run(where: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        own = copy.deepcopy(layers).to(where, torch.float32 if dtype != torch.float64 else dtype)
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        start = features.to(where, kind, copy=True).requires_grad_()
        x, results = SparseTensor(start, cells.to(where), [21, 80, 80], 2), {}
        amp = dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(where.type, dtype if amp else None, enabled=amp):
            for name, layer in own.items():
                x = layer(x)
                # Backends find the outputs in orders of their own.
                place = x.indices.long() @ torch.tensor([80**3, 80**2, 80, 1], device=where)
                results[name] = x.features[place.argsort()]
        x.features.square().sum().backward()
        gradients = {f"{n}, weight's gradient": layer.weight.grad for n, layer in own.items()}
        return {**results, "gradient": start.grad, **gradients}

    exact = run(CPU, torch.float64)
    for backend in BACKENDS:
        os.environ[ENVIRONMENT] = backend
        chosen, why = choose_backend(device)
        if backend not in ("auto", chosen.name):
            yield f"sparse, {backend}: not here ({why})", "", 0.0
            continue
        for name, dtype in TYPES.items():
            if name == "fp16" and device.type == "cpu":
                continue
            for what, value in run(device, dtype or torch.float32).items():
                yield (
                    f"sparse, {backend} ({chosen.name}), {what}",
                    name,
                    difference(value, exact[what]),
                )
    del os.environ[ENVIRONMENT]


def detectors(device: torch.device) -> Iterator[tuple[str, str, float]]:
    """Loss, gradient and best scores of the detectors, at the range of the demos."""
    for name in ("second_demo", "pointpillar_demo", "PartA2_demo"):
        model, cfg = load_network(name, CPU)
        if name == "PartA2_demo":
            model.rpn_net.generated_on = "head_gpu"
        batch = frames(made_up_frame(cfg), 2)
        exact = run_detector(copy.deepcopy(model).double(), batch, None)
        model.to(device)
        for kind, dtype in TYPES.items():
            if kind == "fp16" and device.type == "cpu":
                continue
            found = run_detector(copy.deepcopy(model), batch, dtype)
            for what, value in found.items():
                yield f"{name}, {what}", kind, difference(value, exact[what])


def run_detector(
    model: torch.nn.Module, batch: dict[str, Any], amp: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """Loss and gradients of a step of training, and logits in evaluation."""
    parameter = next(model.parameters())
    torch.manual_seed(0)
    result = model_fn_decorator(amp)(model.train(), batch)
    result.loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
    with torch.no_grad():
        inputs = example_convert_to_torch(batch, parameter.device, parameter.dtype)
        with torch.autocast(parameter.device.type, amp, enabled=amp is not None):
            predictions = model.eval().rpn_head(_image(model, inputs))
    logits = predictions["cls_preds"].flatten()
    return {
        "loss": result.loss,
        "norms of the gradients": norm,
        "100 best logits": logits.double().topk(100).values,
    }


def _image(model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    arguments = [inputs["voxels"], inputs["num_points"]]
    if "voxel_centers" in model.inputs and not hasattr(model, "rcnn_net"):
        arguments.append(inputs["voxel_centers"])
    image = model.rpn_net(model.vfe(*arguments), inputs["coordinates"], inputs["batch_size"])
    return getattr(image, "spatial_features", image)


def main(out: str) -> None:
    """Print and write all differences; exit code 1 if a part did not run."""
    device = device_utils.default_device()
    rows = []
    for part in (operators, sparse_layers, detectors):
        try:
            for what, dtype, value in part(device):
                rows.append({"what": what, "dtype": dtype, "difference": value})
                sys.stdout.write(f"{value:10.2e}  {dtype:8} {what}\n")
                sys.stdout.flush()
        except Exception as error:  # the other parts may still tell something
            rows.append({"what": part.__name__, "dtype": "", "error": repr(error)})
            sys.stdout.write(f"{part.__name__}: {error!r}\n")
    Path(out).write_text(json.dumps(rows, indent=1))
    sys.exit(any("error" in row for row in rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
