"""Three nearest sites and interpolation: by hand, against reference.py, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pcdet.ops.three_nn import reference as plain
from pcdet.ops.three_nn.three_nn_utils import (
    inverse_distance_weights,
    three_interpolate,
    three_nn,
)

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def frames(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def check_equal(points, sites, point_frames, site_frames, batch_size, device) -> None:
    """The operator on the device gives the answer of all pairs."""
    arguments = (points, sites, point_frames, site_frames)
    found = three_nn(*(tensor.to(device) for tensor in arguments), batch_size)
    expected = plain.three_nn(*arguments, batch_size)
    assert torch.equal(found[1].cpu(), expected[1])
    torch.testing.assert_close(found[0].cpu(), expected[0])  # torch's roots may be off by a bit


def test_worked_by_hand(device):
    points = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 0, 0]], device=device)
    sites = torch.tensor([[3.0, 4, 0], [0, 0, 2], [9, 0, 0], [0, 1, 0], [50, 0, 0]], device=device)
    point_frames, site_frames = frames(0, 0, 1).to(device), frames(0, 0, 0, 0, 1).to(device)
    distances, nearest = three_nn(points, sites, point_frames, site_frames, 2)
    assert nearest.tolist() == [[3, 1, 0], [2, 0, 3], [4, -1, -1]]
    expected = [[1, 2, 5], [1, math.sqrt(65), math.sqrt(101)], [50, math.inf, math.inf]]
    torch.testing.assert_close(distances.cpu(), torch.tensor(expected))


def test_of_equal_distances_the_first_sites_come_first(device):
    """Seven sites around each point at one distance, in an order that no grid has."""
    around = torch.tensor([[0, 0, 1], [1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 1, 0], [0, 0, -1]])
    corners = torch.tensor([[5, 5], [70, -40], [5, -39]]).repeat_interleave(6, dim=0)
    sites = around.repeat(3, 1).float()
    sites[:, :2] += corners
    sites = torch.cat((sites, torch.tensor([[5.0, 5.0, 1.0]])))  # the first one once more
    points = torch.tensor([[5.0, 5, 0], [70, -40, 0], [5, -39, 0]])
    zeros = torch.zeros(len(sites), dtype=torch.int32)
    for order in (torch.arange(19), torch.arange(18, -1, -1)):
        arguments = (points, sites[order], zeros[:3], zeros)
        distances, nearest = three_nn(*(tensor.to(device) for tensor in arguments), 1)
        assert torch.equal(distances.cpu(), torch.ones(3, 3))
        own = [torch.nonzero((sites[order, :2] - p[:2]).abs().amax(1) <= 1)[:3, 0] for p in points]
        assert nearest.tolist() == [row.tolist() for row in own]


@dtypes
@pytest.mark.parametrize("seed", range(12))
def test_equals_all_pairs(seed, dtype, device):
    """Dense and sparse places in one frame, as a scan has them; every third time whole numbers."""
    rng = np.random.default_rng(seed)
    batch_size = int(rng.integers(1, 4))
    counts = rng.integers(0, 600, 2)
    spread = [rng.gamma(0.7, 8.0, (count, 1)) for count in counts]
    points, sites = (torch.from_numpy(rng.normal(size=(len(s), 3)) * s) for s in spread)
    if seed % 3 == 0:
        points, sites = points.round(), sites.round()
    own = [torch.from_numpy(rng.integers(-1, batch_size + 1, count)) for count in counts]
    check_equal(points.to(dtype), sites.to(dtype), *own, batch_size, device)


@dtypes
def test_sites_that_are_awkward_to_lay_out(dtype, device):
    """In one place, on one line, one far from all others, not finite, too far for a square."""
    rng = np.random.default_rng(1)
    near = torch.from_numpy(rng.normal(size=(80, 3)))
    line = near * torch.tensor([0.0, 1.0, 0.0])
    far = torch.cat((near, torch.tensor([[1e6, -1e6, 0.0], [1e9, 0, 0]])))
    huge = torch.cat((near, torch.tensor([[1e30, 0, 0], [-1e30, 1e30, 0]])))
    broken = torch.tensor([[torch.nan, 0, 0], [torch.inf, 0, 0], [0, -torch.inf, 0]])
    tiny = near * 1e-25  # squares of the distances vanish in float32
    points = torch.cat((near, far[-3:], torch.zeros(1, 3), tiny[:5]))
    for sites in (torch.ones(5, 3), line, far, huge, torch.cat((broken, near)), broken, tiny):
        zeros = [torch.zeros(len(rows), dtype=torch.int32) for rows in (points, sites)]
        check_equal(points.to(dtype), sites.to(dtype), *zeros, 1, device)


def test_a_point_that_is_not_finite_has_no_sites(device):
    points = torch.tensor([[torch.nan, 0, 0], [torch.inf, 0, 0], [0, 0, 0]], device=device)
    sites = torch.rand((20, 3), device=device)
    zeros = torch.zeros(20, dtype=torch.int32, device=device)
    distances, nearest = three_nn(points, sites, zeros[:3], zeros, 1)
    assert nearest[:2].tolist() == [[-1] * 3] * 2 and (nearest[2] >= 0).all()
    assert distances[:2].isinf().all()


@pytest.mark.parametrize(
    ("num_points", "num_sites", "batch_size"), [(0, 5, 1), (4, 0, 1), (4, 5, 0)]
)
def test_nothing_to_find(num_points, num_sites, batch_size, device):
    points, sites = torch.rand(num_points, 3), torch.rand(num_sites, 3)
    zeros = [torch.zeros(count, dtype=torch.int32) for count in (num_points, num_sites)]
    check_equal(points, sites, *zeros, batch_size, device)
    features = torch.rand((num_sites, 7), device=device, requires_grad=True)
    arguments = (points, sites, *zeros)
    distances, nearest = three_nn(*(tensor.to(device) for tensor in arguments), batch_size)
    out = three_interpolate(features, nearest, inverse_distance_weights(distances))
    out.sum().backward()
    assert out.shape == (num_points, 7) and not out.any() and not features.grad.any()


@pytest.mark.parametrize("frame", [2**32, -(2**32), 2**31, 2**63 - 1])
def test_a_frame_beyond_32_bits_is_none(frame, device):
    points = torch.zeros(1, 3, device=device)
    zeros = torch.zeros(1, dtype=torch.int64, device=device)
    for frames in ((zeros + frame, zeros), (zeros, zeros + frame)):
        distances, nearest = three_nn(points, points, *frames, 1)
        assert nearest.tolist() == [[-1] * 3] and distances.isinf().all()


def test_views_that_are_not_contiguous(device):
    rng = np.random.default_rng(2)
    points, sites = (torch.from_numpy(rng.normal(size=(n, 5))).to(device) for n in (30, 40))
    own = torch.from_numpy(rng.integers(0, 2, (40, 3))).to(device)
    found = three_nn(points[:, 1:4], sites[:, ::2], own[:30, 1], own[:, 2], 2)
    clones = (points[:, 1:4].clone(), sites[:, ::2].clone(), own[:30, 1].clone())
    expected = three_nn(*clones, own[:, 2].clone(), 2)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    features = torch.from_numpy(rng.normal(size=(12, 40))).to(device).T
    weights = inverse_distance_weights(found[0])
    wide = weights.repeat(1, 2)[:, 3:]
    out = three_interpolate(features, found[1], wide)
    torch.testing.assert_close(out, plain.three_interpolate(features, found[1], weights))


def test_weights_by_hand():
    distances = torch.tensor([[1.0, 2, 4], [3, math.inf, math.inf], [math.inf] * 3, [0, 1, 1]])
    weights = inverse_distance_weights(distances)
    expected = torch.tensor([[4 / 7, 2 / 7, 1 / 7], [1, 0, 0], [0, 0, 0], [1, 1e-8, 1e-8]])
    torch.testing.assert_close(weights, expected)


def test_interpolation_by_hand(device):
    features = torch.tensor([[1.0, 10], [2, 20], [4, 40]], device=device, requires_grad=True)
    nearest = torch.tensor([[0, 1, 2], [2, -1, -1], [-1, -1, -1], [1, 1, 0]], device=device)
    weights = torch.tensor([[0.5, 0.25, 0.25], [1, 9, 9], [9, 9, 9], [1, 2, 3]], device=device)
    out = three_interpolate(features, nearest, weights)
    assert out.tolist() == [[2, 20], [4, 40], [0, 0], [9, 90]]
    (out * torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]], device=device)).sum().backward()
    assert features.grad.tolist() == [[0.5, 3], [0.25, 3], [1.25, 0]]


@dtypes
@pytest.mark.parametrize(("num_points", "num_sites"), [(0, 3), (200, 1), (300, 90)])
def test_interpolation_equals_plain_torch(num_points, num_sites, dtype, device):
    rng = np.random.default_rng(3)
    nearest = torch.from_numpy(rng.integers(-1, num_sites, (num_points, 3)))
    weights = torch.from_numpy(rng.random((num_points, 3))).to(dtype)
    coefficient = torch.from_numpy(rng.normal(size=(num_points, 5))).to(dtype)
    values = torch.from_numpy(rng.normal(size=(num_sites, 5))).to(dtype)
    results = []
    for function, place in ((three_interpolate, device), (plain.three_interpolate, "cpu")):
        features = values.to(place).requires_grad_()
        out = function(features, nearest.to(place), weights.to(place))
        (out * coefficient.to(place)).sum().backward()
        results.append((out.detach().cpu(), features.grad.cpu()))
    torch.testing.assert_close(results[0], results[1])


def test_gradient(device):
    rng = np.random.default_rng(4)
    nearest = torch.from_numpy(rng.integers(-1, 6, (9, 3))).to(device)
    weights = torch.from_numpy(rng.random((9, 3))).to(device)
    features = torch.from_numpy(rng.normal(size=(6, 4))).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: three_interpolate(f, nearest, weights), (features,))


def test_arguments_that_do_not_fit_are_named():
    points, zeros = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int32)

    def refused(message: str, function, *arguments) -> None:
        with pytest.raises(RuntimeError, match=message):
            function(*arguments)

    refused("sites must have 2 dimensions, .* 3", three_nn, points, points[:, :2], zeros, zeros, 1)
    refused("points must be float32 or", three_nn, points.int(), points, zeros, zeros, 1)
    refused(
        "sites must have the dtype of points", three_nn, points, points.double(), zeros, zeros, 1
    )
    refused(r"point_frames must have shape \[4\]", three_nn, points, points, zeros[:3], zeros, 1)
    refused("site_frames must be integers", three_nn, points, points, zeros, zeros.float(), 1)
    for size in (-1, 2**31):
        message = f"batch_size must be 0 or more and below 2\\^31, got {size}"
        refused(message, three_nn, points, points, zeros, zeros, size)
    nearest, weights = torch.zeros(5, 3, dtype=torch.int64), torch.zeros(5, 3)
    refused("nearest must be int64", three_interpolate, points, nearest.int(), weights)
    refused("nearest must have 2 dim", three_interpolate, points, nearest[:, :2], weights)
    for index in (-2, 5):
        message = f"nearest must be -1 or more and below the number of features, 4, got {index} to"
        refused(message, three_interpolate, points, nearest + index, weights)
    refused("weights must have the shape", three_interpolate, points, nearest, weights[:4])
    refused("weights must have the dtype", three_interpolate, points, nearest, weights.double())
    refused("features must have 2 dim", three_interpolate, points[0], nearest, weights)
    refused(r"number of features, 4, got 4", three_interpolate, points, nearest + 4, weights)
