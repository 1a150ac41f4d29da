"""Anchors of a class: sizes, height and thresholds, from its labelled objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.own_data.objects import ObjectTable
from pcdet.utils.box_utils import DIMS, RZ, H, L, W, X, Y, Z, nearest_iou_similarity

ROTATIONS = (0, 1.57)
# Two groups of lengths make two anchors: each has so many objects and such a share of them at
# least; the means have such a ratio and a gap of so many mean standard deviations.
_LEAST_OBJECTS, _LEAST_SHARE, _LEAST_RATIO, _LEAST_GAP = 5, 0.1, 1.4, 3.0
# Pairs of matched and unmatched thresholds, KITTI's first; the first is taken at which so many of
# the objects overlap an anchor enough.
_THRESHOLDS = ((0.6, 0.45), (0.5, 0.35), (0.4, 0.25), (0.3, 0.15))
_LEAST_MATCHED = 0.6
# Objects shorter than this, metres, begin with the second pair.
_LONG = 3.0


@dataclass(frozen=True)
class AnchorChoice:
    """Anchors of a class.

    Attributes:
        sizes: one or two of w, l, h, metres.
        bottom: height at which they stand.
        matched: overlap from which on an anchor is an object.
        unmatched: overlap below which it is background.
        reasons: of sizes, bottom and thresholds, in words.
    """

    sizes: list[list[float]]
    bottom: float
    matched: float
    unmatched: float
    reasons: dict[str, str]


def choose_anchors(objects: ObjectTable, cell: float) -> AnchorChoice:
    """Choose the anchors of a class.

    Args:
        objects: of the class, one at least.
        cell: metres between neighbouring anchors.
    """
    groups = length_groups(objects.boxes[:, L])
    sizes = [np.median(objects.boxes[group][:, DIMS], axis=0) for group in groups]
    bottom = float(np.median(objects.boxes[:, Z]))
    spread = np.percentile(objects.boxes[:, Z], [10, 90])
    best = best_anchor_overlaps(objects.boxes, np.array(sizes), cell)
    pairs = _THRESHOLDS[0 if np.median(objects.boxes[:, L]) > _LONG else 1 :]
    shares = [float((best >= matched).mean()) for matched, _ in pairs]
    chosen = next((k for k, share in enumerate(shares) if share >= _LEAST_MATCHED), len(pairs) - 1)
    count = " and ".join(str(len(group)) for group in groups)
    split = ", whose lengths fall into two groups" if len(groups) > 1 else ""
    return AnchorChoice(
        [[round(float(value), 2) for value in size] for size in sizes],
        round(bottom, 2),
        *pairs[chosen],
        {
            "sizes": f"w, l, h: median of {count} objects{split}",
            "bottom": f"z: median of the objects' bottoms, most from {spread[0]:.2f} to "
            f"{spread[1]:.2f}",
            "matched": f"{100 * shares[chosen]:.0f}% of the objects overlap an anchor that much",
        },
    )


def length_groups(lengths: np.ndarray) -> list[np.ndarray]:
    """Divide objects by length where there are clearly two groups.

    Args:
        lengths: (M,) metres, M at least 1.

    Returns:
        One or two arrays of indices, the shorter objects first.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    least = max(_LEAST_OBJECTS, int(np.ceil(_LEAST_SHARE * len(lengths))))
    cuts = np.arange(least, len(lengths) - least + 1)
    if not len(cuts):
        return [order]
    # The cut with the least sum of squared distances to the means of both sides, which is that of
    # the squares, the same for all cuts, less the squared sums by the numbers.
    sums = np.cumsum(ordered - ordered.mean())
    short, long = sums[cuts - 1], sums[-1] - sums[cuts - 1]
    cut = cuts[np.argmax(short**2 / cuts + long**2 / (len(lengths) - cuts))]
    short, long = ordered[:cut], ordered[cut:]
    apart = long.mean() / short.mean() >= _LEAST_RATIO
    clear = long.mean() - short.mean() > _LEAST_GAP * (short.std() + long.std()) / 2
    return [order[:cut], order[cut:]] if apart and clear else [order]


def best_anchor_overlaps(boxes: np.ndarray, sizes: np.ndarray, cell: float) -> np.ndarray:
    """The greatest overlap of each object with an anchor, as the targets are assigned.

    Args:
        boxes: (M, 7) LiDAR boxes.
        sizes: (S, 3) of the anchors.
        cell: metres between neighbouring anchors, which stand at its multiples.

    Returns:
        (M,) in [0, 1].
    """
    anchors = np.zeros((len(sizes) * len(ROTATIONS), 7))
    anchors[:, [W, L, H]] = np.repeat(sizes, len(ROTATIONS), axis=0)
    anchors[:, RZ] = np.tile(ROTATIONS, len(sizes))
    from_anchor = boxes.copy()  # as seen from the anchors that are nearest
    from_anchor[:, [X, Y]] -= np.round(boxes[:, [X, Y]] / cell) * cell
    return nearest_iou_similarity(from_anchor, anchors).max(axis=1)
