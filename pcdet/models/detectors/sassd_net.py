"""SA-SSD (He et al., Structure Aware Single-stage 3D Object Detection from Point Cloud, 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pcdet.models.detectors.detector3d import Detector3D
from pcdet.models.model_utils.post_processing import PostProcessor
from pcdet.models.rpn.sassd_backbone import SASSDOutputs
from pcdet.utils.box_utils import CENTER, LABEL


class SASSDNet(Detector3D):
    """SECOND's stages with a task for the points in training, and scores that follow the boxes."""

    inputs = ("voxels", "num_points", "coordinates", "gt_boxes")
    class_layers = (*Detector3D.class_layers, "extra_head.")

    def __init__(
        self,
        vfe: nn.Module,
        rpn_net: nn.Module,
        rpn_head: nn.Module,
        extra_head: nn.Module | None,
        post_processor: PostProcessor,
        recall_thresholds: tuple[float, ...] = (),
    ):
        """Keep the stages.

        Args:
            vfe: mean of the points of a voxel, x, y, z first.
            rpn_net: backbone that gives `SASSDOutputs`; its `aux` is the auxiliary network or None.
            rpn_head: `SASSDHead`.
            extra_head: part-sensitive warping, or None to detect by the scores of the anchors.
            post_processor: selects the final boxes.
            recall_thresholds: IoUs at which detections are counted.
        """
        super().__init__(post_processor, recall_thresholds)
        self.vfe = vfe
        self.rpn_net = rpn_net
        self.rpn_head = rpn_head
        self.extra_head = extra_head

    def forward(self, input_dict: dict[str, Any]) -> tuple:
        """One batch.

        Args:
            input_dict: voxels (V, P, C), num_points (V,), coordinates (V, 4) batch index, z, y, x,
                batch_size B, and gt_boxes (B, M, 8), needed for training.

        Returns:
            In training mode {"loss": scalar}, the loss terms by name, and an empty dict of values
            to display; else a list of {boxes, scores, labels} for each frame, and recall counts.
        """
        batch_size, coordinates = input_dict["batch_size"], input_dict["coordinates"]
        occupied = self.rpn_head.anchor_mask(coordinates, batch_size)
        if self.training:
            # Before the backbone runs: a GPU's host waits for the numbers of what is positive.
            gt_boxes = input_dict["gt_boxes"]
            anchor_targets = self.rpn_head.assign_targets(gt_boxes, occupied)
            ground_truth = [frame[frame[:, LABEL] > 0] for frame in gt_boxes]
        means = self.vfe(input_dict["voxels"], input_dict["num_points"])
        voxels: SASSDOutputs = self.rpn_net(means, coordinates, batch_size)
        predictions, features = self.rpn_head(voxels.spatial_features, voxels.cells)

        if self.training:
            losses = [self.rpn_head.get_loss(predictions, anchor_targets)]
            if self.rpn_net.aux is not None:
                losses.append(self._point_loss(input_dict, means[:, CENTER], voxels))
            if self.extra_head is not None:
                guided = self._guide(predictions, occupied)
                losses.append(self._warp_loss(features, guided, ground_truth))
            tb_dict = {name: value for _, terms in losses for name, value in terms.items()}
            return {"loss": sum(loss for loss, _ in losses)}, tb_dict, {}

        if self.extra_head is None:
            predictions = self.rpn_head.without_unoccupied(predictions, occupied)
            detections = self.predict_from_rpn(predictions, batch_size)
        else:
            guided = self._guide(predictions, occupied)
            boxes = [frame["boxes"] for frame in guided]
            scores = self.extra_head.scores(self.extra_head(features), boxes)
            detections = self.predict_from_rcnn(scores, boxes, guided)
        boxes = [frame["boxes"] for frame in detections]
        return detections, self.recall(boxes, input_dict.get("gt_boxes"))

    def _guide(
        self, predictions: dict[str, torch.Tensor], occupied: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        return self.rpn_head.guide(predictions, occupied, self.extra_head.guide_score_thresh)

    def _point_loss(
        self, input_dict: dict[str, Any], points: torch.Tensor, voxels: SASSDOutputs
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of the auxiliary network, at the mean points (V, 3) of the voxels."""
        aux, coordinates = self.rpn_net.aux, input_dict["coordinates"]
        predictions = aux(points, coordinates, voxels.levels)
        targets = aux.assign_targets(points, coordinates, input_dict["gt_boxes"])
        return aux.get_loss(predictions, targets, input_dict["batch_size"])

    def _warp_loss(
        self,
        features: torch.Tensor,
        guided: list[dict[str, torch.Tensor]],
        ground_truth: list[torch.Tensor],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of part-sensitive warping, which moves the guided boxes, too."""
        head = self.extra_head
        frames = head.with_ground_truth(guided, ground_truth)
        scores = head.scores(head(features), [frame["boxes"] for frame in frames])
        return head.get_loss(scores, head.assign_targets(frames), len(frames))
