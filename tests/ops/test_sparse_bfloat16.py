"""Sparse convolutions of bfloat16 on the CPU, summed in float32, in blocks for matrix units."""

from __future__ import annotations

import pytest
import torch

from ops.sparse_cases import SHAPE, random_sites
from ops.test_sparse_conv import random_case, random_pairs, with_ascending_targets
from pcdet.ops.sparse_conv import SparseSequential, SparseTensor, SubMConv3d
from pcdet.ops.sparse_conv.backends import cpu_backend, self_test
from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend
from pcdet.ops.sparse_conv.sparse_conv_utils import convolve, convolve_weight_grad, has_matrix_units

# One block of channels and several, of each width that oneDNN packs.
CHANNELS = [(16, 16), (32, 64), (64, 32), (48, 80), (16, 192), (256, 64)]


def rounded_case(channels, rows=(70, 90), offsets=5):
    """Features, weight, pairs and the number of outputs; numbers that bfloat16 holds."""
    case = random_case(channels, offsets, rows, torch.float32)
    return *(tensor.detach().bfloat16() for tensor in case[:2]), *case[2:]


def assert_rounded(found, exact):
    """`found` is bfloat16, and no further from float32's numbers than rounding takes it."""
    assert found.dtype == torch.bfloat16
    error = (found.float() - exact).abs()
    assert float((error - exact.abs() / 256).max()) < 1e-5 * float(exact.abs().max())


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("rows", [(70, 90), (700, 1200)])
@pytest.mark.parametrize("ascending", [False, True])
def test_equals_float32_but_for_one_rounding(channels, rows, ascending):
    features, weight, pairs, count = rounded_case(channels, rows)
    pairs = with_ascending_targets(pairs) if ascending else pairs
    bias = torch.randn(channels[1]).bfloat16()
    for arguments in ((), (bias,), (bias, True)):
        exact = [each.float() if torch.is_tensor(each) else each for each in arguments]
        assert_rounded(
            convolve(features, weight, *pairs, count, *arguments),
            convolve(features.float(), weight.float(), *pairs, count, *exact),
        )


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("offsets", [3, 27])  # in halves, or whole
def test_gradient_of_the_weight(channels, offsets):
    features, _, pairs, rows = rounded_case(channels, (300, 400), offsets)
    grad = torch.randn(rows, channels[1]).bfloat16()
    assert_rounded(
        convolve_weight_grad(features, grad, *pairs),
        convolve_weight_grad(features.float(), grad.float(), *pairs),
    )


@pytest.mark.parametrize(
    ("rows", "channels"),
    [
        ((0, 0), (16, 32)),
        ((0, 4), (16, 32)),
        ((4, 0), (16, 32)),
        ((4, 5), (0, 16)),
        ((4, 5), (16, 0)),
    ],
)
def test_nothing_to_do(rows, channels):
    features, weight, pairs, count = rounded_case(channels, rows)
    found = convolve(features, weight, *pairs, count)
    assert found.shape == (rows[1], channels[1]) and not found.any()
    assert not convolve_weight_grad(features, found, *pairs).any()


def test_rounding_at_the_edges():
    """To the even one of two as near; beyond the largest to infinity; not a number stays so."""
    step, infinity = 2**-8, float("inf")
    terms = [
        (1, step),
        (1 + 2 * step, step),
        (-1, -step),
        (2e38, 2e38),
        (infinity, 1),
        (1, infinity - infinity),
    ]
    features = torch.zeros(len(terms), 16).bfloat16()
    features[:, :2] = torch.tensor(terms)
    rows = torch.arange(len(terms), dtype=torch.int32)
    weight = torch.zeros(1, 16, 16).bfloat16()
    weight[0, :2, 0] = 1
    found = convolve(features, weight, rows[None], rows[None], len(terms))[:, 0]
    assert found[:-1].tolist() == [1, 1 + 4 * step, -1, infinity, infinity]
    assert found[-1].isnan()


def test_channels_that_fill_no_block_are_refused():
    pairs = random_pairs(5, 70, 90)
    for channels, name in (((8, 16), "features"), ((16, 24), "weight")):
        features = torch.zeros(70, channels[0]).bfloat16()
        weight = torch.zeros(5, *channels).bfloat16()
        with pytest.raises(RuntimeError, match=f"{name} of bfloat16 must have a multiple of 16"):
            convolve(features, weight, *pairs, 90)


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("units", [True, False])
def test_layers_under_autocast(monkeypatch, amp, units):
    """In bfloat16 if there are matrix units and channels enough; the same but for that."""
    monkeypatch.setattr(cpu_backend, "matrix_units_work", lambda: units)
    sites = random_sites()
    features = torch.randn(len(sites), 16).requires_grad_()
    x = SparseTensor(features, sites.indices, SHAPE, 3)
    layers = SparseSequential(
        *(SubMConv3d(*channels, 3) for channels in ((16, 32), (32, 16), (16, 16)))
    )
    leaves = (features, *layers.parameters())
    results, dtypes = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=amp, enabled=enabled):
            outputs = [x]
            for layer in layers:
                outputs.append(layer(outputs[-1]))
        dtypes.append([each.features.dtype for each in outputs])
        last = outputs[-1].features
        results.append([last, *torch.autograd.grad(last.sum(), leaves)])
    half = units and amp == torch.bfloat16
    assert set(dtypes[0]) == {torch.float32}
    assert dtypes[1] == [torch.float32, *[amp if half else torch.float32] * 2, torch.float32]
    for exact, found in zip(*([tensor.detach() for tensor in each] for each in results)):
        assert found.dtype == torch.float32
        assert float((found - exact).abs().max()) <= (0.02 if half else 0) * float(
            exact.abs().max()
        )


def test_matrix_units_are_compared_before_they_are_used(monkeypatch, caplog):
    works = self_test.matrix_units_work.__wrapped__
    monkeypatch.setattr(self_test, "has_matrix_units", lambda: False)
    assert not works() and not caplog.text
    monkeypatch.setattr(self_test, "has_matrix_units", lambda: True)
    for mode in (torch.inference_mode(), torch.no_grad(), torch.enable_grad()):
        with mode:
            assert works() and not caplog.text
    multiply = CpuBackend.convolve

    def wrong(*arguments):
        return multiply(*arguments).roll(1)

    def broken(*arguments):
        raise RuntimeError("VNNI format is not supported")

    for failing, message in ((wrong, "the output of a submanifold"), (broken, "VNNI format")):
        monkeypatch.setattr(CpuBackend, "convolve", failing)
        caplog.clear()
        assert not works()
        assert "sparse layers in float32, as bfloat16 fails in matrix units" in caplog.text
        assert message in caplog.text


def test_what_the_processor_has():
    assert self_test.matrix_units_work() == has_matrix_units()
