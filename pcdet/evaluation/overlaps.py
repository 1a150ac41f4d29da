"""Overlaps of detections with ground truth of the same frame, in the image, in BEV and in 3D.

Only pairs that overlap at all are kept, so the matching never sees the others. Everything is in
double.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pcdet.evaluation.label_arrays import Labels
from pcdet.ops.matching.matching_utils import aligned_overlap_bev

_PAIRS_PER_BLOCK = 1 << 20  # bounds the memory, whatever the number of detections


@dataclass(frozen=True)
class Overlaps:
    """P pairs of a ground truth and a detection that overlap in the image, in BEV or in both.

    Attributes:
        gt: (P,) int64, index of the ground truth; ascending.
        det: (P,) int64, index of the detection; ascending for each ground truth.
        bbox: (P,) float64, intersection over union in the image.
        bev: (P,) float64, intersection over union seen from above.
        volume: (P,) float64, intersection over union in 3D.
        dont_care: (D,) float64, for each detection the greatest share of its own 2D box that lies
            in one DontCare box of its frame.
    """

    gt: np.ndarray
    det: np.ndarray
    bbox: np.ndarray
    bev: np.ndarray
    volume: np.ndarray
    dont_care: np.ndarray

    def of_metric(self, metric: str) -> np.ndarray:
        """Return the (P,) overlaps that decide about hits in `metric`; AOS follows the 2D boxes."""
        return {"bbox": self.bbox, "aos": self.bbox, "bev": self.bev, "3d": self.volume}[metric]


def compute_overlaps(
    gt: Labels, det: Labels, relevant_gt: np.ndarray, dont_care: np.ndarray
) -> Overlaps:
    """Find every pair of a relevant ground truth and a detection that overlap.

    Args:
        gt: G objects.
        det: D objects of the same frames.
        relevant_gt: indices of the ground truth that may take a detection, ascending.
        dont_care: indices of the DontCare objects, ascending.
    """
    blocks = []
    for gt_index, det_index in _pairs(gt, det, relevant_gt):
        bbox = _iou_2d(gt.bbox[gt_index], det.bbox[det_index])
        bev, volume = _iou_bev_and_3d(gt, det, gt_index, det_index)
        keep = np.flatnonzero((bbox > 0) | (bev > 0))
        blocks.append([part[keep] for part in (gt_index, det_index, bbox, bev, volume)])
    empty = [np.zeros(0, np.int64)] * 2 + [np.zeros(0)] * 3
    columns = [np.concatenate(parts) for parts in zip(empty, *blocks)]
    return Overlaps(*columns, dont_care=_share_in_dont_care(gt, det, dont_care))


def _pairs(gt: Labels, det: Labels, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of all (ground truth, detection) pairs of one frame, for the chosen objects."""
    frame = gt.frame[chosen]
    first_det = det.frame_starts[frame]
    num_dets = det.frame_starts[frame + 1] - first_det
    ends = np.cumsum(num_dets)
    begin = 0
    while begin < len(chosen):
        done = ends[begin] - num_dets[begin]
        end = int(np.searchsorted(ends, done + _PAIRS_PER_BLOCK, side="right"))
        block = slice(begin, max(end, begin + 1))
        number = num_dets[block]
        total = int(number.sum())
        within = np.arange(total) - np.repeat(ends[block] - number - done, number)
        yield np.repeat(chosen[block], number), np.repeat(first_det[block], number) + within
        begin = block.stop


def _intersection_2d(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P,) areas shared by image boxes a and b (P, 4); 0 if a width or height is not positive."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    return np.where((width > 0) & (height > 0), width * height, 0.0)


def _area_2d(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(P,) part / whole; 0 where there is no part, or where wrong sizes make the whole negative."""
    return np.divide(part, whole, out=np.zeros_like(part), where=(part > 0) & (whole > 0))


def _iou_2d(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    inter = _intersection_2d(a, b)
    return _ratio(inter, _area_2d(a) + _area_2d(b) - inter)


def _share_in_dont_care(gt: Labels, det: Labels, dont_care: np.ndarray) -> np.ndarray:
    share = np.zeros(len(det))
    for gt_index, det_index in _pairs(gt, det, dont_care):
        boxes = det.bbox[det_index]
        inside = _ratio(_intersection_2d(gt.bbox[gt_index], boxes), _area_2d(boxes))
        np.maximum.at(share, det_index, inside)
    return share


def _iou_bev_and_3d(
    gt: Labels, det: Labels, gt_index: np.ndarray, det_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(P,) and (P,) intersection over union from above and in 3D of the pairs of boxes."""
    bev, volume = np.zeros(len(gt_index)), np.zeros(len(gt_index))
    near = np.flatnonzero(_circles_meet(gt, det, gt_index, det_index))
    g, d = gt_index[near], det_index[near]
    area = _intersection_bev(gt, det, g, d)
    bev[near] = _ratio(area, _area_bev(gt)[g] + _area_bev(det)[d] - area)
    gt_bottom, det_bottom = gt.location[g, 1], det.location[d, 1]  # y points down
    gt_height, det_height = gt.dimensions[g, 1], det.dimensions[d, 1]
    height = np.minimum(gt_bottom, det_bottom) - np.maximum(
        gt_bottom - gt_height, det_bottom - det_height
    )
    inter = area * np.maximum(height, 0.0)
    whole = gt.dimensions[g].prod(axis=1) + det.dimensions[d].prod(axis=1) - inter
    volume[near] = _ratio(inter, whole)
    return bev, volume


def _area_bev(labels: Labels) -> np.ndarray:
    return np.abs(labels.dimensions[:, 0] * labels.dimensions[:, 2])


def _circles_meet(
    gt: Labels, det: Labels, gt_index: np.ndarray, det_index: np.ndarray
) -> np.ndarray:
    """(P,) bool, whether the circles around the two boxes seen from above have a common point."""
    gt_radius = np.hypot(gt.dimensions[:, 0], gt.dimensions[:, 2]) / 2
    det_radius = np.hypot(det.dimensions[:, 0], det.dimensions[:, 2]) / 2
    reach = gt_radius[gt_index] + det_radius[det_index]
    x = gt.location[gt_index, 0] - det.location[det_index, 0]
    z = gt.location[gt_index, 2] - det.location[det_index, 2]
    return x * x + z * z <= reach * reach


def _intersection_bev(
    gt: Labels, det: Labels, gt_index: np.ndarray, det_index: np.ndarray
) -> np.ndarray:
    return aligned_overlap_bev(_bev_boxes(gt, gt_index), _bev_boxes(det, det_index))


def _bev_boxes(labels: Labels, index: np.ndarray) -> np.ndarray:
    """(P, 5) float64: x1, z1, x2, z2 of the box before it is turned, and its rotation_y.

    A positive rotation takes (x, z) to (x cos + z sin, -x sin + z cos), the sense that the overlap
    kernel has too. Corners do not change if length or width change their sign.
    """
    centre = labels.location[index][:, [0, 2]]
    half = np.abs(labels.dimensions[index][:, [0, 2]]) / 2
    return np.column_stack([centre - half, centre + half, labels.rotation_y[index]])
