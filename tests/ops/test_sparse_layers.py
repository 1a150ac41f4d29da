"""Sparse layers by every backend that is there, next to the same on dense grids."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ops.sparse_cases import (
    SHAPE,
    STRIDED,
    SUBMANIFOLD,
    as_tables,
    at_sites,
    dense_conv,
    dense_inverse,
    random_sites,
)
from pcdet.ops.sparse_conv import (
    SparseConv3d,
    SparseConvTensor,
    SparseInverseConv3d,
    SparseMaxPool3d,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
    dense_bev,
    plan_ahead,
)
from pcdet.ops.sparse_conv.backends import backend_for, torch_backend
from pcdet.ops.sparse_conv.gather_conv import gather_conv
from pcdet.ops.sparse_conv.plan import Geometry, make_plan

_ON_CUDA = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(
    params=[
        ("cpu", "cpu"),
        ("torch", "cpu"),
        *(pytest.param((name, "cuda"), marks=_ON_CUDA) for name in ("torch", "triton", "spconv")),
    ],
    ids="-".join,
)
def device(request, monkeypatch) -> torch.device:
    """A device, and sparse layers by one of its backends; float32 is float32."""
    name, device = request.param
    monkeypatch.setenv("SPARSE_CONV", name)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    if name == "spconv":
        if importlib.util.find_spec("spconv") is None:
            pytest.skip("spconv is optional")
        monkeypatch.setattr("spconv.constants.SPCONV_ALLOW_TF32", False)
    assert backend_for(torch.device(device)).name == name
    return torch.device(device)


def random_tensor(device, channels: int = 5, share: float = 0.3) -> SparseTensor:
    sites = random_sites(share)
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(len(sites), channels, generator=generator).to(device)
    return SparseTensor(features.requires_grad_(), sites.indices.to(device), SHAPE, 3)


def gradients(output: torch.Tensor, leaves) -> list[torch.Tensor]:
    grad = torch.arange(output.numel(), device=output.device).view_as(output).cos()
    return [output, *torch.autograd.grad(output, leaves, grad.to(output.dtype), retain_graph=True)]


def assert_same(found, expected, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(found, expected):
        scale = float(theirs.detach().abs().max()) if theirs.numel() else 1.0
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * max(1.0, scale))


@pytest.mark.parametrize("channels", [(16, 32), (33, 7)])
@pytest.mark.parametrize("name", [*SUBMANIFOLD, *STRIDED])
def test_convolutions_equal_dense_ones(device, name, channels):
    x = random_tensor(device, channels[0])
    geometry = (SUBMANIFOLD | STRIDED)[name]
    if geometry.submanifold:
        layer = SubMConv3d(*channels, geometry.kernel_size, dilation=geometry.dilation)
    else:
        layer = SparseConv3d(
            *channels, geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation
        )
    layer.to(device)
    plan = layer.plan_for(x)
    if name == "beyond the grid":  # a dense convolution has no room for its padding
        found = gradients(layer(x).features, (x.features, layer.weight))
        narrow = SubMConv3d(*channels, (3, 1, 1)).to(device)
        narrow.load_state_dict({"weight": layer.weight[:, :, 1:2, 1:2], "bias": layer.bias})
        expected = gradients(narrow(x).features, (x.features, narrow.weight))
        assert_same([*found[:2], found[2][:, :, 1:2, 1:2]], expected)
        return
    leaves = (x.features, layer.weight, layer.bias)
    output = layer(x)
    assert output.sites is plan.outputs
    found = gradients(output.features, leaves)
    expected = gradients(dense_conv(x.features, layer.weight, plan) + layer.bias, leaves)
    assert_same(found, expected)


@pytest.mark.parametrize("name", STRIDED)
def test_inverse_convolutions_equal_dense_ones(device, name):
    x, geometry = random_tensor(device), STRIDED[name]
    down = SparseConv3d(
        5, 6, geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation,
        indice_key="down",
    ).to(device)  # fmt: skip
    up = SparseInverseConv3d(6, 4, geometry.kernel_size, "down", bias=False).to(device)
    middle = down(x)
    output = up(middle)
    assert output.sites is x.sites
    leaves = (x.features, down.weight, up.weight)
    expected = dense_inverse(middle.features, up.weight, x.plans["down"])
    assert_same(gradients(output.features, leaves), gradients(expected, leaves))


@pytest.mark.parametrize("size", [(2, 2, 0), (3, 2, 1), ((1, 3, 2), (1, 2, 2), 0)])
def test_the_maximum_equals_the_dense_one(device, size):
    """Of features that are not negative, as after ReLU; every largest one gets the gradient."""
    x = random_tensor(device, 3)
    x = x.replace_feature(x.features.detach().relu().requires_grad_())
    pooled = SparseMaxPool3d(*size)(x)
    dense = F.max_pool3d(x.dense(), *size)
    assert pooled.spatial_shape == list(dense.shape[2:])
    assert torch.equal(pooled.features, at_sites(dense, pooled.sites))
    grad = torch.rand_like(pooled.features)
    (found,) = torch.autograd.grad(pooled.features, x.features, grad)
    # Each input, and each output whose window it lies in and whose value it has.
    expected = torch.zeros_like(x.features)
    (plan,) = pooled.plans.values()
    for place in as_tables(plan.neighbours).sources.tolist():
        for o, i in enumerate(place):
            if i >= 0:
                expected[i] += grad[o] * (x.features[i] == pooled.features[o])
    torch.testing.assert_close(found, expected)


def test_the_maximum_is_at_least_zero(device):
    x = SparseTensor(
        torch.tensor([[-1.0, 2.0]], device=device),
        torch.zeros(1, 4, dtype=torch.int32, device=device), (2, 2, 2), 1,
    )  # fmt: skip
    assert SparseMaxPool3d(2)(x).features.tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("rows", [[], [[1, 2, 4, 4]]], ids=["no voxel", "one voxel"])
def test_a_network_of_next_to_nothing(device, rows):
    x = SparseTensor(
        torch.ones(len(rows), 4, device=device),
        torch.tensor(rows, dtype=torch.int32, device=device).view(-1, 4), SHAPE, 2,
    )  # fmt: skip
    layers = SparseSequential(
        SubMConv3d(4, 8, 3, indice_key="a"),
        nn.ReLU(),
        SparseConv3d(8, 6, 3, stride=2, padding=1, indice_key="b"),
        SparseInverseConv3d(6, 5, 3, indice_key="b"),
        SparseMaxPool3d(3, 2, 1),
    ).to(device)
    output = layers(x)
    assert output.features.shape == (len(rows), 5)
    assert output.dense().shape == (2, 5, 3, 4, 3)
    output.features.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layers.parameters())
    if not rows:
        # Batch normalisation of no voxel would end in an error, or in a mean of nothing.
        layers = SparseSequential(nn.BatchNorm1d(4), nn.Linear(4, 7), SubMConv3d(7, 5, 3))
        assert layers.to(device)(x).features.shape == (0, 5)
        assert layers[0].running_mean.isfinite().all()


def test_gradients_in_double(device):
    if backend_for(device).name == "spconv":
        pytest.skip("spconv has no float64; torch computes it, and is tested")
    sites = random_sites(0.1)
    for geometry in (SUBMANIFOLD["3x3x3"], STRIDED["halved"]):
        at = random_sites(0.1, device=device)
        neighbours = make_plan(at, geometry, backend_for(device).takes_pairs).neighbours
        features = torch.randn(len(sites), 3, dtype=torch.float64, device=device)
        weight = torch.randn(27, 3, 2, dtype=torch.float64, device=device)
        leaves = (features.requires_grad_(), weight.requires_grad_())
        assert torch.autograd.gradcheck(lambda f, w, n=neighbours: gather_conv(f, w, n), leaves)


def test_the_same_result_each_time(device):
    results = []
    for _ in range(2):
        x = random_tensor(device, 16, share=0.6)
        torch.manual_seed(3)
        layers = SparseSequential(
            SubMConv3d(16, 32, 3, indice_key="a"),
            SparseConv3d(32, 16, 3, stride=2, padding=1, indice_key="b"),
            SparseMaxPool3d(3, 1, 1, indice_key="c"),
            SparseInverseConv3d(16, 8, 3, indice_key="c"),
            SparseInverseConv3d(8, 8, 3, indice_key="b"),
        ).to(device)
        output = layers(x)
        leaves = [x.features, *layers.parameters()]
        results.append([output.indices, *gradients(output.features, leaves)])
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast(device, amp):
    """In autocast's type as torch's own convolutions; those of the CPU: test_sparse_bfloat16.py."""
    x, layer = random_tensor(device, 16), SubMConv3d(16, 8, 3).to(device)
    leaves = (x.features, layer.weight, layer.bias)
    expected = gradients(layer(x).features, leaves)
    with torch.autocast(device.type, dtype=amp):
        output = layer(x).features
    half = backend_for(device).name != "cpu"  # whose channels are too few here
    assert output.dtype == (amp if half else torch.float32)
    found = gradients(output, leaves)
    assert [tensor.dtype for tensor in found[1:]] == [torch.float32] * 3
    assert_same([found[0].float(), *found[1:]], expected, 3e-2 if half else 0.0)


def test_chunks_do_not_matter(monkeypatch):
    """However small they are: memory is bounded by their size."""
    monkeypatch.setenv("SPARSE_CONV", "torch")
    x, layer = random_tensor("cpu"), SparseConv3d(5, 6, 3, 2, 1)
    leaves = (x.features, layer.weight)
    expected = gradients(layer(x).features, leaves)
    largest = []
    gathered = torch_backend._gathered

    def watched(rows, sources):
        result = gathered(rows, sources)
        largest.append(result.nbytes)
        return result

    monkeypatch.setattr(torch_backend, "_gathered", watched)
    for limit in (2**12, 1):
        monkeypatch.setattr(torch_backend, "CHUNK_BYTES", limit)
        assert_same(gradients(layer(x).features, leaves), expected)
        assert max(largest) <= max(limit, 27 * 6 * 4)  # one row at least
        largest.clear()


def test_initial_weights_are_those_of_a_convolution_of_torch():
    torch.manual_seed(0)
    layer = SparseConv3d(6, 16, (3, 1, 2))
    torch.manual_seed(0)
    dense = nn.Conv3d(6, 16, (3, 1, 2))
    assert torch.equal(layer.weight.flatten(), dense.weight.flatten())
    assert torch.equal(layer.bias, dense.bias)
    assert layer.weight.shape == (16, 3, 1, 2, 6)
    assert float(layer.weight.detach().abs().max()) <= 1 / math.sqrt(36)


def test_names_of_weights_and_children():
    layers = SparseSequential(SubMConv3d(2, 3, 3, bias=False), nn.ReLU(), SubMConv3d(3, 3, 1))
    assert list(layers.state_dict()) == ["0.weight", "2.weight", "2.bias"]
    assert SparseConvTensor is SparseTensor
    assert layers[0].weight.requires_grad and layers[0].weight.is_leaf


def test_plans_ahead_are_those_that_the_layers_find(device):
    layers = SparseSequential(
        SubMConv3d(5, 4, 3, indice_key="a"),
        SubMConv3d(4, 4, 3, indice_key="a"),
        SparseConv3d(4, 4, 3, 2, 1, indice_key="b"),
        SubMConv3d(4, 4, 3),
        SparseMaxPool3d(2),
    ).to(device)
    x, other = random_tensor(device), random_tensor(device)
    plan_ahead(x, layers)
    before = dict(x.plans)
    assert set(before) == {"a", "b", layers[3], layers[4]}
    output = layers(x)
    assert x.plans == before and output.plans is x.plans
    strided = layers[2](other.replace_feature(other.features[:, :4]))
    plan_ahead(other, layers)  # goes on behind the layer whose plan is there
    assert other.plans[layers[3]].inputs is strided.sites
    assert torch.equal(output.features, layers(other).features)


def test_faults_are_found_with_the_first_plan(device):
    rows = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]], device=device)
    features = torch.ones(2, 4, device=device)
    for layer in (SubMConv3d(4, 4, 3), SparseConv3d(4, 4, 3, 2, 1)):
        if backend_for(device).takes_pairs and isinstance(layer, SparseConv3d):
            continue  # the native operators look for them between neighbours alone
        with pytest.raises(ValueError, match="must not hold a voxel twice, row 1"):
            layer.to(device)(SparseTensor(features, rows, SHAPE, 1))
    rows[1] += 9
    layer, x = SubMConv3d(4, 4, 3).to(device), SparseTensor(features, rows, SHAPE, 1)
    for call in (lambda: layer(x), lambda: plan_ahead(x, layer)) * 2:
        with pytest.raises(IndexError, match="row 1 is"):
            call()
        assert not x.plans


def test_layers_that_do_not_fit_each_other_are_refused():
    x = random_tensor("cpu")
    across = SubMConv3d(5, 8, 3, padding=1, indice_key="a")(x)
    with pytest.raises(KeyError, match=r"no layer .* has the indice_key 'b'; .*: \['a'\]"):
        SparseInverseConv3d(8, 4, 3, indice_key="b")(across)
    with pytest.raises(ValueError, match="must have the same kernel size and the same sites"):
        SubMConv3d(8, 4, 5, padding=2, indice_key="a")(across)
    down = SparseConv3d(8, 8, 3, 2, indice_key="b")(across)
    with pytest.raises(ValueError, match=r"the first with 'a' has .* voxels, this one"):
        SubMConv3d(8, 4, 3, indice_key="a")(down)
    with pytest.raises(ValueError, match=r"has \(3, 3, 3\) and led to .* has \(3, 1, 3\)"):
        SparseInverseConv3d(8, 4, (3, 1, 3), indice_key="b")(down)
    with pytest.raises(ValueError, match="led to the same sites"):
        SparseInverseConv3d(8, 4, 3, indice_key="b")(across)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": torch.zeros(26, 5, 4)}, r"weight must have shape \(27, Cin, Cout\)"),
        ({"weight": torch.zeros(27, 5)}, r"weight must have shape \(27, Cin, Cout\)"),
        ({"weight": torch.zeros(27, 6, 4)}, r"features must have shape \(\d+, 6\), got"),
        ({"features": torch.zeros(3, 5)}, r"features must have shape \(\d+, 5\), got \(3, 5\)"),
    ],
)
def test_arguments_of_gather_conv_that_do_not_fit(device, changes, message):
    x = random_tensor(device)
    neighbours = SubMConv3d(5, 4, 3).plan_for(x).neighbours
    arguments = {"features": x.features, "weight": torch.zeros(27, 5, 4), **changes}
    with pytest.raises(ValueError, match=message):
        gather_conv(**{k: v.to(device) for k, v in arguments.items()}, neighbours=neighbours)


def test_a_plan_for_another_backend_is_refused(monkeypatch):
    x, layer = random_tensor("cpu"), SubMConv3d(5, 4, 3)
    plan_ahead(x, layer)
    monkeypatch.setenv("SPARSE_CONV", "torch")
    with pytest.raises(ValueError, match="must be Tables for the backend torch, got Pairs"):
        layer(x)


@pytest.mark.parametrize(
    ("layer", "name", "size"),
    [(SubMConv3d, "kernel_size", (3.9, 3, 3)), (SubMConv3d, "dilation", (1, 1, 0)),
     (SparseConv3d, "stride", 0), (SparseConv3d, "stride", (2, 2)), (SparseConv3d, "padding", -1),
     (SparseInverseConv3d, "kernel_size", 3.0), (SparseMaxPool3d, "kernel_size", 0)],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_named(layer, name, size):
    channels = {} if layer is SparseMaxPool3d else {"in_channels": 4, "out_channels": 4}
    arguments = {**channels, "kernel_size": 3, "indice_key": "a", name: size}
    message = f"{name} must be a whole number of at least [01], .*, got {re.escape(repr(size))}"
    with pytest.raises(ValueError, match=message):
        layer(**arguments)


def test_sizes_of_numpy():
    layer = SparseConv3d(4, 4, np.int64(3), np.array([2, 1, 2]), torch.tensor([0, 1, 1]))
    assert layer.geometry == Geometry((3, 3, 3), (2, 1, 2), (0, 1, 1))
    assert all(type(size) is int for size in layer.geometry.stride)


def test_features_that_do_not_fit_the_sites():
    with pytest.raises(ValueError, match=r"shape \(3, C\), one row for each voxel, got \(2, 4\)"):
        SparseTensor(torch.zeros(2, 4), torch.zeros(3, 4), SHAPE, 1)


def test_the_image_from_above():
    x = random_tensor("cpu")
    image = dense_bev(x)
    assert torch.equal(image, x.dense().flatten(1, 2))
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("row", [[-1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 6]])
def test_no_image_of_a_voxel_outside_of_the_grid(row):
    x = SparseTensor(torch.ones(1, 4), torch.tensor([row]), SHAPE, 1)
    for image in (SparseTensor.dense, dense_bev):
        with pytest.raises(IndexError, match="out of bounds"):
            image(x)


def test_layers_equal_those_of_spconv():
    """Weights under a seed, names, and numbers, where spconv is installed."""
    core = pytest.importorskip("spconv.core", reason="spconv is optional")
    if torch.version.cuda is None:
        # Else importing it describes every kernel of these lists to a tuner, for half a minute.
        core.ALL_NATIVE_PARAMS.clear(), core.ALL_IMPGEMM_PARAMS.clear()
    spconv, native = importlib.import_module("spconv.pytorch"), core.ConvAlgo.Native
    results = []
    for library, extra in ((spconv, {"algo": native}), (None, {})):
        torch.manual_seed(4)
        ours = library is None
        make = {"SubMConv3d": SubMConv3d, "SparseConv3d": SparseConv3d,
                "SparseInverseConv3d": SparseInverseConv3d, "SparseMaxPool3d": SparseMaxPool3d,
                "SparseSequential": SparseSequential}  # fmt: skip
        make = make if ours else {name: getattr(library, name) for name in make}
        layers = make["SparseSequential"](
            make["SubMConv3d"](5, 16, 3, padding=1, bias=False, indice_key="a", **extra),
            make["SubMConv3d"](16, 7, 3, padding=1, bias=False, indice_key="a", **extra),
            nn.ReLU(),
            make["SparseConv3d"](7, 12, (3, 1, 3), stride=(2, 1, 2), padding=(1, 0, 0), bias=False,
                                 indice_key="b", **extra),
            make["SparseInverseConv3d"](12, 4, (3, 1, 3), bias=False, indice_key="b", **extra),
            nn.ReLU(),
            make["SparseMaxPool3d"](2, 2, **extra),
        )  # fmt: skip
        x = random_tensor("cpu")
        tensor = x if ours else library.SparseConvTensor(x.features, x.indices, list(SHAPE), 3)
        output = layers(tensor)
        found = gradients(output.features, [x.features, *layers.parameters()])
        results.append([layers.state_dict(), output.indices, found])
    (state, indices, found), (other_state, other_indices, expected) = results
    assert state.keys() == other_state.keys()
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert torch.equal(indices, other_indices)  # of pooling, too, in the same order
    assert_same(expected, found)
