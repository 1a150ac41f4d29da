"""The loss of the anchor head against the same formulas on dense tensors of every anchor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.model_fixture import narrow_config, random_batch, small_dataset, small_model
from pcdet.models import build_network, example_convert_to_torch
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.model_utils.first_convolution import laid_out
from pcdet.utils import box_coder_utils, loss_utils

# As in PCDet, of the differences and not of the loss.
CODE_WEIGHTS = [0.5, 1.0, 2.0, 1.0, 3.0, 1.0, 0.2]


def dense_loss(head, predictions, targets, dir_weights) -> dict[str, torch.Tensor]:
    """PCDet's formulas: weights for every anchor, sums over all of them."""
    labels, residuals = targets["box_cls_labels"], targets["box_reg_targets"]
    batch_size, num_anchors = labels.shape
    positives = (labels > 0).float()
    normalizer = positives.sum(1, keepdim=True).clamp(min=1)
    one_hot = F.one_hot(labels.clamp(min=0), 4)[..., 1:].float()
    logits = predictions["cls_preds"].reshape(batch_size, num_anchors, 3)
    p = torch.sigmoid(logits)
    pt = torch.where(one_hot > 0, p, 1 - p)
    alpha = torch.where(one_hot > 0, 0.25, 0.75)
    focal = -alpha * (1 - pt) ** 2 * torch.log(pt)
    cls_loss = (focal * ((labels >= 0) / normalizer).unsqueeze(-1)).sum() / batch_size

    boxes = predictions["box_preds"].reshape(batch_size, num_anchors, 7)
    difference = boxes - residuals
    difference = torch.cat((difference[..., :6], torch.sin(difference[..., 6:])), dim=-1).abs()
    difference = difference * torch.tensor(CODE_WEIGHTS)
    smooth = torch.where(difference < 1 / 9, 4.5 * difference**2, difference - 0.5 / 9)
    loc_loss = 2 * (smooth.sum(-1) * positives / normalizer).sum() / batch_size

    angles = residuals[..., 6] + head.anchors[:, 6]
    bins = ((angles - 0.78539) % (2 * np.pi) >= np.pi).long()
    dir_logits = predictions["dir_cls_preds"].reshape(batch_size, num_anchors, 2)
    entropy = F.cross_entropy(dir_logits.permute(0, 2, 1), bins, reduction="none")
    entropy = entropy * torch.tensor([0.2, *dir_weights])[labels.clamp(min=0)]
    dir_loss = (entropy * positives / normalizer).sum() / batch_size
    return {"rpn_loss_cls": cls_loss, "rpn_loss_loc": loc_loss, "rpn_loss_dir": dir_loss}


@pytest.mark.parametrize("dir_weight", [0.2, [0.1, 1.5, 0.6]])
def test_loss_equals_the_dense_formulas(dir_weight):
    cfg = narrow_config("second")
    cfg.MODEL.LOSSES.LOSS_WEIGHTS.update(rpn_dir_weight=dir_weight, code_weights=CODE_WEIGHTS)
    model = build_network(small_dataset(cfg), cfg)
    batch = example_convert_to_torch(random_batch(num_gt=4))
    batch["gt_boxes"][0, 0, 3:] = torch.tensor([0.6, 0.8, 1.7, 0.3, 2])
    batch["gt_boxes"][1, 0, 3:] = torch.tensor([0.6, 1.76, 1.7, -1.0, 3])
    batch["gt_boxes"][1, 2:] = 0  # padding
    image = model.rpn_net(model.vfe(batch["voxels"], batch["num_points"]), batch["coordinates"], 2)
    head = model.rpn_head
    with torch.no_grad():
        for conv in (head.conv_box, head.conv_dir_cls, head.conv_cls):
            conv.weight.mul_(3)  # predictions far from zero, both branches of each loss
    predictions = head(image)
    targets = head.assign_targets(batch["gt_boxes"])
    assert set(targets["box_cls_labels"].unique().tolist()) >= {1, 2, 3}
    loss, terms = head.get_loss(predictions, targets)
    dir_weights = dir_weight if isinstance(dir_weight, list) else [dir_weight] * 3
    expected = dense_loss(head, predictions, targets, dir_weights)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, sum(expected.values()), rtol=1e-4, atol=1e-5)


def test_decode_inverts_the_targets():
    """Perfect residuals and directions give back the ground truth, whatever its heading."""
    head = small_model().rpn_head
    gt = example_convert_to_torch(random_batch(num_gt=6, seed=3))["gt_boxes"]
    targets = head.assign_targets(gt)
    labels, residuals = targets["box_cls_labels"], targets["box_reg_targets"]
    bins = box_coder_utils.direction_bin(residuals[..., 6] + head.anchors[:, 6], 0.78539)
    predictions = {"box_preds": residuals, "dir_cls_preds": F.one_hot(bins, 2).float()}
    for frame in range(2):
        anchor = torch.nonzero(labels[frame] > 0).squeeze(1)
        boxes = head.decode(predictions, frame, anchor)
        distance = (boxes[:, None, :6] - gt[frame, None, :, :6]).abs().sum(-1)
        nearest = gt[frame, distance.argmin(1)]
        assert float(distance.amin(1).max()) < 1e-4
        turn = (boxes[:, 6] - nearest[:, 6] + np.pi) % (2 * np.pi) - np.pi
        assert float(turn.abs().max()) < 1e-4


@pytest.mark.parametrize("angle", [-7.0, -np.pi, -0.78539, 0.0, 0.78539, 1.57, np.pi, 9.0])
def test_direction_bin_and_its_inverse(angle):
    angle = torch.tensor([angle], dtype=torch.float64)
    bins = box_coder_utils.direction_bin(angle, 0.78539)
    assert bins.item() in (0, 1)
    for lost in (0, np.pi, -np.pi):
        back = box_coder_utils.resolve_direction(angle + lost, bins, 0.78539)
        turn = (back - angle + np.pi) % (2 * np.pi) - np.pi
        assert abs(turn.item()) < 1e-9


def test_losses_and_coder_equal_pcdet(reference):
    data = reference("box_utils.npz")
    tensors = {
        name: torch.from_numpy(data[name]) for name in data.files if data[name].dtype != "<U6"
    }
    focal = loss_utils.sigmoid_focal_loss(tensors["loss_in/logits"], tensors["loss_in/onehot"])
    weighted = focal * tensors["loss_in/weights"].unsqueeze(-1)
    torch.testing.assert_close(weighted, tensors["loss/focal_a.25_g2"])
    smooth = loss_utils.smooth_l1_loss(tensors["loss_in/reg_pred"], tensors["loss_in/reg_tgt"])
    weighted = smooth * tensors["loss_in/weights"].unsqueeze(-1)
    torch.testing.assert_close(weighted, tensors["loss/smoothl1_sigma3"])
    boxes_a, boxes_b = tensors["boxes_a"], tensors["boxes_b"]
    coder = box_coder_utils.ResidualCoder
    torch.testing.assert_close(coder.encode(boxes_b, boxes_a), tensors["coder_encode_b_wrt_a"])
    torch.testing.assert_close(
        coder.decode(tensors["coder_delta"], boxes_a), tensors["coder_decode_delta_wrt_a"]
    )
    pred, target = loss_utils.add_sin_difference(
        tensors["coder_delta"], tensors["coder_encode_b_wrt_a"]
    )
    torch.testing.assert_close(pred, tensors["sin_diff_pred"])
    torch.testing.assert_close(target, tensors["sin_diff_target"])


def test_bev_network_rejects_levels_of_different_sizes():
    with pytest.raises(ValueError, match="levels of different sizes"):
        BEVNetwork(8, [1, 1], [1, 2], [8, 8], [1, 1], [8, 8])


@pytest.mark.parametrize("frames", [0, 1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_images_changes_and_nothing_else(frames, layout):
    images = torch.rand(frames, 6, 5, 4).to(memory_format=torch.channels_last).requires_grad_()
    turned = laid_out(images, layout)
    assert turned.is_contiguous(memory_format=layout) and torch.equal(turned, images)
    weight = torch.rand(images.shape)
    (grad,) = torch.autograd.grad((turned * weight).sum(), images)
    assert torch.equal(grad, weight)
