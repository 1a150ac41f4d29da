"""Which voxels a sparse layer brings together: index tables, made before any feature is touched.

A plan belongs to the sites of its input and to the geometry of a layer, not to its weights or its
channels, so that layers share it. It comes in one of two forms, as the backend wants it:

- `Tables`, made in plain torch on any device: for each output and offset of the kernel the row of
  the input, and for each input and offset the row of the output.
- `Pairs`, made by the native operators on the CPU: a list of (input, output) for each offset.

docs/sparse_convolution.md draws an example.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from pcdet.ops.sparse_conv.sites import MOST_CELLS, Sites, number_cells
from pcdet.ops.sparse_conv.sparse_conv_utils import strided_pairs, submanifold_pairs

_NOWHERE = torch.iinfo(torch.int64).max  # the key of no cell


@dataclass(frozen=True)
class Geometry:
    """What a layer's kernel reaches; each along z, y, x.

    Offset k of output o reaches the input at `o * stride - padding + k * dilation`.

    Attributes:
        kernel_size: offsets along an axis.
        stride: inputs from one output to the next.
        padding: inputs beyond the grid that the first output reaches.
        dilation: inputs from one offset to the next.
        submanifold: the outputs are the inputs' sites, each under the kernel's centre; stride and
            padding do not count.
    """

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)
    dilation: tuple[int, int, int] = (1, 1, 1)
    submanifold: bool = False

    def out_shape(self, shape: Sequence[int]) -> list[int]:
        """Sizes of the grid of outputs.

        Raises:
            ValueError: the kernel does not fit into the padded grid.
        """
        if self.submanifold:
            return list(shape)
        sizes = zip(shape, self.kernel_size, self.stride, self.padding, self.dilation)
        result = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]
        if min(result) < 1:
            raise ValueError(f"{self} does not fit into a grid of {list(shape)}")
        return result


@dataclass(frozen=True, eq=False)
class Tables:
    """Neighbours as tables; -1 for none, which names a row of zeros put behind the last row.

    Attributes:
        sources: (K, M) int32, for each offset and output the row of the input.
        targets: (K, N) int32, for each offset and input the row of the output.
    """

    sources: torch.Tensor
    targets: torch.Tensor

    def transposed(self) -> Tables:
        """With inputs and outputs exchanged."""
        return Tables(self.targets, self.sources)

    @property
    def num_inputs(self) -> int:
        """N, rows of the input."""
        return self.targets.shape[1]

    def num_pairs(self) -> int:
        """Pairs of all offsets; each costs Cin * Cout multiplications. On a GPU this waits."""
        return int((self.sources >= 0).sum())


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neighbours as lists, one for each offset: its pairs from the front, then -1.

    Attributes:
        sources: (K, P) int32 rows of the inputs.
        targets: (K, P) int32 rows of the outputs.
        num_inputs: N, rows of the input.
        num_outputs: M, rows of the output.
    """

    sources: torch.Tensor
    targets: torch.Tensor
    num_inputs: int
    num_outputs: int

    def transposed(self) -> Pairs:
        """With inputs and outputs exchanged."""
        return Pairs(self.targets, self.sources, self.num_outputs, self.num_inputs)

    def lists(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each offset its (n,) int64 rows of inputs and of outputs, none twice."""
        counts = (self.sources >= 0).sum(1).tolist()
        for count, source, target in zip(counts, self.sources, self.targets):
            yield source[:count].long(), target[:count].long()

    def num_pairs(self) -> int:
        """Pairs of all offsets; each costs Cin * Cout multiplications."""
        return int((self.sources >= 0).sum())


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """What a layer needs to know besides features and weights.

    Attributes:
        geometry: of the layer.
        inputs: sites of the input.
        outputs: sites of the output.
        neighbours: which of both belong together.
    """

    geometry: Geometry
    inputs: Sites
    outputs: Sites
    neighbours: Tables | Pairs

    @functools.cached_property
    def inverse(self) -> LayerPlan:
        """The way back, from the outputs onto the inputs."""
        return LayerPlan(self.geometry, self.outputs, self.inputs, self.neighbours.transposed())


def make_plan(sites: Sites, geometry: Geometry, as_pairs: bool) -> LayerPlan:
    """Find the outputs of a layer and all neighbours.

    Args:
        sites: of the input.
        geometry: of the layer.
        as_pairs: ask the native operators for `Pairs`, which needs sites on the CPU.

    Returns:
        The plan. As tables, the sites of a layer that is not submanifold are sorted by their key,
        and finding their number makes the host wait for a GPU, the only time it has to; the sites
        of the input are checked with it. Those of a submanifold layer are left to `Sites.check`.

    Raises:
        IndexError: a voxel lies outside of the grid.
        ValueError: a voxel is there twice, or the kernel does not fit.
    """
    if geometry.submanifold and any(size % 2 == 0 for size in geometry.kernel_size):
        raise ValueError(
            f"kernel_size of a submanifold convolution must be odd, got {geometry.kernel_size}"
        )
    if as_pairs:
        return _native_plan(sites, geometry)
    if geometry.submanifold:
        return LayerPlan(geometry, sites, sites, _submanifold_tables(sites, geometry))
    outputs, tables = _strided_tables(sites, geometry)
    return LayerPlan(geometry, sites, outputs, tables)


def _native_plan(sites: Sites, geometry: Geometry) -> LayerPlan:
    sizes = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    if len(sites) and int(sites.indices[:, 0].max()) >= sites.batch_size:
        sites.check()  # which the operators, who do not know their number, cannot refuse
    if geometry.submanifold:
        outputs = sites
        pairs, _ = submanifold_pairs(
            sites.indices, sites.spatial_shape, geometry.kernel_size, geometry.dilation
        )
    else:
        shape = geometry.out_shape(sites.spatial_shape)
        found, pairs, _ = strided_pairs(sites.indices, sites.spatial_shape, shape, *sizes)
        outputs = Sites(found, shape, sites.batch_size)
    sites.trust()  # the operators have checked the rest
    return LayerPlan(geometry, sites, outputs, Pairs(*pairs.unbind(0), len(sites), len(outputs)))


def by_first_offset(plan: LayerPlan) -> LayerPlan:
    """The same plan, of `Pairs`, with its outputs in the order of first offset, then of input.

    The order in which spconv's pooling on the CPU had them: what follows adds in this order, and
    results stay as they were to the last bit.
    """
    pairs, order = plan.neighbours, plan.neighbours.targets.new_empty(0, dtype=torch.long)
    # The last entry for a target that is none.
    rank = pairs.targets.new_full((pairs.num_outputs + 1,), -1)
    for sources, targets in pairs.lists():
        targets = targets[sources.argsort()]
        order = torch.cat((order, targets[rank[targets] < 0]))
        rank[order] = torch.arange(len(order), dtype=rank.dtype, device=rank.device)
    targets = rank[pairs.targets]
    before = plan.outputs
    outputs = Sites(before.indices[order], before.spatial_shape, before.batch_size)
    return replace(plan, outputs=outputs, neighbours=replace(pairs, targets=targets))


def _submanifold_tables(sites: Sites, geometry: Geometry) -> Tables:
    """Looks for the key of each voxel, moved by each offset, among the keys of all."""
    device, count = sites.indices.device, len(sites)
    shape, moves, within = _moves(geometry, tuple(sites.spatial_shape), device)
    sources = sites.indices.new_full((len(moves), count), -1)
    if count:
        keys, order = sites.sorted_keys(shape), sites.order
        wanted = keys + moves
        place = torch.searchsorted(keys, wanted, out_int32=True).clamp_(max=count - 1)
        there = (keys[place] == wanted) & within
        sources.index_copy_(1, order, torch.where(there, order.int()[place], -1))
    # Where o lies at offset k from i, i lies at the opposite offset from o.
    return Tables(sources, sources.flip(0))


@functools.lru_cache(maxsize=256)
def _moves(
    geometry: Geometry, shape: tuple[int, ...], device: torch.device
) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """A padded grid, by how much each offset changes keys there, and whether it stays within.

    Kept, as a network asks for the same again and again. Steps beyond the grid's size lead nowhere;
    behind each row of the padded grid is room for all others, so that none reaches a voxel of
    another row.

    Returns:
        Sizes along z, y, x; (K, 1) int64; (K, 1) bool.
    """
    kernel, dilation = geometry.kernel_size, geometry.dilation
    reach = [min(k // 2, (n - 1) // d) for k, n, d in zip(kernel, shape, dilation)]
    padded = [n + r * d for n, r, d in zip(shape, reach, dilation)]
    z, y, x = _along_axes([torch.arange(size, device=device) - size // 2 for size in kernel])
    within = (z.abs() <= reach[0]) & (y.abs() <= reach[1]) & (x.abs() <= reach[2])
    moves = number_cells((0, z * dilation[0], y * dilation[1], x * dilation[2]), padded)
    return padded, moves.reshape(-1, 1), within.reshape(-1, 1)


def _strided_tables(sites: Sites, geometry: Geometry) -> tuple[Sites, Tables]:
    """Lists what each voxel reaches; the outputs are the distinct cells among that."""
    shape = geometry.out_shape(sites.spatial_shape)
    offsets, count, device = math.prod(geometry.kernel_size), len(sites), sites.indices.device
    if not count:
        none = sites.indices.new_empty((offsets, 0))
        order = torch.arange(0, device=device)
        return Sites(sites.indices, shape, sites.batch_size, order), Tables(none, none)
    reached, offset = _reached(sites, geometry, shape)  # (V, n)
    keys, order = reached.flatten().sort()
    first = F.pad(keys[1:] != keys[:-1], (1, 0), value=True) & (keys != _NOWHERE)
    rank = first.cumsum(0) - 1
    # All that the host has to know, in one transfer.
    numbers = [rank[-1:] + 1] if sites.is_checked else [rank[-1:] + 1, sites.facts()]
    found, *facts = torch.cat(numbers).cpu().tolist()
    if facts:
        sites.accept(facts)
    # What leads nowhere goes to a last row and column, which are cut off.
    rank = torch.where(keys == _NOWHERE, found, rank)
    cells = keys.new_empty(found + 1).index_copy_(0, rank, keys)[:found]
    row = torch.empty_like(rank).index_copy_(0, order, rank).view_as(offset)
    voxel = torch.arange(count, device=device).view(-1, 1).expand_as(offset)
    sources = sites.indices.new_full((offsets + 1, found + 1), -1)
    targets = sites.indices.new_full((offsets + 1, count), -1)
    sources[offset, row] = voxel.int()
    targets[offset, voxel] = row.int()
    order = torch.arange(found, device=device)  # they are sorted already
    outputs = Sites(_cells_of(cells, shape), shape, sites.batch_size, order)
    return outputs, Tables(sources[:-1, :-1].contiguous(), targets[:-1])


def _reached(
    sites: Sites, geometry: Geometry, shape: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys of the outputs that each voxel contributes to, and the offset by which it does.

    Returns:
        (V, n) int64 keys in the grid `shape`, _NOWHERE for none, and (V, n) int64 offsets, K for
        none; n is the largest possible number of outputs, 8 for a kernel of 3 and stride 2.
    """
    batch, *columns = sites.indices.long().unbind(1)
    if not sites.is_checked:  # rows outside of the grid are found later, and must not be looked up
        columns = [c.clamp(0, n - 1) for c, n in zip(columns, sites.spatial_shape)]
    axes = _reach(geometry, tuple(sites.spatial_shape), tuple(shape), sites.indices.device)
    z, y, x = _along_axes([keys[column] for (keys, _), column in zip(axes, columns)])
    key = z + y + x + (batch * math.prod(shape)).view(-1, 1, 1, 1)
    z, y, x = _along_axes([offsets[column] for (_, offsets), column in zip(axes, columns)])
    key, offset = key.flatten(1), (z + y + x).flatten(1)
    there = key >= 0
    return torch.where(there, key, _NOWHERE), torch.where(
        there, offset, math.prod(geometry.kernel_size)
    )


@functools.lru_cache(maxsize=256)
def _reach(
    geometry: Geometry, shape: tuple[int, ...], out_shape: tuple[int, ...], device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each place along an axis the places of outputs that it contributes to, and the offsets.

    Kept, as a network asks for the same again and again. Output `(place + padding - k * dilation) /
    stride` is reached by the offsets k for which this is a whole number: with g = gcd(stride,
    dilation) every (stride / g)-th one, the first given by a modular inverse, and none unless g
    divides place + padding.

    Returns:
        For z, y and x two (size, n) int64: shares of keys, which add up to the key of an output, or
        to less than 0; and shares of the numbers of offsets.
    """
    result = []
    for axis, (size, out) in enumerate(zip(shape, out_shape)):
        kernel, stride = geometry.kernel_size[axis], geometry.stride[axis]
        dilation = geometry.dilation[axis]
        common = math.gcd(stride, dilation)
        step = stride // common
        moved = torch.arange(size, device=device).view(-1, 1) + geometry.padding[axis]
        first = moved // common * pow(dilation // common, -1, step) % step
        offset = first + torch.arange(0, kernel, step, device=device)
        place = moved - offset * dilation
        there = (moved % common == 0) & (offset < kernel) & (place >= 0) & (place // stride < out)
        share = place // stride * math.prod(out_shape[axis + 1 :])
        result.append((
            torch.where(there, share, -MOST_CELLS),
            offset * math.prod(geometry.kernel_size[axis + 1 :]),
        ))  # fmt: skip
    return result


def _along_axes(values: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of three tensors whose last dimensions, of z, y and x, are spread over three."""
    z, y, x = values
    return z[..., :, None, None], y[..., None, :, None], x[..., None, None, :]


def _cells_of(keys: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """(V, 4) int32 batch index, z, y, x: the inverse of `number_cells`."""
    columns = []
    for size in reversed(shape):
        columns.append(keys % size)
        keys = keys // size
    return torch.stack((keys, *reversed(columns)), dim=1).int()
