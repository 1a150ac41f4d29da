"""Predictions to annotations: round trip with labels, filters, result files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcdet.datasets.kitti.annotations import (
    BoxFilter,
    Frame,
    annotate_batch,
    predictions_to_annotation,
    write_annotation,
)
from pcdet.utils.kitti_format.label import get_objects_from_label
from tiny_kitti import IMAGE_SHAPE, calibration

NAMES = ["Car", "Pedestrian", "Cyclist"]
FRAME = Frame("000012", calibration(), np.array(IMAGE_SHAPE, np.int32))
# Ahead; far to the left, outside the image; so close that it fills the image; without a size.
BOXES = np.array(
    [
        [20, 2, -1.7, 1.6, 3.9, 1.5, 0.3],
        [10, 39, -1.7, 0.6, 1.8, 1.7, 0.0],
        [1.5, 0, -1.7, 1.6, 3.9, 3.0, 1.5],
        [20, -2, -1.7, 1.6, -0.2, 1.5, 0.3],
    ],
    dtype=np.float32,
)
SCORES = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32)
LABELS = np.array([1, 3, 2, 1])


def annotate(box_filter=None, rows=slice(None)):
    return predictions_to_annotation(
        BOXES[rows], SCORES[rows], LABELS[rows], FRAME, NAMES, box_filter
    )


def test_values_by_hand():
    anno = annotate(rows=slice(0, 1))
    assert anno["name"].tolist() == ["Car"]
    np.testing.assert_allclose(anno["dimensions"], [[3.9, 1.5, 1.6]], rtol=1e-6)  # l, h, w
    np.testing.assert_allclose(anno["alpha"], [0.3 - np.arctan2(-2, 20)], rtol=1e-6)
    np.testing.assert_allclose(anno["rotation_y"], [0.3], rtol=1e-6)
    location = FRAME.calib.lidar_to_rect(BOXES[:1, :3])
    np.testing.assert_allclose(anno["location"], location)
    u, v = FRAME.calib.rect_to_img(location - [[0, 0.75, 0]])[0][0]
    x1, y1, x2, y2 = anno["bbox"][0]
    assert x1 < u < x2
    assert y1 < v < y2
    np.testing.assert_array_equal(anno["boxes_lidar"], BOXES[:1])
    assert anno["sample_idx"] == "000012"


@pytest.mark.parametrize(
    ("box_filter", "kept"),
    [
        (BoxFilter(), ["Car", "Cyclist", "Pedestrian"]),
        (BoxFilter(use_image_area=True), ["Car", "Cyclist"]),
        (BoxFilter(limit_range=(0, -30, -3, 70, 30, 3)), ["Car", "Pedestrian"]),
        # The limits are on the middle of the bottom face, and belong to the range.
        (BoxFilter(limit_range=(20, 2, -1.75, 70, 40, -1.65)), ["Car"]),
        (BoxFilter(limit_range=(0, -40, -1.6, 70, 40, 3)), []),
    ],
)
def test_filters(box_filter, kept):
    anno = annotate(box_filter)
    assert anno["name"].tolist() == kept
    lengths = {key: len(values) for key, values in anno.items() if key != "sample_idx"}
    assert set(lengths.values()) == {len(kept)}


def test_box_beside_the_image_has_no_area():
    x1, _, x2, _ = annotate(rows=slice(1, 2))["bbox"][0]
    assert (x1, x2) == (0, 0)


def test_batch_of_tensors_with_a_frame_without_predictions(tmp_path):
    batch = {
        "sample_idx": ["000012", "000013"],
        "calib": [FRAME.calib, FRAME.calib],
        "image_shape": torch.tensor([IMAGE_SHAPE, IMAGE_SHAPE]),
    }
    found = {"boxes": torch.tensor(BOXES, requires_grad=True), "scores": torch.tensor(SCORES)}
    found["labels"] = torch.tensor(LABELS)
    annos = annotate_batch(batch, [found, {k: v[:0] for k, v in found.items()}], NAMES, BoxFilter())
    assert [a["sample_idx"] for a in annos] == ["000012", "000013"]
    assert [len(a["name"]) for a in annos] == [3, 0]
    assert annos[1]["bbox"].shape == (0, 4)
    for anno in annos:
        write_annotation(anno, tmp_path)
    objects = get_objects_from_label(tmp_path / "000012.txt")
    assert [o.cls_type for o in objects] == ["Car", "Cyclist", "Pedestrian"]
    np.testing.assert_allclose([o.score for o in objects], SCORES[:3], atol=1e-6)
    np.testing.assert_allclose([o.l for o in objects], BOXES[:3, 4], atol=1e-4)
    assert get_objects_from_label(tmp_path / "000013.txt") == []
