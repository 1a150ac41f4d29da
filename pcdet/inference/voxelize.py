"""Voxels made on the device that the points are on, as `VoxelGenerator` makes them on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pcdet.datasets.processor.voxel_generator import VoxelGenerator


class Voxels(NamedTuple):
    """The voxels of a frame.

    Attributes:
        voxels: (V, P, C) points, unused rows are zero.
        coordinates: (V, 3) int32 [z, y, x].
        num_points: (V,) int32, the used rows of each voxel.
    """

    voxels: torch.Tensor
    coordinates: torch.Tensor
    num_points: torch.Tensor


def voxelize(points: torch.Tensor, generator: VoxelGenerator) -> Voxels:
    """Group points into voxels by sorting, which a GPU does well; on the CPU a loop is faster.

    The result is that of `VoxelGenerator.generate`: voxels in the order of their first points, the
    first P points of each.

    Args:
        points: (N, C) x, y, z first, metres.
        generator: its range, sizes and limits.
    """
    grid = points.new_tensor(generator.grid_size.tolist())
    low = points.new_tensor(generator.point_cloud_range[:3].tolist())
    cell = ((points[:, :3] - low) / points.new_tensor(generator.voxel_size.tolist())).floor()
    inside = ((cell >= 0) & (cell < grid)).all(dim=1)
    points, cell = points[inside], cell[inside].long()
    width, height, _ = generator.grid_size.tolist()
    key = (cell[:, 2] * height + cell[:, 1]) * width + cell[:, 0]  # (N,)
    sites, site_of_point = torch.unique(key, return_inverse=True)
    order = torch.arange(len(points), device=points.device)
    first = order.new_full((len(sites),), len(points))
    first.scatter_reduce_(0, site_of_point, order, "amin")
    by_first = first.argsort()
    voxel_of_site = torch.empty_like(by_first)
    voxel_of_site[by_first] = torch.arange(len(sites), device=points.device)
    voxel = voxel_of_site[site_of_point]  # (N,)
    ranked = voxel.argsort(stable=True)
    counts = voxel.bincount(minlength=len(sites))
    place = torch.empty_like(ranked)  # of a point among those of its voxel
    place[ranked] = order - (counts.cumsum(0) - counts)[voxel[ranked]]
    kept = (voxel < generator.max_voxels) & (place < generator.max_num_points)
    num_voxels = min(len(sites), generator.max_voxels)
    voxels = points.new_zeros(num_voxels, generator.max_num_points, points.shape[1])
    voxels[voxel[kept], place[kept]] = points[kept]
    coordinates = cell[first[by_first[:num_voxels]]].flip(1).int()
    used = counts[:num_voxels].clamp(max=generator.max_num_points).int()
    return Voxels(voxels, coordinates, used)
