"""Runs each operator's CPU and CUDA implementations on CPU tensors and reports where they differ.

A program of its own: test_cuda_on_cpu.py starts it under AddressSanitizer. The operators come from
libraries in which the CUDA kernels run on the CPU (cuda_runtime.h in this folder). Prints a JSON
object of case -> largest difference (0 where all numbers and NaN are the same).

    compare_devices.py LIBRARY...           compare
    compare_devices.py --broken LIBRARY...  hand a kernel an index out of range
    compare_devices.py --failing LIBRARY... report the errors of launches that all fail
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from op_inputs import nasty_boxes, points_about_boxes, random_boxes, to_bev

CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
DTYPES = {"float32": torch.float32, "float64": torch.float64}
differences: dict[str, float] = {}


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest absolute difference; infinite if the shapes or the places of NaN differ."""
    if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a.isnan(), b.isnan()):
        return float("inf")
    gaps = (a.double().nan_to_num() - b.double().nan_to_num()).abs()
    return gaps.max().item() if gaps.numel() else 0.0


def compare(case: str, operator, *arguments, finish=lambda result: result):
    """Record the difference of an operator's two implementations; returns the CPU's answer.

    `finish` clears what an operator leaves undefined in its answer.
    """
    on_cpu = finish(operator(*arguments))
    on_cuda = finish(operator.default.redispatch(CUDA, *arguments))
    pairs = zip(on_cpu, on_cuda) if isinstance(on_cpu, tuple) else [(on_cpu, on_cuda)]
    largest = max(difference(a, b) for a, b in pairs)
    differences[case] = max(largest, differences.get(case, 0.0))
    return on_cpu


def compare_overlaps(rng: np.random.Generator, name: str, dtype: torch.dtype) -> None:
    operators = torch.ops.pcdet_iou3d_nms
    for rows, columns in ((2000, 400), (1, 3), (0, 5), (5, 0)):
        a, b = nasty_boxes(rng, rows), nasty_boxes(rng, columns)
        boxes_a, boxes_b = torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)
        bev_a, bev_b = torch.tensor(to_bev(a), dtype=dtype), torch.tensor(to_bev(b), dtype=dtype)
        compare(f"overlap_bev {name}", operators.overlap_bev, bev_a, bev_b)
        compare(f"iou_bev {name}", operators.iou_bev, bev_a, bev_b)
        compare(f"iou3d {name}", operators.iou3d, boxes_a, boxes_b)


def compare_nms(rng: np.random.Generator, name: str, dtype: torch.dtype) -> None:
    for count in (0, 1, 63, 64, 65, 700):
        for boxes in (nasty_boxes(rng, count), random_boxes(rng, count, spread=30)):
            bev = torch.tensor(to_bev(boxes), dtype=dtype)
            scores = torch.tensor(rng.integers(0, 50, count) / 50, dtype=dtype)  # with equal ones
            for threshold in (0.0, 0.1, 0.7):
                for rotated in (True, False):
                    operator = torch.ops.pcdet_iou3d_nms.nms
                    compare(f"nms {name}", operator, bev, scores, threshold, rotated)


def compare_points(rng: np.random.Generator, name: str, dtype: torch.dtype) -> None:
    operators = torch.ops.pcdet_roiaware_pool3d
    for frames, count, each in ((2, 90, 40), (1, 1, 1), (2, 0, 7), (2, 7, 0), (0, 7, 7)):
        boxes = np.stack([nasty_boxes(rng, count) for _ in range(frames)] or [np.zeros((count, 7))])
        about = random_boxes(rng, 30)
        points = np.stack([points_about_boxes(rng, about, each)] * len(boxes))
        points, boxes = torch.tensor(points, dtype=dtype), torch.tensor(boxes, dtype=dtype)
        points, boxes = points[:frames], boxes[:frames]
        compare(f"first_box_of_point {name}", operators.first_box_of_point, points, boxes)
        if frames:
            compare(f"points_in_boxes {name}", operators.points_in_boxes, points[0], boxes[0])


def without_tails(lists: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The lists of list_points with zeros behind the end of each."""
    points, cells, kept, filled = lists
    used = torch.arange(points.shape[1]) < kept[:, None]
    return torch.where(used, points, 0), torch.where(used, cells, 0), kept, filled


def compare_pooling(rng: np.random.Generator, name: str, dtype: torch.dtype) -> None:
    operators = torch.ops.pcdet_roiaware_pool3d
    sizes = ((40, 60, [3, 4, 5], 4), (9, 30, [14, 14, 14], 128), (0, 5, [2, 2, 2], 2))
    for rois, each, grid, most in sizes:
        boxes = torch.tensor(nasty_boxes(rng, rois), dtype=dtype)
        about = boxes[boxes.isfinite().all(dim=1)].double().numpy()
        points = torch.tensor(points_about_boxes(rng, about, each), dtype=dtype)
        features = torch.tensor(rng.normal(size=(len(points), 3)), dtype=dtype)
        features[::50] = torch.nan
        arguments = (boxes, points, grid, most)
        listing = operators.list_points
        lists = compare(f"list_points {name}", listing, *arguments, finish=without_tails)
        _, argmax = compare(f"max_pool {name}", operators.max_pool, features, *lists)
        compare(f"average_pool {name}", operators.average_pool, features, *lists)
        grad = torch.tensor(rng.normal(size=argmax.shape), dtype=dtype)
        backward = operators.max_pool_backward
        compare(f"max_pool_backward {name}", backward, grad, argmax, *lists)
        backward = operators.average_pool_backward
        compare(f"average_pool_backward {name}", backward, grad, *lists)


def compare_three_nearest(rng: np.random.Generator, name: str, dtype: torch.dtype) -> None:
    operators = torch.ops.pcdet_three_nn
    for count, sites, frames in ((700, 500, 3), (50, 2, 1), (5, 0, 2), (0, 5, 2)):
        spread = rng.gamma(0.7, 8.0, (count + sites, 1))
        places = rng.normal(size=(count + sites, 3)) * spread
        places[::7] = places[::7].round()
        places[::50] = np.nan
        places[1::50] *= 1e30
        rows = torch.tensor(places, dtype=dtype)
        frame_of = torch.tensor(rng.integers(-1, frames + 1, count + sites))
        arguments = (rows[:count], rows[count:], frame_of[:count], frame_of[count:], frames)
        _, nearest = compare(f"three_nn {name}", operators.three_nn, *arguments)
        features = torch.tensor(rng.normal(size=(sites, 4)), dtype=dtype)
        weights = torch.tensor(rng.random((count, 3)), dtype=dtype)
        interpolation = operators.three_interpolate
        out = compare(f"three_interpolate {name}", interpolation, features, nearest, weights)
        backward = operators.three_interpolate_backward
        case = f"gradient of three_interpolate {name}"  # the same on both: no sum is shared
        compare(case, backward, torch.randn_like(out), nearest, weights, sites)


def read_out_of_range() -> None:
    """Hand a kernel a list with a cell that its RoI does not have."""
    ints = {"dtype": torch.int32}
    points, cells = torch.zeros((1, 1), **ints), torch.full((1, 1), 64, **ints)
    kept, filled = torch.ones(1, **ints), torch.ones((1, 8), **ints)
    pool = torch.ops.pcdet_roiaware_pool3d.max_pool.default
    pool.redispatch(CUDA, torch.ones(1, 1), points, cells, kept, filled)


def errors_of_launches() -> dict[str, str]:
    """What an operator of each kind raises: over items, over pairs, and one that takes both."""
    boxes, scores = torch.ones(2, 5), torch.ones(2)
    bev, pool = torch.ops.pcdet_iou3d_nms, torch.ops.pcdet_roiaware_pool3d
    calls = {
        "overlap_bev": (bev.overlap_bev, (boxes, boxes)),
        "nms": (bev.nms, (boxes, scores, 0.5, True)),
        "points_in_boxes": (pool.points_in_boxes, (torch.ones(4, 3), torch.ones(2, 7))),
    }
    errors = {}
    for name, (operator, call) in calls.items():
        try:
            operator.default.redispatch(CUDA, *call)
            errors[name] = "none"
        except RuntimeError as error:
            errors[name] = str(error)
    return errors


FAMILIES = (
    *(compare_overlaps, compare_nms, compare_points),
    *(compare_pooling, compare_three_nearest),
)


def main(arguments: list[str]) -> None:
    for library in arguments:
        if not library.startswith("--"):
            torch.ops.load_library(library)
    if "--broken" in arguments:
        return read_out_of_range()
    if "--failing" in arguments:
        sys.stdout.write(json.dumps(errors_of_launches()))
        return None
    rng = np.random.default_rng(0)
    for name, dtype in DTYPES.items():
        for family in FAMILIES:
            family(rng, name, dtype)
    sys.stdout.write(json.dumps(differences))
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
