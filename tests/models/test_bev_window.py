"""Convolutions around the occupied cells against those of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.model_fixture import small_model
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.bbox_heads.bev_window import Window, WindowedStack


def stack(layers: int, channels: int = 6) -> WindowedStack:
    """A level whose norms have statistics, so that emptiness is not zero behind them."""
    torch.manual_seed(layers)
    network = BEVNetwork(4, [layers - 1], [1], [channels], [1], [channels]).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return WindowedStack(network.blocks[0])


def image_at(cells: torch.Tensor, height: int, width: int, batch: int = 2) -> torch.Tensor:
    image = torch.zeros(batch, 4, height, width, dtype=torch.float64)
    image[:, :, cells[:, 0], cells[:, 1]] = torch.randn(batch, 4, len(cells), dtype=torch.float64)
    return image


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize(
    "place",
    [
        [(14, 13), (17, 15)],  # in the middle
        [(0, 0)],
        [(29, 27)],
        [(0, 12), (3, 20)],  # at one border
        [(8, 2), (16, 25)],
        [(2, 26), (27, 26)],  # all rows
    ],
)
@torch.no_grad()
def test_equals_the_whole_image(layers, place):
    windowed, cells = stack(layers), torch.tensor(place)
    image = image_at(cells, 30, 28)
    window = windowed.window(cells, 30, 28)
    assert window is not None
    torch.testing.assert_close(windowed(image, window), windowed.layers(image))


def test_the_window_holds_what_differs_and_no_more():
    windowed = stack(2)
    assert windowed.reach == 2
    cells = torch.tensor([[5, 9], [7, 12]])
    assert windowed.window(cells, 30, 40) == Window(3, 10, 7, 15)
    assert windowed.window(torch.tensor([[1, 39]]), 30, 40) == Window(0, 4, 37, 40)
    corners = torch.tensor([[0, 0], [29, 39]])
    for places, height in ((corners, 30), (corners[:0], 30), (cells, 4)):
        assert windowed.window(places, height, 40) is None


@torch.inference_mode()
def test_the_head_gives_the_same_with_and_without():
    head = small_model("sassd").eval().rpn_head
    rng = np.random.default_rng(0)
    image = torch.zeros(1, 320, 32, 32)
    cells = torch.from_numpy(rng.integers([10, 4], [18, 12], (20, 2)))
    image[:, :, cells[:, 0], cells[:, 1]] = torch.rand(1, 320, 20)
    whole, features = head(image)
    around, same_features = head(image, cells)
    assert head._levels_around(image, cells) is not None
    torch.testing.assert_close(around, whole)
    torch.testing.assert_close(same_features, features)
    head.train()
    assert head._levels_around(image, cells) is None
