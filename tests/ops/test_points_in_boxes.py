"""Points in boxes: worked by hand, against reference.py and PCDet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from op_inputs import nasty_boxes, points_about_boxes, random_boxes

from pcdet.ops.roiaware_pool3d import reference as plain
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils as ops

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@dtypes
def test_strict_across_and_along_closed_in_height(dtype, device):
    # At this turn the length lies along x, and the box's own frame needs no turning: no rounding.
    box = torch.tensor([[1.0, 2.0, 3.0, 2.0, 4.0, 1.0, -math.pi / 2]], dtype=dtype, device=device)
    inside = [(1, 2, 3), (1, 2, 4), (1, 2, 3.5), (2.99, 2, 3.5), (-0.99, 2.99, 3.2), (1, 1.01, 3.5)]
    outside = [(1, 2, 4.001), (1, 2, 2.999), (3.01, 2, 3.5), (1, 3.01, 3.5), (1, 3.5, 3.5)]
    faces = [(3, 2, 3.5), (-1, 2, 3.5), (1, 3, 3.5), (1, 1, 3.5)]
    points = torch.tensor([*inside, *outside, *faces], dtype=dtype, device=device)
    result = ops.points_in_boxes_cpu(points, box)
    assert result.dtype == torch.int32
    assert result[0, : len(inside)].tolist() == [1] * len(inside)
    assert result[0, len(inside) :].tolist() == [0] * (len(outside) + len(faces))


def test_positive_turn_is_clockwise(device):
    box = torch.tensor([[0, 0, 0, 0.2, 10, 2, math.pi / 6]], device=device)
    x, y = 4 * math.sin(math.pi / 6), 4 * math.cos(math.pi / 6)
    points = torch.tensor([[x, y, 1], [-x, -y, 1], [-x, y, 1], [x, -y, 1]], device=device)
    assert ops.points_in_boxes_cpu(points, box).tolist() == [[1, 1, 0, 0]]


def test_first_box_wins_and_padding_holds_nothing(device):
    box, larger = [0, 0, 0, 2, 2, 2, 0.3], [0, 0, 0, 4, 4, 4, 0.3]
    boxes = torch.tensor([[box, larger, [0.0] * 7], [larger, box, [0.0] * 7]], device=device)
    points = torch.tensor([[0.1, 0.1, 1], [0.1, 1.5, 1], [0, 0, 0], [9, 9, 9]], device=device)
    result = ops.points_in_boxes_gpu(torch.stack((points, points)), boxes)
    assert result.dtype == torch.int32
    assert result.tolist() == [[0, 1, 0, -1], [0, 0, 0, -1]]
    empty = torch.zeros((1, 4, 7), device=device)
    assert ops.points_in_boxes_gpu(points[None], empty).tolist() == [[-1] * 4]


@dtypes
def test_random_points_equal_the_reference(dtype, device):
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 50)
    points = torch.from_numpy(points_about_boxes(rng, boxes, 60)).to(dtype)  # 3000: several blocks
    boxes = torch.from_numpy(boxes).to(dtype)
    result = ops.points_in_boxes_cpu(points.to(device), boxes.to(device)).cpu()
    expected = plain.points_in_boxes_cpu(points, boxes)
    # On a face the last bit of a sine decides.
    assert (result != expected).double().mean() < (1e-3 if dtype == torch.float32 else 1e-4)
    assert result.sum() > 3000
    frames, boxes = points.reshape(5, 600, 3), boxes.reshape(5, 10, 7)
    found = ops.points_in_boxes_gpu(frames.to(device), boxes.to(device)).cpu()
    expected = plain.points_in_boxes_gpu(frames, boxes)
    assert (found != expected).double().mean() < 1e-2


@dtypes
def test_the_two_functions_agree(dtype, device):
    rng = np.random.default_rng(1)
    points = torch.from_numpy(points_about_boxes(rng, random_boxes(rng, 20), 100))
    points = points.to(device, dtype)
    boxes = torch.from_numpy(nasty_boxes(rng, 80)).to(device, dtype)
    inside = ops.points_in_boxes_cpu(points, boxes)
    first = torch.where(inside.any(dim=0), inside.argmax(dim=0), -1)
    assert torch.equal(ops.points_in_boxes_gpu(points[None], boxes[None])[0], first.int())


def test_counts_of_pcdet(reference, kitti_mini, device):
    numbers = reference("box_utils.npz")
    frame = kitti_mini / "training/velodyne" / f"{numbers['pts_frame']}.bin"
    points = torch.from_numpy(np.fromfile(frame, dtype=np.float32).reshape(-1, 4))[:, :3]
    boxes = torch.from_numpy(numbers["ptboxes"])
    inside = ops.points_in_boxes_cpu(points.to(device), boxes.to(device)).cpu().numpy()
    assert inside.sum(axis=1).tolist() == numbers["points_in_boxes_cpu_count"].tolist()
    indices = (inside * np.arange(len(points))).sum(axis=1)
    assert indices.tolist() == numbers["points_in_boxes_cpu_idxsum"].tolist()
    edge_points, edge_box = (torch.from_numpy(numbers[name]) for name in ("edge_pts", "edge_box"))
    result = ops.points_in_boxes_cpu(edge_points.to(device), edge_box.to(device))
    assert result.tolist() == numbers["edge_points_in_boxes"].tolist()


def test_empty_input(device):
    points, boxes = torch.ones((4, 3), device=device), torch.ones((2, 7), device=device)
    assert ops.points_in_boxes_cpu(points[:0], boxes).shape == (2, 0)
    assert ops.points_in_boxes_cpu(points, boxes[:0]).shape == (0, 4)
    assert ops.points_in_boxes_gpu(points[None], boxes[None, :0]).tolist() == [[-1] * 4]
    assert ops.points_in_boxes_gpu(points[None, :0], boxes[None]).shape == (1, 0)
    assert ops.points_in_boxes_gpu(points[None][:0], boxes[None][:0]).shape == (0, 4)


def test_rows_need_not_be_contiguous(device):
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 10)
    with_intensity = torch.from_numpy(np.pad(points_about_boxes(rng, boxes, 30), ((0, 0), (0, 1))))
    with_intensity, boxes = with_intensity.to(device), torch.from_numpy(boxes).to(device)
    points, contiguous = with_intensity[:, :3], with_intensity[:, :3].contiguous()
    columns_first = boxes.T.contiguous().T
    expected = ops.points_in_boxes_cpu(contiguous, boxes)
    assert torch.equal(ops.points_in_boxes_cpu(points, columns_first), expected)
    expected = ops.points_in_boxes_gpu(contiguous[None], boxes[None])
    assert torch.equal(ops.points_in_boxes_gpu(points[None], columns_first[None]), expected)


@pytest.mark.parametrize(
    ("function", "points", "boxes", "message"),
    [
        ("cpu", (5, 4), (2, 7), r"points .* last of size 3, got shape \[5, 4\]"),
        ("cpu", (5, 3), (2, 8), r"boxes .* last of size 7, got shape \[2, 8\]"),
        ("cpu", (1, 5, 3), (2, 7), "points must have 2 dimensions"),
        ("gpu", (5, 3), (2, 7), "points must have 3 dimensions"),
        ("gpu", (2, 5, 3), (3, 2, 7), "boxes must have as many frames as points, 2, got 3"),
    ],
)
def test_shapes_that_do_not_fit(function, points, boxes, message):
    with pytest.raises(RuntimeError, match=message):
        getattr(ops, f"points_in_boxes_{function}")(torch.ones(points), torch.ones(boxes))


@pytest.mark.parametrize("points_dtype", [torch.float32, torch.float64])
def test_the_points_decide_about_the_type(points_dtype, device):
    """Infos hold float64 boxes, scans float32 points."""
    rng = np.random.default_rng(3)
    boxes = torch.from_numpy(random_boxes(rng, 20)).to(device)
    points = torch.from_numpy(points_about_boxes(rng, boxes.cpu().numpy(), 50))
    points = points.to(device, points_dtype)
    other = boxes if points_dtype == torch.float32 else boxes.float()
    expected = ops.points_in_boxes_cpu(points, other.to(points_dtype))
    assert torch.equal(ops.points_in_boxes_cpu(points, other), expected)
    expected = ops.points_in_boxes_gpu(points[None], other.to(points_dtype)[None])
    assert torch.equal(ops.points_in_boxes_gpu(points[None], other[None]), expected)


def test_dtypes_that_do_not_fit():
    with pytest.raises(RuntimeError, match="boxes must be float32 or float64, got Long"):
        ops.points_in_boxes_cpu(torch.ones(5, 3), torch.ones(2, 7).long())
    with pytest.raises(RuntimeError, match="boxes must be float32 or float64, got Long"):
        ops.points_in_boxes_gpu(torch.ones(1, 5, 3), torch.ones(1, 2, 7).long())
    with pytest.raises(RuntimeError, match="points must be float32 or float64, got Long"):
        ops.points_in_boxes_cpu(torch.ones(5, 3).long(), torch.ones(2, 7))
