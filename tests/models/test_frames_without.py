"""Frames without points, voxels, labels or known classes: trained and tested on like any other."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from models.model_fixture import SMALL_RANGE, narrow_config, random_boxes
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.models import build_network, example_convert_to_torch
from pcdet.utils.array_utils import FinitePoints

OUTSIDE = SMALL_RANGE[3] + 5
NAN_POINTS = np.full((50, 4), np.nan, np.float32)


def scene(rng, boxes=()):
    """Points spread over the range, and some in each box."""
    low, high = SMALL_RANGE[:3], SMALL_RANGE[3:]
    parts = [rng.uniform(low, high, (400, 3))]
    parts += [box[:3] + rng.uniform(0.1, 0.5, (60, 3)) for box in boxes]
    xyz = np.concatenate(parts)
    return np.column_stack((xyz, rng.uniform(0, 1, len(xyz)))).astype(np.float32)


def make_frames():
    """Each kind of frame, name to (points, boxes, names)."""
    rng = np.random.default_rng(0)
    boxes, none = random_boxes(rng, (3,))[:, :7].astype(np.float64), np.zeros((0, 7))
    outside = scene(rng)
    outside[:, 0] += OUTSIDE
    half_nan = scene(rng, boxes)
    half_nan[::2, 3] = np.inf
    return {
        "full": (scene(rng, boxes), boxes, ["Car"] * 3),
        "no points": (np.zeros((0, 4), np.float32), boxes, ["Car"] * 3),
        "nothing at all": (np.zeros((0, 4), np.float32), none, []),
        "nan alone": (NAN_POINTS, boxes, ["Car"] * 3),
        "half infinite": (half_nan, boxes, ["Car"] * 3),
        "none in range": (outside, none, []),
        "one point": (scene(rng)[:1], none, []),
        "no labels": (scene(rng), none, []),
        "other classes": (scene(rng, boxes), boxes, ["Van", "DontCare", "Tram"]),
    }


BATCHES = [
    ("no points", "no points"),
    ("nothing at all",),
    ("nan alone", "none in range"),
    ("one point",),
    ("full", "no points"),
    ("nothing at all", "full"),
    ("no labels", "other classes"),
    ("half infinite", "no labels"),
]


@pytest.fixture(scope="module", params=["second", "pointpillar", "PartA2", "sassd"])
def detector(request):
    """Configured data set for training and testing, and the network."""
    cfg = narrow_config(request.param)
    for section in ("DB_SAMPLER", "NOISE_PER_OBJECT"):
        cfg.DATA_CONFIG.AUGMENTATION[section].ENABLED = False
    sets = {}
    for training in (True, False):
        sets[training] = DatasetTemplate()
        targets = cfg.MODEL.RPN.BACKBONE.get("TARGET_CONFIG")
        sets[training].configure(
            cfg.DATA_CONFIG, cfg.CLASS_NAMES, training, targets, logging.getLogger("pcdet.t"), 0
        )
    torch.manual_seed(0)
    return sets, build_network(sets[True], cfg)


def make_batch(dataset, names):
    frames = make_frames()
    samples = []
    for name in names:
        points, boxes, classes = frames[name]
        frame = {"sample_idx": name, "points": points, "calib": None}
        frame.update(gt_boxes_lidar=boxes, gt_names=np.array(classes, np.str_))
        samples.append(dataset.prepare_data(frame, rng=np.random.default_rng(1)))
    return example_convert_to_torch(dataset.collate_batch(samples))


@pytest.mark.parametrize("names", BATCHES, ids=" + ".join)
def test_a_training_step(detector, names):
    sets, model = detector
    model.train()
    model.zero_grad()
    loss = model(make_batch(sets[True], names))[0]["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize("names", BATCHES, ids=" + ".join)
def test_detection(detector, names):
    sets, model = detector
    model.eval()
    with torch.inference_mode():
        detections, recall = model(make_batch(sets[False], names))
    assert len(detections) == len(names)
    assert all(frame["boxes"].isfinite().all() for frame in detections)
    known = sum(
        len(b)
        for b, n in ((make_frames()[k][1], make_frames()[k][2]) for k in names)
        if n and n[0] == "Car"
    )
    assert recall["gt"] == known


def test_dropped_points_are_counted_once(detector, caplog):
    sets, _ = detector
    dataset = sets[False]
    dataset._finite_points.__init__()
    with caplog.at_level(logging.WARNING, logger="pcdet.t"):
        make_batch(dataset, ["nan alone", "nan alone", "full"])
    told = [record.getMessage() for record in caplog.records]
    assert told == ["sample nan alone: dropped 50 of 50 points that hold NaN or infinity"]


@pytest.mark.parametrize(
    ("options", "column", "name"),
    [({}, 3, "intensity"), ({}, 4, "column 5"), ({"columns": ("x", "y", "z", "ring")}, 3, "ring")],
)
def test_a_measurement_that_no_point_has_is_named(caplog, options, column, name):
    points = np.ones((50, 5), np.float32)
    points[:, column] = np.nan
    kept = FinitePoints(**options)(points, "frame 1", logging.getLogger("pcdet.t"))
    assert len(kept) == 0
    assert f"dropped 50 of 50 points that hold NaN or infinity; {name} is NaN" in caplog.text
    assert "leave it out by POINT_COLUMNS" in caplog.text


def test_of_many_files_only_the_first_are_told(caplog):
    """Clouds in rows and columns have points without a return in every file."""
    logger, finite = logging.getLogger("pcdet.t"), FinitePoints()
    points = np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32)
    with caplog.at_level(logging.WARNING, logger="pcdet.t"):
        kept = [len(finite(points, f"frame {k}", logger)) for k in range(40)]
    told = [record.getMessage() for record in caplog.records]
    assert kept == [1] * 40 and len(told) == 5
    assert told[3].endswith("infinity") and told[4].endswith("infinity; others are not told")
