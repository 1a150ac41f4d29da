"""RoI-aware pooling: worked by hand, against reference.py, and its gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from op_inputs import changed, points_about_boxes, random_boxes

from pcdet.ops.roiaware_pool3d import reference as plain
from pcdet.ops.roiaware_pool3d.roiaware_pool3d_utils import (
    RoIAwarePool3d,
    list_points_of_rois,
    roiaware_pool3d,
)

methods = pytest.mark.parametrize("method", ["max", "avg"])
# Its length, 4, lies along +x: the box's own x is the frame's, and likewise y.
BOX = [0.0, 0.0, 0.0, 2.0, 4.0, 1.0, -math.pi / 2]


def random_scene(count: int = 6, each: int = 40, channels: int = 4, dtype=torch.float64):
    """RoIs, two of which lie in one another, points about them, and features."""
    rng = np.random.default_rng(0)
    rois = random_boxes(rng, count)
    rois[1] = changed(rois[0], w=rois[0, 3] * 1.5, rz=rois[0, 6] + 0.5)
    points = points_about_boxes(rng, rois, each)
    points += rng.uniform(-1e-3, 1e-3, points.shape)  # off the faces, where a last bit decides
    features = rng.normal(size=(len(points), channels))
    return tuple(torch.from_numpy(array).to(dtype) for array in (rois, points, features))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_worked_by_hand(dtype, device):
    rois = torch.tensor([BOX], dtype=dtype, device=device)
    points = torch.tensor(
        [
            [-1.9, -0.9, 0.1],  # cell (0, 0, 0)
            [-1.0, -0.5, 0.2],  # (0, 0, 0)
            [1.9, -0.9, 0.1],  # (1, 0, 0)
            [1.9, 0.9, 0.1],  # (1, 1, 0)
            [0.1, 0.1, 1.0],  # (1, 1, 1), on the top face
            [0.1, 0.1, 1.1],  # above
            [5.0, 0.0, 0.5],  # in front
        ],
        dtype=dtype,
        device=device,
    )
    features = torch.tensor([[1.0, -4], [3, -2], [-5, 7], [8, 0], [2, 2], [99, 99], [99, 99]])
    features = features.to(device, dtype)
    largest = torch.zeros((1, 2, 2, 2, 2), dtype=dtype, device=device)
    largest[0, 0, 0, 0] = torch.tensor([3.0, -2.0])
    largest[0, 1, 0, 0], largest[0, 1, 1, 0] = features[2], features[3]
    largest[0, 1, 1, 1] = features[4]
    mean = largest.clone()
    mean[0, 0, 0, 0] = torch.tensor([2.0, -3.0])
    assert torch.equal(roiaware_pool3d(rois, points, features, 2), largest)
    assert torch.equal(roiaware_pool3d(rois, points, features, 2, pool_method="avg"), mean)


def test_cells_run_along_length_width_and_height(device):
    rois = torch.tensor([[5.0, 6.0, 1.0, 2.0, 4.0, 1.0, 0.4]], device=device)
    angle = -(0.4 + math.pi / 2)  # of the length, counter-clockwise from x
    forward = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    left, up = torch.tensor([-forward[1], forward[0], 0.0]), torch.tensor([0.0, 0.0, 1.0])
    center = torch.tensor([5.0, 6.0, 1.5])
    points = torch.stack([center + 1.9 * forward, center + 0.9 * left, center + 0.45 * up])
    features = torch.tensor([[1.0], [2.0], [3.0]], device=device)
    pooled = roiaware_pool3d(rois, points.to(device), features, (5, 3, 7))[0, ..., 0]
    assert pooled.shape == (5, 3, 7)
    assert pooled[4, 1, 3] == 1
    assert pooled[2, 2, 3] == 2
    assert pooled[2, 1, 6] == 3
    assert pooled.count_nonzero() == 3


def test_the_last_of_more_cells_than_float32_counts(device):
    rois, points = torch.tensor([BOX], device=device), torch.tensor([[0, 0, 1.0]], device=device)
    listed, cells, kept, _ = list_points_of_rois(rois, points, (1, 1, 2**25), 1).lists
    assert (listed.item(), cells.item(), kept.item()) == (0, 2**25 - 1, 1)


def test_only_the_first_points_of_a_cell_count(device):
    rois = torch.tensor([BOX], device=device)
    points = torch.tensor([[0.1, 0.1, 0.5]] * 5, device=device)
    features = torch.tensor([[1.0], [5.0], [3.0], [9.0], [11.0]], device=device).requires_grad_()
    for most, largest, mean in ((1, 1, 1), (3, 5, 3), (4, 9, 4.5), (5, 11, 5.8), (128, 11, 5.8)):
        pool = RoIAwarePool3d(1, most)
        assert pool(rois, points, features, "max").item() == largest
        pooled = pool(rois, points, features, "avg")
        assert pooled.item() == pytest.approx(mean)
        (grad,) = torch.autograd.grad(pooled.sum(), features)
        counted = min(most, 5)
        expected = torch.tensor([[1 / counted]] * counted + [[0.0]] * (5 - counted))
        torch.testing.assert_close(grad.cpu(), expected)


def test_gradient_of_equal_values_goes_to_the_first_point(device):
    rois = torch.tensor([BOX], device=device)
    points = torch.tensor([[0.1, 0.1, 0.5]] * 3, device=device)
    features = torch.tensor([[1.0], [2.0], [2.0]], device=device, requires_grad=True)
    roiaware_pool3d(rois, points, features, 1).sum().backward()
    assert features.grad.flatten().tolist() == [0, 1, 0]


def test_a_point_in_several_rois_counts_in_each(device):
    rois = torch.tensor([BOX, BOX, [50.0, 0, 0, 2, 4, 1, 0]], device=device)
    points = torch.tensor([[0.1, 0.1, 0.5]], device=device)
    features = torch.tensor([[7.0, -7.0]], device=device, requires_grad=True)
    for method in ("max", "avg"):
        pooled = roiaware_pool3d(rois, points, features, 1, pool_method=method)
        assert pooled[:, 0, 0, 0].tolist() == [[7, -7], [7, -7], [0, 0]]
        (grad,) = torch.autograd.grad(pooled.sum(), features)
        assert grad.tolist() == [[2, 2]]


def test_max_keeps_a_nan(device):
    rois = torch.tensor([BOX], device=device)
    points = torch.tensor([[0.1, 0.1, 0.5]] * 3, device=device)
    for place in range(3):
        features = torch.ones((3, 1), device=device)
        features[place] = math.nan
        assert roiaware_pool3d(rois, points, features, 1).isnan().all()


@methods
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "most"), [((3, 4, 5), 128), ((2, 2, 2), 3), ((14, 14, 14), 1)])
def test_random_scene_equals_the_reference(method, dtype, size, most, device):
    rois, points, features = (part.to(device) for part in random_scene(dtype=dtype))
    features.requires_grad_()
    pooled = roiaware_pool3d(rois, points, features, size, most, method)
    weights = torch.linspace(-1, 1, pooled.numel(), device=device, dtype=dtype).view_as(pooled)
    (grad,) = torch.autograd.grad((pooled * weights).sum(), features)
    rois, points, weights = rois.cpu(), points.cpu(), weights.cpu()
    features = features.detach().cpu().requires_grad_()
    expected = plain.roiaware_pool3d(rois, points, features, size, most, method)
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), features)
    assert (expected != 0).sum() > 50
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(pooled.detach().cpu(), expected.detach(), **tolerance)
    torch.testing.assert_close(grad.cpu(), expected_grad, **tolerance)


@methods
def test_gradcheck(method, device):
    rois, points, features = (part.to(device) for part in random_scene(3, 8, 2))
    features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: roiaware_pool3d(rois, points, values, (2, 3, 2), 2, method), (features,)
    )


@methods
def test_empty_input(method, device):
    rois, points, features = (part.to(device) for part in random_scene())
    for some_rois, count in ((rois[:0], len(points)), (rois, 0), (rois[:0], 0)):
        some = features[:count].clone().requires_grad_()
        pooled = roiaware_pool3d(some_rois, points[:count], some, (2, 3, 4), 8, method)
        assert pooled.shape == (len(some_rois), 2, 3, 4, 4)
        assert not pooled.any()
        pooled.sum().backward()
        assert some.grad.shape == some.shape
    assert roiaware_pool3d(rois, points, features[:, :0], 2, 8, method).shape == (6, 2, 2, 2, 0)


@methods
def test_rois_without_points_or_size_are_zero(method, device):
    rois, points, features = (part.to(device) for part in random_scene())
    rois = rois.clone()
    rois[0, 0] += 1000
    rois[1, 3:6] = 0
    rois[2, 4] = -1
    rois[3, 0] = math.nan
    pooled = roiaware_pool3d(rois, points, features, 3, 8, method)
    assert not pooled[:4].any()
    assert pooled[4:].any()


def test_a_flat_roi_has_one_layer(device):
    rois = torch.tensor([[0.0, 0, 0.5, 2, 2, 0, 0]], device=device)
    points = torch.tensor([[0.1, 0.1, 0.5]], device=device)
    pooled = roiaware_pool3d(rois, points, torch.ones((1, 1), device=device), (1, 1, 3))
    assert pooled.flatten().tolist() == [1, 0, 0]
    one = torch.ones((1, 1), device=device)
    assert roiaware_pool3d(rois, points, one, np.int64(2)).shape == (1, 2, 2, 2, 1)


@methods
def test_arguments_need_not_be_contiguous(method, device):
    rois, points, features = (part.to(device) for part in random_scene())
    expected = roiaware_pool3d(rois, points, features, 3, 8, method)
    turned = (part.T.contiguous().T for part in (rois, points, features))
    assert torch.equal(roiaware_pool3d(*turned, 3, 8, method), expected)
    twice = features.requires_grad_()
    pooled = roiaware_pool3d(rois, points, twice, 3, 8, method)
    gradient = torch.ones_like(pooled).transpose(1, 3).contiguous().transpose(1, 3)
    (grad,) = torch.autograd.grad(pooled, twice, gradient, retain_graph=True)
    assert torch.equal(grad, torch.autograd.grad(pooled, twice, gradient.contiguous())[0])


def test_the_gradient_is_the_same_every_time():
    rois, points, features = random_scene(dtype=torch.float32)
    features.requires_grad_()
    grads = [
        torch.autograd.grad(roiaware_pool3d(rois, points, features, 3).square().sum(), features)[0]
        for _ in range(5)
    ]
    assert all(torch.equal(grad, grads[0]) for grad in grads)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pool_method": "mean"}, ValueError, r"pool_method must be one of \['avg', 'max'\]"),
        ({"rois": torch.ones(2, 8)}, RuntimeError, r"rois .* last of size 7, got shape \[2, 8\]"),
        ({"pts": torch.ones(5, 4)}, RuntimeError, r"pts .* last of size 3, got shape \[5, 4\]"),
        ({"pts": torch.ones(5, 3).double()}, RuntimeError, "pts must have the dtype of rois"),
        ({"pts_feature": torch.ones(4, 2)}, RuntimeError, r"pts_feature must have shape \(5, C\)"),
        ({"pts_feature": torch.ones(5)}, RuntimeError, r"pts_feature must have shape \(5, C\)"),
        ({"pts_feature": torch.ones(5, 2).half()}, RuntimeError, r"pts_feature must be float32 or"),
        ({"out_size": 0}, RuntimeError, r"out_size must be 1 or more.*got \[0, 0, 0\]"),
        ({"out_size": (2, 2)}, RuntimeError, r"out_size must hold 3 numbers.*got \[2, 2\]"),
        ({"out_size": 2000}, RuntimeError, r"below 2\^31 cells"),
        ({"max_pts_each_voxel": 0}, RuntimeError, r"max_pts_each_voxel must be 1 or more"),
    ],
)
def test_arguments_that_do_not_fit(changes, error, message):
    arguments = {
        "rois": torch.ones(2, 7),
        "pts": torch.ones(5, 3),
        "pts_feature": torch.ones(5, 2),
        "out_size": 2,
    }
    with pytest.raises(error, match=message):
        roiaware_pool3d(**{**arguments, **changes})
