"""KITTI AP on a label set of the size of the validation split, from text files to the table."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark_utils.common import Row, median_ms, reading_ms

NUM_FRAMES = 3769
NUM_GT = 34_000
NUM_DET = 43_000

# Class, share of the label lines and mean height, width, length in metres, as in KITTI's labels.
_CLASSES = (
    ("Car", 0.44, (1.53, 1.63, 3.88)),
    ("DontCare", 0.33, (1.60, 1.20, 2.50)),
    ("Pedestrian", 0.09, (1.76, 0.66, 0.84)),
    ("Van", 0.05, (2.21, 1.90, 5.08)),
    ("Cyclist", 0.04, (1.74, 0.60, 1.76)),
    ("Truck", 0.02, (3.25, 2.59, 10.1)),
    ("Misc", 0.02, (1.91, 1.51, 3.58)),
    ("Tram", 0.006, (3.53, 2.54, 16.1)),
    ("Person_sitting", 0.004, (1.27, 0.59, 0.80)),
)
_NAMES = np.array([name for name, _, _ in _CLASSES])
_DETECTED = ("Car", "Pedestrian", "Cyclist")
_FOCAL, _CENTRE = 721.5, (609.6, 172.9)  # KITTI's left colour camera, pixels
_IMAGE = (1242, 375)
_CAMERA_HEIGHT = 1.65
_COMMAND = "pcdet.evaluation"


def write_label_set(
    folder: Path,
    num_frames: int = NUM_FRAMES,
    num_gt: int = NUM_GT,
    num_det: int = NUM_DET,
    rng: np.random.Generator | None = None,
) -> None:
    """Write `folder`/gt and `folder`/det: a made-up street with made-up detections of it.

    Objects stand on the ground within 70 m, crowded, partly hidden or cut by the image. Two thirds
    of the detections are objects of the scene seen with errors that grow with the distance, the
    others are false.

    Args:
        folder: is made if need be.
        num_frames: number of files of each kind.
        num_gt: label lines in all.
        num_det: result lines in all.
        rng: source of randomness; None: not repeatable.
    """
    rng = np.random.default_rng() if rng is None else rng
    gt = _make_objects(num_gt, num_frames, rng)
    det = _make_detections(gt, num_det, num_frames, rng)
    _write(folder / "gt", gt, num_frames, has_score=False)
    _write(folder / "det", det, num_frames, has_score=True)


def _make_objects(number: int, num_frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shares = np.array([share for _, share, _ in _CLASSES])
    kind = rng.choice(len(_CLASSES), number, p=shares / shares.sum())
    means = np.array([size for _, _, size in _CLASSES])
    z = rng.gamma(3.0, 9.0, number) + 4
    location = np.column_stack(
        [rng.uniform(-0.75, 0.75, number) * z, rng.normal(_CAMERA_HEIGHT, 0.15, number), z]
    )
    along = rng.choice([-np.pi / 2, np.pi / 2, 0, np.pi], number, p=[0.5, 0.3, 0.1, 0.1])
    objects = {
        "frame": np.sort(rng.integers(num_frames, size=number)),
        "kind": kind,
        "truncated": np.where(rng.random(number) < 0.85, 0, rng.uniform(0, 0.9, number)),
        "occluded": rng.choice(4, number, p=[0.5, 0.25, 0.2, 0.05]),
        "size": means[kind] * rng.normal(1, 0.08, (number, 3)).clip(0.7, 1.3),
        "location": location,
        "rotation": _wrap(along + rng.normal(0, 0.15, number)),
        "score": np.zeros(number),
    }
    return _with_image_box(objects)


def _make_detections(
    gt: dict[str, np.ndarray], number: int, num_frames: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    detected = np.flatnonzero(np.isin(_NAMES[gt["kind"]], [*_DETECTED, "Van"]))
    source = rng.choice(detected, min(len(detected), 2 * number // 3), replace=False)
    found = {key: value[source] for key, value in gt.items() if key != "box"}
    false = _make_objects(number - len(source), num_frames, rng)
    false["kind"] = rng.choice(3, len(false["kind"]), p=[0.6, 0.3, 0.1])
    objects = {key: np.concatenate([found[key], false[key]]) for key in found}
    kinds = [int(np.flatnonzero(name == _NAMES)[0]) for name in _DETECTED]
    objects["kind"][len(source) :] = np.array(kinds)[false["kind"]]
    objects["kind"][_NAMES[objects["kind"]] == "Van"] = kinds[0]
    distance = objects["location"][:, 2]
    error = (0.04 + 0.003 * distance)[:, None]
    objects["location"] = objects["location"] + rng.normal(0, 1, (number, 3)) * error
    objects["location"][:, 2] = objects["location"][:, 2].clip(3)
    objects["size"] = objects["size"] * rng.normal(1, 0.04, (number, 3))
    turned = rng.random(number) < 0.05
    objects["rotation"] = _wrap(objects["rotation"] + rng.normal(0, 0.06, number) + np.pi * turned)
    quality = np.where(np.arange(number) < len(source), 1.8 - 0.04 * distance, -1.6)
    objects["score"] = 1 / (1 + np.exp(-rng.normal(quality, 1.1)))
    order = np.lexsort([-objects["score"], objects["frame"]])
    return _with_image_box({key: value[order] for key, value in objects.items()})


def _wrap(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _with_image_box(objects: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the image box (N, 4) of the upright 3D boxes, cut to the image."""
    height, width, length = objects["size"].T
    x, y, z = objects["location"].T
    reach = np.hypot(width, length) / 2
    near = np.maximum(z - reach / 2, 1)
    edges = [x - reach, y - height, x + reach, y]
    box = np.column_stack(
        [_FOCAL * edge / near + centre for edge, centre in zip(edges, _CENTRE * 2)]
    )
    objects["box"] = box.clip(0, np.array(_IMAGE * 2) - 1.0)
    return objects


def _write(folder: Path, objects: dict[str, np.ndarray], num_frames: int, has_score: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    alpha = _wrap(
        objects["rotation"] - np.arctan2(objects["location"][:, 0], objects["location"][:, 2])
    )
    numbers = np.column_stack(
        [alpha, objects["box"], objects["size"], objects["location"], objects["rotation"]]
    )
    lines: list[list[str]] = [[] for _ in range(num_frames)]
    for i, row in enumerate(numbers.tolist()):
        name = _NAMES[objects["kind"][i]]
        if has_score:
            head, tail = f"{name} -1 -1", f" {objects['score'][i]:.4f}"
        else:
            head, tail = f"{name} {objects['truncated'][i]:.2f} {objects['occluded'][i]}", ""
        if name == "DontCare":
            head = f"{name} -1 -1"
            row = [-10, *row[1:5], -1, -1, -1, -1000, -1000, -1000, -10]
        decimals = 4 if has_score else 2
        text = " ".join(f"{value:.{decimals}f}" for value in row)
        lines[objects["frame"][i]].append(f"{head} {text}{tail}\n")
    for frame, of_frame in enumerate(lines):
        (folder / f"{frame:06d}.txt").write_text("".join(of_frame))


def _run(folder: Path) -> None:
    """The command, in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", _COMMAND, "--gt", folder / "gt", "--det", folder / "det"]
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def stages(data_dir: Path | None) -> Iterator[Row]:
    """Measure the command on the made-up set; `data_dir` is not needed."""
    del data_dir
    note = f"{NUM_FRAMES} frames, {NUM_GT} labels, {NUM_DET} detections; a process of its own"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_label_set(folder, rng=np.random.default_rng(0))
        floor_ms = reading_ms(folder.glob("*/*.txt"))
        milliseconds = median_ms(lambda: _run(folder), 3, 1)
    yield Row("KITTI AP, files to table", milliseconds, note=note, floor_ms=floor_ms)
