"""SA-SSD's pieces against numbers of the original code on made-up input (sassd_ops.npz).

Its functions ran on the CPU; the numbers are those of a second implementation in float64, which
agrees with them to 1e-5.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pcdet.models.bbox_heads.pswarp_head import PSWarpHead, PSWarpLossWeights
from pcdet.models.bbox_heads.sassd_head import resolve_half_turn
from pcdet.models.model_utils.voxel_grid import VoxelGrid
from pcdet.models.rpn.sassd_auxiliary import AuxiliaryLossWeights, AuxiliaryNetwork
from pcdet.utils import box_coder_utils

CELLS = VoxelGrid([0.0, -40.0, -3.0], [0.4, 0.4, 0.8], [24, 20, 5])
VOXELS = VoxelGrid([0.0, -40.0, -3.0], [0.05, 0.05, 0.1], [1408, 1600, 40])
DIR_OFFSET = -3.14159265  # of sassd.yaml


@pytest.fixture
def numbers():
    data = np.load(Path(__file__).with_name("sassd_ops.npz"), allow_pickle=False)
    return {name: torch.from_numpy(data[name]) for name in data.files}


def warp_head() -> PSWarpHead:
    return PSWarpHead(8, 1, CELLS, PSWarpLossWeights())


def auxiliary_network(center_target_z: str = "h") -> AuxiliaryNetwork:
    weights = AuxiliaryLossWeights()
    return AuxiliaryNetwork((32, 64, 64), VOXELS, weights, center_target_z=center_target_z)


def with_labels(boxes: torch.Tensor) -> torch.Tensor:
    return F.pad(boxes, (0, 1), value=1)


def check(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=0)


def test_places_of_the_parts(numbers, device):
    pixels = warp_head().to(device).pixels(numbers["psw/boxes"].to(device))[:, :8].cpu()
    check(pixels[..., 0], numbers["psw/px_first8"], atol=2e-5)
    check(pixels[..., 1], numbers["psw/py_first8"], atol=2e-5)


def test_scores_and_their_gradients(numbers, device):
    maps = numbers["psw/maps"].to(device)[None].requires_grad_()
    boxes = numbers["psw/boxes"].to(device).requires_grad_()
    scores = warp_head().to(device).scores(maps, [boxes])
    check(scores.detach().cpu(), numbers["psw/score"])
    (scores * numbers["psw/coef"].to(device)).sum().backward()
    check(maps.grad[0].cpu(), numbers["psw/grad_maps"])
    smooth = numbers["psw/grad_boxes_smooth"]
    assert smooth.sum() > 50
    check(boxes.grad.cpu()[smooth], numbers["psw/grad_boxes"][smooth])


@pytest.mark.parametrize("frame", [0, 1])
def test_which_boxes_fit(numbers, frame, device):
    boxes = numbers[f"psw_loss/boxes_{frame}"].to(device)
    own = {
        "boxes": boxes,
        "labels": torch.ones(len(boxes), dtype=torch.int64, device=device),
        "gt_boxes": with_labels(numbers[f"psw_loss/gt_{frame}"].to(device)),
    }
    fits = warp_head().to(device).assign_targets([own]).cpu()
    assert torch.equal(fits, numbers[f"psw_loss/labels_{frame}"] == 1)


def test_loss_of_the_scores(numbers):
    fits = torch.cat([numbers[f"psw_loss/labels_{frame}"] == 1 for frame in (0, 1)])
    loss, terms = warp_head().get_loss(numbers["psw_loss/logits"], fits, batch_size=2)
    assert loss.item() == pytest.approx(numbers["psw_loss/loss"].item(), rel=1e-5)
    assert terms["psw_loss_cls"] == loss and terms["psw_fg_num"] == fits.sum()


def test_interpolation_and_its_gradient(numbers, device):
    network = auxiliary_network().to(device)
    sites, stride = numbers["interp/sites_bzyx"].to(device), int(numbers["interp/stride"])
    check(network.places(sites, stride).cpu(), numbers["interp/places_xyz"], atol=1e-5)
    features = numbers["interp/features"].to(device).requires_grad_()
    points = numbers["interp/points_bxyz"].to(device)
    level = SimpleNamespace(features=features, indices=sites, batch_size=3)
    out = network.interpolate(points[:, 1:], points[:, 0].int(), level, stride)
    check(out.detach().cpu(), numbers["interp/out"])
    (out * numbers["interp/coef"].to(device)).sum().backward()
    check(features.grad.cpu(), numbers["interp/grad_features"])


@pytest.mark.parametrize(("key", "height"), [("height", "h"), ("original", "w")])
def test_targets_and_loss_of_points(numbers, key, height, device):
    network = auxiliary_network(height).to(device)
    boxes = torch.zeros(2, 3, 8)  # the second frame has one
    boxes[0], boxes[1, :1] = (with_labels(numbers[f"aux/boxes_{frame}"]) for frame in (0, 1))
    coordinates = F.pad(numbers["aux/frame"][:, None], (0, 3)).to(device)
    targets = network.assign_targets(
        numbers["aux/points"].to(device), coordinates, boxes.to(device)
    )
    assert torch.equal(targets["point_labels"].cpu(), numbers["aux/labels"] == 1)
    expected, inside = numbers[f"aux/offset_{key}"], numbers["aux/labels"] == 1
    check(targets["point_offsets"].cpu()[inside], expected[inside])
    predictions = {
        "point_cls": numbers["aux/point_cls"][:, 0].to(device).requires_grad_(),
        "point_reg": numbers["aux/point_reg"].to(device).requires_grad_(),
    }
    loss, terms = network.get_loss(predictions, targets, batch_size=2)
    assert terms["aux_loss_cls"].item() == pytest.approx(numbers["aux/loss_cls"].item(), rel=1e-5)
    expected = numbers[f"aux/loss_reg_{key}"].item()
    assert terms["aux_loss_reg"].item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    check(predictions["point_cls"].grad.cpu(), numbers["aux/grad_point_cls"], atol=1e-6)
    if key == "original":
        gradient = numbers["aux/grad_point_reg_original"]
        check(predictions["point_reg"].grad.cpu(), gradient, atol=1e-6)


def test_directions(numbers):
    bins = box_coder_utils.direction_bin(numbers["dir/gt_angle"], DIR_OFFSET)
    edge = (torch.sin(numbers["dir/gt_angle"].double())).abs() < 1e-6  # 0 and pi are either's
    assert torch.equal(bins[~edge], numbers["dir/gt_bin"][~edge].long())
    angles = resolve_half_turn(numbers["dir/decoded"], numbers["dir/logits"].argmax(dim=1))
    assert ((angles >= -np.pi) & (angles <= np.pi)).all()
    turn = angles.double() - numbers["dir/angle"]
    assert float(torch.sin(turn / 2).abs().max()) < 1e-6
