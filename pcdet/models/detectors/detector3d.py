"""What all detectors share: checkpoints, the step counter, and predictions from RPN outputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pcdet.models.model_utils.post_processing import PostProcessor, recall_counts
from pcdet.utils import checkpoint_utils

# Arrays of a batch that a detector may compute with; the rest (ids, calibrations) stays as it is.
BATCH_ARRAYS = (
    *("voxels", "num_points", "coordinates", "voxel_centers", "points", "gt_boxes"),
    *("seg_labels", "part_labels", "bbox_reg_labels"),
)


class Detector3D(nn.Module):
    """Base class of the detectors.

    Attributes:
        inputs: names of the arrays of a batch that the forward pass reads; others stay behind.
        global_step: training steps so far, part of the checkpoint.
        settings: what of the configuration the weights depend on (`network_settings`), set by
            `build_network`; None for a network that was made in another way.
        class_layers: how the names of the layers begin whose rows belong to the classes.
        fixed_parts: names of the parts that `fix` keeps as they are.
    """

    inputs: tuple[str, ...] = BATCH_ARRAYS
    settings: dict[str, Any] | None = None
    class_layers: tuple[str, ...] = ("rpn_head.conv_cls", "rpn_head.conv_box", "rpn_head.conv_dir")

    def __init__(self, post_processor: PostProcessor, recall_thresholds: tuple[float, ...]):
        super().__init__()
        self.register_buffer("global_step", torch.zeros(1, dtype=torch.long))
        self.post_processor = post_processor
        self.recall_thresholds = tuple(recall_thresholds)
        self.fixed_parts: list[str] = []

    def fix(self, name: str) -> None:
        """Keep the weights and the statistics of a part as they are, in a training, too.

        Args:
            name: of the part, such as "vfe" or "rpn_net.conv1".

        Raises:
            AttributeError: there is no such part.
        """
        self.get_submodule(name).requires_grad_(False).eval()
        self.fixed_parts.append(name)

    def train(self, mode: bool = True) -> Detector3D:
        """Enter training or evaluation mode; fixed parts stay in the latter."""
        super().train(mode)
        for name in self.fixed_parts:
            self.get_submodule(name).eval()
        return self

    def update_global_step(self) -> None:
        """Count one training step."""
        self.global_step += 1

    def predict_from_rpn(
        self,
        predictions: dict[str, torch.Tensor],
        batch_size: int,
        post_processor: PostProcessor | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Boxes of the RPN head: final ones of a one-stage detector, or proposals of a two-stage.

        Args:
            predictions: outputs of the RPN head.
            batch_size: B.
            post_processor: selects the boxes; that of the detector by default.

        Returns:
            For each frame boxes (n, 7), scores (n,) and labels (n,).
        """
        post_processor = post_processor or self.post_processor
        results = []
        for frame in range(batch_size):
            logits = predictions["cls_preds"][frame].reshape(-1, self.rpn_head.num_class)
            logits = logits.to(self.rpn_head.anchors.dtype)

            def decode(anchor: torch.Tensor, frame: int = frame) -> torch.Tensor:
                return self.rpn_head.decode(predictions, frame, anchor)

            results.append(post_processor(logits, decode))
        return results

    def predict_from_rcnn(
        self,
        scores: torch.Tensor,
        boxes: Sequence[torch.Tensor],
        proposals: list[dict[str, torch.Tensor]],
    ) -> list[dict[str, torch.Tensor]]:
        """Final boxes of proposals that were looked at again; a box keeps its class.

        Args:
            scores: (R,) logits of the boxes, frame after frame.
            boxes: (R_b, 7) of each frame.
            proposals: for each frame labels (R_b,) 1-based.

        Returns:
            For each frame boxes (n, 7), scores (n,) and labels (n,).
        """
        results = []
        counts = [len(frame) for frame in boxes]
        for own, frame_boxes, frame in zip(scores.split(counts), boxes, proposals):
            logits = own.new_full((len(own), self.rpn_head.num_class), -torch.inf)
            logits.scatter_(1, (frame["labels"] - 1).unsqueeze(1), own.unsqueeze(1))
            results.append(self.post_processor(logits, frame_boxes.__getitem__))
        return results

    def recall(
        self, boxes: list[torch.Tensor], gt_boxes: torch.Tensor | None, prefix: str = "rcnn"
    ) -> dict[str, int]:
        """Ground truths of a batch that are covered; see `recall_counts`.

        Args:
            boxes: (n, 7) for each frame.
            gt_boxes: (B, M, 8), or None for frames without labels.
            prefix: of the names in the result.
        """
        if gt_boxes is None:
            return {}
        return recall_counts(boxes, gt_boxes, self.recall_thresholds, prefix)

    def load_params_from_file(
        self,
        filename: str | os.PathLike,
        to_cpu: bool = False,
        logger: logging.Logger | None = None,
        strict: bool = True,
    ) -> None:
        """Load the weights of a checkpoint.

        Args:
            filename: a checkpoint of this project, of PCDet v0.1, or in one of
                `checkpoint_formats.FORMATS`.
            to_cpu: read it into host memory first.
            logger: where to report.
            strict: every entry must fit; else those that do are taken, and the others reported.

        Raises:
            CheckpointError: it cannot be read, or belongs to another network.
        """
        logger = logger or logging.getLogger(__name__)
        checkpoint = checkpoint_utils.load_checkpoint(filename, to_cpu=to_cpu)
        checkpoint_utils.load_weights(self, checkpoint, str(filename), logger, strict)

    def load_params_with_optimizer(
        self,
        filename: str | os.PathLike,
        to_cpu: bool = False,
        optimizer: torch.optim.Optimizer | None = None,
        logger: logging.Logger | None = None,
    ) -> tuple[int, int]:
        """Load weights and optimiser to go on with a training.

        Args:
            filename: a checkpoint of this project.
            to_cpu: read it into host memory first.
            optimizer: takes the stored state.
            logger: where to report.

        Returns:
            Iterations and epochs that were finished.

        Raises:
            CheckpointError: it cannot be read, or does not belong to this model or optimiser.
        """
        logger = logger or logging.getLogger(__name__)
        checkpoint = checkpoint_utils.load_checkpoint(filename, to_cpu=to_cpu)
        return checkpoint_utils.restore_training(self, optimizer, checkpoint, str(filename), logger)
