"""Which algorithm and which precision sparse layers get, and what they compute on the CPU."""

from __future__ import annotations

import pytest
import torch
from spconv import core
from spconv.core import ConvAlgo
from spconv.pytorch import conv
from spconv.pytorch.cppcore import _TORCH_DTYPE_TO_TV

from pcdet.utils import spconv_utils


@pytest.fixture
def half_on_cuda():
    """Autocast to float16 on CUDA, as torch.autocast sets it where there is a GPU."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    yield
    torch.set_autocast_enabled("cuda", before[0])
    torch.set_autocast_dtype("cuda", before[1])


def voxels(dtype=torch.float32):
    coordinates = torch.tensor([[0, z, y, x] for z in range(2) for y in range(3) for x in range(3)])
    torch.manual_seed(0)
    return spconv_utils.sparse_tensor(
        torch.randn(len(coordinates), 4, dtype=dtype), coordinates, [4, 8, 8], 1
    )


def layer():
    torch.manual_seed(1)
    return spconv_utils.SubMConv3d(4, 8, 3, padding=1, bias=False, indice_key="a")


def test_algorithms():
    assert spconv_utils.algorithm_of("cpu", 27) == ConvAlgo.Native
    assert spconv_utils.algorithm_of("cuda", 27) == ConvAlgo.MaskImplicitGemm
    assert spconv_utils.algorithm_of("cuda", 125) == ConvAlgo.Native


def test_kernels_of_cuda_are_described_only_for_it():
    """Should spconv rename its lists, each import of it takes ten seconds and more again."""
    for kernels in (core.ALL_NATIVE_PARAMS, core.ALL_IMPGEMM_PARAMS):
        assert bool(kernels) == (torch.version.cuda is not None)


def test_what_spconv_can_compute_in():
    """The reason for `computes_in_half`: should this fail, sparse layers can have bfloat16."""
    assert torch.float16 in _TORCH_DTYPE_TO_TV
    assert torch.bfloat16 not in _TORCH_DTYPE_TO_TV


def test_half_precision_only_under_autocast_to_float16_on_cuda(half_on_cuda):
    assert spconv_utils.computes_in_half("cuda")
    assert not spconv_utils.computes_in_half("cpu")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    assert not spconv_utils.computes_in_half("cuda")
    torch.set_autocast_enabled("cuda", False)
    assert not spconv_utils.computes_in_half("cuda")


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_on_the_cpu_leaves_sparse_layers_in_float32(amp):
    expected = layer()(voxels()).features
    with torch.autocast("cpu", dtype=amp):
        found = layer()(voxels()).features
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_layer_that_computed_in_half_gives_the_type_that_went_in(monkeypatch):
    def half_layer(self, input, *args, **kwargs):
        return input.replace_feature(input.features.half())

    monkeypatch.setattr(spconv_utils, "computes_in_half", lambda device_type: True)
    monkeypatch.setattr(conv.SubMConv3d, "forward", half_layer, raising=False)
    assert layer()(voxels()).features.dtype == torch.float32


def run_layers(layers, features, coordinates, forward):
    """Features and sites after the layers, and the gradients of features and weights."""
    features = features.clone().requires_grad_()
    x = spconv_utils.sparse_tensor(features, coordinates, [6, 9, 10], 2)
    for each in layers:
        x = forward(each, x)
    wanted = [features, *(each.weight for each in layers)]
    weights = torch.arange(x.features.numel(), dtype=torch.float32).cos()
    gradients = torch.autograd.grad((x.features.flatten() * weights).sum(), wanted)
    return [x.features.detach(), x.indices, torch.tensor(x.spatial_shape), *gradients]


@pytest.mark.parametrize("bias", [False, True])
def test_layers_equal_those_of_spconv(bias):
    """Down, across and up again, in a batch whose second frame has a single voxel."""
    torch.manual_seed(0)
    sites = (torch.rand(6, 9, 10) < 0.2).nonzero()
    coordinates = torch.cat((torch.zeros(len(sites), 1, dtype=torch.long), sites), dim=1)
    coordinates = torch.cat((coordinates, torch.tensor([[1, 2, 3, 4]])))
    coordinates = coordinates[torch.randperm(len(coordinates))]
    layers = [
        spconv_utils.SubMConv3d(5, 16, 3, padding=1, bias=bias, indice_key="a"),
        spconv_utils.SubMConv3d(16, 7, 3, padding=1, bias=bias, indice_key="a"),
        spconv_utils.SparseConv3d(
            7, 12, (3, 1, 3), stride=(2, 1, 2), padding=(1, 0, 0), bias=bias, indice_key="b"
        ),
        spconv_utils.SubMConv3d(12, 12, 3, padding=1, bias=bias),
        spconv_utils.SparseInverseConv3d(12, 4, (3, 1, 3), bias=bias, indice_key="b"),
        spconv_utils.SubMConv3d(4, 4, 3, padding=1, bias=bias, indice_key="a"),
    ]
    features = torch.randn(len(coordinates), 5)
    found = run_layers(layers, features, coordinates, lambda each, x: each(x))
    expected = run_layers(layers, features, coordinates, lambda each, x: each.forward_by_spconv(x))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_layers_that_do_not_fit_each_other_are_refused():
    up = spconv_utils.SparseInverseConv3d(4, 4, 3, indice_key="b")
    across = layer()(voxels())
    with pytest.raises(KeyError, match=r"no layer .* has the indice_key 'b'; .*: \['a'\]"):
        up(spconv_utils.SubMConv3d(8, 4, 3, padding=1, indice_key="a")(across))
    other = spconv_utils.SubMConv3d(8, 4, 5, padding=2, indice_key="a")
    with pytest.raises(ValueError, match="same kernel size"):
        other(across)
