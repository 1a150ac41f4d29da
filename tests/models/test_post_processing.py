"""Score thresholds of each class, and boxes that are not finite."""

from __future__ import annotations

import logging

import pytest
import torch

from pcdet.models.model_utils.post_processing import PostProcessor

BOXES = torch.tensor([[10.0 * k, 0, 0, 1, 1, 1, 0] for k in range(4)])
# Probabilities 0.5, 0.73, 0.88, 0.95, of the classes 1, 2, 1, 2.
LOGITS = torch.tensor([[0.0, -9], [-9, 1], [2, -9], [-9, 3]])


@pytest.mark.parametrize("multi_classes_nms", [False, True])
@pytest.mark.parametrize(
    ("thresholds", "kept"), [(0.6, [1, 2, 3]), ([0.6, 0.9], [2, 3]), ([0.9, 0.6], [1, 3])]
)
def test_a_threshold_for_each_class(multi_classes_nms, thresholds, kept):
    found = PostProcessor(score_thresh=thresholds, multi_classes_nms=multi_classes_nms)(
        LOGITS, BOXES.__getitem__
    )
    assert sorted((found["boxes"][:, 0] / 10).int().tolist()) == kept


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
