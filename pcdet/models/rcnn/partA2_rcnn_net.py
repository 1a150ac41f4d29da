"""Part-A2's second stage: RoI-aware pooling and part aggregation.

Shi et al., From Points to Parts (Part-A2), TPAMI 2020, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer
from pcdet.models.rcnn.rcnn_head import RCNNHead, RCNNLayers, RCNNLossWeights
from pcdet.models.rpn.blocks import subm_block
from pcdet.models.rpn.rpn_unet import UNetOutputs
from pcdet.ops.roiaware_pool3d.roiaware_pool3d_utils import RoIAwarePool3d, pool_listed_points
from pcdet.ops.sparse_conv import SparseMaxPool3d, SparseSequential, SparseTensor, plan_ahead
from pcdet.utils.box_coder_utils import ResidualCoder

# Points of a cell that count, as in PCDet.
_MAX_POINTS_OF_CELL = 128
# With fewer occupied cells than this in a whole batch, too few for batch normalisation, PCDet takes
# the cell in a corner of each RoI instead, in a test, too; a training learns nothing from them.
_MIN_CELLS = 3


class PartAggregation(RCNNHead):
    """Pools parts and features of the voxels in each RoI and convolves them on the RoI's grid.

    The part offsets and scores of voxels are averaged in each cell, the features of the backbone
    maximised; only the latter pass a gradient on. Subclasses turn the grid into a vector.
    """

    def __init__(
        self,
        num_point_features: int,
        roi_aware_pool_size: int,
        seg_mask_score_thresh: float,
        layers: RCNNLayers,
        target_layer: ProposalTargetLayer,
        loss_weights: RCNNLossWeights,
        box_coder: ResidualCoder,
    ):
        """Build the layers.

        Args:
            num_point_features: C of the backbone's voxel features.
            roi_aware_pool_size: cells of a RoI along each side.
            seg_mask_score_thresh: score of lying in an object from which a voxel's place counts.
            layers: sizes of the layers.
            target_layer: chooses and labels RoIs in training.
            loss_weights: weights of the loss terms.
            box_coder: encodes boxes with respect to RoIs.
        """
        channels = layers.shared_fc[0]
        width, side, aggregation = self.make_aggregation(roi_aware_pool_size, channels)
        super().__init__(channels * side**3, layers, target_layer, loss_weights, box_coder)
        self.grid_side = roi_aware_pool_size
        self.seg_mask_score_thresh = seg_mask_score_thresh
        self.roiaware_pool3d_layer = RoIAwarePool3d(roi_aware_pool_size, _MAX_POINTS_OF_CELL)
        self.conv_part = SparseSequential(
            subm_block(4, 64, "rcnn_subm1"), subm_block(64, width, "rcnn_subm1")
        )
        self.conv_rpn = SparseSequential(
            subm_block(num_point_features, 64, "rcnn_subm1"), subm_block(64, width, "rcnn_subm1")
        )
        self.conv_down = aggregation

    @staticmethod
    def make_aggregation(grid_side: int, channels: int) -> tuple[int, int, nn.Module]:
        """The layers between the two branches and the flattened grid.

        Args:
            grid_side: cells of a RoI along each side.
            channels: of the flattened grid.

        Returns:
            Channels of each branch, cells along each side of the flattened grid, and the layers,
            from a sparse tensor with both branches' channels to one with `channels`.
        """
        raise NotImplementedError

    def forward(
        self,
        rois: Sequence[torch.Tensor],
        voxels: UNetOutputs,
        voxel_centers: torch.Tensor,
        coordinates: torch.Tensor,
    ) -> dict[str, Any]:
        """Score and refine.

        Args:
            rois: (R_b, 7) LiDAR boxes of each frame b; R is their sum, at least 1.
            voxels: what the backbone returned.
            voxel_centers: (V, 3) metres.
            coordinates: (V, 4) batch index, z, y, x.

        Returns:
            rcnn_cls (R,) logits and rcnn_reg (R, 7) residuals, frame after frame; in training
            mode made_up, whether the cells are.
        """
        # (R, S, S, S, 4) and (R, S, S, S, C)
        parts, features = self.pool(rois, voxels, voxel_centers, coordinates)
        # Scores are positive, so that zero means a cell without any voxel.
        cells = torch.nonzero(parts[..., -1])  # (n, 4): RoI, then the place along l, w, h
        made_up = len(cells) < _MIN_CELLS
        if made_up:
            cells = cells.new_zeros(len(parts), 4)
            cells[:, 0] = torch.arange(len(parts), device=cells.device)
        place = cells.unbind(dim=1)
        x = SparseTensor(parts[place], cells, [self.grid_side] * 3, len(parts))
        plan_ahead(x, self)
        x_part = self.conv_part(x)
        x_rpn = self.conv_rpn(x_part.replace_feature(features[place]))
        # (n, 2 * width)
        merged = x_rpn.replace_feature(torch.cat((x_rpn.features, x_part.features), dim=1))
        grid = self.conv_down(merged).dense()
        predictions = self.predict(grid.flatten(1).to(parts.dtype))  # half under autocast
        return {**predictions, "made_up": made_up} if self.training else predictions

    def pool(
        self,
        rois: Sequence[torch.Tensor],
        voxels: UNetOutputs,
        voxel_centers: torch.Tensor,
        coordinates: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool the voxels of each frame in its RoIs; arguments as of `forward`, S cells a side.

        Returns:
            (R, S, S, S, 4) mean place in the object and score, (R, S, S, S, C) largest features.
        """
        scores = torch.sigmoid(voxels.seg_preds.detach()).unsqueeze(1)  # (V, 1)
        places = torch.sigmoid(voxels.part_preds.detach())  # (V, 3)
        places = places * (scores > self.seg_mask_score_thresh)
        parts = torch.cat((places, scores), dim=1)  # (V, 4)
        pooled_parts, pooled_features = [], []
        for frame, boxes in enumerate(rois):
            own = torch.nonzero(coordinates[:, 0] == frame).squeeze(1)  # (V_b,)
            listed = self.roiaware_pool3d_layer.list_points(boxes, voxel_centers[own])
            pooled_parts.append(pool_listed_points(listed, parts[own], "avg"))
            pooled_features.append(pool_listed_points(listed, voxels.seg_features[own], "max"))
        return torch.cat(pooled_parts), torch.cat(pooled_features)


class SpConvRCNN(PartAggregation):
    """Aggregation by sparse convolutions on a grid that is halved once."""

    @staticmethod
    def make_aggregation(grid_side: int, channels: int) -> tuple[int, int, nn.Module]:
        """Two convolutions on the grid, two on the halved one."""
        if grid_side < 2:
            raise ValueError(f"roi_aware_pool_size: 2 or more expected, got {grid_side}")
        layers = SparseSequential(
            subm_block(128, 128, "rcnn_subm1"),
            subm_block(128, 128, "rcnn_subm1"),
            SparseMaxPool3d(kernel_size=2, stride=2),
            subm_block(128, 128, "rcnn_subm2"),
            subm_block(128, channels, "rcnn_subm2"),
        )
        return 64, grid_side // 2, layers


class FCRCNN(PartAggregation):
    """Aggregation by fully connected layers alone."""

    @staticmethod
    def make_aggregation(grid_side: int, channels: int) -> tuple[int, int, nn.Module]:
        """None: the grid is flattened as it is, with half of the channels from each branch."""
        if channels % 2:
            raise ValueError(f"shared_fc: an even first size expected, got {channels}")
        return channels // 2, grid_side, nn.Identity()
