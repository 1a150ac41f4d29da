"""Boxes in the frames of RoIs, and the corner loss, against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch

from pcdet.models.model_utils import roi_frame
from pcdet.utils.box_coder_utils import ResidualCoder


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    boxes[:, :3] = boxes[:, :3] * 20 - 10
    boxes[:, 3:6] = boxes[:, 3:6] * 4 + 0.5
    boxes[:, 6] = boxes[:, 6] * 14 - 7
    return boxes


def test_by_hand():
    """A RoI along y at (10, 2): its frame's x axis is -y of the world, its y axis is +x."""
    roi = torch.tensor([[10.0, 2.0, -1.0, 2.0, 4.0, 1.5, 0.0]])
    box = torch.tensor([[10.5, 3.0, -0.5, 1.8, 3.9, 1.6, 0.25]])
    local = roi_frame.boxes_to_roi_frame(box, roi)
    expected = torch.tensor([[-1.0, 0.5, 0.5, 1.8, 3.9, 1.6, 0.25]])
    torch.testing.assert_close(local, expected)


def test_places_are_along_the_axes_of_the_roi():
    boxes, rois = random_boxes(50, 1), random_boxes(50, 2)
    local = roi_frame.boxes_to_roi_frame(boxes, rois)
    angle = rois[:, 6]
    along_width = torch.stack((torch.cos(angle), -torch.sin(angle)), dim=1)
    along_length = torch.stack((torch.sin(angle), torch.cos(angle)), dim=1)
    offset = boxes[:, :2] - rois[:, :2]
    torch.testing.assert_close(local[:, 0], -(offset * along_length).sum(dim=1))
    torch.testing.assert_close(local[:, 1], (offset * along_width).sum(dim=1))
    torch.testing.assert_close(local[:, 2], boxes[:, 2] - rois[:, 2])
    assert (local[:, 6].abs() <= math.pi / 2 + 1e-12).all()


def test_there_and_back():
    boxes, rois = random_boxes(50, 3), random_boxes(50, 4)
    back = roi_frame.boxes_from_roi_frame(roi_frame.boxes_to_roi_frame(boxes, rois), rois)
    torch.testing.assert_close(back[:, :6], boxes[:, :6])
    half_turns = (back[:, 6] - boxes[:, 6]) / math.pi
    torch.testing.assert_close(half_turns, half_turns.round())


def test_encoded_and_decoded_boxes_are_the_same():
    boxes, rois = random_boxes(50, 5), random_boxes(50, 6)
    anchors = roi_frame.anchors_of_rois(rois)
    assert torch.equal(anchors[:, 3:6], rois[:, 3:6])
    assert not anchors[:, [0, 1, 2, 6]].any()
    residuals = ResidualCoder.encode(roi_frame.boxes_to_roi_frame(boxes, rois), anchors)
    decoded = roi_frame.boxes_from_roi_frame(ResidualCoder.decode(residuals, anchors), rois)
    torch.testing.assert_close(decoded[:, :6], boxes[:, :6])
    torch.testing.assert_close(
        torch.sin(decoded[:, 6] - boxes[:, 6]), torch.zeros(50).double(), atol=1e-9, rtol=0
    )
    # A RoI that fits already has nothing to change.
    fitting = ResidualCoder.encode(roi_frame.boxes_to_roi_frame(rois, rois), anchors)
    torch.testing.assert_close(fitting, torch.zeros(50, 7).double(), atol=1e-9, rtol=0)


def corners_by_hand(box) -> list[tuple[float, float, float]]:
    x, y, z, w, length, h, rz = box.tolist()
    corners = []
    for up in (0, h):
        for across, along in ((1, -1), (-1, -1), (-1, 1), (1, 1)):
            dx, dy = across * w / 2, along * length / 2
            corners.append(
                (
                    x + dx * math.cos(rz) + dy * math.sin(rz),
                    y - dx * math.sin(rz) + dy * math.cos(rz),
                    z + up,
                )
            )
    return corners


def corner_loss_by_hand(box, gt) -> float:
    turned = gt.clone()
    turned[6] += math.pi
    total = 0.0
    for corner, a, b in zip(*map(corners_by_hand, (box, gt, turned))):
        distance = min(math.dist(corner, a), math.dist(corner, b))
        total += 0.5 * distance**2 if distance < 1 else distance - 0.5
    return total / 8


def test_corner_loss_equals_its_definition():
    gt = random_boxes(20, 7)
    boxes = gt + 0.3 * torch.randn(20, 7, generator=torch.Generator().manual_seed(8)).double()
    boxes[:5, 6] += math.pi  # the other end in front costs nothing
    loss = roi_frame.corner_loss(boxes, gt)
    expected = [corner_loss_by_hand(box, wanted) for box, wanted in zip(boxes, gt)]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))
    opposite = gt.clone()
    opposite[:, 6] += math.pi
    assert float(roi_frame.corner_loss(opposite, gt).max()) < 1e-9


def test_corner_loss_of_equal_boxes_has_a_gradient_without_nan():
    gt = random_boxes(3, 9)
    boxes = gt.clone().requires_grad_()
    roi_frame.corner_loss(boxes, gt).sum().backward()
    assert boxes.grad.isfinite().all()


def test_corner_loss_equals_pcdet(reference):
    data = reference("box_utils.npz")
    loss = roi_frame.corner_loss(
        torch.from_numpy(data["boxes_a"]), torch.from_numpy(data["boxes_b"])
    )
    torch.testing.assert_close(loss, torch.from_numpy(data["loss/corner_lidar"]))


@pytest.mark.parametrize("count", [0, 1])
def test_few_boxes(count):
    boxes = random_boxes(count)
    assert roi_frame.boxes_from_roi_frame(boxes, boxes).shape == (count, 7)
    assert roi_frame.corner_loss(boxes, boxes).shape == (count,)
