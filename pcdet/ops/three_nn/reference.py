"""The same answers as three_nn_utils in plain torch: slow and obvious, for the tests."""

from __future__ import annotations

import torch


def three_nn(
    points: torch.Tensor,
    sites: torch.Tensor,
    point_frames: torch.Tensor,
    site_frames: torch.Tensor,
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (N, 3) and indices (N, 3) of the nearest sites, by the distances of all pairs."""
    x, y, z = (points[:, None] - sites[None]).square().unbind(2)
    squared = x + y + z
    known = (point_frames >= 0) & (point_frames < batch_size)
    own_frame = known[:, None] & (point_frames[:, None] == site_frames[None])
    usable = own_frame & squared.isfinite()
    squared = torch.where(usable, squared, torch.inf)
    squared = torch.cat((squared, squared.new_full((len(points), 3), torch.inf)), dim=1)
    ranked, nearest = squared.sort(dim=1, stable=True)
    ranked, nearest = ranked[:, :3], nearest[:, :3]
    return ranked.sqrt(), torch.where(ranked.isinf(), -1, nearest)


def three_interpolate(
    features: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """(N, C) weighted sums; differentiable by torch's own rules."""
    padded = torch.cat((features, features.new_zeros(1, features.shape[1])))
    return (padded[nearest] * weights.detach()[..., None]).sum(dim=1)
