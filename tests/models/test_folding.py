"""A network whose batch normalisation is folded, beside the one it was made of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.model_fixture import narrow_config, random_batch, small_dataset, small_model
from pcdet.engine.batch_norm import freeze_bn
from pcdet.models import build_network, example_convert_to_torch
from pcdet.models.folding import PatchProduct, folded, fuse_relu_
from pcdet.models.model_utils.norm import VoxelNorm
from pcdet.ops.sparse_conv import SparseConv3d, SparseSequential, SparseTensor, SubMConv3d

DETECTORS = ("second", "pointpillar", "PartA2", "sassd")


def with_statistics(model: nn.Module) -> nn.Module:
    """Norms that shift and scale each channel differently, as those of a trained network."""
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.track_running_stats:
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.3, 2, generator=generator)
            nn.init.uniform_(norm.weight, 0.6, 1.6, generator=generator)
            nn.init.normal_(norm.bias, 0.1, 0.3, generator=generator)
    return model.eval()


@torch.inference_mode()
def outputs_of(model: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
    """What head and second stage predict for a batch."""
    outputs = {}
    stages = ("rpn_head", "rcnn_net", "extra_head")
    for stage in [getattr(model, name, None) for name in stages]:
        if stage is not None:
            stage.register_forward_hook(lambda module, _, out: outputs.update(named(out)))
    model(batch)
    return outputs


def named(output) -> dict[str, torch.Tensor]:
    """Predictions of a head, or of one that gives features, too, or the maps of parts."""
    output = output[0] if isinstance(output, tuple) else output
    return output if isinstance(output, dict) else {"maps": output}


@pytest.mark.parametrize("name", DETECTORS)
def test_outputs_stay_and_so_does_the_network(name):
    model, batch = with_statistics(small_model(name)).train(), random_batch(name=name)
    before = copy.deepcopy(model.state_dict())
    other = folded(model)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not other.training and not any(p.requires_grad for p in other.parameters())
    assert not [m for m in other.modules() if isinstance(m, (_BatchNorm, nn.ConvTranspose2d))]

    double = copy.deepcopy(model).double().eval()
    exact, exactly_found = (
        outputs_of(m, example_convert_to_torch(batch, dtype=torch.float64))
        for m in (double, folded(double))
    )
    plain, found = (outputs_of(m, example_convert_to_torch(batch)) for m in (model.eval(), other))
    assert found.keys() == plain.keys() and found and other.rpn_head.by_patches
    for outputs in (exact, exactly_found, plain, found):
        # Proposals whose scores differ by rounding may change places.
        outputs.update({k: v.sort(dim=0).values for k, v in outputs.items() if k[:4] == "rcnn"})
    for key, value in exact.items():
        # Logits of the second stage are small differences of large numbers; processors round them
        # either way: there both networks are held to the exact ones.
        second = key.startswith("rcnn")
        most = (2e-6 if second else 1e-6) * value.abs().max()
        assert (exactly_found[key] - value).abs().max() <= 1e-7 * most, key
        assert (found[key] - value).abs().max() <= most, key
        assert (plain[key] - (value if second else found[key])).abs().max() <= most, key


def test_frames_without_points():
    for name in DETECTORS:
        batch = example_convert_to_torch(random_batch((0,), name=name))
        with torch.inference_mode():
            assert len(folded(small_model(name))(batch)[0]) == 1


def test_stacked_input_of_the_head_goes_beside_its_levels():
    cfg = narrow_config("second")
    cfg.MODEL.RPN.RPN_HEAD.ARGS.update(concat_input=True)
    model = with_statistics(build_network(small_dataset(cfg), cfg))
    batch = random_batch()
    plain, found = (outputs_of(m, example_convert_to_torch(batch)) for m in (model, folded(model)))
    for key, value in plain.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-5, atol=1e-6 * float(value.abs().max())
        )


def test_sparse_convolutions_take_in_relu():
    model = folded(small_model("second"))
    convolutions = [m for m in model.modules() if isinstance(m, (SubMConv3d, SparseConv3d))]
    assert convolutions and all(m.relu for m in convolutions)
    assert not any(isinstance(m, nn.ReLU) for m in model.rpn_net.modules())


def test_a_norm_after_a_taken_relu_stays():
    layers = SparseSequential(SparseSequential(SubMConv3d(4, 4, 3), nn.ReLU(), nn.BatchNorm1d(4)))
    with_statistics(layers.double())
    sites = torch.tensor([[0, 1, 1, z] for z in range(4)], dtype=torch.int32)
    features = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain, found = (
            net(SparseTensor(features, sites, [3, 3, 4], 1)).features
            for net in (layers, folded(layers))
        )
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def check(layers: nn.Module, x: torch.Tensor) -> nn.Module:
    """Fold the layers; compare their results; return the folded ones."""
    with_statistics(layers)
    other = folded(layers)
    with torch.inference_mode():
        torch.testing.assert_close(other(x.clone()), layers(x), rtol=1e-12, atol=1e-12)
    return other


IMAGE = torch.randn(2, 3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False),
        nn.ConvTranspose2d(3, 4, (1, 3), stride=(1, 3)),
        nn.ConvTranspose2d(3, 4, 3, stride=2),
    ],
)
def test_layers_of_images(layer):
    other = check(nn.Sequential(layer, nn.BatchNorm2d(4), nn.ReLU()).double(), IMAGE)
    assert isinstance(other[1], nn.Identity) and other[2].inplace
    assert isinstance(other[0], PatchProduct) == (layer.stride == layer.kernel_size)


def test_factors_worked_out_by_hand():
    layers = nn.Sequential(nn.Linear(1, 1), VoxelNorm(1, eps=0.0))
    layers[0].weight.data[:], layers[0].bias.data[:] = 3.0, 5.0
    layers[1].running_mean[:], layers[1].running_var[:] = 1.0, 4.0
    layers[1].weight.data[:], layers[1].bias.data[:] = 6.0, 7.0
    # (3 x + 5 - 1) / 2 * 6 + 7 = 9 x + 19
    line = folded(layers)[0]
    assert (line.weight.item(), line.bias.item()) == (9.0, 19.0)


def test_what_cannot_be_folded_stays():
    shared = nn.Conv2d(3, 3, 1)
    cases = [
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sigmoid(), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 6, 1, groups=3), nn.BatchNorm2d(6)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(shared, nn.BatchNorm2d(3), shared),
        nn.Sequential(nn.Flatten(2), nn.Linear(30, 3), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Flatten(2), nn.Linear(30, 7), VoxelNorm(3)),
    ]
    for layers in cases:
        other = check(layers.double(), IMAGE)
        assert any(isinstance(layer, _BatchNorm) for layer in other), layers


def test_sequences_of_sequences_and_norms_without_weights():
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    other = check(nn.Sequential(inner, nn.Dropout(), nn.ReLU()).double(), IMAGE)
    assert other[2].inplace and isinstance(other[0][1][0], nn.Identity)
    bare = nn.BatchNorm2d(4, affine=False)
    bare.running_mean += 0.5
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), bare).double().eval()
    torch.testing.assert_close(folded(layers)(IMAGE), layers(IMAGE))


class OutOfOrder(nn.Module):
    """Registered in one order, run in another."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise first."""
        return self.conv(self.norm(x))


def test_order_is_taken_from_sequences_alone():
    assert isinstance(check(OutOfOrder().double(), IMAGE).norm, nn.BatchNorm2d)


@pytest.mark.parametrize("name", DETECTORS)
def test_norms_with_their_relu_learn_the_same(name):
    plain = with_statistics(small_model(name)).double()
    fused = copy.deepcopy(plain)
    fuse_relu_(fused)
    assert not [m for m in fused.rpn_head.modules() if isinstance(m, nn.ReLU)]
    assert any(getattr(layer, "relu", None) is True for layer in fused.rpn_net.modules()) == (
        name != "pointpillar"  # which has its norm in the encoder
    )
    batch = example_convert_to_torch(random_batch(name=name), dtype=torch.float64)
    for frozen in (False, True):
        for model in (plain, fused):
            model.train().zero_grad()
            if frozen:
                freeze_bn(model)
            torch.manual_seed(0)
            model(dict(batch))[0]["loss"].backward()
        for (key, one), other in zip(plain.named_parameters(), fused.parameters()):
            most = 1e-9 * max(1.0, one.grad.abs().max().item())
            torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=most, msg=key)
    stored = fused.state_dict()
    assert stored.keys() == plain.state_dict().keys()
    assert all(torch.allclose(stored[key], one) for key, one in plain.state_dict().items())
    # A network that was trained so can be folded, too.
    detector = folded(fused)
    assert not [m for m in detector.modules() if isinstance(m, _BatchNorm)]
    plain, found = (outputs_of(m.eval(), batch) for m in (plain, detector))
    assert all(torch.allclose(found[key], value) for key, value in plain.items())
