"""Part-A2's voxel targets: worked out by hand, and against PCDet v0.1's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcdet.datasets.processor.part_targets import PartTargetGenerator
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.utils.errors import ConfigError

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
CONFIG = {
    "GENERATED_ON": "dataset",
    "GT_EXTEND_WIDTH": 0.2,
    "MEAN_SIZE": {"Car": [2.0, 4.0, 1.0], "Cyclist": [0.5, 2.0, 2.0]},
}
CLASSES = ["Car", "Cyclist"]


def test_by_hand():
    generator = PartTargetGenerator.from_config(
        {**CONFIG, "GENERATE_BBOX_REG_LABELS": True}, CLASSES
    )
    box = np.array([[10.0, 0, -1, 2, 4, 2, 0]])
    centers = np.array([[10, 0, 0], [10.5, -1, -0.5], [11.1, 0, 0], [10, 0, -1.1], [20, 0, 0]])
    seg, part, reg = generator(centers, box, np.array([1]))
    assert seg.tolist() == [1, 1, -1, -1, 0]
    np.testing.assert_allclose(part[:2], [[0.5, 0.5, 0.5], [0.75, 0.25, 0.25]])
    np.testing.assert_allclose(reg[:2], [[0, 0, 0, 0, 0, 1, 0], [-0.5, 1, 0.5, 0, 0, 1, 0]])
    assert not part[2:].any()
    assert not reg[2:].any()
    assert (seg.dtype, part.dtype, reg.dtype) == (np.int32, np.float32, np.float32)


@pytest.mark.parametrize("rz", [0.3, np.pi / 2, -2.5])
def test_places_turn_with_the_box(rz):
    """The box's own x axis points to (cos rz, -sin rz), its y axis to (sin rz, cos rz)."""
    generator = PartTargetGenerator(extra_width=0.2)
    box = np.array([[5.0, 3, 1, 2, 4, 2, rz]])
    across, along = np.array([np.cos(rz), -np.sin(rz)]), np.array([np.sin(rz), np.cos(rz)])
    center = np.array([[*(box[0, :2] + 0.5 * across + 1.5 * along), 2.5]])
    seg, part, reg = generator(center, box, np.array([2]))
    assert seg.tolist() == [2]
    np.testing.assert_allclose(part, [[0.75, 0.875, 0.75]], atol=1e-6)
    assert reg is None


def test_the_later_box_has_the_last_word():
    boxes = np.array([[0.0, 0, 0, 2, 2, 2, 0], [1.1, 0, 0, 2, 2, 2, 0]])
    centers = np.array([[-0.5, 0, 1], [0.0, 0, 1], [0.5, 0, 1], [1.5, 0, 1]])
    seg, _, _ = PartTargetGenerator(extra_width=0.2)(centers, boxes, np.array([1, 2]))
    assert seg.tolist() == [1, -1, 2, 2]


@pytest.mark.parametrize("num_voxels, num_boxes", [(0, 0), (0, 2), (3, 0)])
def test_empty(num_voxels, num_boxes):
    generator = PartTargetGenerator.from_config(
        {**CONFIG, "GENERATE_BBOX_REG_LABELS": True}, CLASSES
    )
    seg, part, reg = generator(
        np.zeros((num_voxels, 3)), np.ones((num_boxes, 7)), np.ones(num_boxes, np.int32)
    )
    assert (seg.shape, part.shape, reg.shape) == ((num_voxels,), (num_voxels, 3), (num_voxels, 7))
    assert not seg.any()


def test_only_made_when_asked_for():
    assert PartTargetGenerator.from_config(None, CLASSES) is None
    assert PartTargetGenerator.from_config({"GENERATED_ON": "head"}, CLASSES) is None


def test_a_class_without_a_mean_size_is_named():
    config = {**CONFIG, "GENERATE_BBOX_REG_LABELS": True, "MEAN_SIZE": {"Car": [1, 1, 1]}}
    with pytest.raises(ConfigError, match=r"MEAN_SIZE: no entry for \['Cyclist'\]"):
        PartTargetGenerator.from_config(config, CLASSES)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs PCDet's numbers")
def test_equals_pcdet():
    voxels = np.load(REFERENCE / "eval_items_second.npz")
    expected = np.load(REFERENCE / "eval_items_parta2.npz")
    generator = VoxelGenerator([0.05, 0.05, 0.1], [0, -40, -3, 70.4, 40, 1], 5)
    centers = generator.voxel_centers(voxels["000003/coordinates"].astype(np.int32))
    boxes = expected["000003/gt_boxes"]
    seg, part, _ = PartTargetGenerator(extra_width=0.2)(
        centers, boxes[:, :7], boxes[:, 7].astype(np.int32)
    )
    np.testing.assert_array_equal(seg, expected["000003/seg_labels"])
    foreground = np.flatnonzero(seg > 0)
    np.testing.assert_array_equal(foreground, expected["000003/part_fg_idx"])
    np.testing.assert_allclose(part[foreground], expected["000003/part_fg"], rtol=0, atol=1e-7)
