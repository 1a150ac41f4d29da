"""Non-maximum suppression: worked by hand, against the plain definition and PCDet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from op_inputs import nasty_boxes, random_boxes, to_bev

from pcdet.ops.iou3d_nms import iou3d_nms_utils as ops
from pcdet.ops.iou3d_nms.reference import greedy_keep

both = pytest.mark.parametrize("function", [ops.nms_gpu, ops.nms_normal_gpu])


def plain_keep(function, boxes: torch.Tensor, scores: torch.Tensor, thresh: float) -> list[int]:
    """What the definition keeps, from the IoU of all pairs, the better box first in each.

    Which box comes first matters for the last bit of an IoU.
    """
    if function is ops.nms_normal_gpu:
        boxes = boxes.clone()
        boxes[:, 4] = 0
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order]
    kept = greedy_keep(ops.boxes_iou_bev(ranked, ranked).numpy(), -np.arange(len(order)), thresh)
    return order[kept].tolist()


def test_worked_by_hand(device):
    boxes = torch.tensor(
        [
            [0.0, 0.0, 2.0, 2.0, 0.0],
            [1.0, 0.0, 3.0, 2.0, 0.0],  # 1/3 with the first
            [0.5, 0.0, 2.5, 2.0, 0.0],  # 3/5 with both
            [9.0, 9.0, 10.0, 10.0, 0.0],
        ],
        device=device,
    )
    scores = torch.tensor([0.7, 0.9, 0.8, 0.1], device=device)
    for function in (ops.nms_gpu, ops.nms_normal_gpu):
        assert function(boxes, scores, 0.2).tolist() == [1, 3]
        assert function(boxes, scores, 0.5).tolist() == [1, 0, 3]
        assert function(boxes, scores, 0.7).tolist() == [1, 2, 0, 3]
        assert function(boxes, scores, 0.5).dtype == torch.int64
        assert function(boxes, scores, 0.5).device == boxes.device


def test_a_suppressed_box_suppresses_nothing():
    chain = torch.tensor([[k / 2, 0.0, k / 2 + 1, 1.0, 0.0] for k in range(5)])
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    assert ops.nms_gpu(chain, scores, 0.3).tolist() == [0, 2, 4]


def test_turn_counts_only_for_rotated_boxes():
    cross = torch.tensor([[-5.0, -0.5, 5.0, 0.5, 0.0], [-5.0, -0.5, 5.0, 0.5, np.pi / 2]])
    scores = torch.tensor([1.0, 2.0])
    assert ops.nms_gpu(cross, scores, 0.5).tolist() == [1, 0]
    assert ops.nms_normal_gpu(cross, scores, 0.5).tolist() == [1]


@both
def test_equal_scores_keep_the_lower_index(function, device):
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]] * 40, device=device)
    boxes[20:, :4] += 5
    scores = torch.ones(40, device=device)
    assert function(boxes, scores, 0.5).tolist() == [0, 20]
    assert function(boxes, scores, 1.0).tolist() == list(range(40))


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("thresh", [0.0, 0.01, 0.3, 0.5, 0.7, 0.95])
def test_equals_the_definition(function, dtype, thresh, device):
    rng = np.random.default_rng(0)
    # Crowded, sparse, huge among small, all at one place, far apart, and special numbers.
    sets = [random_boxes(rng, 400, spread=spread) for spread in (3, 30, 3000)]
    sets.append(np.concatenate((random_boxes(rng, 300, spread=60), [[30, 30, 0, 90, 70, 1, 0.3]])))
    sets.append(np.repeat(random_boxes(rng, 20), 15, axis=0))
    sets.append(random_boxes(rng, 200) * [1e12, -1e12, 1, 1, 1, 1, 1])
    sets.append(nasty_boxes(rng, 400))
    for boxes in sets:
        bev = torch.from_numpy(to_bev(boxes)).to(dtype)
        scores = torch.from_numpy(rng.integers(0, 100, len(bev)) / 100).to(dtype)
        kept = function(bev.to(device), scores.to(device), thresh).tolist()
        assert kept == plain_keep(function, bev, scores, thresh)


@pytest.mark.parametrize("thresh", [0.01, 0.1, 0.3, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_as_pcdet(reference, thresh, dtype, device):
    numbers = reference("box_utils.npz")
    boxes = torch.from_numpy(to_bev(numbers["nms/boxes"].astype(np.float64))).to(device, dtype)
    scores = torch.from_numpy(numbers["nms/scores"]).to(device)
    assert ops.nms_gpu(boxes, scores, thresh).tolist() == numbers[f"nms/keep_f64_{thresh}"].tolist()
    normal = ops.nms_normal_gpu(boxes, scores, thresh)
    assert normal.tolist() == numbers[f"nms/keep_normal_{thresh}"].tolist()


@both
def test_few_boxes(function, device):
    none = function(torch.zeros((0, 5), device=device), torch.zeros(0, device=device), 0.5)
    assert none.shape == (0,)
    assert none.dtype == torch.int64
    one = function(torch.ones((1, 5), device=device), torch.zeros(1, device=device), 0.5)
    assert one.tolist() == [0]


@both
def test_rows_need_not_be_contiguous(function):
    rng = np.random.default_rng(1)
    boxes = torch.from_numpy(to_bev(random_boxes(rng, 100)))
    scores = torch.from_numpy(rng.random((100, 3)))
    view = boxes.T.contiguous().T
    expected = function(boxes, scores[:, 1].contiguous(), 0.2)
    assert torch.equal(function(view, scores[:, 1], 0.2), expected)


@both
@pytest.mark.parametrize(
    ("boxes", "scores", "thresh", "message"),
    [
        (torch.ones(2, 7), torch.ones(2), 0.1, r"boxes .* last of size 5, got shape \[2, 7\]"),
        (torch.ones(2, 5), torch.ones(3), 0.1, r"scores must have shape \(2,\).*got \[3\]"),
        (torch.ones(2, 5), torch.ones(2, 1), 0.1, r"scores must have shape \(2,\).*got \[2, 1\]"),
        (torch.ones(2, 5).int(), torch.ones(2), 0.1, "boxes must be float32 or float64, got Int"),
        (torch.ones(2, 5), torch.ones(2), -0.5, "thresh must be an IoU of 0 or more, got -0.5"),
        (torch.ones(2, 5), torch.ones(2), float("nan"), "thresh must be .*, got nan"),
    ],
)
def test_arguments_that_do_not_fit(function, boxes, scores, thresh, message):
    with pytest.raises(RuntimeError, match=message):
        function(boxes, scores, thresh)
