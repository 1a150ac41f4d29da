"""Sampling and labelling of RoIs against the rules, written out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer, best_overlaps
from pcdet.ops.iou3d_nms import iou3d_nms_utils


def sampled_iou(layer: ProposalTargetLayer, iou: list[float], seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    values = torch.tensor(iou)
    return values[layer.sample(values)]


def test_shares_of_foreground_and_of_hard_and_easy_background():
    layer = ProposalTargetLayer(roi_per_image=40, fg_ratio=0.5, hard_bg_ratio=0.8)
    iou = [0.9, 0.6, 0.55] * 20 + [0.3, 0.54, 0.1] * 20 + [0.05, 0.0] * 20
    chosen = sampled_iou(layer, iou)
    assert len(chosen) == 40
    assert (chosen >= 0.55).sum() == 20
    assert ((chosen >= 0.1) & (chosen < 0.55)).sum() == 16
    assert (chosen < 0.1).sum() == 4
    assert (chosen[:20] >= 0.55).all()


def test_scarce_foreground_is_all_taken_once_and_background_fills_up():
    layer = ProposalTargetLayer(roi_per_image=16)
    values = torch.tensor([0.7, 0.8, 0.9, 0.3, 0.05])
    index = layer.sample(values)
    assert sorted(index[:3].tolist()) == [0, 1, 2]
    assert (index[3:] == 3).sum() == int(13 * 0.8)
    assert (index[3:] == 4).sum() == 13 - int(13 * 0.8)


@pytest.mark.parametrize("iou", [[0.7, 0.9], [0.3], [0.0], [0.3, 0.0]])
def test_what_is_missing_is_made_up_for(iou):
    """No background: foreground again and again; one sort of background: all of that sort."""
    chosen = sampled_iou(ProposalTargetLayer(roi_per_image=12), iou)
    assert len(chosen) == 12
    assert set(chosen.tolist()) <= set(torch.tensor(iou).tolist())


def test_only_hard_background_beside_foreground():
    chosen = sampled_iou(ProposalTargetLayer(roi_per_image=10), [0.9, 0.9] + [0.2] * 5)
    assert (chosen > 0.5).sum() == 2 and (chosen < 0.5).sum() == 8


def test_foreground_begins_at_the_lower_of_the_two_thresholds():
    """PCDet v0.1 drew what lies between them as background too."""
    layer = ProposalTargetLayer(roi_per_image=4, reg_fg_thresh=0.65, cls_fg_thresh=0.6)
    chosen = sampled_iou(layer, [0.62] * 4 + [0.0] * 4)
    assert (chosen > 0.6).sum() == 2


def test_draws_differ_and_repeat_with_the_seed():
    layer = ProposalTargetLayer(roi_per_image=32)
    iou = np.random.default_rng(0).uniform(0, 1, 200).tolist()
    assert torch.equal(sampled_iou(layer, iou, 1), sampled_iou(layer, iou, 1))
    assert not torch.equal(sampled_iou(layer, iou, 1), sampled_iou(layer, iou, 2))


def test_scores_that_grow_with_the_iou():
    iou = torch.tensor([0.0, 0.2, 0.25, 0.5, 0.6, 0.75, 0.8, 1.0])
    labels = ProposalTargetLayer().cls_labels(iou)
    # PCDet's 2 * iou - 0.5 between its thresholds.
    torch.testing.assert_close(labels, torch.tensor([0, 0, 0, 0.5, 0.7, 1, 1, 1]))


def test_scores_of_zero_and_one():
    iou = torch.tensor([0.0, 0.25, 0.3, 0.75, 0.8])
    labels = ProposalTargetLayer(cls_score_type="cls").cls_labels(iou)
    assert labels.tolist() == [0, 0, -1, -1, 1]


def shifted_boxes(count: int, rng: np.random.Generator) -> torch.Tensor:
    boxes = np.zeros((count, 7), np.float32)
    boxes[:, :2] = rng.uniform(0, 8, (count, 2))
    boxes[:, 3:6] = [1.6, 3.9, 1.5]
    boxes[:, 6] = rng.uniform(-3, 3, count)
    return torch.from_numpy(boxes)


def test_overlaps_are_those_with_the_own_class():
    rng = np.random.default_rng(1)
    rois, gt = shifted_boxes(60, rng), torch.cat((shifted_boxes(6, rng), torch.ones(6, 1)), dim=1)
    gt[3:, 7] = 2
    labels = torch.from_numpy(rng.integers(1, 4, 60))
    best, owner = best_overlaps(rois, labels, gt)
    iou = iou3d_nms_utils.boxes_iou3d_gpu(rois, gt[:, :7].contiguous())
    for k in range(60):
        own = [(float(iou[k, m]), m) for m in range(6) if gt[m, 7] == labels[k]]
        expected = max(own, default=(0.0, 0), key=lambda pair: (pair[0], -pair[1]))
        assert float(best[k]) == expected[0]
        if expected[0] > 0:
            assert int(owner[k]) == expected[1]
    assert not best[labels == 3].any()


def test_rows_belong_together():
    rng = np.random.default_rng(2)
    gt = torch.cat((shifted_boxes(3, rng), torch.ones(3, 1)), dim=1)
    padded = torch.cat((gt, torch.zeros(2, 8)))
    near = gt[rng.integers(0, 3, 40), :7] + torch.from_numpy(rng.normal(0, 0.2, (40, 7))).float()
    rois = torch.cat((near, shifted_boxes(40, rng)))
    layer = ProposalTargetLayer(roi_per_image=24)
    targets = layer(rois, torch.ones(80, dtype=torch.long), padded)
    pairs = iou3d_nms_utils.boxes_iou3d_gpu(targets["rois"], targets["gt_of_rois"]).diagonal()
    torch.testing.assert_close(targets["gt_iou"], pairs)
    assert targets["reg_valid_mask"].any() and not targets["reg_valid_mask"].all()
    assert torch.equal(targets["reg_valid_mask"], targets["gt_iou"] > 0.55)
    torch.testing.assert_close(
        targets["rcnn_cls_labels"], (targets["gt_iou"] * 2 - 0.5).clamp(0, 1)
    )


@pytest.mark.parametrize("gt_boxes", [torch.zeros(0, 8), torch.zeros(3, 8)])
def test_frames_without_ground_truth(gt_boxes):
    rois = shifted_boxes(5, np.random.default_rng(3))
    targets = ProposalTargetLayer(roi_per_image=8)(rois, torch.ones(5).long(), gt_boxes)
    assert targets["rois"].shape == (8, 7)
    assert not targets["gt_iou"].any() and not targets["reg_valid_mask"].any()
    assert not targets["rcnn_cls_labels"].any() and not targets["gt_of_rois"].any()


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="cls_score_type must be one of"):
        ProposalTargetLayer(cls_score_type="iou")
    with pytest.raises(ValueError, match="must be below"):
        ProposalTargetLayer(cls_bg_thresh=0.8)
