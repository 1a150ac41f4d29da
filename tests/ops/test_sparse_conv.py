"""Pairs of voxels and products of sparse convolutions: by hand, by reference.py, and gradients."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pcdet.ops.sparse_conv import reference as plain
from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend
from pcdet.ops.sparse_conv.gather_conv import gather_conv
from pcdet.ops.sparse_conv.plan import Pairs
from pcdet.ops.sparse_conv.sparse_conv_utils import convolve, strided_pairs, submanifold_pairs

SHAPE = (5, 7, 6)


def indice_conv(features, weight, indice_pairs, num_out):
    """The native operator with its gradients; arguments as of `reference.indice_conv`."""
    pairs = Pairs(*indice_pairs.unbind(0), len(features), num_out)
    return gather_conv(features, weight, pairs, CpuBackend())


def random_voxels(share: float = 0.3, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """(V, 4) int32 voxels of two frames, in no order."""
    torch.manual_seed(1)
    voxels = (torch.rand(2, *shape) < share).nonzero().int()
    return voxels[torch.randperm(len(voxels))]


def named(pairs, counts, sources, targets):
    """Pairs as the reference gives them, from lists that must end in -1 and name no row twice."""
    result = []
    for count, rows_in, rows_out in zip(counts.tolist(), *pairs.tolist()):
        assert rows_in[count:] == rows_out[count:] == [-1] * (len(rows_in) - count)
        assert len(set(rows_in[:count])) == len(set(rows_out[:count])) == count
        rows = zip(rows_in[:count], rows_out[:count])
        result.append({(tuple(sources[i].tolist()), tuple(targets[o].tolist())) for i, o in rows})
    return result


def test_neighbours_by_hand():
    voxels = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], dtype=torch.int32)
    pairs, counts = submanifold_pairs(voxels, (1, 1, 3), (1, 1, 3), (1, 1, 1))
    # Voxel 0 lies to the left of voxel 1; the other frame's voxel has no neighbour.
    assert counts.tolist() == [1, 3, 1]
    assert pairs[:, 0].tolist() == [[0, -1, -1], [1, -1, -1]]
    assert pairs[:, 1].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert pairs[:, 2].tolist() == [[1, -1, -1], [0, -1, -1]]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 5), (1, 1, 1)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3), (4, 7, 3), (1, 10**9, 2**40)])
def test_neighbours_equal_reference(kernel, dilation):
    voxels = random_voxels()
    padding = tuple(size // 2 * step for size, step in zip(kernel, dilation))
    expected = plain.strided_pairs(voxels, SHAPE, kernel, (1, 1, 1), padding, dilation)
    present = {tuple(row) for row in voxels.tolist()}
    expected = [{pair for pair in pairs if pair[1] in present} for pairs in expected]
    assert named(*submanifold_pairs(voxels, SHAPE, kernel, dilation), voxels, voxels) == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (0, 1, 1), (1, 1, 1)),
        ((3, 1, 1), (2, 1, 1), (0, 0, 0), (1, 1, 1)),
        ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
        ((3, 2, 3), (1, 3, 2), (2, 0, 1), (2, 2, 1)),
    ],
)
@pytest.mark.parametrize(("share", "shape"), [(0.05, SHAPE), (0.9, SHAPE), (0.04, (3, 3, 150))])
def test_pairs_with_outputs_equal_reference(kernel, stride, padding, dilation, share, shape):
    voxels = random_voxels(share, shape)
    sizes = (kernel, stride, padding, dilation)
    out_shape = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in zip(shape, *sizes)
    ]
    outputs, pairs, counts = strided_pairs(voxels, shape, out_shape, *sizes)
    expected = plain.strided_pairs(voxels, out_shape, *sizes)
    assert named(pairs, counts, voxels, outputs) == expected
    assert outputs.tolist() == sorted(outputs.tolist())
    assert all(row[row >= 0].diff().gt(0).all() for row in pairs[1])
    reached = {target for pairs in expected for _, target in pairs}
    assert {tuple(row) for row in outputs.tolist()} == reached and len(outputs) == len(reached)


def test_no_voxel():
    voxels = torch.zeros(0, 4, dtype=torch.int32)
    ones = (1, 1, 1)
    pairs, counts = submanifold_pairs(voxels, SHAPE, (3, 3, 3), ones)
    assert pairs.shape == (2, 27, 0) and not counts.any()
    outputs, pairs, counts = strided_pairs(voxels, SHAPE, SHAPE, (3, 3, 3), ones, ones, ones)
    assert outputs.shape == (0, 4) and pairs.shape == (2, 27, 0) and not counts.any()


def test_voxels_that_are_not_contiguous():
    voxels = random_voxels()
    expected = submanifold_pairs(voxels, SHAPE, (3, 3, 3), (1, 1, 1))
    found = submanifold_pairs(voxels.repeat(1, 2)[:, :4], SHAPE, (3, 3, 3), (1, 1, 1))
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("row", [[-1, 0, 0, 0], [0, 5, 0, 0], [0, 0, -1, 0], [0, 0, 0, 6]])
def test_a_voxel_outside_the_grid_is_refused(row):
    voxels = torch.tensor([[0, 0, 0, 0], row], dtype=torch.int32)
    message = r"in the grid \[5, 7, 6\], row 1 is " + re.escape(str(tuple(row)))
    ones = (1, 1, 1)
    with pytest.raises(IndexError, match=message):
        submanifold_pairs(voxels, SHAPE, (3, 3, 3), ones)
    with pytest.raises(IndexError, match=message):
        strided_pairs(voxels, SHAPE, SHAPE, (3, 3, 3), ones, ones, ones)


def test_a_voxel_that_is_there_twice_is_refused():
    voxels = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.int32)
    with pytest.raises(ValueError, match="must not hold a voxel twice, row 2 is another's"):
        submanifold_pairs(voxels, SHAPE, (3, 3, 3), (1, 1, 1))
    with pytest.raises(ValueError, match="must not hold a voxel twice, row 2 is another's"):
        strided_pairs(voxels, SHAPE, SHAPE, (3, 3, 3), *[(1, 1, 1)] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": torch.zeros(3, 4)}, r"indices must be int32 of shape \(V, 4\), got Float"),
        ({"indices": torch.zeros(3, 3).int()}, r"indices must be int32 of shape \(V, 4\)"),
        ({"spatial_shape": (5, 7)}, r"spatial_shape must be 3 numbers \(z, y, x\) of at least 1"),
        (
            {"kernel_size": (3, 2, 3)},
            r"kernel_size of a submanifold .* must be odd, got \[3, 2, 3\]",
        ),
        (
            {"kernel_size": (2**32 + 1, 2**32 + 1, 1)},
            r"kernel_size must be below 2\^31 offsets, got \[4294967297, ",
        ),
        ({"spatial_shape": (2**31, 7, 6)}, r"spatial_shape must have sides below 2\^31 and"),
        ({"spatial_shape": (2**29, 2**29, 8)}, r"at most 2\^60 cells in all, got 2 grids of \[5"),
        ({"dilation": (1, 0, 1)}, r"dilation must be 3 numbers .* at least 1, got \[1, 0, 1\]"),
    ],
)
def test_pairs_of_arguments_that_do_not_fit(changes, message):
    arguments = {
        "indices": random_voxels(),
        "spatial_shape": SHAPE,
        "kernel_size": (3, 3, 3),
        "dilation": (1, 1, 1),
    }
    arguments.update(changes)
    with pytest.raises(RuntimeError, match=message):
        submanifold_pairs(**arguments)
    if "odd" not in message:
        with pytest.raises(RuntimeError, match=message):
            strided_pairs(**arguments, out_shape=SHAPE, stride=(1, 1, 1), padding=(0, 0, 0))


def test_outputs_that_cannot_be_numbered_are_refused():
    ones = (1, 1, 1)
    with pytest.raises(RuntimeError, match=r"out_shape must .* 2\^60 cells in all, got 2 grids"):
        strided_pairs(random_voxels(), SHAPE, (2**30, 2**30, 2), ones, ones, (0, 0, 0), ones)


def random_pairs(offsets: int, rows_in: int, rows_out: int) -> torch.Tensor:
    """(2, K, P) pairs, none in the first list and another number in each that follows."""
    most = min(rows_in, rows_out)
    pairs = torch.full((2, offsets, most), -1, dtype=torch.int32)
    for k in range(offsets):
        count = most * k // max(1, offsets - 1)
        pairs[0, k, :count] = torch.randperm(rows_in)[:count]
        pairs[1, k, :count] = torch.randperm(rows_out)[:count]
    return pairs


def with_ascending_targets(pairs: torch.Tensor) -> torch.Tensor:
    """The same pairs (2, K, P), those of each offset in the order of their targets."""
    ascending = pairs.clone()
    for k in range(pairs.shape[1]):
        count = int((pairs[1, k] >= 0).sum())
        ascending[:, k, :count] = pairs[:, k, pairs[1, k, :count].argsort()]
    return ascending


def random_case(channels, offsets=5, rows=(70, 90), dtype=torch.float64):
    torch.manual_seed(0)
    features = torch.randn(rows[0], channels[0], dtype=dtype).requires_grad_()
    weight = torch.randn(offsets, *channels, dtype=dtype).requires_grad_()
    return features, weight, random_pairs(offsets, *rows), rows[1]


def test_worked_by_hand():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    weight = torch.tensor([[[1.0], [10.0]], [[100.0], [1000.0]]])
    pairs = torch.tensor([[[0, 1], [1, -1]], [[2, 0], [0, -1]]], dtype=torch.int32)
    found = indice_conv(features, weight, pairs, 3)
    # Offset 0 adds 1 + 20 to row 2 and 3 + 40 to row 0; offset 1 adds 300 + 4000 to row 0.
    assert found.tolist() == [[4343], [0], [21]]


# Whole vectors, parts of one, and single columns, of both sizes of numbers.
@pytest.mark.parametrize("channels", [(1, 1), (4, 16), (16, 32), (3, 5), (20, 37), (64, 8), (7, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_reference(channels, dtype):
    case = random_case(channels, dtype=dtype)
    found, expected = indice_conv(*case), plain.indice_conv(*case)
    tolerance = {"atol": 1e-4, "rtol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, expected, **tolerance)
    grad = torch.randn_like(expected)
    gradients = [torch.autograd.grad(output, case[:2], grad) for output in (found, expected)]
    torch.testing.assert_close(*gradients, **tolerance)


def test_gradients():
    *tensors, pairs, rows = random_case((3, 5), rows=(9, 7))
    assert torch.autograd.gradcheck(lambda f, w: indice_conv(f, w, pairs, rows), tensors)


def test_only_the_gradient_that_is_asked_for():
    features, weight, *rest = random_case((4, 4))
    indice_conv(features.detach(), weight, *rest).sum().backward()
    assert features.grad is None and weight.grad is not None


@pytest.mark.parametrize("rows", [(0, 0), (0, 4), (4, 0)])
def test_nothing_to_do(rows):
    features, weight, pairs, count = random_case((4, 6), rows=rows)
    found = indice_conv(features, weight, pairs, count)
    assert found.shape == (rows[1], 6) and not found.any()
    found.sum().backward()
    assert features.grad.shape == features.shape and not weight.grad.any()


def test_views_that_are_not_contiguous():
    features, weight, pairs, rows = random_case((8, 16))
    expected = plain.indice_conv(features, weight, pairs, rows)
    found = indice_conv(
        features.repeat(1, 2)[:, :8],
        weight.transpose(1, 2).contiguous().transpose(1, 2),
        pairs.flip(0).flip(0).repeat_interleave(2, 2)[:, :, ::2],
        rows,
    )
    torch.testing.assert_close(found, expected)


def test_number_of_threads_does_not_matter():
    case = random_case((16, 32), offsets=8, rows=(4000, 5000), dtype=torch.float32)
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            output = indice_conv(*case)
            results.append((output, *torch.autograd.grad(output.square().sum(), case[:2])))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_older_processors(tmp_path, capability):
    """The same loops with fewer instructions: those that all have, and those before AVX-512."""
    script = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import test_sparse_conv as test; "
        "case = test.random_case((20, 37)); output = test.indice_conv(*case); "
        "grads = torch.autograd.grad(output.square().sum(), case[:2]); "
        "torch.save([output.detach(), *grads], sys.argv[2]); "
        "assert torch.backends.cpu.get_cpu_capability().lower() == sys.argv[3]"
    )
    if capability == "avx2" and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("the processor has no AVX2")
    command = [sys.executable, "-c", script, Path(__file__).parent, tmp_path / "result", capability]
    subprocess.run(command, check=True, env={**os.environ, "ATEN_CPU_CAPABILITY": capability})
    case = random_case((20, 37))
    output = plain.indice_conv(*case)
    expected = [output, *torch.autograd.grad(output.square().sum(), case[:2])]
    torch.testing.assert_close(torch.load(tmp_path / "result"), expected)


def test_the_order_of_pairs_does_not_matter():
    """Where targets ascend, outputs are made by tiles of rows, and not all offsets are in each."""
    features, weight, pairs, rows = random_case((8, 24), rows=(900, 1000), dtype=torch.float32)
    orders = (pairs, with_ascending_targets(pairs))
    assert torch.equal(*(indice_conv(features, weight, p, rows) for p in orders))


@pytest.mark.parametrize("channels", [(3, 5), (16, 32)])
@pytest.mark.parametrize("rows", [(0, 4), (1, 1), (200, 300)])
@pytest.mark.parametrize("relu", [False, True])
def test_bias_and_relu(channels, rows, relu):
    features, weight, pairs, count = random_case(channels, rows=rows)
    bias = torch.randn(channels[1], dtype=torch.float64).requires_grad_()
    expected = plain.indice_conv(features, weight, pairs, count) + bias
    expected = expected.relu() if relu else expected
    sources, targets = pairs.unbind(0)
    neighbours = Pairs(sources, targets, len(features), count)
    arguments = (features, weight, neighbours, CpuBackend(), bias, relu)
    with torch.no_grad():  # in one step
        torch.testing.assert_close(gather_conv(*arguments), expected.detach())
    found, leaves = gather_conv(*arguments), (features, weight, bias)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(y.square().sum(), leaves) for y in (found, expected))
    torch.testing.assert_close(*gradients)


def test_relu_keeps_what_is_not_a_number():
    pairs = torch.zeros(1, 1, dtype=torch.int32)
    features = torch.tensor([[float("nan"), -1.0]])
    found = convolve(features, torch.eye(2)[None], pairs, pairs, 1, None, True)
    assert found.isnan().all()
    found = convolve(
        features[:, 1:], torch.ones(1, 1, 2), pairs, pairs, 1, torch.ones(2) * 0.5, True
    )
    assert found.tolist() == [[0, 0]]


def test_a_pair_of_a_row_that_is_not_there_is_refused():
    features, weight, pairs, rows = random_case((4, 4))
    pairs[1, 3, 2] = rows
    with pytest.raises(IndexError, match=r"pairs of offset 3 must be below 70 and 90, got \d+ and"):
        indice_conv(features, weight, pairs, rows)
    pairs[1, 3, 2] = -1
    with pytest.raises(IndexError, match=r"got \d+ and -1"):
        indice_conv(features, weight, pairs, rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": torch.zeros(70)}, "features must have 2 dimensions, the last of size 4"),
        ({"features": torch.zeros(70, 5)}, "features must have 2 dimensions, the last of size 4"),
        ({"features": torch.zeros(70, 4).half()}, "features must be float32 or float64, got Half"),
        ({"weight": torch.zeros(5, 4, 4).double()}, "weight must have the dtype of features"),
        ({"weight": torch.zeros(4, 4, 4)}, r"weight must have shape \(5, Cin, Cout\)"),
        ({"bias": torch.zeros(3)}, "bias must have 1 dimensions, the last of size 4"),
        ({"bias": torch.zeros(4).double()}, "bias must have the dtype of features, Float"),
        ({"pairs": torch.zeros(2, 5, 3)}, "pairs must be int32, got Float"),
        ({"pairs": torch.zeros(2, 5).int()}, r"pairs must have shape \(2, K, P\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes, message):
    features, weight, pairs, rows = random_case((4, 4), dtype=torch.float32)
    arguments = {"features": features, "weight": weight, "pairs": pairs, "bias": None, **changes}
    features, weight, pairs, bias = arguments.values()
    with pytest.raises(RuntimeError, match=message):
        convolve(features, weight, pairs[0], pairs[1], rows, bias)
