"""From scores and boxes of all anchors to the detections of a frame."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils import box_utils
from pcdet.utils.box_utils import BOX, LABEL, RZ

_LOGGER = logging.getLogger("pcdet.models")
NMS_TYPES = {
    "nms_gpu": iou3d_nms_utils.nms_gpu,
    "nms_normal_gpu": iou3d_nms_utils.nms_normal_gpu,
}


def nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    nms_type: str,
    thresh: float,
    post_maxsize: int,
) -> torch.Tensor:
    """Non-maximum suppression of LiDAR boxes.

    Args:
        boxes: (N, 7).
        scores: (N,).
        nms_type: a key of `NMS_TYPES`.
        thresh: BEV IoU above which the lower-scored box goes.
        post_maxsize: how many are kept at most.

    Returns:
        Indices of the kept boxes, best first.
    """
    bev = box_utils.boxes3d_to_bevboxes_lidar(boxes)
    return NMS_TYPES[nms_type](bev, scores, thresh)[:post_maxsize]


def vote(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    labels: torch.Tensor,
    keep: torch.Tensor,
    least: float,
) -> torch.Tensor:
    """The boxes that suppression kept, each averaged with the candidates around it.

    Box voting (Gidaris and Komodakis, https://arxiv.org/abs/1505.01749) of LiDAR boxes. A candidate
    of the same class weighs (score * BEV IoU)^2, both as they are to the kept box. Angles are
    averaged as turns from the kept one of at most a quarter of the circle, front or back; then the
    front is where most of the weight has it.

    Args:
        boxes: (N, 7) candidates.
        logits: (N,) their scores before the sigmoid.
        labels: (N,) their classes.
        keep: (n,) indices of the kept ones.
        least: BEV IoU from which a candidate counts.

    Returns:
        (n, 7).
    """
    best, bev = boxes[keep], box_utils.boxes3d_to_bevboxes_lidar(boxes)
    overlap = iou3d_nms_utils.boxes_iou_bev(bev[keep], bev)  # (n, N)
    log_score = torch.nn.functional.logsigmoid(logits)
    log_weight = 2 * (overlap.log() + log_score)
    log_weight[(overlap < least) | (labels != labels[keep, None])] = -torch.inf
    own = torch.arange(len(keep), device=keep.device), keep
    log_weight[own] = 2 * log_score[keep]  # as if IoU were exact, and for boxes without area
    offset = boxes - best[:, None]  # (n, N, 7)
    weight = log_weight.softmax(dim=1)
    turned_round = (weight * offset[..., RZ].cos()).sum(dim=1) < 0
    offset[..., RZ] = box_utils.limit_period(offset[..., RZ], 0.5, torch.pi)
    voted = best + (weight.unsqueeze(-1) * offset).sum(dim=1)
    voted[:, RZ] += torch.pi * turned_round
    return voted


@dataclass
class PostProcessor:
    """Score threshold, the best candidates, decoding, non-maximum suppression.

    Attributes:
        nms_type: a key of `NMS_TYPES`.
        multi_classes_nms: suppress within each class instead of among all boxes; an anchor may then
            be found as several classes.
        nms_thresh: BEV IoU above which the lower-scored box goes.
        score_thresh: least score (probability), of all classes or one for each.
        use_raw_score: report logits as scores, as PCDet does, instead of probabilities; AP is the
            same, since only the order counts there.
        nms_pre_maxsize_last: number of candidates, for each class if multi_classes_nms.
        nms_post_maxsize_last: number of detections, likewise.
        box_voting: BEV IoU from which candidates share in a detection's box, see `vote`; 0: none.
        num_non_finite: boxes so far that held NaN or infinity and were dropped.
    """

    nms_type: str = "nms_gpu"
    multi_classes_nms: bool = False
    nms_thresh: float = 0.01
    score_thresh: float | Sequence[float] = 0.1
    use_raw_score: bool = True
    nms_pre_maxsize_last: int = 4096
    nms_post_maxsize_last: int = 500
    box_voting: float = 0.0
    num_non_finite: int = field(default=0, init=False)

    def __call__(
        self, logits: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Detections of one frame.

        Args:
            logits: (N, K) class scores before the sigmoid; minus infinity where a class is out of
                the question.
            decode: gives the LiDAR boxes (n, 7) of anchor indices (n,).

        Returns:
            boxes (n, 7), scores (n,), labels (n,) 1-based, the best first.
        """
        if not self.multi_classes_nms:
            best, label = logits.max(dim=1)
            return self._suppress(best, label + 1, decode)
        parts = [
            self._suppress(logits[:, k], torch.full_like(logits[:, k], k + 1).long(), decode)
            for k in range(logits.shape[1])
        ]
        found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        order = found["scores"].argsort(descending=True, stable=True)
        return {name: value[order] for name, value in found.items()}

    def _suppress(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        decode: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        least = self.score_thresh
        if not isinstance(least, numbers.Real):
            # Not a tensor of all, for which a GPU's host would wait.
            least = torch.zeros_like(logits)
            for label, threshold in enumerate(self.score_thresh, start=1):
                least.masked_fill_(labels == label, threshold)
        # Not ">=": a score that is no number must come as far as the look for those.
        possible = ~(torch.sigmoid(logits) < least) & (logits != -torch.inf)
        index = torch.nonzero(possible).squeeze(1)
        ranked, order = logits[index].topk(min(self.nms_pre_maxsize_last, len(index)))
        index = index[order]
        boxes = decode(index)
        finite = torch.nonzero(ranked.isfinite() & boxes.isfinite().all(dim=1)).squeeze(1)
        if len(finite) < len(boxes):
            self._tell_of_non_finite(len(boxes) - len(finite))
            boxes, ranked, index = boxes[finite], ranked[finite], index[finite]
        keep = nms(boxes, ranked, self.nms_type, self.nms_thresh, self.nms_post_maxsize_last)
        scores, labels = ranked[keep], labels[index]
        return {
            "boxes": vote(boxes, ranked, labels, keep, self.box_voting)
            if self.box_voting
            else boxes[keep],
            "scores": scores if self.use_raw_score else torch.sigmoid(scores),
            "labels": labels[keep],
        }

    def _tell_of_non_finite(self, count: int) -> None:
        if not self.num_non_finite:
            _LOGGER.warning("dropped %d boxes that hold NaN or infinity, and all later ones", count)
        self.num_non_finite += count


def recall_counts(
    boxes: Sequence[torch.Tensor], gt_boxes: torch.Tensor, thresholds: Sequence[float], prefix: str
) -> dict[str, int]:
    """How many ground truths some box overlaps by more than each threshold (3D IoU).

    Args:
        boxes: (n, 7) LiDAR boxes of each of B frames.
        gt_boxes: (B, M, 8), rows with label 0 are padding.
        thresholds: IoU values, 0 or more.
        prefix: of the names in the result, "rcnn" for detections and "roi" for proposals.

    Returns:
        gt: number of ground truths, and {prefix}_{threshold} for each threshold.
    """
    real = gt_boxes[..., LABEL] > 0
    best = [
        iou3d_nms_utils.boxes_iou3d_gpu(own, gt[:, BOX].to(own.dtype)).amax(dim=0)
        if len(own)
        else own.new_zeros(len(gt))
        for own, gt in zip(boxes, gt_boxes)
    ]
    found = [(torch.stack(best) > threshold) & real for threshold in thresholds]
    # One transfer for all numbers of the batch.
    counts = torch.stack([real, *found]).sum(dim=(1, 2)).cpu().tolist()
    return dict(zip(["gt", *(f"{prefix}_{threshold}" for threshold in thresholds)], counts))
