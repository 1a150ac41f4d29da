"""Inputs that an encoder multiplies: what it computes with them, and what does not fit."""

from __future__ import annotations

import pytest
import torch

from models.model_fixture import load_config, narrow_config, small_dataset
from pcdet.models import build_network
from pcdet.models.vfe import MeanVoxelFeatureExtractor, PillarFeatureNetOld2
from pcdet.utils.errors import ConfigError

SCALES = [0.07, 0.125, 2.0, 3.0]


def test_means_are_multiplied():
    voxels, num_points = torch.rand(6, 5, 4), torch.tensor([5, 4, 3, 2, 1, 5])
    plain, scaled = (MeanVoxelFeatureExtractor(4, scales) for scales in ([], SCALES))
    expected = plain(voxels, num_points) * torch.tensor(SCALES)
    torch.testing.assert_close(scaled(voxels, num_points), expected)


def test_pillars_are_those_of_the_numbers_in_the_weights():
    scales = [*SCALES, 10.0, 10.0, 1.0, 8.0, 8.0, 1.0]
    scaled = PillarFeatureNetOld2(4, num_filters=[8], input_scales=scales).eval()
    plain = PillarFeatureNetOld2(4, num_filters=[8]).eval()
    weights = scaled.state_dict()
    first = "pfn_layers.0.linear.weight"
    weights[first] = weights[first] * weights.pop("input_scales.scales")
    plain.load_state_dict(weights)
    voxels, num_points = torch.rand(6, 5, 4), torch.tensor([5, 4, 3, 2, 1, 5])
    voxels *= (torch.arange(5) < num_points[:, None])[..., None]
    inputs = voxels, num_points, torch.rand(6, 3)
    torch.testing.assert_close(scaled(*inputs), plain(*inputs))


def test_weights_that_learnt_with_them_do_not_fit_in_without():
    weights = MeanVoxelFeatureExtractor(4, SCALES).state_dict()
    with pytest.raises(RuntimeError, match=r"input_scales\.scales"):
        MeanVoxelFeatureExtractor(4).load_state_dict(weights)


@pytest.mark.parametrize(
    ("name", "scales", "message"),
    [
        ("second", [1.0, 2.0, 3.0], r"VFE.ARGS .*input_scales: 4 numbers expected.* got 3: \[1.0"),
        ("pointpillar", SCALES, "input_scales: 10 numbers expected"),
        ("second", [1.0, 1.0, 0.0, 1.0], "ARGS.input_scales: expected a list of numbers above 0"),
        ("sassd", SCALES, "input_scales: sassd_net reads places .* leave the key out"),
    ],
)
def test_numbers_that_do_not_fit_are_named(name, scales, message):
    cfg = narrow_config() if name == "second" else load_config(name)
    cfg.MODEL.VFE.setdefault("ARGS", {})["input_scales"] = scales
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)
