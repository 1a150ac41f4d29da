"""PointPillars' voxel feature encoder (Lang et al., PointPillars, CVPR 2019, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.models.model_utils.norm import NORM, VoxelNorm
from pcdet.models.vfe.input_scales import make_input_scales


class PFNLayer(nn.Module):
    """A linear layer on every point, and the maximum over the points of a pillar.

    All but the last layer give each point its own features and, beside them, that maximum.
    """

    runs_in_order = True

    def __init__(self, in_channels: int, out_channels: int, use_norm: bool, last_layer: bool):
        super().__init__()
        self.last_layer = last_layer
        units = out_channels if last_layer else out_channels // 2
        self.linear = nn.Linear(in_channels, units, bias=not use_norm)
        self.norm = VoxelNorm(units, **NORM) if use_norm else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """(V, P, in_channels) to (V, out_channels) in the last layer, else (V, P, out_channels)."""
        # Rows that hold no point take part in the statistics and in the maximum, as in PCDet:
        # trained weights count on it.
        x = self._each(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        pillar = x.amax(dim=1)
        if self.last_layer:
            return pillar
        return torch.cat((x, pillar.unsqueeze(1).expand_as(x)), dim=-1)

    def of_rows(self, rows: torch.Tensor, pillar: torch.Tensor, count: int) -> torch.Tensor:
        """The same of rows (N, in_channels), given the pillar (N,) of each and how many there are.

        Returns:
            (count, out_channels) in the last layer, else (N, out_channels).
        """
        x = self._each(rows)
        most = x.new_full((count, x.shape[1]), -torch.inf)
        most.scatter_reduce_(0, pillar.unsqueeze(1).expand_as(x), x, "amax")
        return most if self.last_layer else torch.cat((x, most[pillar]), dim=-1)

    def _each(self, points: torch.Tensor) -> torch.Tensor:
        return self.relu(self.norm(self.linear(points)))


class PillarFeatureNetOld2(nn.Module):
    """Decorates the points of each pillar and encodes them by one or more `PFNLayer`s.

    Beside its own features a point has its offset to the mean of the pillar's points and its
    offset to the pillar's centre, each along x, y, z. The name is that of PCDet's yaml.

    Attributes:
        output_features: channels of a pillar.
        rows_once: whether to compute a pillar's rows that hold no point, which are all alike, once,
            as in a folded network; on the CPU, as a GPU's host would wait for their number.
    """

    rows_once = False

    def __init__(
        self,
        num_input_features: int,
        use_norm: bool = True,
        num_filters: Sequence[int] = (64,),
        with_distance: bool = False,
        input_scales: Sequence[float] = (),
    ):
        """Build the layers.

        Args:
            num_input_features: C of a point, x, y, z first.
            use_norm: batch normalisation after each linear layer, else a bias in it.
            num_filters: output channels of each layer.
            with_distance: decorate points with their distance to the sensor too.
            input_scales: what each feature of a decorated point is multiplied by, in the order of
                the class; see `InputScales`.

        Raises:
            ValueError: there is no layer, or `input_scales` are not one for each feature.
        """
        super().__init__()
        if not num_filters:
            raise ValueError("num_filters: at least one layer expected")
        self.with_distance = with_distance
        self.output_features = num_filters[-1]
        channels = [num_input_features + 6 + with_distance, *num_filters]
        self.input_scales = make_input_scales(input_scales, channels[0])
        last = len(num_filters) - 1
        self.pfn_layers = nn.ModuleList(
            PFNLayer(channels[k], channels[k + 1], use_norm, last_layer=k == last)
            for k in range(len(num_filters))
        )

    def forward(
        self, voxels: torch.Tensor, num_points: torch.Tensor, voxel_centers: torch.Tensor
    ) -> torch.Tensor:
        """Encode.

        Args:
            voxels: (V, P, C) points, rows beyond a pillar's number zero.
            num_points: (V,) points in each pillar.
            voxel_centers: (V, 3) centres of the pillars, metres.

        Returns:
            (V, output_features).
        """
        # Not len(), a number that torch.export would take for constant. In a training the layers
        # run all the same: normalisation over all ranks waits for them.
        if not self.training and voxels.shape[0] == 0:
            return voxels.new_zeros(0, self.output_features)
        xyz = voxels[..., :3]
        mean = xyz.sum(dim=1) / num_points.clamp(min=1).to(xyz.dtype).unsqueeze(-1)
        decorations = [voxels, xyz - mean.unsqueeze(1), xyz - voxel_centers.unsqueeze(1)]
        if self.with_distance:
            decorations.append(xyz.norm(dim=-1, keepdim=True))
        row = torch.arange(voxels.shape[1], device=voxels.device)
        filled = row < num_points.unsqueeze(-1)  # (V, P)
        points = self.input_scales(torch.cat(decorations, dim=-1)) * filled.unsqueeze(-1)
        # Half precision would round places far from the sensor to 0.25 m.
        with torch.autocast(points.device.type, enabled=False):
            if self.rows_once and points.device.type == "cpu":
                return self._encode_rows_once(points, row <= num_points.unsqueeze(-1))
            for layer in self.pfn_layers:
                points = layer(points)
        return points

    def fold_(self) -> None:
        """See `folded`."""
        self.rows_once = True

    def _encode_rows_once(self, points: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Encode those rows of (V, P, C) that are kept (V, P): the points, and one row without."""
        pillar = torch.nonzero(kept)[:, 0]
        rows = points[kept]
        for layer in self.pfn_layers:
            rows = layer.of_rows(rows, pillar, len(points))
        return rows
