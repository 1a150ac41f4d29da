"""PointPillars' voxel feature encoder (Lang et al., PointPillars, CVPR 2019, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.models.model_utils.norm import NORM, VoxelNorm
from pcdet.models.vfe.input_scales import make_input_scales

# Devices on which what is empty is computed once, however often it is there: the
# host of a GPU would wait for the number of what is not.
EMPTY_ONCE = {"cpu"}


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
        x = self.relu(self.norm(self.linear(points.flatten(0, 1))))
        x = x.unflatten(0, points.shape[:2])
        pillar = x.amax(dim=1)
        if self.last_layer:
            return pillar
        return torch.cat((x, pillar.unsqueeze(1).expand_as(x)), dim=-1)

    def of_rows(
        self, rows: torch.Tensor, counts: torch.Tensor, pillar: torch.Tensor, pillars: int
    ) -> torch.Tensor:
        """The same of rows (N, in_channels) that stand for as many equal ones as `counts` (N,) say.

        Args:
            rows: in any order.
            counts: 1 or more.
            pillar: (N,) that of each row.
            pillars: how many there are.

        Returns:
            (pillars, out_channels) in the last layer, else (N, out_channels).
        """
        x = self.linear(rows)
        x = self.norm(x, counts) if isinstance(self.norm, VoxelNorm) else self.norm(x)
        x = self.relu(x)
        most = x.new_full((pillars, x.shape[1]), -torch.inf)
        most = most.scatter_reduce(0, pillar.unsqueeze(1).expand_as(x), x, "amax")
        return most if self.last_layer else torch.cat((x, most.index_select(0, pillar)), dim=-1)


class PillarFeatureNetOld2(nn.Module):
    """Decorates the points of each pillar and encodes them by one or more `PFNLayer`s.

    Beside its own features a point has its offset to the mean of the pillar's points and its
    offset to the pillar's centre, each along x, y, z. The name is that of PCDet's yaml.

    On a CPU the rows of a pillar that hold no point, which are all alike, are computed once and
    count as many.

    Attributes:
        output_features: channels of a pillar.
    """

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
        row = torch.arange(voxels.shape[1], device=voxels.device)
        filled = row < num_points.unsqueeze(-1)  # (V, P)
        # Half precision would round places far from the sensor to 0.25 m.
        with torch.autocast(voxels.device.type, enabled=False):
            if voxels.device.type in EMPTY_ONCE and not torch.compiler.is_compiling():
                return self._encode_rows_once(voxels, filled, mean, voxel_centers)
            places = (mean.unsqueeze(1), voxel_centers.unsqueeze(1))
            points = self._decorated(voxels, filled, *places)
            for layer in self.pfn_layers:
                points = layer(points)
        return points

    def _decorated(
        self,
        points: torch.Tensor,
        filled: torch.Tensor,
        mean: torch.Tensor,
        centers: torch.Tensor,
    ) -> torch.Tensor:
        """(..., C) points with what the class adds to them; zeros where they are not `filled`."""
        xyz = points[..., :3]
        decorations = [points, xyz - mean, xyz - centers]
        if self.with_distance:
            decorations.append(xyz.norm(dim=-1, keepdim=True))
        return self.input_scales(torch.cat(decorations, dim=-1)) * filled.unsqueeze(-1)

    def _encode_rows_once(
        self,
        voxels: torch.Tensor,
        filled: torch.Tensor,
        mean: torch.Tensor,
        centers: torch.Tensor,
    ) -> torch.Tensor:
        """Encode the points of (V, P, C), and of each pillar that is not full one row without."""
        first_empty = filled.sum(dim=1, keepdim=True)  # (V, 1), or P
        row = torch.arange(filled.shape[1], device=filled.device)
        pillar, place = torch.nonzero(row <= first_empty, as_tuple=True)
        is_point = filled[pillar, place]
        rows = self._decorated(voxels[pillar, place], is_point, mean[pillar], centers[pillar])
        counts = torch.where(is_point, 1, filled.shape[1] - place)
        for layer in self.pfn_layers:
            rows = layer.of_rows(rows, counts, pillar, len(voxels))
        return rows
