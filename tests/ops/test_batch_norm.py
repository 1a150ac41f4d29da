"""Batch normalisation of rows: against float64, torch's gradients, any number of threads."""

from __future__ import annotations

import pytest
import torch

from pcdet.ops.batch_norm import reference
from pcdet.ops.batch_norm.batch_norm_utils import batch_norm, fixed_norm


def layer(channels: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    weight = torch.linspace(0.5, 1.5, channels, dtype=dtype).requires_grad_()
    return weight, torch.linspace(-1, 1, channels, dtype=dtype).requires_grad_()


def test_an_answer_worked_out_by_hand():
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    weight, bias = torch.tensor([2.0, 1.0]), torch.tensor([0.0, 7.0])
    y, mean, variance, count = batch_norm(x, weight, bias, 0.0)
    assert (mean.tolist(), count) == ([2, 5], 2)
    assert variance.tolist() == [1, 0]
    assert y[:, 0].tolist() == [-2, 2]
    y = batch_norm(x, torch.ones(2), bias, 1e-3).rows
    assert y[:, 1].tolist() == [7, 7]


@pytest.mark.parametrize("channels", [1, 3, 16, 37, 64, 128])
@pytest.mark.parametrize("rows", [1, 2, 15, 17, 512, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_and_gradients_are_those_of_float64(channels, rows, dtype):
    generator = torch.Generator().manual_seed(rows)
    x = (3 + torch.randn(rows, channels, generator=generator)).to(dtype).requires_grad_()
    grad = torch.randn(rows, channels, generator=generator).to(dtype)
    weight, bias = layer(channels, torch.float64 if dtype == torch.float64 else torch.float32)
    y, mean, variance, _ = batch_norm(x, weight, bias, 1e-3)
    found = torch.autograd.grad(y, (x, weight, bias), grad)
    expected, true_mean, true_variance = reference.batch_norm(x, weight, bias, 1e-3)
    true = torch.autograd.grad(expected, (x, weight, bias), grad.double())
    exact = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    sums = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(mean.double(), true_mean, rtol=sums, atol=sums)
    torch.testing.assert_close(variance.double(), true_variance, rtol=sums, atol=sums)
    torch.testing.assert_close(y.double(), expected.detach(), rtol=exact, atol=exact)
    for one, other in zip(found, true):
        scale = exact * max(1.0, other.abs().max().item())
        torch.testing.assert_close(one.double(), other.double(), rtol=exact, atol=scale)


def test_float64_far_from_zero_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    near, grad = torch.randn(2, 1500, 5, dtype=torch.float64, generator=generator)
    near = (near * 2**20).round() / 2**20  # so that what is far is rounded no more
    results = []
    for x in (near.clone().requires_grad_(), (near + 2**27).requires_grad_()):
        by = layer(5, torch.float64)
        y, _, variance, _ = batch_norm(x, *by, 1e-3, relu=True)
        results.append((y, variance, *torch.autograd.grad(y, (x, *by), grad)))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_gradients_by_differences():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    weight, bias = layer(5, torch.float64)
    mean, variance = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for relu in (False, True):

        def normalised(*inputs: torch.Tensor, relu: bool = relu) -> torch.Tensor:
            return batch_norm(*inputs, 1e-3, relu=relu).rows

        def by_averages(x: torch.Tensor, *layer: torch.Tensor, relu: bool = relu) -> torch.Tensor:
            return fixed_norm(x, mean, variance, *layer, 1e-3, relu)

        assert torch.autograd.gradcheck(normalised, (x, weight, bias))
        assert torch.autograd.gradcheck(by_averages, (x, weight, bias))


@pytest.mark.parametrize("channels", [1, 19, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_relu_in_the_same_pass_changes_nothing(channels, dtype):
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(700, channels, generator=generator).to(dtype).requires_grad_()
    grad = torch.randn(700, channels, generator=generator).to(dtype)
    by = layer(channels, torch.float64 if dtype == torch.float64 else torch.float32)
    once, apart = batch_norm(x, *by, 1e-3, relu=True).rows, batch_norm(x, *by, 1e-3).rows.relu()
    assert torch.equal(once, apart)
    for one, other in zip(*(torch.autograd.grad(y, (x, *by), grad) for y in (once, apart))):
        assert torch.equal(one, other)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_row_stands_for_as_many_as_its_count(dtype, relu):
    generator = torch.Generator().manual_seed(4)
    x = (3 + torch.randn(600, 19, generator=generator)).to(dtype)
    counts = torch.randint(1, 9, (600,), generator=generator)
    grad = torch.randn(600, 19, generator=generator).to(dtype)
    by = layer(19, torch.float64 if dtype == torch.float64 else torch.float32)
    few = x.clone().requires_grad_()
    many = x.repeat_interleave(counts, dim=0).requires_grad_()
    first = counts.cumsum(0) - counts  # the whole gradient comes to the first of equal rows
    grad_of_many = torch.zeros_like(many).index_copy(0, first, grad)
    once = batch_norm(few, *by, 1e-3, relu=relu, counts=counts)
    each = batch_norm(many, *by, 1e-3, relu=relu)
    assert once.count == each.count == counts.sum()
    exact = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    close = {"rtol": exact, "atol": exact}
    torch.testing.assert_close(once[1:3], each[1:3], **close)
    torch.testing.assert_close(once.rows, each.rows[first], **close)
    of_x, *of_layer = torch.autograd.grad(once.rows, (few, *by), grad)
    of_many, *of_its_layer = torch.autograd.grad(each.rows, (many, *by), grad_of_many)
    summed = torch.segment_reduce(of_many.double(), "sum", lengths=counts, axis=0)
    torch.testing.assert_close(of_x.double(), summed, **close)
    torch.testing.assert_close(of_layer, of_its_layer, rtol=exact, atol=20 * exact)


def test_relu_lets_nan_pass():
    x = torch.tensor([[1.0], [float("nan")], [3.0]])
    y = fixed_norm(x, torch.zeros(1), torch.ones(1), torch.ones(1), torch.zeros(1), 0.0, True)
    assert y.isnan().tolist() == [[False], [True], [False]]


def test_by_averages_as_torch():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 7, generator=generator, requires_grad=True)
    weight, bias = layer(7)
    averages = torch.randn(7, generator=generator), torch.rand(7, generator=generator)
    own = fixed_norm(x, *averages, weight, bias, 1e-3)
    torchs = torch.nn.functional.batch_norm(x, *averages, weight, bias, eps=1e-3)
    torch.testing.assert_close(own, torchs)
    for pair in zip(
        *(torch.autograd.grad(y.square().sum(), (x, weight, bias)) for y in (own, torchs))
    ):
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)


def test_a_mostly_constant_map_keeps_its_digits():
    """Torch's own layer is off by 9e-5 in the mean of such an image in channels_last memory."""
    generator = torch.Generator().manual_seed(0)
    x = torch.full((70_400, 32), 0.37)
    x[::10] = 1 + 3 * torch.randn(7040, 32, generator=generator)
    _, mean, variance, _ = batch_norm(x, *layer(32), 1e-3)
    _, true_mean, true_variance = reference.batch_norm(x, *layer(32), 1e-3)
    torch.testing.assert_close(mean.double(), true_mean, rtol=2e-7, atol=0)
    torch.testing.assert_close(variance.double(), true_variance, rtol=2e-7, atol=0)


def test_results_do_not_depend_on_the_number_of_threads():
    x = torch.randn(5000, 24, requires_grad=True)
    grad = torch.randn(5000, 24)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y, *moments, _ = batch_norm(x, *layer(24), 1e-3)
            results.append([y, *moments, *torch.autograd.grad(y, x, grad)])
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others))


def test_rows_with_gaps_are_taken():
    x = torch.randn(40, 16)
    y = batch_norm(x[:, ::2], *layer(8), 1e-3).rows
    assert torch.equal(y, batch_norm(x[:, ::2].clone(), *layer(8), 1e-3).rows)


@pytest.mark.parametrize(
    ("x", "channels", "message"),
    [
        (torch.zeros(0, 3), 3, "x must have a row at least"),
        (torch.zeros(4, 3, 2), 2, r"x must be contiguous and have 2 dimensions, got shape \[4, 3"),
        (torch.zeros(4, 3), 2, r"weight must be contiguous and have shape \[3\] and dtype Float"),
    ],
)
def test_errors_name_the_argument(x, channels, message):
    with pytest.raises(RuntimeError, match=message):
        batch_norm(x, torch.ones(channels), torch.zeros(channels), 1e-3)


def test_what_belongs_to_the_channels_has_no_gaps():
    spread = torch.arange(6.0)[::2]
    with pytest.raises(RuntimeError, match="bias must be contiguous"):
        batch_norm(torch.randn(4, 3), torch.ones(3), spread, 1e-3)
    with pytest.raises(RuntimeError, match="mean must be contiguous"):
        fixed_norm(torch.randn(4, 3), spread, torch.ones(3), torch.ones(3), torch.zeros(3), 1e-3)


def test_there_is_a_count_for_each_row():
    with pytest.raises(RuntimeError, match=r"counts must be .* shape \[4\] .* got \[3\]"):
        batch_norm(torch.zeros(4, 2), torch.ones(2), torch.zeros(2), 1e-3, counts=torch.ones(3))
