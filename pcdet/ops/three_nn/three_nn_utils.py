"""The three nearest sites of each point and interpolation between them, on CPU and CUDA tensors.

Coordinates are in metres, in any frame of reference that points and sites share. Points see the
sites of their own frame (sample of a batch) alone. Arguments that do not fit raise a RuntimeError
that names them.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from pcdet.ops.common import Operators, load_extension

load_extension("pcdet.ops.three_nn.three_nn_ext")
_ops = Operators("pcdet_three_nn")


def three_nn(
    points: torch.Tensor,
    sites: torch.Tensor,
    point_frames: torch.Tensor,
    site_frames: torch.Tensor,
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The three sites nearest to each point. It gives no gradient.

    The answer is exact in the type of the arguments: of sites at the same distance the one with the
    lower index comes first. Where a frame has fewer than three sites, or they are infinitely far,
    the rest of a row says so.

    Args:
        points: (N, 3) float32 or float64 x, y, z.
        sites: (M, 3) of the same type.
        point_frames: (N,) integers, the frame of each point.
        site_frames: (M,) integers, the frame of each site.
        batch_size: number of frames; a point or site of another one has no neighbours.

    Returns:
        Distances (N, 3), the nearest first, infinite for a site that is not there; indices of the
        sites (N, 3) int64, -1 for one that is not there.
    """
    tensors = (points, sites, point_frames, site_frames)
    return _ops.three_nn(*(tensor.detach() for tensor in tensors), batch_size)


def inverse_distance_weights(distances: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    """How much each neighbour counts: 1 / (distance + epsilon), divided by the sum of a row.

    Args:
        distances: (N, 3), what `three_nn` returned.
        epsilon: metres that keep a distance of 0 finite.

    Returns:
        (N, 3) weights that sum to 1; 0 for a site that is not there.
    """
    inverse = 1 / (distances + epsilon)
    return inverse / inverse.sum(dim=1, keepdim=True).clamp(min=torch.finfo(inverse.dtype).tiny)


def three_interpolate(
    features: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted sums of the features of three sites. The gradient reaches the features alone.

    Args:
        features: (M, C) float32 or float64.
        nearest: (N, 3) int64 indices below M, or -1 for none.
        weights: (N, 3) of the type of the features.

    Returns:
        (N, C), zeros for a point without sites.
    """
    return _Interpolate.apply(features, nearest, weights.detach())


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(nearest, weights)
        ctx.num_sites = len(features)
        return _ops.three_interpolate(features, nearest, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        nearest, weights = ctx.saved_tensors
        return _ops.three_interpolate_backward(grad, nearest, weights, ctx.num_sites), None, None
