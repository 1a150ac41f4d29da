"""The assigner against the plain rules on all pairs of anchors and ground truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.model_fixture import fake_dataset, load_config
from pcdet.models import build_network
from pcdet.models.model_utils.anchor_generator import (
    AnchorGeneratorRange,
    AnchorGeneratorStride,
)
from pcdet.models.model_utils.target_assigner import TargetAssigner
from pcdet.utils import box_utils
from pcdet.utils.box_coder_utils import ResidualCoder

CLASSES = ["Car", "Pedestrian"]


def small_assigner() -> TargetAssigner:
    extent = [0, -8.0, -1.78, 16.0, 8.0, -1.78]
    generators = [
        AnchorGeneratorRange(extent, [[1.6, 3.9, 1.56]], [0, 1.57], "Car", 0.6, 0.45),
        AnchorGeneratorRange(
            extent, [[0.6, 0.8, 1.73], [0.9, 0.9, 1.2]], [0, 1.57], "Pedestrian", 0.5, 0.35
        ),
    ]
    return TargetAssigner(generators, CLASSES, (40, 41), ResidualCoder())


def assign_by_definition(assigner: TargetAssigner, gt_boxes: torch.Tensor, mask=None):
    """Labels and owners of one frame: every anchor against every ground truth of its class."""
    anchors = assigner.anchors.reshape(-1, 7)
    num_cells = len(anchors) // len(assigner.anchor_label)
    anchor_label = assigner.anchor_label.repeat(num_cells)
    matched, unmatched = assigner.matched.repeat(num_cells), assigner.unmatched.repeat(num_cells)
    labels = torch.zeros(len(anchors), dtype=torch.long)
    owners = torch.full((len(anchors),), -1)
    if not len(gt_boxes):
        return labels, owners
    iou = box_utils.nearest_iou_similarity(anchors, gt_boxes[:, :7])
    iou[anchor_label[:, None] != gt_boxes[None, :, 7]] = 0
    if mask is not None:
        iou[~mask] = 0
    best, owner = iou.max(dim=1)
    best_of_gt = iou.amax(dim=0)
    forced = ((iou == best_of_gt) & (best_of_gt > 0)).any(dim=1)
    positive = (best >= matched) | forced
    labels[positive] = anchor_label[positive]
    labels[~positive & (best >= unmatched)] = -1
    owners[positive] = owner[positive]
    return labels, owners


def random_boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    boxes = np.zeros((count, 8), np.float32)
    boxes[:, 0] = rng.uniform(-3, 19, count)  # some stand outside the grid
    boxes[:, 1] = rng.uniform(-11, 11, count)
    boxes[:, 2] = rng.uniform(-2, 0, count)
    boxes[:, 3:6] = rng.uniform(0.3, 6, (count, 3))
    boxes[:, 6] = rng.uniform(-4, 4, count)
    boxes[:, 7] = rng.integers(1, 3, count)
    usual = rng.random(count) < 0.5
    boxes[usual, 3:6] = [1.6, 3.9, 1.56]
    return torch.from_numpy(boxes)


@pytest.mark.parametrize("seed", range(30))
def test_equals_the_definition_on_random_boxes(seed, device):
    rng = np.random.default_rng(seed)
    assigner = small_assigner()
    frames = [random_boxes(rng, int(count)) for count in rng.integers(0, 12, 3)]
    batch = torch.zeros(3, max(len(f) for f in frames), 8)
    for k, frame in enumerate(frames):
        batch[k, : len(frame)] = frame
    result = assigner.to(device)(batch.to(device))
    assigner.cpu()
    anchors = assigner.anchors.reshape(-1, 7)
    for k, frame in enumerate(frames):
        labels, owners = assign_by_definition(assigner, frame)
        assert torch.equal(result["box_cls_labels"][k].cpu(), labels)
        positive = labels > 0
        expected = ResidualCoder.encode(frame[owners[positive]][:, :7], anchors[positive])
        targets = result["box_reg_targets"][k].cpu()
        torch.testing.assert_close(targets[positive], expected)
        assert not targets[~positive].any()


@pytest.mark.parametrize("seed", range(6))
def test_anchors_outside_the_mask_are_ignored_and_never_forced(seed, device):
    rng = np.random.default_rng(seed)
    assigner, boxes = small_assigner(), random_boxes(rng, 8)
    mask = torch.from_numpy(rng.random(assigner.anchors[..., 0].numel()) < 0.2)
    result = assigner.to(device)(boxes[None].to(device), mask[None].to(device))
    labels, owners = assign_by_definition(assigner.cpu(), boxes, mask)
    labels[~mask] = -1
    assert torch.equal(result["box_cls_labels"][0].cpu(), labels)
    positive = labels > 0
    assert positive.any()
    anchors = assigner.anchors.reshape(-1, 7)[positive]
    expected = ResidualCoder.encode(boxes[owners[positive]][:, :7], anchors)
    torch.testing.assert_close(result["box_reg_targets"][0].cpu()[positive], expected)
    nothing = assigner(torch.zeros(1, 0, 8), mask[None])["box_cls_labels"][0]
    assert torch.equal(nothing, torch.where(mask, 0, -1))
    twice = assigner(boxes.expand(2, -1, -1), torch.stack((mask, mask), dim=1).t())
    assert torch.equal(twice["box_cls_labels"], labels.expand(2, -1))


def test_all_anchors_that_tie_for_the_best_are_positive():
    """A box larger than the anchor covers several anchors wholly: equal overlap, all positive."""
    assigner = small_assigner()
    box = torch.tensor([[[8.0, 0.0, -1.7, 7.0, 7.0, 1.5, 0.0, 1.0]]])
    labels = assigner(box)["box_cls_labels"]
    assert (labels == 1).sum() > 20
    assert torch.equal(labels[0], assign_by_definition(assigner, box[0])[0])


def test_padding_and_frames_without_boxes_are_background():
    assigner = small_assigner()
    assert not assigner(torch.zeros(2, 3, 8))["box_cls_labels"].any()
    result = assigner(torch.zeros(2, 0, 8))
    assert not result["box_cls_labels"].any()
    assert result["box_reg_targets"].shape == (2, 40 * 41 * 6, 7)


def test_a_real_box_at_the_origin_is_not_padding():
    """PCDet took rows that sum to zero for padding; the label decides here."""
    box = torch.tensor([[[0.0, 0.0, -7.06, 1.6, 3.9, 1.56, 0.0, 1.0]]])
    box[0, 0, 2] = -box[0, 0, :7].sum() + box[0, 0, 2]
    assert (small_assigner()(box)["box_cls_labels"] == 1).any()


def test_anchors_follow_the_range_with_both_ends():
    generator = AnchorGeneratorRange([0, -4, -1, 8, 4, -1], [[1, 2, 3]], [0, 1.57], "Car", 0.6, 0.4)
    anchors = generator.generate((3, 5))
    assert anchors.shape == (3, 5, 2, 7)
    assert anchors[0, :, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert anchors[:, 0, 0, 1].tolist() == [-4, 0, 4]
    assert anchors[2, 4, 1].tolist() == pytest.approx([8, 4, -1, 1, 2, 3, 1.57])


def test_anchors_follow_the_stride_from_the_first():
    own = {"sizes": [[1, 2, 3]], "rotations": [0, 1.57], "class_name": "Car"}
    own |= {"matched_threshold": 0.6, "unmatched_threshold": 0.4}
    anchors = AnchorGeneratorStride([0.4, 0.5], [0.2, -4, -1], **own).generate((3, 5))
    assert anchors.shape == (3, 5, 2, 7)
    assert anchors[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8])
    assert anchors[:, 0, 1, 1].tolist() == [-4, -3.5, -3]
    assert anchors[2, 4, 1].tolist() == pytest.approx([1.8, -3, -1, 1, 2, 3, 1.57])
    with pytest.raises(ValueError, match=r"anchor_strides: x, y above 0 expected, got \[0.4, 0\]"):
        AnchorGeneratorStride([0.4, 0], [0.2, -4, -1], **own)
    with pytest.raises(ValueError, match=r"anchor_offsets: x, y, z expected, got \[0.2, -4\]"):
        AnchorGeneratorStride([0.4, 0.4], [0.2, -4], **own)


def test_equals_pcdet_on_real_frames(reference):
    data = reference("anchors_targets_second.npz")
    cfg = load_config()
    head = build_network(fake_dataset(cfg), cfg).rpn_head
    np.testing.assert_array_equal(head.anchors[data["sample_idx"]].numpy(), data["sample"])
    for frame in ("000000", "000003"):
        result = head.assign_targets(torch.from_numpy(data[f"{frame}/gt_boxes_f32"])[None])
        labels = result["box_cls_labels"][0].numpy()
        positive = data[f"{frame}/pos_idx"]
        np.testing.assert_array_equal(np.flatnonzero(labels > 0), positive)
        np.testing.assert_array_equal(labels[positive], data[f"{frame}/pos_label"])
        np.testing.assert_array_equal(np.flatnonzero(labels < 0), data[f"{frame}/ign_idx"])
        targets = result["box_reg_targets"][0].numpy()
        np.testing.assert_allclose(targets[positive], data[f"{frame}/pos_bbox_targets"], atol=1e-6)
    labels = head.assign_targets(torch.from_numpy(data["batch_1_3/gt_boxes"]))["box_cls_labels"]
    np.testing.assert_array_equal(np.argwhere(labels.numpy() > 0), data["batch_1_3/labels_pos"])
