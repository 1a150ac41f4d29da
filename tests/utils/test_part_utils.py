"""Targets of voxels against their definition, point by point and box by box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pcdet.utils.part_utils import box_targets, part_targets


def inside_and_place(point, box, margin: float = 0.0):
    """Whether a point is in the box grown by a margin, and its place as fractions of w, l, h."""
    x, y, z, w, length, h, rz = box
    dx, dy = point[0] - x, point[1] - y
    across = dx * math.cos(rz) - dy * math.sin(rz)
    along = dx * math.sin(rz) + dy * math.cos(rz)
    up = point[2] - z
    inside = (
        abs(across) < w / 2 + margin
        and abs(along) < length / 2 + margin
        and -margin <= up <= h + margin
    )
    return inside, (across / w + 0.5, along / length + 0.5, up / h)


def targets_by_definition(points, boxes, labels, extra_width):
    seg, part = np.zeros(len(points)), np.zeros((len(points), 3))
    for k, point in enumerate(points):
        for box, label in zip(boxes, labels):
            inside, place = inside_and_place(point, box)
            if inside:
                seg[k], part[k] = label, place
            elif inside_and_place(point, box, extra_width)[0]:
                seg[k] = -1
    return seg, part


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(seed, device):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate((
        rng.uniform(-3, 3, (6, 3)), rng.uniform(0.5, 4, (6, 3)), rng.uniform(-7, 7, (6, 1))
    ), axis=1)  # fmt: skip
    points, labels = rng.uniform(-5, 5, (800, 3)), rng.integers(1, 4, 6)
    seg, part = part_targets(
        *(torch.from_numpy(value).to(device) for value in (points, boxes, labels)), extra_width=0.2
    )
    expected_seg, expected_part = targets_by_definition(points, boxes, labels, 0.2)
    assert {-1, 0} < set(expected_seg)
    np.testing.assert_array_equal(seg.cpu().numpy(), expected_seg)
    np.testing.assert_allclose(part.cpu().numpy(), expected_part, atol=1e-12)
    assert seg.dtype == torch.int32


@pytest.mark.parametrize(("num_points", "num_boxes"), [(0, 0), (0, 2), (3, 0)])
def test_nothing_to_label(num_points, num_boxes):
    seg, part = part_targets(
        torch.zeros(num_points, 3), torch.ones(num_boxes, 7), torch.ones(num_boxes), 0.2
    )
    assert seg.shape == (num_points,) and part.shape == (num_points, 3)
    assert not seg.any() and not part.any()


def test_boxes_by_definition(device):
    """Vector to the middle, relative size and turn of the last box around each point."""
    rng = np.random.default_rng(5)
    boxes = np.concatenate((
        rng.uniform(-3, 3, (6, 3)), rng.uniform(0.5, 4, (6, 3)), rng.uniform(-7, 7, (6, 1))
    ), axis=1)  # fmt: skip
    points, sizes = rng.uniform(-5, 5, (800, 3)), rng.uniform(1, 2, (6, 3))
    expected = np.zeros((800, 7))
    for k, point in enumerate(points):
        for box, size in zip(boxes, sizes):
            if inside_and_place(point, box)[0]:
                middle = box[:3] + np.array([0, 0, box[5] / 2])
                expected[k] = [*(middle - point), *(box[3:6] / size - 1), box[6]]
    found = box_targets(*(torch.from_numpy(v).to(device) for v in (points, boxes, sizes)))
    assert expected.any(axis=1).sum() > 20
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=1e-12)
    assert box_targets(torch.zeros(0, 3), torch.ones(2, 7), torch.ones(2, 3)).shape == (0, 7)
    assert not box_targets(torch.zeros(3, 3), torch.ones(0, 7), torch.ones(0, 3)).any()
