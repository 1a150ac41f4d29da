"""SECOND: Sparsely Embedded Convolutional Detection (Yan, Mao, Li, Sensors 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pcdet.models.detectors.detector3d import Detector3D
from pcdet.models.model_utils.post_processing import PostProcessor
from pcdet.ops.sparse_conv import SparseTensor


class SECONDNet(Detector3D):
    """Voxel means, sparse 3D convolutions, a 2D network in bird's-eye view, anchors."""

    inputs = ("voxels", "num_points", "coordinates", "gt_boxes")

    def __init__(
        self,
        vfe: nn.Module,
        rpn_net: nn.Module,
        rpn_head: nn.Module,
        post_processor: PostProcessor,
        recall_thresholds: tuple[float, ...] = (),
    ):
        super().__init__(post_processor, recall_thresholds)
        self.vfe = vfe
        self.rpn_net = rpn_net
        self.rpn_head = rpn_head

    def encode_voxels(self, input_dict: dict[str, Any]) -> torch.Tensor:
        """(V, C) features of the voxels."""
        return self.vfe(input_dict["voxels"], input_dict["num_points"])

    def head_input(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> torch.Tensor | SparseTensor:
        """What the head takes, from features (V, C) of voxels at (V, 4) batch index, z, y, x."""
        return self.rpn_net(voxel_features, coordinates, batch_size)

    def forward(self, input_dict: dict[str, Any]) -> tuple:
        """One batch.

        Args:
            input_dict: voxels (V, P, C), num_points (V,), coordinates (V, 4) batch index, z, y, x,
                batch_size B, and gt_boxes (B, M, 8), needed for training.

        Returns:
            In training mode {"loss": scalar}, the loss terms by name, and an empty dict of values
            to display; else a list of {boxes, scores, labels} for each frame, and recall counts.
        """
        batch_size = input_dict["batch_size"]
        if self.training:
            # First of all: a GPU's host waits for the numbers of objects and of positive anchors,
            # which costs nothing while the queue is empty.
            targets = self.rpn_head.assign_targets(input_dict["gt_boxes"])
        voxel_features = self.encode_voxels(input_dict)
        head_input = self.head_input(voxel_features, input_dict["coordinates"], batch_size)
        predictions: dict[str, torch.Tensor] = self.rpn_head(head_input)

        if self.training:
            loss, tb_dict = self.rpn_head.get_loss(predictions, targets)
            return {"loss": loss}, tb_dict, {}

        detections = self.predict_from_rpn(predictions, batch_size)
        boxes = [frame["boxes"] for frame in detections]
        return detections, self.recall(boxes, input_dict.get("gt_boxes"))
