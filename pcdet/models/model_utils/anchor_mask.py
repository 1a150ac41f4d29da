"""Which anchors stand over enough voxels to hold an object at all."""

from __future__ import annotations

import torch
from torch import nn

from pcdet.models.model_utils.voxel_grid import VoxelGrid
from pcdet.utils import box_utils


class AnchorMask(nn.Module):
    """Counts the voxels below each anchor, of any height, and tells where there are enough.

    The count is that of SECOND: voxels in the axis-aligned rectangle nearest to the anchor, by
    sums over all voxels up to its edges. It leaves the lowest row and column out.
    """

    def __init__(self, anchors: torch.Tensor, grid: VoxelGrid, min_voxels: int):
        """Find the cells of the anchors' corners.

        Args:
            anchors: (N, 7) LiDAR boxes.
            grid: of the voxels.
            min_voxels: how many voxels are enough.
        """
        super().__init__()
        self.min_voxels = min_voxels
        width, height = grid.size[:2]
        self.bev_shape = (height, width)
        edges = box_utils.boxes3d_to_nearest_bev_boxes(anchors).view(-1, 2, 2)  # low, high; x, y
        # In float32, as SECOND has it: many edges lie on a voxel's border, where rounding decides.
        minimum, size = (anchors.new_tensor(v[:2]) for v in (grid.minimum, grid.voxel_size))
        cells = torch.floor((edges - minimum) / size).long().clamp(min=0)
        x, y = torch.minimum(cells, torch.tensor([width - 1, height - 1])).unbind(2)  # (N, 2) each
        corners = y.unsqueeze(2) * width + x.unsqueeze(1)  # (N, 2, 2)
        self.register_buffer("corners", corners.flatten(1).T.contiguous(), persistent=False)

    def count(self, coordinates: torch.Tensor, batch_size: int) -> torch.Tensor:
        """(B, N) voxels below each anchor, for voxels (V, 4) at batch index, z, y, x."""
        height, width = self.bev_shape
        sums = torch.zeros(
            batch_size * width * height, dtype=torch.int32, device=coordinates.device
        )
        frame, _, y, x = coordinates.long().unbind(dim=1)
        ones = torch.ones_like(x, dtype=torch.int32)
        sums.index_put_(((frame * width + x) * height + y,), ones, accumulate=True)
        # Each sum along the axis that lies in memory, which on a CPU is 20 times as fast.
        sums = sums.view(batch_size, width, height).cumsum(2, dtype=torch.int32)
        sums = sums.transpose(1, 2).contiguous().cumsum(2, dtype=torch.int32).flatten(1)
        low_low, low_high, high_low, high_high = (sums[:, corner] for corner in self.corners)
        return high_high - high_low - low_high + low_low

    def forward(self, coordinates: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Look.

        Args:
            coordinates: (V, 4) batch index, z, y, x of all voxels.
            batch_size: number of frames.

        Returns:
            (B, N) bool, True for an anchor over at least `min_voxels` voxels.
        """
        return self.count(coordinates, batch_size) >= self.min_voxels
