"""The simplest voxel feature encoder: the mean of a voxel's points."""

from __future__ import annotations

import torch
from torch import nn


class MeanVoxelFeatureExtractor(nn.Module):
    """Mean of the points of each voxel, as SECOND uses it with few points a voxel."""

    def __init__(self, num_input_features: int):
        super().__init__()
        self.output_features = num_input_features

    def forward(self, voxels: torch.Tensor, num_points: torch.Tensor) -> torch.Tensor:
        """Average.

        Args:
            voxels: (V, P, C) points, rows beyond a voxel's number zero.
            num_points: (V,) points in each voxel.

        Returns:
            (V, C).
        """
        return voxels.sum(dim=1) / num_points.clamp(min=1).to(voxels.dtype).unsqueeze(-1)
