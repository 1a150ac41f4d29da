"""Part-A2 (Shi et al., From Points to Parts, TPAMI 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pcdet.models.detectors.detector3d import Detector3D
from pcdet.models.model_utils.post_processing import PostProcessor
from pcdet.models.rpn.rpn_unet import UNetOutputs


class PartA2Net(Detector3D):
    """Proposals from anchors and a part for every voxel; then both pooled in each proposal."""

    inputs = (
        *("voxels", "num_points", "coordinates", "voxel_centers", "gt_boxes"),
        *("seg_labels", "part_labels"),
    )

    def __init__(
        self,
        vfe: nn.Module,
        rpn_net: nn.Module,
        rpn_head: nn.Module,
        rcnn_net: nn.Module | None,
        proposal_layers: dict[str, PostProcessor],
        post_processor: PostProcessor,
        recall_thresholds: tuple[float, ...] = (),
    ):
        """Keep the stages.

        Args:
            vfe: voxel feature encoder.
            rpn_net: backbone that gives `UNetOutputs`.
            rpn_head: anchor head.
            rcnn_net: second stage, or None to detect with the first alone.
            proposal_layers: select the proposals, under "train" and "test".
            post_processor: selects the final boxes.
            recall_thresholds: IoUs at which proposals and refined boxes are counted.
        """
        super().__init__(post_processor, recall_thresholds)
        self.vfe = vfe
        self.rpn_net = rpn_net
        self.rpn_head = rpn_head
        self.rcnn_net = rcnn_net
        self.proposal_layers = proposal_layers

    def forward(self, input_dict: dict[str, Any]) -> tuple:
        """One batch.

        Args:
            input_dict: voxels (V, P, C), num_points (V,), coordinates (V, 4) batch index, z, y, x,
                voxel_centers (V, 3), batch_size B; for training gt_boxes (B, M, 8) and, unless the
                backbone makes them, seg_labels (V,) and part_labels (V, 3).

        Returns:
            In training mode {"loss": scalar}, the loss terms by name, and an empty dict of values
            to display; else a list of {boxes, scores, labels} for each frame, and recall counts.
        """
        batch_size, coordinates = input_dict["batch_size"], input_dict["coordinates"]
        if self.training:
            # Before the backbone runs: a GPU's host waits for the numbers of what is positive.
            voxel_targets = self.rpn_net.assign_targets(input_dict)
            anchor_targets = self.rpn_head.assign_targets(input_dict["gt_boxes"])
        voxel_features = self.vfe(input_dict["voxels"], input_dict["num_points"])
        voxels: UNetOutputs = self.rpn_net(voxel_features, coordinates, batch_size)
        predictions = self.rpn_head(voxels.spatial_features)

        if self.training:
            losses = [
                self.rpn_net.get_loss(voxels, voxel_targets),
                self.rpn_head.get_loss(predictions, anchor_targets),
            ]
            if self.rcnn_net is not None:
                losses.append(self._second_loss(input_dict, voxels, predictions))
            tb_dict = {name: value for _, terms in losses for name, value in terms.items()}
            return {"loss": sum(loss for loss, _ in losses)}, tb_dict, {}
        if self.rcnn_net is None:
            detections = self.predict_from_rpn(predictions, batch_size)
            boxes = [frame["boxes"] for frame in detections]
            return detections, self.recall(boxes, input_dict.get("gt_boxes"))
        return self._detect(input_dict, voxels, predictions)

    def _second_loss(
        self,
        input_dict: dict[str, Any],
        voxels: UNetOutputs,
        predictions: dict[str, torch.Tensor],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss of the second stage, and its terms by name."""
        proposals = self.propose(predictions, input_dict["batch_size"])
        targets = self.rcnn_net.assign_targets(proposals, input_dict["gt_boxes"])
        rois = targets["rois"].chunk(input_dict["batch_size"])
        return self.rcnn_net.get_loss(self._refine(input_dict, voxels, rois), targets)

    def _detect(
        self,
        input_dict: dict[str, Any],
        voxels: UNetOutputs,
        predictions: dict[str, torch.Tensor],
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, int]]:
        proposals = self.propose(predictions, input_dict["batch_size"])
        rois = [frame["boxes"] for frame in proposals]
        refined = self._refine(input_dict, voxels, rois)
        boxes = self.rcnn_net.refine(refined["rcnn_reg"], torch.cat(rois))
        boxes = boxes.split([len(frame) for frame in rois])
        gt_boxes = input_dict.get("gt_boxes")
        recall = {**self.recall(rois, gt_boxes, "roi"), **self.recall(boxes, gt_boxes, "rcnn")}
        return self.predict_from_rcnn(refined["rcnn_cls"], boxes, proposals), recall

    def _refine(
        self, input_dict: dict[str, Any], voxels: UNetOutputs, rois: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return self.rcnn_net(rois, voxels, input_dict["voxel_centers"], input_dict["coordinates"])

    @torch.no_grad()
    def propose(
        self, predictions: dict[str, torch.Tensor], batch_size: int
    ) -> list[dict[str, torch.Tensor]]:
        """Proposals of the first stage, as of `predict_from_rpn`, one at least for each frame.

        Where all scores are not finite, an empty box stands in: the loss then tells of them.
        """
        layer = self.proposal_layers["train" if self.training else "test"]
        proposals = self.predict_from_rpn(predictions, batch_size, layer)
        for frame in proposals:
            if not len(frame["boxes"]):
                frame["boxes"] = frame["boxes"].new_zeros(1, self.rpn_head.box_coder.code_size)
                frame["labels"] = frame["labels"].new_ones(1)
        return proposals
