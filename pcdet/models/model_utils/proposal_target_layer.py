"""Which proposals the second stage learns from, and what it should say about them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils.box_utils import BOX, LABEL

CLS_SCORE_TYPES = ("cls", "roi_iou")


@dataclass
class ProposalTargetLayer:
    """Samples RoIs of each frame and labels them by their 3D IoU with ground truth of their class.

    Random choices come from torch's generator of the RoIs' device: `torch.manual_seed` makes them
    repeatable.

    Attributes:
        roi_per_image: R, RoIs of a frame.
        fg_ratio: greatest share of foreground among them.
        hard_bg_ratio: share of the background that overlaps an object a little, if there is both
            such background and background far from objects.
        cls_score_type: "roi_iou" for scores that grow with the IoU, "cls" for 0 or 1.
        cls_fg_thresh: IoU above which the score should be 1.
        cls_bg_thresh: IoU below which the score should be 0; between the two it grows linearly with
            "roi_iou", and is ignored with "cls".
        cls_bg_thresh_lo: IoU from which background counts as hard.
        reg_fg_thresh: IoU above which the box is refined.
    """

    roi_per_image: int = 128
    fg_ratio: float = 0.5
    hard_bg_ratio: float = 0.8
    cls_score_type: str = "roi_iou"
    cls_fg_thresh: float = 0.75
    cls_bg_thresh: float = 0.25
    cls_bg_thresh_lo: float = 0.1
    reg_fg_thresh: float = 0.55

    def __post_init__(self) -> None:
        if self.cls_score_type not in CLS_SCORE_TYPES:
            raise ValueError(
                f"cls_score_type must be one of {CLS_SCORE_TYPES}, got {self.cls_score_type!r}"
            )
        if not self.cls_bg_thresh < self.cls_fg_thresh:
            raise ValueError(
                f"cls_bg_thresh {self.cls_bg_thresh} must be below cls_fg_thresh "
                f"{self.cls_fg_thresh}"
            )

    @torch.no_grad()
    def __call__(
        self, rois: torch.Tensor, labels: torch.Tensor, gt_boxes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Sample and label the RoIs of one frame.

        Args:
            rois: (N, 7) proposals, at least one.
            labels: (N,) their classes, 1-based.
            gt_boxes: (M, 8) LiDAR boxes and label; rows with label 0 are padding.

        Returns:
            rois (R, 7); gt_of_rois (R, 7): the ground truth that each overlaps most, zeros if the
            frame has none; gt_iou (R,): that overlap; rcnn_cls_labels (R,): score to learn, -1 to
            ignore; reg_valid_mask (R,) bool: box to be refined.
        """
        gt_boxes = gt_boxes[gt_boxes[:, LABEL] > 0].to(rois.dtype)  # (m, 8)
        iou, owner = best_overlaps(rois, labels, gt_boxes)  # (N,) each
        index = self.sample(iou)  # (R,)
        rois, iou = rois[index], iou[index]  # (R, 7), (R,)
        gt_of_rois = gt_boxes[owner[index]][:, BOX] if len(gt_boxes) else torch.zeros_like(rois)
        return {
            "rois": rois,
            "gt_of_rois": gt_of_rois,
            "gt_iou": iou,
            "rcnn_cls_labels": self.cls_labels(iou),
            "reg_valid_mask": iou > self.reg_fg_thresh,
        }

    def sample(self, iou: torch.Tensor) -> torch.Tensor:
        """(R,) indices of the chosen ones of N RoIs, foreground first.

        Foreground is drawn without replacement as long as there is background; background is drawn
        with replacement.
        """
        fg_thresh = min(self.reg_fg_thresh, self.cls_fg_thresh)
        is_hard = (iou < fg_thresh) & (iou >= self.cls_bg_thresh_lo)  # (N,)
        foreground = torch.nonzero(iou >= fg_thresh).squeeze(1)  # indices, as hard and easy
        hard = torch.nonzero(is_hard).squeeze(1)
        easy = torch.nonzero(iou < self.cls_bg_thresh_lo).squeeze(1)
        if not len(hard) and not len(easy):
            return _draw(foreground, self.roi_per_image)
        order = torch.randperm(len(foreground), device=iou.device)
        foreground = foreground[order[: round(self.fg_ratio * self.roi_per_image)]]
        remaining = self.roi_per_image - len(foreground)
        num_hard = int(remaining * self.hard_bg_ratio) if len(easy) else remaining
        num_hard = num_hard if len(hard) else 0
        return torch.cat((foreground, _draw(hard, num_hard), _draw(easy, remaining - num_hard)))

    def cls_labels(self, iou: torch.Tensor) -> torch.Tensor:
        """(R,) scores to learn for RoIs with these overlaps."""
        span = self.cls_fg_thresh - self.cls_bg_thresh
        if self.cls_score_type == "roi_iou":
            return ((iou - self.cls_bg_thresh) / span).clamp(0, 1)
        positive = iou > self.cls_fg_thresh
        ignored = ~positive & (iou > self.cls_bg_thresh)
        return positive.to(iou.dtype).masked_fill(ignored, -1)


def best_overlaps(
    rois: torch.Tensor, labels: torch.Tensor, gt_boxes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each RoI the greatest 3D IoU with a ground truth of its class, and which one that is.

    Args:
        rois: (N, 7).
        labels: (N,).
        gt_boxes: (M, 8).

    Returns:
        (N,) IoU, zero where there is none; (N,) index.
    """
    if not len(gt_boxes):
        return rois.new_zeros(len(rois)), torch.zeros_like(labels)
    iou = iou3d_nms_utils.boxes_iou3d_gpu(rois, gt_boxes[:, BOX].contiguous())  # (N, M)
    iou = iou * (labels.unsqueeze(1) == gt_boxes[:, LABEL])
    return iou.max(dim=1)


def _draw(candidates: torch.Tensor, count: int) -> torch.Tensor:
    """`count` of the candidates, with replacement."""
    if not count:
        return candidates[:0]
    return candidates[torch.randint(len(candidates), (count,), device=candidates.device)]
