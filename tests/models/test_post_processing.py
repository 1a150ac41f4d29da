"""Score thresholds of each class, box voting, and boxes that are not finite."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from pcdet.models.model_utils.post_processing import PostProcessor

BOXES = torch.tensor([[10.0 * k, 0, 0, 1, 1, 1, 0] for k in range(4)])
# Probabilities 0.5, 0.73, 0.88, 0.95, of the classes 1, 2, 1, 2.
LOGITS = torch.tensor([[0.0, -9], [-9, 1], [2, -9], [-9, 3]])


@pytest.mark.parametrize("multi_classes_nms", [False, True])
@pytest.mark.parametrize(
    ("thresholds", "kept"),
    [
        (0.6, [1, 2, 3]),
        (np.float32(0.6), [1, 2, 3]),
        ([0.6, 0.9], [2, 3]),
        ([0.9, 0.6], [1, 3]),
    ],
)
def test_a_threshold_for_each_class(multi_classes_nms, thresholds, kept):
    found = PostProcessor(score_thresh=thresholds, multi_classes_nms=multi_classes_nms)(
        LOGITS, BOXES.__getitem__
    )
    assert (found["boxes"][:, 0] / 10).int().tolist() == kept[::-1]  # the best first
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_box_voting_by_hand():
    """Squares of side 2: the kept one, one moved by 0.5 and turned around, and what is left out."""
    boxes = torch.tensor([[0.0, 0, -1, 2, 2, 1, 0.0]]).repeat(5, 1)
    boxes[1] = torch.tensor([0.5, 0, -1.2, 2, 2, 1.4, torch.pi])
    boxes[2, 0] = 0.9  # IoU 1.1 / 2.9, below 0.5
    boxes[3, 2] = 7.0  # of another class
    boxes[4] = torch.tensor([30.0, 0, 0, 0, 0, 1, 0])  # without area, alone
    logits = torch.tensor([[2.0, -9], [1, -9], [0, -9], [-9, 1], [-9, 1.5]])
    found = PostProcessor(score_thresh=0.1, box_voting=0.5)(logits, boxes.__getitem__)
    score = torch.sigmoid(logits[:2, 0])
    weight = (score[1] / score[0] * (1.5 / 2.5)) ** 2
    share = weight / (1 + weight)
    expected = boxes[[0, 4]]
    expected[0, :6] += share * (boxes[1, :6] - boxes[0, :6])
    torch.testing.assert_close(found["boxes"], expected)
    assert found["labels"].tolist() == [1, 2] and found["scores"].tolist() == [2.0, 1.5]
    # Alone is the box's own, whatever the others are.
    torch.testing.assert_close(
        PostProcessor(score_thresh=0.1, box_voting=1.0)(logits, boxes.__getitem__)["boxes"],
        boxes[[0, 4]],
    )
    plain = PostProcessor(score_thresh=0.1)(logits, boxes.__getitem__)
    assert plain["boxes"].tolist() == boxes[[0, 4]].tolist()
    none = PostProcessor(score_thresh=0.99, box_voting=0.5)(logits, boxes.__getitem__)
    assert none["boxes"].shape == (0, 7)


def test_box_voting_among_scores_that_are_far_apart():
    boxes = torch.tensor([[0.0, 0, 0, 2, 2, 1, 0], [9, 0, 0, 2, 2, 1, 0]])
    processor = PostProcessor(score_thresh=0.0, box_voting=0.5)
    found = processor(torch.tensor([[1.0], [-1e4]]), boxes.__getitem__)
    assert found["boxes"].tolist() == boxes.tolist()


def test_box_voting_turns_by_the_smaller_angle():
    boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1, 3.1], [0, 0, 0, 2, 4, 1, -3.1]])
    found = PostProcessor(box_voting=0.5)(torch.tensor([[3.0], [2.999]]), boxes.__getitem__)
    assert found["boxes"][0, 6].item() == pytest.approx(torch.pi, abs=0.01)


def test_box_voting_turns_round_what_most_of_the_weight_has_the_other_way():
    boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1, angle] for angle in (0.5, 0.5 + torch.pi, -2.64159)])
    for logits, front in (([3.0, 2.9, 2.8], 0.5 + torch.pi), ([3.0, 0.5, 0.4], 0.5)):
        found = PostProcessor(box_voting=0.5)(torch.tensor(logits)[:, None], boxes.__getitem__)
        turn = found["boxes"][0, 6] - front
        assert abs(float(torch.sin(turn))) < 1e-4 and torch.cos(turn) > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite_are_dropped_and_counted(bad, caplog):
    boxes = BOXES.clone()
    boxes[3, 4], boxes[1, 0] = bad, bad
    processor = PostProcessor(score_thresh=0.1)
    with caplog.at_level(logging.WARNING):
        found = processor(LOGITS, boxes.__getitem__)
        processor(LOGITS, boxes.__getitem__)
    assert found["boxes"][:, 0].tolist() == [20, 0]
    assert found["labels"].tolist() == [1, 1]
    assert processor.num_non_finite == 4
    assert caplog.text.count("dropped 2 boxes that hold NaN or infinity") == 1


def test_scores_that_are_no_number_are_dropped_and_counted(caplog):
    logits = LOGITS.clone()
    logits[2] = float("nan")
    processor = PostProcessor(score_thresh=0.1)
    with caplog.at_level(logging.WARNING):
        found = processor(logits, BOXES.__getitem__)
    assert 20 not in found["boxes"][:, 0].tolist() and processor.num_non_finite == 1
    assert caplog.text.count("dropped 1 boxes that hold NaN or infinity") == 1
