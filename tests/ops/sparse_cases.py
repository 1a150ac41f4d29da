"""Sparse tensors for tests, and the same convolutions on dense grids."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pcdet.ops.sparse_conv.plan import Geometry, LayerPlan, Pairs, Tables
from pcdet.ops.sparse_conv.sites import Sites

SHAPE = (5, 7, 6)
# Along z, y, x: kernels, strides and paddings of the networks, and what no network has.
STRIDED = {
    "halved": Geometry((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    "no padding in z": Geometry((3, 3, 3), (2, 2, 2), (0, 1, 1)),
    "z alone": Geometry((3, 1, 1), (2, 1, 1)),
    "cells": Geometry((2, 2, 2), (2, 2, 2)),
    "mixed": Geometry((3, 2, 3), (1, 3, 2), (2, 0, 1), (2, 2, 1)),
    "common factor": Geometry((3, 3, 3), (4, 6, 2), (2, 3, 3), (2, 3, 2)),
    "gaps": Geometry((1, 2, 1), (3, 5, 4)),
}
SUBMANIFOLD = {
    "3x3x3": Geometry((3, 3, 3), submanifold=True),
    "flat": Geometry((1, 3, 5), submanifold=True),
    "dilated": Geometry((3, 3, 3), dilation=(2, 1, 3), submanifold=True),
    "beyond the grid": Geometry((3, 3, 3), dilation=(1, 10**9, 2**40), submanifold=True),
}


def random_sites(share: float = 0.3, frames: int = 3, shape=SHAPE, device="cpu") -> Sites:
    """Voxels in no order; the second of three frames has none."""
    generator = torch.Generator().manual_seed(1)
    cells = (torch.rand(frames, *shape, generator=generator) < share).nonzero()
    cells = cells[cells[:, 0] != 1] if frames == 3 else cells
    return Sites(cells[torch.randperm(len(cells), generator=generator)].to(device), shape, frames)


def as_tables(neighbours: Tables | Pairs) -> Tables:
    """Neighbours as tables."""
    if isinstance(neighbours, Tables):
        return neighbours
    offsets = len(neighbours.sources)
    sources = torch.full((offsets, neighbours.num_outputs), -1, dtype=torch.int32)
    targets = torch.full((offsets, neighbours.num_inputs), -1, dtype=torch.int32)
    for k, (source, target) in enumerate(neighbours.lists()):
        sources[k, target], targets[k, source] = source.int(), target.int()
    return Tables(sources, targets)


def named_pairs(plan: LayerPlan) -> list[set]:
    """For each offset the pairs of voxels, which both of its tables must tell of alike."""
    inputs, outputs = ([tuple(row) for row in sites.indices.tolist()]
                       for sites in (plan.inputs, plan.outputs))  # fmt: skip
    tables = as_tables(plan.neighbours)
    result = []
    for sources, targets in zip(tables.sources.tolist(), tables.targets.tolist()):
        pairs = {(inputs[i], outputs[o]) for o, i in enumerate(sources) if i >= 0}
        assert pairs == {(inputs[i], outputs[o]) for i, o in enumerate(targets) if o >= 0}
        result.append(pairs)
    return result


def dense_grid(features: torch.Tensor, sites: Sites) -> torch.Tensor:
    """(B, C, D, H, W), zero where there is no voxel."""
    grid = features.new_zeros(sites.batch_size, *sites.spatial_shape, features.shape[1])
    grid = grid.index_put(tuple(sites.indices.long().T), features)
    return grid.permute(0, 4, 1, 2, 3)


def at_sites(grid: torch.Tensor, sites: Sites) -> torch.Tensor:
    """(V, C) of a grid."""
    return grid.permute(0, 2, 3, 4, 1)[tuple(sites.indices.long().T)]


def dense_conv(features: torch.Tensor, weight: torch.Tensor, plan: LayerPlan) -> torch.Tensor:
    """(M, Cout) by a dense convolution with weight (Cout, kd, kh, kw, Cin)."""
    geometry, weight = plan.geometry, weight.permute(0, 4, 1, 2, 3)
    padding = geometry.padding
    if geometry.submanifold:
        steps = zip(geometry.kernel_size, geometry.dilation)
        padding = tuple(size // 2 * step for size, step in steps)
    grid = dense_grid(features, plan.inputs)
    grid = F.conv3d(grid, weight, None, geometry.stride, padding, geometry.dilation)
    return at_sites(grid, plan.outputs)


def dense_inverse(features: torch.Tensor, weight: torch.Tensor, plan: LayerPlan) -> torch.Tensor:
    """(N, Cout) by a dense transposed convolution back along a strided plan."""
    geometry, shape = plan.geometry, plan.inputs.spatial_shape
    grid = F.conv_transpose3d(
        dense_grid(features, plan.outputs),
        weight.permute(4, 0, 1, 2, 3),
        stride=geometry.stride,
        dilation=geometry.dilation,
    )
    # Without the padding in front, and with the cells at the end that no output reaches.
    z, y, x = geometry.padding
    grid = F.pad(grid, (0, shape[2] + x, 0, shape[1] + y, 0, shape[0] + z))[:, :, z:, y:, x:]
    return at_sites(grid, plan.inputs)
