"""Overlap and IoU of rotated boxes: worked by hand, against reference.py, shapely and PCDet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_inputs import changed, nasty_boxes, random_boxes, shifted, to_bev

from pcdet.ops.iou3d_nms import iou3d_nms_utils as ops
from pcdet.ops.iou3d_nms import reference as plain

UNIT = [-0.5, -0.5, 0.5, 0.5, 0.0]
BEV_FUNCTIONS = (ops.boxes_overlap_bev, ops.boxes_iou_bev)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two LiDAR boxes seen from above."""
    pair = torch.from_numpy(to_bev(np.stack((a, b))))
    return ops.boxes_overlap_bev(pair[:1], pair[1:]).item()


def shapely_overlap(a: np.ndarray, b: np.ndarray) -> float:
    outlines = [shapely.Polygon(plain.bev_corners(box)) for box in to_bev(np.stack((a, b)))]
    return outlines[0].intersection(outlines[1]).area


@dtypes
@pytest.mark.parametrize(
    ("other", "area"),
    [
        (UNIT, 1.0),
        ([-0.5, -0.5, 0.5, 0.5, math.pi / 4], 2 * math.sqrt(2) - 2),  # a regular octagon
        ([0.0, 0.0, 1.0, 1.0, 0.0], 0.25),
        ([-0.25, -0.25, 0.25, 0.25, 1.0], 0.25),  # inside
        ([-2.0, -2.0, 2.0, 2.0, 0.4], 1.0),  # around
        ([-0.1, -3.0, 0.1, 3.0, 0.0], 0.2),  # a cross
        ([0.5, -0.5, 1.5, 0.5, 0.0], 0.0),  # a common edge
        ([0.5, 0.5, 1.5, 1.5, 0.0], 0.0),  # a common corner
        ([0.0, 0.0, 0.0, 0.0, 0.3], 0.0),  # a point
        ([0.0, -1.0, 0.0, 1.0, 0.3], 0.0),  # a line
    ],
)
def test_overlap_worked_by_hand(other, area, dtype, device):
    a, b = (torch.tensor([box], dtype=dtype, device=device) for box in (UNIT, other))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    union = 1 + (other[2] - other[0]) * (other[3] - other[1]) - area
    assert ops.boxes_overlap_bev(a, b).item() == pytest.approx(area, abs=tolerance)
    assert ops.boxes_overlap_bev(b, a).item() == pytest.approx(area, abs=tolerance)
    assert ops.boxes_iou_bev(a, b).item() == pytest.approx(area / union, abs=tolerance)


def test_positive_turn_is_clockwise():
    # Turned clockwise by 30 degrees, the length (along y) points to (sin 30, cos 30).
    box = torch.tensor([[-0.1, -5.0, 0.1, 5.0, math.pi / 6]], dtype=torch.float64)
    x, y = 4 * math.sin(math.pi / 6), 4 * math.cos(math.pi / 6)
    here = torch.tensor([[x - 0.01, y - 0.01, x + 0.01, y + 0.01, 0.0]], dtype=torch.float64)
    mirrored = torch.tensor([[-x - 0.01, y - 0.01, -x + 0.01, y + 0.01, 0.0]], dtype=torch.float64)
    assert ops.boxes_overlap_bev(box, here).item() == pytest.approx(4e-4, abs=1e-12)
    assert ops.boxes_overlap_bev(box, mirrored).item() == 0


@dtypes
def test_iou3d_worked_by_hand(dtype, device):
    box = [0.0, 0.0, -1.0, 2.0, 4.0, 1.5, 0.7]
    others = [
        box,
        [0.0, 0.0, -0.25, 2.0, 4.0, 1.5, 0.7],  # half as high above: 6 of 12 + 12 - 6
        [0.0, 0.0, 0.5, 2.0, 4.0, 1.5, 0.7],  # stands on top of it
        [0.0, 0.0, 9.0, 2.0, 4.0, 1.5, 0.7],
        [0.0, 0.0, -0.75, 1.0, 2.0, 1.0, 0.7],  # inside: 2 of 12
        [0.0, 0.0, -1.0, 2.0, 4.0, 0.0, 0.7],  # no height
    ]
    expected = torch.tensor([[1, 1 / 3, 0, 0, 1 / 6, 0]], dtype=dtype)
    boxes = torch.tensor(others, dtype=dtype, device=device)
    iou = ops.boxes_iou3d_gpu(boxes[:1], boxes)
    torch.testing.assert_close(iou.cpu(), expected, rtol=0, atol=1e-6)


def test_special_pairs_in_double():
    rng = np.random.default_rng(0)
    for box in random_boxes(rng, 200):
        area = box[3] * box[4]
        assert overlap(box, box) == pytest.approx(area, rel=1e-12)
        assert overlap(box, changed(box, rz=box[6] + np.pi)) == pytest.approx(area, rel=1e-12)
        for across, along in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)):
            assert overlap(box, shifted(box, across, along)) == pytest.approx(0, abs=1e-12)
        assert overlap(box, shifted(box, 0.5, 0.0)) == pytest.approx(area / 2, rel=1e-12)
        inner = changed(box, w=box[3] / 2, l=box[4] / 2)
        assert overlap(box, inner) == pytest.approx(area / 4, rel=1e-12)
        turned = changed(box, w=box[4], l=box[3], rz=box[6] + np.pi / 2)
        assert overlap(box, turned) == pytest.approx(area, rel=1e-12)
        for empty in ({"w": 0.0}, {"l": 0.0}, {"w": 0.0, "l": 0.0}, {"w": -1.0}):
            assert overlap(box, changed(box, **empty)) == 0


def test_not_finite_overlaps_nothing(device):
    box = random_boxes(np.random.default_rng(0), 1)[0]
    bad = [changed(box, **{name: value}) for name in "xywl" for value in (np.nan, np.inf, -np.inf)]
    bad += [changed(box, rz=np.nan), changed(box, rz=np.inf)]
    bev = torch.from_numpy(to_bev(np.stack([box, *bad]))).to(device)
    assert (ops.boxes_iou_bev(bev, bev)[1:] == 0).all()
    assert (ops.boxes_iou_bev(bev, bev)[:, 1:] == 0).all()


@pytest.mark.parametrize("function", ["boxes_overlap_bev", "boxes_iou_bev", "boxes_iou3d_gpu"])
@dtypes
def test_random_boxes_equal_the_reference(function, dtype, device):
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 40, spread=8), random_boxes(rng, 30, spread=8)
    if function != "boxes_iou3d_gpu":
        a, b = to_bev(a), to_bev(b)
    expected = getattr(plain, function)(a, b)
    assert (expected > 0).sum() > 100
    inputs = (torch.from_numpy(boxes).to(device, dtype) for boxes in (a, b))
    result = getattr(ops, function)(*inputs)
    assert result.dtype == dtype
    tolerance = 1e-9 if dtype == torch.float64 else 2e-5
    np.testing.assert_allclose(result.cpu().numpy(), expected, rtol=0, atol=tolerance)


coordinate = st.floats(-6, 6)
size = st.floats(0.01, 8)
# Round numbers make parallel, touching and nested boxes likely.
angle = st.one_of(st.floats(-10, 10), st.integers(-8, 8).map(lambda k: k * math.pi / 4))
boxes = st.tuples(coordinate, coordinate, st.just(0.0), size, size, st.just(1.0), angle)
round_boxes = st.tuples(
    *(st.integers(-4, 4),) * 2, st.just(0), *(st.integers(1, 6),) * 2, st.just(1), angle
)


@given(st.one_of(boxes, round_boxes), st.one_of(boxes, round_boxes))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_overlap_equals_shapely(a, b):
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    expected = shapely_overlap(a, b)
    assert overlap(a, b) == pytest.approx(expected, abs=1e-9)
    assert overlap(b, a) == pytest.approx(expected, abs=1e-9)


@dtypes
def test_iou_is_within_bounds_and_symmetric(dtype):
    boxes = torch.from_numpy(to_bev(nasty_boxes(np.random.default_rng(2), 600))).to(dtype)
    iou = ops.boxes_iou_bev(boxes, boxes)
    assert (iou >= 0).all()
    assert (iou <= 1 + 1e-6).all()
    torch.testing.assert_close(iou, iou.T, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)


def test_far_from_the_origin():
    near = random_boxes(np.random.default_rng(3), 60)
    expected = ops.boxes_iou3d_gpu(*[torch.from_numpy(near)] * 2)
    for offset, dtype, tolerance in ((1e6, torch.float64, 1e-9), (2048.0, torch.float32, 1e-3)):
        far = torch.from_numpy(near + np.array([offset, -offset, 0, 0, 0, 0, 0])).to(dtype)
        iou = ops.boxes_iou3d_gpu(far, far).double()
        torch.testing.assert_close(iou, expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(iou.diagonal(), torch.ones(60).double(), rtol=0, atol=1e-6)


@dtypes
def test_numbers_of_pcdet(reference, dtype):
    numbers = reference("box_utils.npz")
    a, b = (numbers[name].astype(np.float64) for name in ("boxes_a", "boxes_b"))
    bev_a, bev_b = (torch.from_numpy(to_bev(boxes)).to(dtype) for boxes in (a, b))
    a, b = (torch.from_numpy(boxes).to(dtype) for boxes in (a, b))
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    for result, name in (
        (ops.boxes_overlap_bev(bev_a, bev_b).diagonal(), "bev_overlap"),
        (ops.boxes_iou_bev(bev_a, bev_b).diagonal(), "bev_iou"),
        (ops.boxes_iou3d_gpu(a, b).diagonal(), "iou3d"),
    ):
        np.testing.assert_allclose(result.numpy(), numbers[name], rtol=1e-5, atol=tolerance)


def test_empty_input(device):
    none, some = torch.zeros((0, 5), device=device), torch.ones((3, 5), device=device)
    for function in (ops.boxes_overlap_bev, ops.boxes_iou_bev):
        assert function(none, some).shape == (0, 3)
        assert function(some, none).shape == (3, 0)
        assert function(none, none).shape == (0, 0)
    assert ops.boxes_iou3d_gpu(torch.zeros((0, 7)), torch.ones((3, 7))).shape == (0, 3)


def test_rows_need_not_be_contiguous(device):
    boxes = torch.from_numpy(to_bev(random_boxes(np.random.default_rng(4), 20))).to(device)
    columns_first = boxes.T.contiguous().T
    every_other = torch.stack((boxes, boxes), dim=1).flatten(0, 1)[::2]
    for function in BEV_FUNCTIONS:
        for view in (columns_first, every_other):
            assert torch.equal(function(view, view), function(boxes, boxes))


def test_arguments_are_not_changed_and_give_no_gradient():
    boxes = torch.from_numpy(to_bev(random_boxes(np.random.default_rng(5), 5)))
    before = boxes.clone()
    boxes.requires_grad_()
    assert not ops.boxes_iou_bev(boxes, boxes).requires_grad
    assert torch.equal(boxes, before)


@pytest.mark.parametrize("function", BEV_FUNCTIONS)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(2, 7), torch.ones(2, 5), r"boxes_a .* last of size 5, got shape \[2, 7\]"),
        (torch.ones(2, 5), torch.ones(5), r"boxes_b must have 2 dimensions.*got shape \[5\]"),
        (torch.ones(2, 5), torch.ones(2, 5).double(), "boxes_b must have the dtype of boxes_a"),
        (torch.ones(2, 5).half(), torch.ones(2, 5), "boxes_a must be float32 or float64, got Half"),
        (torch.ones(2, 5), torch.ones(2, 5).int(), "boxes_b must be float32 or float64, got Int"),
    ],
)
def test_arguments_that_do_not_fit(function, a, b, message):
    with pytest.raises(RuntimeError, match=message):
        function(a, b)


def test_volumes_need_whole_boxes():
    with pytest.raises(RuntimeError, match=r"boxes_a .* last of size 7"):
        ops.boxes_iou3d_gpu(torch.ones(2, 5), torch.ones(2, 7))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_must_be_alike():
    with pytest.raises(RuntimeError, match="boxes_b must be on the device of boxes_a"):
        ops.boxes_iou_bev(torch.ones(2, 5).cuda(), torch.ones(2, 5))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@dtypes
def test_cuda_equals_cpu(dtype):
    rng = np.random.default_rng(6)
    a, b = (torch.from_numpy(nasty_boxes(rng, n)).to(dtype) for n in (3000, 700))
    bev = [torch.from_numpy(to_bev(boxes.double().numpy())).to(dtype) for boxes in (a, b)]
    tolerance = {"rtol": 1e-5, "atol": 1e-4 if dtype == torch.float32 else 1e-9}
    for function, pair in ((ops.boxes_iou_bev, bev), (ops.boxes_iou3d_gpu, (a, b))):
        on_cuda = function(*(boxes.cuda() for boxes in pair))
        torch.testing.assert_close(on_cuda.cpu(), function(*pair), **tolerance)
