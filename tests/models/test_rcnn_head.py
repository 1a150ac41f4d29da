"""The second stage of Part-A2 against plain dense torch."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.model_fixture import (
    narrow_config,
    random_batch,
    random_boxes,
    small_dataset,
    small_model,
)
from pcdet.models import build_network, example_convert_to_torch
from pcdet.models.rpn.rpn_unet import UNetOutputs
from pcdet.ops.roiaware_pool3d import reference as pooling_reference
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.ops.sparse_conv import SparseMaxPool3d, SparseTensor, SubMConv3d

NAMES = ["PartA2", "PartA2_fc"]


def random_voxels(seed: int = 0) -> tuple[dict, UNetOutputs, list[torch.Tensor]]:
    """A batch, made-up outputs of the backbone, and RoIs near and off the objects."""
    batch = example_convert_to_torch(random_batch(seed=seed))
    generator = torch.Generator().manual_seed(seed)
    count = len(batch["coordinates"])
    voxels = UNetOutputs(
        spatial_features=torch.zeros(0),
        seg_features=torch.randn(count, 16, generator=generator),
        seg_preds=torch.randn(count, generator=generator),
        part_preds=torch.randn(count, 3, generator=generator),
    )
    rng = np.random.default_rng(seed)
    rois = [
        torch.cat((boxes[:, :7], torch.from_numpy(random_boxes(rng, (2,))[:, :7])))
        for boxes in batch["gt_boxes"]
    ]
    return batch, voxels, rois


def forward(head, batch, voxels, rois):
    return head(rois, voxels, batch["voxel_centers"], batch["coordinates"])


def pool_plainly(head, batch, voxels, rois) -> tuple[torch.Tensor, torch.Tensor]:
    """What `PartAggregation.pool` should give, by the plain pooling."""
    scores = torch.sigmoid(voxels.seg_preds)
    places = torch.sigmoid(voxels.part_preds)
    places[scores <= head.seg_mask_score_thresh] = 0
    parts = torch.cat((places, scores[:, None]), dim=1)
    size, pooled = (head.grid_side,) * 3, []
    for frame, boxes in enumerate(rois):
        own = batch["coordinates"][:, 0] == frame
        centers = batch["voxel_centers"][own]
        pool = pooling_reference.roiaware_pool3d
        pooled.append(
            (
                pool(boxes, centers, parts[own], size, 128, "avg"),
                pool(boxes, centers, voxels.seg_features[own], size, 128, "max"),
            )
        )
    return tuple(torch.cat(values) for values in zip(*pooled))


def dense_submanifold(block, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A `subm_block` in evaluation mode, on a dense grid (R, C, S, S, S) with a mask of sites."""
    conv, norm, _ = block
    x = F.conv3d(x, conv.weight.permute(0, 4, 1, 2, 3), padding=1)
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return torch.relu(x) * mask


def aggregate_densely(head, parts: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Flattened features of RoIs by dense convolutions."""
    mask = (parts[..., 3:] > 0).to(parts.dtype).permute(0, 4, 1, 2, 3)
    x_part, x_rpn = parts.permute(0, 4, 1, 2, 3), features.permute(0, 4, 1, 2, 3) * mask
    for block in head.conv_part:
        x_part = dense_submanifold(block, x_part, mask)
    for block in head.conv_rpn:
        x_rpn = dense_submanifold(block, x_rpn, mask)
    x = torch.cat((x_rpn, x_part), dim=1)
    if not isinstance(head.conv_down, torch.nn.Identity):
        for layer in head.conv_down:
            if isinstance(layer, SparseMaxPool3d):
                x, mask = F.max_pool3d(x, 2), F.max_pool3d(mask, 2)
            else:
                x = dense_submanifold(layer, x, mask)
    return x.flatten(1)


def fully_connected_plainly(layers, x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        if isinstance(layer, torch.nn.Dropout):
            continue
        x = layer.conv(x.unsqueeze(2)).squeeze(2)
        if layer.bn is not None:
            norm = layer.bn.bn
            x = (x - norm.running_mean) / torch.sqrt(norm.running_var + 1e-5)
            x = torch.relu(x * norm.weight + norm.bias)
    return x


def randomise_norms(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for value in (module.weight.data, module.bias.data, module.running_mean):
                value.normal_(0.5, 0.3)
            module.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_forward_equals_dense_layers(name):
    head = small_model(name).rcnn_net.eval()
    randomise_norms(head)
    batch, voxels, rois = random_voxels()
    parts, features = head.pool(rois, voxels, batch["voxel_centers"], batch["coordinates"])
    expected_parts, expected_features = pool_plainly(head, batch, voxels, rois)
    torch.testing.assert_close(parts, expected_parts)
    torch.testing.assert_close(features, expected_features)
    shared = fully_connected_plainly(
        head.shared_fc_layer, aggregate_densely(head, expected_parts, expected_features)
    )
    predictions = forward(head, batch, voxels, rois)
    expected = {
        "rcnn_cls": fully_connected_plainly(head.cls_layer, shared).squeeze(1),
        "rcnn_reg": fully_connected_plainly(head.reg_layer, shared),
    }
    for key, value in expected.items():
        torch.testing.assert_close(predictions[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_features_of_voxels_get_a_gradient(name):
    head = small_model(name).rcnn_net.train()
    batch, voxels, rois = random_voxels()
    voxels = UNetOutputs(*(value.requires_grad_() for value in voxels))
    predictions = forward(head, batch, voxels, rois)
    assert not predictions["made_up"]
    (predictions["rcnn_cls"].sum() + predictions["rcnn_reg"].sum()).backward()
    assert voxels.seg_features.grad.isfinite().all() and voxels.seg_features.grad.any()
    assert voxels.seg_preds.grad is None and voxels.part_preds.grad is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_rois_without_voxels_are_legal(name, training):
    head = small_model(name).rcnn_net.train(training)
    batch, voxels, rois = random_voxels()
    far = [boxes + 1000 for boxes in rois]
    predictions = forward(head, batch, voxels, far)
    assert predictions["rcnn_reg"].shape == (sum(map(len, far)), 7)
    assert predictions["rcnn_reg"].isfinite().all()
    # One frame with boxes among voxels, one without.
    assert forward(head, batch, voxels, [rois[0], far[1]])["rcnn_cls"].isfinite().all()


def loss_by_hand(head, predictions, targets) -> dict[str, float]:
    """The terms of the loss, RoI by RoI."""
    entropy, cared, residual, corner, count = 0.0, 0, 0.0, 0.0, 0
    rows = zip(
        predictions["rcnn_cls"].tolist(),
        predictions["rcnn_reg"],
        *(targets[k] for k in ("rcnn_cls_labels", "reg_valid_mask", "rois", "gt_of_rois")),
    )
    for logit, code, label, valid, roi, gt in rows:
        probability = 1 / (1 + math.exp(-logit))
        if label >= 0:
            cared += 1
            entropy -= float(label) * math.log(probability)
            entropy -= (1 - float(label)) * math.log(1 - probability)
        if not valid:
            continue
        count += 1
        diagonal = math.hypot(roi[3], roi[4])
        offset = gt[:3] - roi[:3]
        along_width = offset[0] * math.cos(roi[6]) - offset[1] * math.sin(roi[6])
        along_length = offset[0] * math.sin(roi[6]) + offset[1] * math.cos(roi[6])
        turn = (float(gt[6] - roi[6]) + math.pi / 2) % math.pi - math.pi / 2
        wanted = [
            -along_length / diagonal,
            along_width / diagonal,
            (offset[2] + (gt[5] - roi[5]) / 2) / roi[5],
            *(math.log(gt[k] / roi[k]) for k in (3, 4, 5)),
            turn,
        ]
        for value, target, weight in zip(code.tolist(), wanted, head.code_weights.tolist()):
            distance = weight * abs(value - float(target))
            residual += 4.5 * distance**2 if distance < 1 / 9 else distance - 0.5 / 9
        refined = head.refine(code[None], roi[None])
        corner += float(corner_loss_plainly(refined[0], gt))
    count = max(count, 1)
    return {
        "rcnn_loss_cls": entropy / max(cared, 1),
        "rcnn_loss_reg": residual / count,
        "rcnn_loss_corner": corner / count,
    }


def corner_loss_plainly(box: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    def corners(b: torch.Tensor, turn: float) -> torch.Tensor:
        signs = torch.tensor([[a, c, u] for u in (0, 1) for a, c in
                              ((1, -1), (-1, -1), (-1, 1), (1, 1))]).double()  # fmt: skip
        x, y, z = (signs * torch.stack((b[3] / 2, b[4] / 2, b[5]))).unbind(1)
        cos, sin = math.cos(b[6] + turn), math.sin(b[6] + turn)
        return torch.stack((x * cos + y * sin, y * cos - x * sin, z), dim=1) + b[:3]

    box, gt = box.double(), gt.double()
    distances = [(corners(box, 0) - corners(gt, turn)).norm(dim=1) for turn in (0, math.pi)]
    nearest = torch.minimum(*distances)
    return torch.where(nearest < 1, nearest**2 / 2, nearest - 0.5).mean()


@pytest.mark.parametrize("score_type", ["roi_iou", "cls"])
def test_loss_equals_the_formulas(score_type):
    model = small_model("PartA2")
    head = model.rcnn_net
    head.target_layer.cls_score_type = score_type
    head.code_weights.copy_(torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0, 1.0, 0.2]))
    batch = example_convert_to_torch(random_batch(num_gt=4))
    batch["gt_boxes"][1, 2:] = 0  # padding
    noise = 0.15 * torch.randn(2, 30, 7)
    proposals = [
        {"boxes": boxes[torch.randint(2, (30,)), :7] + shift, "labels": torch.ones(30).long()}
        for boxes, shift in zip(batch["gt_boxes"], noise)
    ]
    targets = head.assign_targets(proposals, batch["gt_boxes"])
    assert 0 < targets["reg_valid_mask"].sum() < 32
    predictions = {"rcnn_cls": torch.randn(32), "rcnn_reg": 0.3 * torch.randn(32, 7)}
    predictions["made_up"] = False
    loss, terms = head.get_loss(predictions, targets)
    expected = loss_by_hand(head, predictions, targets)
    for key, value in expected.items():
        assert float(terms[key]) == pytest.approx(value, rel=1e-4), key
    assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-4)
    assert int(terms["rcnn_fg_num"]) == int(targets["reg_valid_mask"].sum())


def test_loss_without_foreground_or_corners_still_reaches_all_outputs():
    head = small_model("PartA2").rcnn_net
    head.loss_weights.rcnn_corner_weight = 0.0
    batch = example_convert_to_torch(random_batch())
    far = [{"boxes": torch.rand(5, 7) + 500, "labels": torch.ones(5).long()} for _ in range(2)]
    targets = head.assign_targets(far, batch["gt_boxes"])
    predictions = {
        "rcnn_cls": torch.zeros(32, requires_grad=True),
        "rcnn_reg": torch.zeros(32, 7, requires_grad=True),
        "made_up": False,
    }
    loss, terms = head.get_loss(predictions, targets)
    loss.backward()
    assert float(terms["rcnn_loss_reg"]) == 0 and "rcnn_loss_corner" not in terms
    assert not predictions["rcnn_reg"].grad.any()
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_rois_whose_cells_are_made_up_have_no_labels():
    """As in PCDet: a batch in whose RoIs lie less than three cells says nothing of objects."""
    head = small_model("PartA2").rcnn_net.train()
    batch, voxels, rois = random_voxels()
    gt_boxes = torch.zeros(2, 1, 8)
    gt_boxes[:, 0, :7] = torch.stack([boxes[0] for boxes in rois]) + 1000
    gt_boxes[:, 0, 7] = 1
    proposals = [{"boxes": boxes + 1000, "labels": torch.ones(len(boxes)).long()} for boxes in rois]
    targets = head.assign_targets(proposals, gt_boxes)
    assert targets["reg_valid_mask"].any()
    predictions = forward(head, batch, voxels, targets["rois"].chunk(2))
    assert predictions["made_up"]
    loss, terms = head.get_loss(predictions, targets)
    loss.backward()
    assert loss.item() == 0 and int(terms["rcnn_fg_num"]) == int(terms["rcnn_bg_num"]) == 0
    assert not any(p.grad is None or p.grad.any() for p in head.parameters())


def test_settings_of_the_yaml_reach_the_head():
    cfg = narrow_config("PartA2")
    cfg.MODEL.LOSSES.CORNER_LOSS_REGULARIZATION = False
    cfg.MODEL.LOSSES.LOSS_WEIGHTS.update(rcnn_reg_weight=3.0, code_weights=[2.0] * 7)
    cfg.MODEL.RPN.BACKBONE.SEG_MASK_SCORE_THRESH = 0.6
    head = build_network(small_dataset(cfg), cfg).rcnn_net
    assert head.loss_weights.rcnn_corner_weight == 0
    assert head.loss_weights.rcnn_reg_weight == 3
    assert head.code_weights.tolist() == [2.0] * 7
    assert head.seg_mask_score_thresh == 0.6
    assert head.target_layer.roi_per_image == 16


def test_sparse_maximum_equals_the_dense_one(device):
    torch.manual_seed(0)
    dense = torch.rand(2, 6, 6, 6, 3) * (torch.rand(2, 6, 6, 6, 1) < 0.3)
    sites = dense.sum(-1).nonzero()
    features = dense[tuple(sites.T)].to(device).requires_grad_()
    x = SparseTensor(features, sites.int().contiguous().to(device), [6, 6, 6], 2)
    pooled = SparseMaxPool3d(kernel_size=2, stride=2)(x).dense()
    expected = F.max_pool3d(dense.permute(0, 4, 1, 2, 3), 2)
    torch.testing.assert_close(pooled.cpu(), expected)
    pooled.sum().backward()
    assert float(features.grad.sum()) == pytest.approx(float((expected > 0).sum()))


def test_submanifold_layers_of_one_key_look_neighbours_up_once():
    """What `PartAggregation.forward` relies on for speed."""
    x = SparseTensor(torch.rand(2, 3), torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]]), [4, 4, 4], 1)
    first = SubMConv3d(3, 4, 3, indice_key="k")(x)
    plan = first.plans["k"]
    second = SubMConv3d(5, 4, 3, indice_key="k")(first.replace_feature(torch.rand(2, 5)))
    assert second.plans["k"] is plan


def test_branches_without_layers_of_their_own_predict_without_dropout():
    cfg = narrow_config("PartA2")
    cfg.MODEL.RCNN.update(CLS_FC=[], REG_FC=[], DP_RATIO=0.5)
    head = build_network(small_dataset(cfg), cfg).rcnn_net.train()
    shared = torch.rand(4, 32)
    for branch, outputs in ((head.cls_layer, 1), (head.reg_layer, 7)):
        assert branch(shared).shape == (4, outputs)
        assert torch.equal(branch(shared), branch(shared))


@torch.no_grad()
def test_points_are_listed_once_for_both_poolings_of_a_frame(monkeypatch):
    batch, voxels, rois = random_voxels()
    head = small_model("PartA2").rcnn_net
    operators, listings = roiaware_pool3d_utils._ops, []

    def list_points(*arguments):
        listings.append(arguments)
        return operators.list_points(*arguments)

    counting = SimpleNamespace(
        list_points=list_points,
        max_pool=operators.max_pool,
        average_pool=operators.average_pool,
    )
    monkeypatch.setattr(roiaware_pool3d_utils, "_ops", counting)
    head.pool(rois, voxels, batch["voxel_centers"], batch["coordinates"])
    assert len(listings) == len(rois) == 2
