"""Plans of sparse layers: worked by hand, by reference.py, and by the native operators."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from ops.sparse_cases import SHAPE, STRIDED, SUBMANIFOLD, as_tables, named_pairs, random_sites
from pcdet.ops.sparse_conv import reference as plain
from pcdet.ops.sparse_conv.plan import Geometry, by_first_offset, make_plan
from pcdet.ops.sparse_conv.sites import Sites

ROOT = Path(__file__).resolve().parents[2]
both_forms = pytest.mark.parametrize("as_pairs", [True, False], ids=["pairs", "tables"])


def sites_of(rows, shape, batch_size=1) -> Sites:
    return Sites(torch.tensor(rows, dtype=torch.int64).reshape(-1, 4), shape, batch_size)


def test_a_row_of_voxels_by_hand():
    """Voxels at x = 4, 0 and 1, in this order; the offsets reach x - 1, x and x + 1."""
    sites = sites_of([[0, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 1]], (1, 1, 5))
    across = make_plan(sites, Geometry((1, 1, 3), submanifold=True), as_pairs=False)
    assert across.outputs is sites
    assert across.neighbours.sources.tolist() == [[-1, -1, 1], [0, 1, 2], [-1, 2, -1]]
    assert across.neighbours.targets.tolist() == [[-1, 2, -1], [0, 1, 2], [-1, -1, 1]]
    down = make_plan(sites, Geometry((1, 1, 3), (1, 1, 2), (0, 0, 1)), as_pairs=False)
    # Outputs 0, 1 and 2 lie at x = 0, 2 and 4: x = 1 is reached by the first two.
    assert down.outputs.spatial_shape == [1, 1, 3]
    assert down.outputs.indices.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
    assert down.neighbours.sources.tolist() == [[-1, 2, -1], [1, -1, 0], [2, -1, -1]]
    assert down.neighbours.targets.tolist() == [[-1, -1, 1], [2, 0, -1], [-1, -1, 0]]
    assert down.neighbours.num_pairs() == 4
    assert down.inverse.neighbours.sources is down.neighbours.targets
    assert (down.inverse.inputs, down.inverse.outputs) == (down.outputs, sites)


def test_the_examples_of_the_documentation():
    text = (ROOT / "docs/sparse_convolution.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})


@both_forms
@pytest.mark.parametrize("name", SUBMANIFOLD)
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_submanifold_plans_equal_reference(name, share, as_pairs):
    geometry, sites = SUBMANIFOLD[name], random_sites(share)
    steps = zip(geometry.kernel_size, geometry.dilation)
    padding = tuple(size // 2 * step for size, step in steps)
    expected = plain.strided_pairs(
        sites.indices, SHAPE, geometry.kernel_size, (1, 1, 1), padding, geometry.dilation
    )
    present = {tuple(row) for row in sites.indices.tolist()}
    expected = [{pair for pair in pairs if pair[1] in present} for pairs in expected]
    plan = make_plan(sites, geometry, as_pairs)
    assert named_pairs(plan) == expected
    assert plan.neighbours.num_pairs() == sum(map(len, expected))


@both_forms
@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("share", [0.03, 0.9])
def test_strided_plans_equal_reference(name, share, as_pairs):
    geometry, sites = STRIDED[name], random_sites(share)
    plan = make_plan(sites, geometry, as_pairs)
    sizes = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    expected = plain.strided_pairs(sites.indices, plan.outputs.spatial_shape, *sizes)
    assert named_pairs(plan) == expected
    outputs = [tuple(row) for row in plan.outputs.indices.tolist()]
    assert set(outputs) == {target for pairs in expected for _, target in pairs}
    assert len(set(outputs)) == len(outputs)
    if not as_pairs:
        assert outputs == sorted(outputs)


@both_forms
def test_a_plan_of_a_plans_outputs(as_pairs):
    """Level after level, as networks have them; the outputs are known to be in order."""
    sites = random_sites(0.4, shape=(9, 16, 13))
    for name in ("halved", "halved", "z alone"):
        across = make_plan(sites, SUBMANIFOLD["3x3x3"], as_pairs)
        fresh = Sites(sites.indices, sites.spatial_shape, sites.batch_size)
        assert named_pairs(across) == named_pairs(make_plan(fresh, across.geometry, not as_pairs))
        sites = make_plan(sites, STRIDED[name], as_pairs).outputs


@both_forms
@pytest.mark.parametrize("geometry", [SUBMANIFOLD["3x3x3"], STRIDED["halved"]])
@pytest.mark.parametrize("rows", [[], [[1, 4, 6, 4]]], ids=["no voxel", "one voxel"])
def test_next_to_nothing(rows, geometry, as_pairs):
    plan = make_plan(sites_of(rows, SHAPE, 2), geometry, as_pairs)
    tables = as_tables(plan.neighbours)
    assert tables.sources.shape == (27, len(plan.outputs))
    assert tables.targets.shape == (27, len(rows))
    assert tables.num_pairs() == len(named_pairs(plan)[13]) == len(rows)
    assert by_first_offset(make_plan(plan.inputs, geometry, True)).outputs.batch_size == 2


def test_voxels_that_no_output_reaches():
    """Of cells of two along an odd side the last voxel has none."""
    plan = make_plan(sites_of([[0, 2, 0, 0]], (3, 2, 2)), STRIDED["cells"], as_pairs=False)
    assert len(plan.outputs) == 0 and plan.neighbours.targets.tolist() == [[-1]] * 8
    plan = by_first_offset(make_plan(plan.inputs, STRIDED["cells"], as_pairs=True))
    assert len(plan.outputs) == 0 and plan.neighbours.num_pairs() == 0


@both_forms
def test_more_cells_than_32_bits_count(as_pairs):
    """Cells that are 2^32 apart in number are no neighbours, and those side by side are."""
    shape = (2**12, 2**12, 2**12)
    rows = [[1, 4095, 4095, 4094], [1, 4095, 4095, 4095], [0, 4095, 4095, 4095], [1, 0, 0, 0],
            [0, 0, 0, 0], [0, 256, 0, 0], [0, 256, 0, 1]]  # fmt: skip
    sites = sites_of(rows, shape, 2)
    assert math.prod(shape) > 2**32
    pairs = named_pairs(make_plan(sites, SUBMANIFOLD["3x3x3"], as_pairs))
    assert sorted(map(len, pairs)) == [0] * 24 + [2, 2, 7]
    down = make_plan(sites, Geometry((2, 2, 2), (2, 2, 2)), as_pairs)
    expected = {(1, 2047, 2047, 2047), (0, 2047, 2047, 2047), (1, 0, 0, 0), (0, 0, 0, 0),
                (0, 128, 0, 0)}  # fmt: skip
    assert {tuple(row) for row in down.outputs.indices.tolist()} == expected


def test_a_grid_too_large_to_number_is_refused():
    with pytest.raises(ValueError, match=r"more than 2\^60 cells"):
        sites_of([], (2**20, 2**20, 2**20), 2)


def test_outputs_in_the_order_of_their_first_offset():
    sites = random_sites(0.4)
    plan = make_plan(sites, STRIDED["halved"], as_pairs=True)
    ordered = by_first_offset(plan)
    assert named_pairs(ordered) == named_pairs(plan)
    lists = ordered.neighbours.lists()
    first = [target for rows, targets in lists for target in targets[rows.argsort()].tolist()]
    seen = list(dict.fromkeys(first))
    assert seen == list(range(len(plan.outputs)))


@both_forms
@pytest.mark.parametrize("geometry", [SUBMANIFOLD["3x3x3"], STRIDED["halved"]])
@pytest.mark.parametrize("row", [[-1, 0, 0, 0], [0, 5, 0, 0], [0, 0, -1, 0], [0, 0, 0, 6]])
def test_a_voxel_outside_of_the_grid_is_refused(row, geometry, as_pairs):
    sites = sites_of([[0, 0, 0, 0], row, [1, 9, 9, 9]], SHAPE, 2)
    message = r"in the grid \[5, 7, 6\].* row 1 is " + re.escape(str(tuple(row)))
    with pytest.raises(IndexError, match=message):
        make_plan(sites, geometry, as_pairs), sites.check()


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("wrong", [2**32, -(2**32), 2**31])
def test_numbers_beyond_32_bits_do_not_become_others(wrong, column):
    sites = sites_of([[wrong if n == column else 0 for n in range(4)]], SHAPE)
    with pytest.raises(IndexError, match="row 0 is"):
        sites.check()


@both_forms
@pytest.mark.parametrize("geometry", [SUBMANIFOLD["3x3x3"], STRIDED["halved"]])
@pytest.mark.parametrize(("frame", "shape"), [(2, SHAPE), (2**30, (2**11, 2**11, 2**11))])
def test_a_frame_that_is_not_there_is_refused(frame, shape, geometry, as_pairs):
    sites = sites_of([[frame, 0, 0, 0]], shape, 2)
    with pytest.raises(IndexError, match="batch index below 2; row 0 is "):
        make_plan(sites, geometry, as_pairs), sites.check()


@both_forms
@pytest.mark.parametrize("geometry", [SUBMANIFOLD["3x3x3"], STRIDED["halved"]])
def test_a_voxel_that_is_there_twice_is_refused(geometry, as_pairs):
    sites = sites_of([[0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]], SHAPE)
    with pytest.raises(ValueError, match="must not hold a voxel twice, row 2 is another's"):
        make_plan(sites, geometry, as_pairs), sites.check()


@both_forms
@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (Geometry((3, 2, 3), submanifold=True), r"must be odd, got \(3, 2, 3\)"),
        (Geometry((3, 8, 3)), r"\(3, 8, 3\).* does not fit into a grid of \[5, 7, 6\]"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(geometry, message, as_pairs):
    with pytest.raises(ValueError, match=message):
        make_plan(random_sites(), geometry, as_pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 3), SHAPE, 1), r"indices must have shape \(V, 4\), got \(3, 3\)"),
        ((torch.zeros(3, 4), SHAPE, 1), "indices must be integers, got torch.float32"),
        ((torch.zeros(3, 4).int(), SHAPE, -1), "batch_size must be 0 or more .*, got -1"),
        ((torch.zeros(3, 4).int(), (5, 7), 1), r"spatial_shape must be 3 sizes .*, got \[5, 7\]"),
        ((torch.zeros(3, 4).int(), (5, 7, 0), 1), "spatial_shape must be 3 sizes"),
        (
            (torch.zeros(3, 4).int(), (1, 1, 2**25), 1),
            r"at most 2\^24 each, got \[1, 1, 33554432\]",
        ),
    ],
)
def test_sites_of_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sites(*arguments)
