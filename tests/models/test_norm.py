"""Layers of batch normalisation: torch's, but for the digits that it loses."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.model_fixture import random_batch, small_model
from pcdet.models import model_fn_decorator
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.model_utils.norm import ImageNorm, VoxelNorm


@pytest.mark.parametrize("momentum", [0.01, None])
@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [(VoxelNorm, nn.BatchNorm1d, (50, 8)), (ImageNorm, nn.BatchNorm2d, (2, 8, 9, 7))],
)
def test_layers_follow_torchs(ours, torchs, shape, momentum):
    ours, torchs = ours(8, momentum=momentum), torchs(8, momentum=momentum)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    for _ in range(3):
        x = 2 + torch.randn(shape)
        if len(shape) == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        found, expected = ours(x), torchs(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert found.stride() == expected.stride()
    for one, other in zip(ours.buffers(), torchs.buffers()):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("options", "weight", "numbers"),
    [
        ({"affine": False}, torch.float32, torch.float32),
        ({"track_running_stats": False}, torch.float32, torch.float32),
        ({}, torch.bfloat16, torch.bfloat16),
        ({}, torch.float32, torch.float16),
    ],
)
@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [(VoxelNorm, nn.BatchNorm1d, (50, 8)), (ImageNorm, nn.BatchNorm2d, (2, 8, 9, 7))],
)
def test_what_the_operators_lack_torch_computes(
    ours, torchs, shape, options, weight, numbers, training, relu
):
    ours, torchs = (kind(8, **options).to(weight).train(training) for kind in (ours, torchs))
    ours.relu = relu
    x = (2 + torch.randn(shape)).to(numbers)
    x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x
    found, expected = ours(x), torchs(x)
    assert torch.equal(found, expected.relu() if relu else expected)


def test_counts_are_not_passed_over():
    with pytest.raises(RuntimeError, match="dtype"):
        VoxelNorm(8).bfloat16()(torch.randn(5, 8).bfloat16(), torch.ones(5))


@pytest.mark.parametrize("name", ["second", "pointpillar", "PartA2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_losses_in_float32_are_those_of_float64(name, threads):
    model, batch = small_model(name), random_batch(name=name)
    # The layout whose sums torch makes plainly, on every processor.
    head = model.rpn_head
    head.memory_format = torch.channels_last
    for layers in (head.blocks, head.deblocks):
        layers.to(memory_format=torch.channels_last)
    double = copy.deepcopy(model).double()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        losses = []
        for each in (model, double):
            torch.manual_seed(0)
            losses.append(model_fn_decorator()(each.train(), batch).loss.item())
    finally:
        torch.set_num_threads(before)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_relu_does_not_write_into_the_view_that_a_norm_returns(layout):
    """Autograd copies the whole image three times for that, and takes strided paths."""
    network = BEVNetwork(8, [1, 1], [1, 2], [4, 6], [1, 2], [4, 4]).to(memory_format=layout)
    network.memory_format = layout
    image = torch.randn(1, 8, 8, 8, requires_grad=True)
    met, nodes = set(), [network.train()(image).grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in met:
            met.add(node)
            nodes += [parent for parent, _ in node.next_functions]
    names = {node.name() for node in met}
    assert "CopySlices" not in names and any("Relu" in name for name in names)
