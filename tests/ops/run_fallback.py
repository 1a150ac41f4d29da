"""Runs the native operators on the device `away`, which they have no code for here.

A program of its own, started by test_cpu_fallback.py. Prints a JSON object: case -> whether the
numbers and gradients are those of the CPU and lie on the device; and what was warned of.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import torch
from op_inputs import points_about_boxes, random_boxes, to_bev

from models.away_device import AWAY, NATIVE, AwayMode, AwayTensor
from pcdet.ops.iou3d_nms import iou3d_nms_utils as bev
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils as pool
from pcdet.ops.three_nn import three_nn_utils as three


def cases(place):
    """Name -> result, one for each operator, of the same numbers put to the device by `place`."""
    rng = np.random.default_rng(0)
    numbers = random_boxes(rng, 20)
    boxes, flat = place(torch.tensor(numbers)), place(torch.tensor(to_bev(numbers)))
    points = place(torch.tensor(points_about_boxes(rng, numbers, 30)))
    scores, values = place(torch.rand(20)), torch.rand(len(points), 3, dtype=torch.float64)
    found = {
        "overlap_bev": bev.boxes_overlap_bev(flat, flat),
        "iou_bev": bev.boxes_iou_bev(flat, flat),
        "iou3d": bev.boxes_iou3d_gpu(boxes, boxes),
        "nms": bev.nms_gpu(flat, scores, 0.1),
        "nms_normal": bev.nms_normal_gpu(flat, scores, 0.1),
        "points_in_boxes": pool.points_in_boxes_cpu(points, boxes),
        "first_box_of_point": pool.points_in_boxes_gpu(points[None], boxes[None]),
    }
    for method in ("max", "avg"):
        features = place(values.clone()).requires_grad_()
        found[method] = pool.roiaware_pool3d(boxes, points, features, 4, 8, method)
        found[method].square().sum().backward()
        found[f"{method} gradient"] = features.grad
    frames = (
        points.new_zeros(len(points), dtype=torch.long),
        boxes.new_zeros(20, dtype=torch.long),
    )
    distances, found["three_nn"] = three.three_nn(points, boxes[:, :3], *frames, 1)
    features = place(values[:20].clone()).requires_grad_()
    weights = three.inverse_distance_weights(distances)
    found["interpolated"] = three.three_interpolate(features, found["three_nn"], weights)
    found["interpolated"].square().sum().backward()
    found["interpolated gradient"] = features.grad
    return found


def main() -> None:
    for operators in NATIVE:
        operators.devices.remove("away")
    report = {}
    torch.manual_seed(0)
    expected = cases(lambda tensor: tensor)
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as warned, AwayMode():
        warnings.simplefilter("always")
        found = cases(lambda tensor: tensor.to(AWAY))
        boxes = torch.rand(2, 7)
        try:
            bev.boxes_iou3d_gpu(boxes.to(AWAY), boxes)
        except RuntimeError as error:
            report["strays"] = str(error)
    for name, value in found.items():
        away = isinstance(value, AwayTensor) and value.device == AWAY
        report[name] = away and torch.equal(value.home, expected[name])
    report["warnings"] = [[str(w.message), w.filename] for w in warned]
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
