"""What in labelled frames cannot be right: one line each, with an example and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pcdet.utils.box_columns import LARGEST_ANGLE
from pcdet.utils.box_utils import CENTER, DIMS, RZ, H, L, W, X, Y, Z, mask_boxes_outside_range
from pcdet.utils.data_report.facts import Frame, Scan
from pcdet.utils.data_report.table import joined

# Fewer objects, and fewer of a class that may be far away or hidden, say nothing.
_LEAST_OBJECTS = 3
_LEAST_OF_CLASS = 5
_MOST = 0.5
_MOST_OF_FRAME = 2 / 3
# Metres: no LiDAR sees so far, and none is used that sees so little.
_FARTHEST, NEAREST = 1e3, 1.5
_LARGEST_SIZE, _LEAST_SIZE = 60.0, 0.02
# Metres that the sensor may stand beside all points.
_LARGEST_GAP = 50.0
# Metres: an object farther from the sensor, or so much above or below most others, is a mistake.
_FARTHEST_OBJECT, _HEIGHT_APART = 500.0, 30.0
# Of the least side of two boxes: objects of a class whose middles are nearer are the same one.
_SAME_PLACE = 1 / 4
# Metres: roots of the volumes of objects of these names.
_USUAL_SIZES = {"car": (1.4, 3.5), "pedestrian": (0.55, 1.5), "cyclist": (0.75, 2.0)}
# Metres that the labelled bottoms may stand above the ground or below, on the whole.
_HEIGHT = 0.8
_EXCHANGED = 1.3
_REMEDY = (
    "are the labels in another frame (LiDAR's or camera's axes), is the calibration another "
    "recording's, are axes of the scans exchanged?"
)
_REMEDY_OF_CAMERA = (
    "is the calibration another camera's, or are the labels in another frame? Of a sensor without "
    "a camera set FOV_POINTS_ONLY: False and take the images away"
)
# Names of things that are longer than wide; those of the first are longer than high, too. Short
# ones are whole words: "Pedestrain" is no train.
_LONG = re.compile(r"truck|vehicle|trailer|lorry|\b(car|van|bus|tram|train)s?\b")
_THIN = re.compile("cycl|bike|motor")
_UPRIGHT = re.compile("pedestrian|person|people")


def data_warnings(
    frames: Sequence[Frame], limit_range: Sequence[float] | None = None, uses_intensity: bool = True
) -> list[str]:
    """Say what cannot be right, one line each, with the name of a frame and a remedy.

    Args:
        frames: labelled frames.
        limit_range: x, y, z of two corners, POINT_CLOUD_RANGE; None to leave the range aside.
        uses_intensity: the network reads the intensity of points, from 0 to 1.
    """
    lines = [line for look in _LOOKS for line in look(frames)]
    if uses_intensity:
        lines += _intensity(frames)
    if limit_range is not None:
        lines += _out_of_range(frames, limit_range)
    return lines


def _of_scans(frames: Sequence[Frame], is_odd: Callable) -> list[Frame]:
    return [frame for frame in frames if frame.scan is not None and is_odd(frame.scan)]


def _objects(frames: Sequence[Frame], is_odd: Callable[[Frame], np.ndarray]) -> tuple[int, str]:
    """How many objects are odd, and the first of them in words."""
    count, first = 0, ""
    for frame in frames:
        odd = np.flatnonzero(is_odd(frame))
        count += len(odd)
        if len(odd) and not first:
            first = f"{frame.names[odd[0]]} in frame {frame.name}"
    return count, first


def _without_points(frames: Sequence[Frame]) -> Iterator[str]:
    inside = list(_without(frames, "counts", "no point", _REMEDY))
    seen = _without(frames, "seen_counts", "no point that the camera sees", _REMEDY_OF_CAMERA)
    yield from inside or seen


def _without(frames: Sequence[Frame], attribute: str, what: str, remedy: str) -> Iterator[str]:
    """Lines about classes, or else frames, most of whose objects hold no point."""
    known = [frame for frame in frames if getattr(frame, attribute) is not None]
    if not known:
        return
    names, counts = joined(known, "names"), joined(known, attribute)
    odd_classes = []
    for name in sorted(set(names.tolist())):
        own = counts[names == name]
        if len(own) >= _LEAST_OF_CLASS and (own == 0).mean() > _MOST:
            odd_classes.append(name)
            _, first = _objects(
                known, lambda f, n=name: (f.names == n) & (getattr(f, attribute) == 0)
            )
            empty = int((own == 0).sum())
            yield f"{empty} of {len(own)} objects of {name} hold {what}, as a {first}: {remedy}"
    if odd_classes:
        return
    odd = [frame for frame in known if _is_mostly_empty(getattr(frame, attribute))]
    if odd:
        own = getattr(odd[0], attribute)
        yield (
            f"most objects of {len(odd)} of {len(known)} frames hold {what}, as "
            f"{int((own == 0).sum())} of {len(own)} in frame {odd[0].name}: {remedy}"
        )


def _is_mostly_empty(counts: np.ndarray) -> bool:
    return len(counts) >= _LEAST_OBJECTS and bool((counts == 0).mean() > _MOST_OF_FRAME)


def _no_objects(frames: Sequence[Frame]) -> Iterator[str]:
    if frames and not any(len(frame.names) for frame in frames):
        yield (
            f"none of {len(frames)} frames has a labelled object, as frame {frames[0].name}: are "
            "the label files empty, or those of another recording?"
        )


def _unseen(frames: Sequence[Frame]) -> Iterator[str]:
    empty = _of_scans(frames, lambda scan: scan.count == 0)
    if empty:
        yield f"{len(empty)} of {len(frames)} scans have no point, as that of frame {empty[0].name}"
    unseen = _of_scans(frames, lambda scan: scan.count > 0 and scan.seen == 0)
    if unseen:
        yield (
            f"the camera sees no point of {len(unseen)} of {len(frames)} frames, as of frame "
            f"{unseen[0].name}: correct the calibration; of a sensor without a camera set "
            "FOV_POINTS_ONLY: False and take the images away"
        )


def _not_metres(frames: Sequence[Frame]) -> Iterator[str]:
    far = _of_scans(frames, lambda scan: scan.count > 0 and _reach(scan) > _FARTHEST)
    if far:
        yield (
            f"coordinates of {len(far)} of {len(frames)} scans are not metres around the sensor: "
            f"they reach {_reach(far[0].scan):.0f} in frame {far[0].name}: subtract the sensor's "
            "place from map coordinates (UTM), divide millimetres by 1000, centimetres by 100, in "
            "scans and labels"
        )
    apart = _of_scans(frames, lambda scan: scan.count > 0 and _gap(scan) > _LARGEST_GAP)
    if apart and not far:
        yield (
            f"all points of {len(apart)} of {len(frames)} scans lie {_gap(apart[0].scan):.0f} m "
            f"and more from the origin, as in frame {apart[0].name}, where the sensor should be: "
            "subtract its place from scans and labels"
        )
    near = _of_scans(frames, lambda scan: scan.count > 100 and _reach(scan) < NEAREST)
    if near:
        yield (
            f"points of {len(near)} of {len(frames)} scans lie within {_reach(near[0].scan):.2f} m "
            f"of the sensor, as in frame {near[0].name}: coordinates must be metres"
        )
    count, first = _objects(frames, _has_odd_size)
    if count:
        yield (
            f"{count} objects are below {_LEAST_SIZE} m or above {_LARGEST_SIZE:.0f} m in size, as "
            f"a {first}: sizes must be metres"
        )


def _has_odd_size(frame: Frame) -> np.ndarray:
    sizes = frame.boxes[:, DIMS]
    return ((sizes > _LARGEST_SIZE) | (sizes < _LEAST_SIZE)).any(axis=1)


def apart_in_height(boxes: np.ndarray, middle: float) -> np.ndarray:
    """Tell which boxes lie so far above or below others that a number must be mistyped.

    Args:
        boxes: (M, 7) LiDAR boxes, metres.
        middle: height of the other boxes' bottoms, LiDAR frame, metres.

    Returns:
        (M,) bool.
    """
    return np.abs(boxes[:, Z] - middle) > _HEIGHT_APART


def _misplaced(frames: Sequence[Frame]) -> Iterator[str]:
    boxes = joined(frames, "boxes")
    if boxes is None or not len(boxes):
        return
    middle = np.median(boxes[:, Z])

    def is_odd(frame: Frame) -> np.ndarray:
        far = np.hypot(frame.boxes[:, X], frame.boxes[:, Y]) > _FARTHEST_OBJECT
        return far | apart_in_height(frame.boxes, middle)

    count, first = _objects(frames, is_odd)
    if count:
        yield (
            f"{count} objects lie more than {_FARTHEST_OBJECT:.0f} m from the sensor, or more than "
            f"{_HEIGHT_APART:.0f} m above or below most others, as a {first}: correct x, y, z in "
            "the labels"
        )


def _twice(frames: Sequence[Frame]) -> Iterator[str]:
    count, first = _objects(frames, _lies_on_another)
    if count:
        yield (
            f"{count} objects lie on another one of their class, as a {first}: keep one of each "
            "if they are labelled twice"
        )


def _lies_on_another(frame: Frame) -> np.ndarray:
    """(M,) bool: an earlier object of the frame is of this one's class and at its place."""
    middles = frame.boxes[:, CENTER] + frame.boxes[:, [H]] * [0, 0, 0.5]
    sides = np.minimum(frame.boxes[:, None, DIMS], frame.boxes[None, :, DIMS]).min(axis=2)
    distances = np.linalg.norm(middles[:, None] - middles[None], axis=2)
    same = (distances < _SAME_PLACE * sides) & (frame.names[:, None] == frame.names[None])
    return np.tril(same, -1).any(axis=1)


def _gap(scan: Scan) -> float:
    """Metres along the ground from the origin to the nearest of the points, but for a few."""
    low, high = np.array(scan.low[:2]), np.array(scan.high[:2])
    return float(np.hypot(*np.maximum(np.maximum(low, -high), 0)))


def _reach(scan: Scan) -> float:
    return float(np.abs([*scan.low, *scan.high]).max())


def _degrees(frames: Sequence[Frame]) -> Iterator[str]:
    count, first = _objects(frames, lambda f: np.abs(f.boxes[:, RZ]) > LARGEST_ANGLE)
    if count:
        yield (
            f"the angle of {count} objects is beyond 2 pi, as of a {first}: angles must be "
            "radians, not degrees"
        )


def _exchanged_sizes(frames: Sequence[Frame]) -> Iterator[str]:
    names, boxes = joined(frames, "names"), joined(frames, "boxes")
    for name in sorted(set(names.tolist())) if names is not None else ():
        own = boxes[names == name]
        if len(own) < _LEAST_OBJECTS:
            continue
        w, length, h = np.median(own[:, [W, L, H]], axis=0)
        if _has(name, _LONG) and not _has(name, _THIN):
            what, odd = "longer than wide and high", max(w, h) > _EXCHANGED * length
        elif _has(name, _THIN):
            what, odd = "longer than wide", w > _EXCHANGED * length
        else:
            what, odd = "higher than wide and long", max(w, length) > _EXCHANGED * h
            odd = odd and _has(name, _UPRIGHT)
        if odd:
            _, first = _objects(frames, lambda f, n=name: f.names == n)
            yield (
                f"width, length and height of {name} are {w:.2f}, {length:.2f}, {h:.2f} m (medians "
                f"of {len(own)}), as a {first}: it should be {what}: are sizes exchanged in the "
                "labels?"
            )


def _unusual_sizes(frames: Sequence[Frame]) -> Iterator[str]:
    names, boxes = joined(frames, "names"), joined(frames, "boxes")
    for name in sorted(set(names.tolist())) if names is not None else ():
        sizes = boxes[names == name][:, [L, W, H]]
        low, high = _USUAL_SIZES.get(name.lower(), (0, np.inf))
        middle = np.median(sizes, axis=0)
        if len(sizes) >= _LEAST_OBJECTS and not low <= np.cbrt(middle.prod()) <= high:
            yield (
                f"objects of {name} are {' x '.join(f'{v:.2f}' for v in middle)} m (medians of "
                f"{len(sizes)}), which no {name} is: scans and labels must be in metres, not feet"
            )


def _has(name: str, kind: re.Pattern[str]) -> bool:
    """Tell whether a class is of a kind; PassengerCar and passenger_car are two words."""
    words = re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", name)
    return kind.search(words.lower()) is not None


def _ground(frames: Sequence[Frame]) -> Iterator[str]:
    lost = _of_scans(frames, lambda scan: scan.count > 0 and scan.has_ground is False)
    if lost:
        yield (
            f"no ground was found in {len(lost)} of {len(frames)} scans, as in frame "
            f"{lost[0].name}, so that a flat one is supposed: set USE_ROAD_PLANE: False, or give "
            "planes files"
        )
    known = [frame for frame in frames if frame.heights is not None and len(frame.heights)]
    heights = joined(known, "heights")
    if heights is None or len(heights) < _LEAST_OBJECTS or abs(np.median(heights)) <= _HEIGHT:
        return
    middle = np.median(heights)
    nearest = min(known, key=lambda f: abs(np.median(f.heights) - middle))
    where = "above" if middle > 0 else "below"
    yield (
        f"labelled objects stand {abs(middle):.1f} m {where} the ground that the points show "
        f"(median of {len(heights)}, as in frame {nearest.name}): look at heights of labels "
        "(of the bottom of a box in KITTI's, of its middle in data of one's own) and at the "
        "calibration; or set USE_ROAD_PLANE: False"
    )


def _intensity(frames: Sequence[Frame]) -> Iterator[str]:
    odd = _of_scans(
        frames,
        lambda s: s.intensity is not None and (s.intensity[0] < 0 or s.intensity[1] > 1),
    )
    if odd:
        low, high = odd[0].scan.intensity
        yield (
            f"intensity of {len(odd)} of {len(frames)} scans is not within 0 to 1, but {low:g} to "
            f"{high:g} in frame {odd[0].name}: divide it by its largest value, as weights trained "
            "on KITTI expect 0 to 1"
        )


def _out_of_range(frames: Sequence[Frame], limit_range: Sequence[float]) -> Iterator[str]:
    limit = np.asarray(limit_range, dtype=np.float64)
    told = f"POINT_CLOUD_RANGE {list(limit_range)}"

    def is_outside(scan: Scan) -> bool:
        return bool(scan.count and ((scan.low > limit[3:]) | (scan.high < limit[:3])).any())

    odd = _of_scans(frames, is_outside)
    if odd:
        low, high = ([round(v, 1) for v in side] for side in (odd[0].scan.low, odd[0].scan.high))
        yield (
            f"no point of {len(odd)} of {len(frames)} frames lies in {told}, as of frame "
            f"{odd[0].name}, whose points lie from {low} to {high}: change the range, or move "
            "points and labels"
        )
    boxes, count = joined(frames, "boxes"), 0
    if boxes is not None and len(boxes):
        count = int((~mask_boxes_outside_range(boxes, limit_range)).sum())
    if count > _MOST * len(boxes if boxes is not None else ()) and count >= _LEAST_OBJECTS:
        _, first = _objects(frames, lambda f: ~mask_boxes_outside_range(f.boxes, limit_range))
        middle = [round(float(v), 1) for v in np.median(boxes[:, CENTER], axis=0)]
        yield (
            f"{count} of {len(boxes)} objects are not wholly in {told}, as a {first}; the median "
            f"of all is {middle}: change the range, or move points and labels"
        )


_LOOKS = (
    _no_objects,
    _without_points,
    _unseen,
    _not_metres,
    _misplaced,
    _twice,
    _degrees,
    _exchanged_sizes,
    _unusual_sizes,
    _ground,
)
