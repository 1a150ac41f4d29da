"""Label sets for the tests: the stored ones, random ones full of traps, and how to write them."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path

import numpy as np
from kitti_eval_oracle import Object

DATA = Path(__file__).parent / "label_sets"
NUMBERS = json.loads((DATA / "numbers.json").read_text())

GT_NAMES = ("Car", "Car", "Car", "car", "Van", "Pedestrian", "Pedestrian", "person_SITTING")
GT_NAMES += ("Cyclist", "cyclist", "Tram", "DontCare", "dontcare")
HEIGHTS = (24.99, 25.0, 25.01, 39.99, 40.0, 40.01, 55.5, 77.77, 120.25, 200.0)
DET_NAMES = ("Car", "Pedestrian", "Cyclist", "CAR", "Van")


def unpack(name: str, folder: Path) -> Path:
    """Unpack a stored set; return the folder that holds gt and det."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def line_of(item: Object, has_score: bool) -> str:
    numbers = [item.alpha, item.x1, item.y1, item.x2, item.y2, item.height, item.width]
    numbers += [item.length, item.x, item.y, item.z, item.rotation]
    numbers += [item.score] if has_score else []
    return " ".join(
        [
            item.name,
            repr(float(item.truncated)),
            str(item.occluded),
            *map(repr, map(float, numbers)),
        ]
    )


def write_set(frames, folder: Path) -> Path:
    """Write gt/NNNNNN.txt and det/NNNNNN.txt with all digits."""
    for kind, index in (("gt", 0), ("det", 1)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for f, frame in enumerate(frames):
            lines = [line_of(item, kind == "det") + "\n" for item in frame[index]]
            (folder / kind / f"{f:06d}.txt").write_text("".join(lines))
    return folder


def anno_of(objects) -> dict[str, np.ndarray]:
    """Return the annotation dict of one frame."""

    def column(*names: str) -> np.ndarray:
        rows = [[getattr(item, name) for name in names] for item in objects]
        return np.array(rows, dtype=np.float64).reshape(len(objects), len(names))

    return {
        "name": np.array([item.name for item in objects]),
        "truncated": column("truncated")[:, 0],
        "occluded": column("occluded")[:, 0],
        "alpha": column("alpha")[:, 0],
        "bbox": column("x1", "y1", "x2", "y2"),
        "dimensions": column("length", "height", "width"),
        "location": column("x", "y", "z"),
        "rotation_y": column("rotation")[:, 0],
        "score": column("score")[:, 0],
    }


def annos_of(frames) -> tuple[list[dict], list[dict]]:
    return [anno_of(gts) for gts, _ in frames], [anno_of(dets) for _, dets in frames]


def make_object(name="Car", box=(100.0, 100.0, 200.0, 180.0), x=0.0, z=20.0, **changes) -> Object:
    """Make an easy object, 80 pixels high unless `box` says otherwise."""
    fields = {
        "truncated": 0.0,
        "occluded": 0,
        "alpha": 0.1,
        "height": 1.5,
        "width": 1.6,
        "length": 3.9,
        "y": 1.7,
        "rotation": 0.3,
        "score": 0.5,
        **changes,
    }
    x1, y1, x2, y2 = box
    return Object(name=name, x1=x1, y1=y1, x2=x2, y2=y2, x=x, z=z, **fields)


def random_frames(seed: int):
    """Make frames in which the traps of the rules are common.

    Equal scores, heights on and next to the limits, neighbouring classes, small detections of any
    class, boxes that are missing, several objects in one place.
    """
    rng = np.random.default_rng(seed)
    num_frames = int(rng.choice([2, 10, 40]))
    skill = float(rng.choice([0.3, 0.7, 1.0]))
    kind = int(rng.integers(8))  # what is missing from some or all detections of the set
    frames = []
    for _ in range(num_frames):
        gts = _random_gts(rng)
        dets = [_like(rng, gt) for gt in gts if rng.random() < skill]
        for _ in range(rng.integers(0, 4) if rng.random() < 1.2 - skill else 0):
            dets.append(_like(rng, gts[-1] if gts else _random_gt(rng)))
        for det in [det for det in dets if rng.random() < 0.15]:  # equal overlaps
            twin = {"score": float(rng.choice([det.score, rng.random()])), "alpha": det.alpha + 1}
            dets.append(Object(**{**vars(det), **twin}))
        rng.shuffle(dets)
        for det in dets:
            if kind == 1 or (kind == 2 and rng.random() < 0.3):
                det.x = det.y = det.z = -1000.0
                det.height = det.width = det.length = -1.0
            if kind == 3 or (kind == 4 and rng.random() < 0.3):
                det.x1 = det.y1 = det.x2 = det.y2 = -1.0
            if kind == 5 and rng.random() < 0.1:
                det.alpha = -10.0
        frames.append((gts, dets))
    return frames


def _random_gts(rng: np.random.Generator) -> list[Object]:
    """Make the ground truth of a frame; some objects stand where the one before stands."""
    gts: list[Object] = []
    for _ in range(rng.integers(0, 7)):
        new = _random_gt(rng)
        if gts and rng.random() < 0.3:
            new = Object(**{**vars(gts[-1]), "name": new.name, "occluded": new.occluded})
        gts.append(new)
    return gts


def _random_gt(rng: np.random.Generator) -> Object:
    name = str(rng.choice(GT_NAMES))
    x1, y1 = (round(float(value), 2) for value in rng.uniform(0, 120, 2))
    height = float(rng.choice(HEIGHTS))
    box = (x1, y1, x1 + round(float(rng.uniform(20, 90)), 2), y1 + height)
    if rng.random() < 0.3:
        box = (x1, 0.0, box[2], height)  # a height without rounding error
    if name.lower() == "dontcare":
        nothing = dict.fromkeys(("height", "width", "length"), -1.0)
        return make_object(
            name, box, x=-1000.0, y=-1000.0, z=-1000.0, truncated=-1.0, occluded=-1, **nothing
        )
    return make_object(
        name,
        box,
        x=float(rng.uniform(-4, 4)),
        z=float(rng.uniform(10, 18)),
        truncated=float(rng.choice([0, 0, 0, 0, 0.1, 0.15, 0.16, 0.3, 0.31, 0.5, 0.51])),
        occluded=int(rng.choice([0, 0, 0, 0, 1, 2, 3])),
        alpha=float(rng.uniform(-math.pi, math.pi)),
        rotation=float(rng.choice([0, math.pi / 2, rng.uniform(-math.pi, math.pi)])),
        y=float(rng.uniform(1.5, 1.9)),
    )


def _like(rng: np.random.Generator, source: Object) -> Object:
    """Make a detection of a ground truth, with small, large or no error, or of nothing."""
    if rng.random() < 0.1:
        source = _random_gt(rng)
    if source.name.lower() == "dontcare":
        source = make_object("Car", (source.x1, source.y1, source.x2, source.y2))
    det = Object(**vars(source))
    error = float(rng.choice([0, 0.01, 0.02, 0.1]))
    det.name = str(rng.choice(DET_NAMES)) if rng.random() < 0.2 else source.name
    det.score = float(rng.choice([-1.0, 0.1, 0.2, 0.2, 0.5, 0.9]))
    if rng.random() < 0.5:
        det.score = float(rng.random())
    for corner in ("x1", "y1", "x2", "y2"):
        setattr(det, corner, max(0.0, getattr(det, corner) + float(rng.normal(0, 60 * error))))
    if rng.random() < 0.2:
        det.y2 = det.y1 + float(rng.choice(HEIGHTS))
    for value in ("x", "y", "z", "rotation"):
        setattr(det, value, getattr(det, value) + float(rng.normal(0, 3 * error)))
    for value in ("length", "width", "height"):
        setattr(det, value, getattr(det, value) * float(rng.normal(1, error)))
    det.alpha += float(rng.normal(0, 5 * error))
    return det


def assert_same_ap(got: dict, want: dict, tolerance: float = 1e-9) -> None:
    """Compare two dicts of the form of numbers.json; NaN equals NaN, None equals None."""
    for recall_set, metrics in want.items():
        for metric, classes in metrics.items():
            for name, expected in classes.items():
                found = got[recall_set][metric][name]
                where = f"{recall_set} {metric} {name}: got {found}, want {expected}"
                assert (found is None) == (expected is None), where
                if expected is not None:
                    assert np.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True), (
                        where
                    )
