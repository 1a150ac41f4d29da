"""The simplest voxel feature encoder: the mean of a voxel's points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.models.vfe.input_scales import make_input_scales


class MeanVoxelFeatureExtractor(nn.Module):
    """Mean of the points of each voxel, as SECOND uses it with few points a voxel."""

    def __init__(self, num_input_features: int, input_scales: Sequence[float] = ()):
        """Build it.

        Args:
            num_input_features: C of a point.
            input_scales: what each feature is multiplied by, see `InputScales`.

        Raises:
            ValueError: there are more or fewer of them than features.
        """
        super().__init__()
        self.output_features = num_input_features
        self.input_scales = make_input_scales(input_scales, num_input_features)

    def forward(self, voxels: torch.Tensor, num_points: torch.Tensor) -> torch.Tensor:
        """Average, and scale if so asked.

        Args:
            voxels: (V, P, C) points, rows beyond a voxel's number zero.
            num_points: (V,) points in each voxel.

        Returns:
            (V, C).
        """
        count = num_points.clamp(min=1).to(voxels.dtype).unsqueeze(-1)
        return self.input_scales(voxels.sum(dim=1) / count)
