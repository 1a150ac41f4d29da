"""KITTI AP object by object, in plain Python: slow, and as close to the written rules as can be.

The numbers in comments are those of the rules as the official program applies them: heights and
classes first, then the greedy matching, then precision over recall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LIMITS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.30), "hard": (25, 2, 0.50)}
THRESHOLDS = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}


@dataclass
class Object:
    """One line of a label or result file; sizes in metres, location is the bottom centre."""

    name: str
    truncated: float
    occluded: int
    alpha: float
    x1: float
    y1: float
    x2: float
    y2: float
    height: float
    width: float
    length: float
    x: float
    y: float
    z: float
    rotation: float
    score: float = 0.0

    def is_a(self, name: str) -> bool:
        return self.name.lower() == name.lower()


def corners(box: Object) -> list[tuple[float, float]]:
    cos, sin = math.cos(box.rotation), math.sin(box.rotation)
    length, width = abs(box.length) / 2, abs(box.width) / 2
    signs = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    local = [(a * length, b * width) for a, b in signs]
    return [(u * cos + v * sin + box.x, -u * sin + v * cos + box.z) for u, v in local]


def polygon_area(points: list[tuple[float, float]]) -> float:
    """Shoelace, relative to the first corner: exact enough far from the origin."""
    if not points:
        return 0.0
    x0, y0 = points[0]
    shifted = [(x - x0, y - y0) for x, y in points]
    twice = sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(shifted, shifted[1:] + shifted[:1]))
    return abs(twice) / 2


def clip(points, a, b):
    """Keep of a convex polygon what lies to the right of the line from a to b."""

    def side(p):
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    kept = []
    for p, q in zip(points, points[1:] + points[:1]):
        sp, sq = side(p), side(q)
        if sp <= 0:
            kept.append(p)
        if sp * sq < 0:
            t = sp / (sp - sq)
            kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return kept


def intersection_bev(a: Object, b: Object) -> float:
    polygon, window = corners(a), corners(b)
    if polygon_area(polygon) == 0 or polygon_area(window) == 0:
        return 0.0
    for p, q in zip(window, window[1:] + window[:1]):
        polygon = clip(polygon, p, q)
    return polygon_area(polygon)


def intersection_2d(a: Object, b: Object) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    return width * height if width > 0 and height > 0 else 0.0


def area_2d(a: Object) -> float:
    return (a.x2 - a.x1) * (a.y2 - a.y1)


def overlap(metric: str, gt: Object, det: Object) -> float:
    if metric == "bbox":
        inter = intersection_2d(gt, det)
        return inter / (area_2d(gt) + area_2d(det) - inter) if inter > 0 else 0.0
    inter = intersection_bev(gt, det)
    whole = polygon_area(corners(gt)) + polygon_area(corners(det))
    if metric == "3d":
        top = max(gt.y - gt.height, det.y - det.height)
        inter *= max(0.0, min(gt.y, det.y) - top)
        whole = gt.height * gt.width * gt.length + det.height * det.width * det.length
    return inter / (whole - inter) if inter > 0 else 0.0


def evaluated(metric: str, name: str, frames) -> bool:
    """Rules 2 and 3."""
    dets = [det for _, dets in frames for det in dets]
    own = [det for det in dets if det.is_a(name)]
    if metric == "bbox":
        return any(det.x1 >= 0 for det in own)
    if metric == "aos":
        return evaluated("bbox", name, frames) and all(det.alpha != -10 for det in dets)
    ground = [
        det for det in own if det.x != -1000 and det.z != -1000 and det.width > 0 and det.length > 0
    ]
    if metric == "bev":
        return bool(ground)
    return any(det.y != -1000 and det.height > 0 for det in ground)


def judge_gt(gt: Object, name: str, difficulty: str) -> str:
    """Rules 6 and 7."""
    height, occlusion, truncation = LIMITS[difficulty]
    if gt.is_a(NEIGHBOURS.get(name.lower(), "no neighbour")):
        return "ignored"
    if not gt.is_a(name):
        return "absent"
    fits = gt.truncated <= truncation and gt.occluded <= occlusion and gt.y2 - gt.y1 > height
    return "valid" if fits else "ignored"


def judge_det(det: Object, name: str, difficulty: str) -> str:
    """Rule 8."""
    if int(abs(det.y1 - det.y2)) < LIMITS[difficulty][0]:
        return "small"
    return "normal" if det.is_a(name) else "absent"


@dataclass
class Frame:
    """One frame, judged for a class and difficulty, with the overlaps of one metric."""

    gts: list
    dets: list
    gt_is: list
    det_is: list
    overlaps: list

    def free(self, g: int, taken: set, min_overlap: float):
        """Detections that ground truth g could take, in file order."""
        for d in range(len(self.dets)):
            is_free = self.det_is[d] != "absent" and d not in taken
            if is_free and self.overlaps[g][d] > min_overlap:
                yield d


def first_pass(frame: Frame, min_overlap: float) -> list[float]:
    """Rule 9: the scores of the hits."""
    taken, scores = set(), []
    for g in range(len(frame.gts)):
        if frame.gt_is[g] == "absent":
            continue
        best = None
        for d in frame.free(g, taken, min_overlap):
            if best is None or frame.dets[d].score > frame.dets[best].score:
                best = d
        if best is not None:
            taken.add(best)
            if frame.gt_is[g] == "valid" and frame.det_is[best] == "normal":
                scores.append(frame.dets[best].score)
    return scores


def thresholds_of(scores: list[float], num_valid: int) -> list[float]:
    """Rule 10."""
    scores = sorted(scores, reverse=True)
    chosen, c = [], 0.0
    for i, score in enumerate(scores):
        is_last = i == len(scores) - 1
        if not is_last and (i + 2) / num_valid - c < c - (i + 1) / num_valid:
            continue
        chosen.append(score)
        c += 1 / 40
    return chosen


def second_pass(frame: Frame, threshold: float, min_overlap: float, metric: str):
    """Rules 11 and 12: hits, false positives, similarity."""
    taken, hits, similarity = set(), 0, 0.0
    for g in range(len(frame.gts)):
        if frame.gt_is[g] == "absent":
            continue
        fitting = [
            d for d in frame.free(g, taken, min_overlap) if not frame.dets[d].score < threshold
        ]
        normal = [d for d in fitting if frame.det_is[d] == "normal"]
        if normal:
            best = max(normal, key=lambda d: frame.overlaps[g][d])  # the first of equal ones
        elif fitting:
            best = fitting[0]
        else:
            continue
        taken.add(best)
        if frame.gt_is[g] == "valid" and frame.det_is[best] == "normal":
            hits += 1
            similarity += (1 + math.cos(frame.gts[g].alpha - frame.dets[best].alpha)) / 2
    false_positives = 0
    for d, det in enumerate(frame.dets):
        if frame.det_is[d] == "normal" and det.score >= threshold and d not in taken:
            stuff = [gt for gt in frame.gts if gt.is_a("DontCare")]
            in_stuff = any(
                intersection_2d(gt, det) > 0
                and intersection_2d(gt, det) / area_2d(det) > min_overlap
                for gt in stuff
            )
            if metric != "bbox" or not in_stuff:
                false_positives += 1
    return hits, false_positives, similarity


def max_from_right(values: list[float]) -> list[float]:
    """Rules 13 and 15, as std::max_element goes through a list with NaN in it."""
    result = []
    for k in range(len(values)):
        largest = values[k]
        for value in values[k + 1 :]:
            if largest < value:
                largest = value
        result.append(largest)
    return result


def curves(frames, name: str, difficulty: str, metric: str, min_overlap: float, overlaps):
    """Return 41 samples of precision and 41 of orientation similarity."""
    judged = [
        Frame(
            gts,
            dets,
            [judge_gt(gt, name, difficulty) for gt in gts],
            [judge_det(det, name, difficulty) for det in dets],
            overlaps[f],
        )
        for f, (gts, dets) in enumerate(frames)
    ]
    num_valid = sum(frame.gt_is.count("valid") for frame in judged)
    scores = [score for frame in judged for score in first_pass(frame, min_overlap)]
    precision, aos = [0.0] * 41, [0.0] * 41
    for k, threshold in enumerate(thresholds_of(scores, num_valid)):
        counts = [second_pass(frame, threshold, min_overlap, metric) for frame in judged]
        hits, false_positives, similarity = (sum(column) for column in zip(*counts))
        both = hits + false_positives
        precision[k] = hits / both if both else math.nan
        aos[k] = similarity / both if both else math.nan
    return max_from_right(precision), max_from_right(aos)


def evaluate_slowly(frames, thresholds=THRESHOLDS) -> dict:
    """Return {recall set: {metric: {class: [easy, moderate, hard] or None}}}.

    Args:
        frames: for each frame (ground truth, detections), lists of `Object`.
        thresholds: overlap by class.
    """
    result = {key: {m: {} for m in ("bbox", "aos", "bev", "3d")} for key in ("R40", "R11")}
    for metric in ("bbox", "bev", "3d"):
        overlaps = [
            [[overlap(metric, gt, det) for det in dets] for gt in gts] for gts, dets in frames
        ]
        for name, min_overlap in thresholds.items():
            both = [
                curves(frames, name, difficulty, metric, min_overlap, overlaps)
                for difficulty in LIMITS
            ]
            for key, index in ((metric, 0), ("aos", 1)):
                if key == "aos" and metric != "bbox":
                    continue
                is_evaluated = evaluated(key, name, frames)
                for recall_set, points in (("R40", range(1, 41)), ("R11", range(0, 41, 4))):
                    ap = [
                        100 * sum(curve[index][k] for k in points) / len(points) for curve in both
                    ]
                    result[recall_set][key][name] = ap if is_evaluated else None
    return result
