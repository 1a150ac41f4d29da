"""Augmentations: what must hold on any scene, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pcdet.datasets.data_augmentation.augmentation_utils import (
    global_dropout,
    global_rotation,
    global_scaling,
    global_slope,
    global_translation,
    move_points_with_boxes,
    noise_per_object_v3_,
    random_flip,
)
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar, remove_points_in_boxes3d


def make_scene(seed, num_boxes=12):
    """Boxes on a wide grid, 30 points well inside each, and 2000 points anywhere.

    The last column of a point is its number, the one before the number of its box or -1.
    """
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(4) * 8 + 4, np.arange(3) * 8 - 8), axis=-1)
    boxes = np.empty((num_boxes, 7))
    boxes[:, :2] = grid.reshape(-1, 2)[:num_boxes]
    boxes[:, 2] = rng.uniform(-2, -1, num_boxes)
    boxes[:, 3:6] = rng.uniform((0.5, 1, 1), (2, 5, 2), (num_boxes, 3))
    boxes[:, 6] = rng.uniform(-4, 4, num_boxes)
    local = rng.uniform(-0.49, 0.49, (num_boxes, 30, 3)) * boxes[:, None, 3:6]
    local[..., 2] += boxes[:, None, 5] / 2
    cos, sin = np.cos(boxes[:, None, 6]), np.sin(boxes[:, None, 6])
    inside = np.empty_like(local)
    inside[..., 0] = local[..., 0] * cos + local[..., 1] * sin
    inside[..., 1] = local[..., 1] * cos - local[..., 0] * sin
    inside[..., 2] = local[..., 2]
    inside = (inside + boxes[:, None, :3]).reshape(-1, 3)
    around = rng.uniform((-5, -20, -3), (40, 20, 2), (2000, 3))
    around = around[(local_places(around, boxes) > 0.5).any(axis=-1).all(axis=0)]
    xyz = np.concatenate((inside, around))
    owner = np.concatenate((np.repeat(np.arange(num_boxes), 30), np.full(len(around), -1)))
    points = np.column_stack((xyz, owner, np.arange(len(xyz)))).astype(np.float32)
    return boxes, points


def local_places(points, boxes):
    """(M, N, 3) distances from the middle of each box over its sizes: inside if all are < 0.5."""
    offset = points[None, :, :3].astype(np.float64) - boxes[:, None, :3]
    cos, sin = np.cos(boxes[:, None, 6]), np.sin(boxes[:, None, 6])
    across = offset[..., 0] * cos - offset[..., 1] * sin
    along = offset[..., 0] * sin + offset[..., 1] * cos
    up = offset[..., 2] - boxes[:, None, 5] / 2
    return np.abs(np.stack((across, along, up), axis=-1) / boxes[:, None, 3:6])


def is_inside(points, boxes):
    return (local_places(points, boxes) < 0.5).all(axis=-1)


def assert_objects_kept_their_points(boxes, points):
    inside = is_inside(points, boxes)
    for k in range(len(boxes)):
        own = points[:, 3] == k
        assert own.sum() == 30
        np.testing.assert_array_equal(inside[k], own)


def noise(boxes, points, rng):
    return noise_per_object_v3_(boxes, points, center_noise_std=[1.0, 1.0, 0.1], rng=rng)


def resize(boxes, points, rng):
    return noise_per_object_v3_(boxes, points, center_noise_std=0.5, scaling=[0.8, 1.2], rng=rng)


def flip(boxes, points, rng):
    return random_flip(boxes, points, probability=1, rng=rng)


def translate(boxes, points, rng):
    return global_translation(boxes, points, [1.0, 2.0, 0.2], rng=rng)


def slope(boxes, points, rng):
    return global_slope(boxes, points, [0.01, 0.01], rng=rng)


RIGID = [noise, resize, flip, global_rotation, global_scaling, translate]
ALL = [*RIGID, slope]


@pytest.mark.parametrize("augment", RIGID)
@pytest.mark.parametrize("seed", range(4))
def test_points_stay_in_their_boxes(augment, seed):
    boxes, points = make_scene(seed)
    assert_objects_kept_their_points(boxes, points)
    new_boxes, new_points = augment(boxes, points, rng=np.random.default_rng(seed))
    assert not np.allclose(new_boxes, boxes)
    assert_objects_kept_their_points(new_boxes, new_points)


@pytest.mark.parametrize("augment", ALL)
def test_arguments_are_not_modified_and_types_are_kept(augment):
    boxes, points = make_scene(0)
    before = boxes.copy(), points.copy()
    new_boxes, new_points = augment(boxes, points, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(points, before[1])
    assert (new_boxes.dtype, new_points.dtype) == (boxes.dtype, points.dtype)
    assert not np.shares_memory(new_boxes, boxes)
    assert not np.shares_memory(new_points, points)


@pytest.mark.parametrize("augment", ALL)
@pytest.mark.parametrize("num_boxes, num_points", [(0, 0), (0, 5), (3, 0)])
def test_empty(augment, num_boxes, num_points):
    boxes, points = make_scene(0)
    boxes, points = augment(boxes[:num_boxes], points[-num_points or len(points) :], rng=None)
    assert boxes.shape == (num_boxes, 7)
    assert points.shape == (num_points, 5)


@pytest.mark.parametrize("augment", ALL)
def test_the_generator_decides(augment):
    scene = make_scene(0)
    a, b = (augment(*scene, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("change", [{}, {"scaling": [0.6, 1.4], "num_try": 2}])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 14])
def test_noise_leaves_no_box_on_another(seed, change):
    rng = np.random.default_rng(seed)
    boxes, points = make_scene(seed)
    boxes[:, :2] *= 0.6  # crowded
    apart = [k for k in range(len(boxes)) if k not in {j for i, j in overlaps(boxes)}]
    boxes = boxes[apart]
    assert not overlaps(boxes)
    new_boxes, _ = noise_per_object_v3_(boxes, points, center_noise_std=2.0, rng=rng, **change)
    assert not overlaps(new_boxes)
    assert (new_boxes[:, :2] != boxes[:, :2]).any(axis=1).sum() > len(boxes) / 2


def overlaps(boxes):
    polygons = shapely.polygons(boxes3d_to_corners3d_lidar(boxes)[:, :4, :2])
    return [
        (i, j)
        for i in range(len(boxes))
        for j in range(i + 1, len(boxes))
        if shapely.intersection(polygons[i], polygons[j]).area > 1e-6
    ]


def test_noise_leaves_masked_boxes_alone():
    boxes, points = make_scene(0)
    valid = np.arange(len(boxes)) % 2 == 0
    new_boxes, new_points = noise_per_object_v3_(boxes, points, valid, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(new_boxes[~valid], boxes[~valid])
    assert (new_boxes[valid, 0] != boxes[valid, 0]).all()
    still = ~np.isin(new_points[:, 3], np.flatnonzero(valid))
    np.testing.assert_array_equal(new_points[still], points[new_points[still, 4].astype(int)])
    with pytest.raises(ValueError, match=rf"valid_mask must be of shape \({len(boxes)},\), got"):
        noise_per_object_v3_(boxes, points, valid[1:])


@pytest.mark.parametrize("seed", range(3))
def test_noise_removes_the_scene_that_objects_land_on(seed):
    boxes, points = make_scene(seed)
    new_boxes, new_points = noise_per_object_v3_(
        boxes, points, center_noise_std=[1, 1, 0.1], rng=np.random.default_rng(seed)
    )
    scene = points[points[:, 3] < 0]
    hit = is_inside(scene, new_boxes).any(axis=0)
    assert hit.any()
    np.testing.assert_array_equal(new_points[new_points[:, 3] < 0], scene[~hit])


def test_objects_are_scaled_where_they_stand():
    boxes, points = make_scene(0)
    valid = np.arange(len(boxes)) % 2 == 0
    new_boxes, new_points = noise_per_object_v3_(
        boxes, points, valid, [0.0, 0.0], 0.0, scaling=[0.8, 0.9], rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(new_boxes[~valid], boxes[~valid])
    np.testing.assert_array_equal(new_boxes[:, [0, 1, 2, 6]], boxes[:, [0, 1, 2, 6]])
    factors = new_boxes[valid, 3:6] / boxes[valid, 3:6]
    np.testing.assert_allclose(factors, np.repeat(factors[:, :1], 3, axis=1))
    assert (factors > 0.8).all() and (factors < 0.9).all() and len(set(factors[:, 0])) > 1
    own, new_own = points[points[:, 3] >= 0], new_points[new_points[:, 3] >= 0]
    rows, box = np.arange(len(own)), own[:, 3].astype(int)
    np.testing.assert_array_equal(new_own[:, 3:], own[:, 3:])
    places, new_places = local_places(own, boxes), local_places(new_own, new_boxes)
    np.testing.assert_allclose(new_places[box, rows], places[box, rows], atol=1e-5)


def test_dropout_takes_a_share_of_the_range():
    _, points = make_scene(0)
    rest = [
        len(global_dropout(points, [0.2, 0.4], rng=rng))
        for rng in map(np.random.default_rng, range(20))
    ]
    shares = 1 - np.array(rest) / len(points)
    assert (shares > 0.17).all() and (shares < 0.43).all() and np.ptp(shares) > 0.1
    some = global_dropout(points, [0.3, 0.3], rng=np.random.default_rng(0))
    assert (np.diff(some[:, 4]) > 0).all()
    np.testing.assert_array_equal(some, points[some[:, 4].astype(int)])


def test_points_under_two_moved_boxes_are_removed_too():
    """PCDet v0.1 kept a point that lies in two of the new places."""
    boxes = np.array([[0.0, 0, 0, 2, 2, 1, 0], [10.0, 0, 0, 2, 2, 1, 0]])
    new_boxes = np.array([[5.0, 0, 0, 2, 2, 1, np.pi / 2], [6.0, 0, 0, 2, 2, 1, 0]])
    points = np.array(
        [[0.5, 0, 0.5], [10.5, 0, 0.5], [4.5, 0, 0.5], [5.5, 0, 0.5], [5.5, 0, 1.5], [8, 0, 0]]
    ).astype(np.float32)
    moved = move_points_with_boxes(points, boxes, new_boxes)
    expected = [[5, -0.5, 0.5], [6.5, 0, 0.5], [5.5, 0, 1.5], [8, 0, 0]]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_a_point_in_two_boxes_goes_with_the_first():
    boxes = np.array([[0.0, 0, 0, 2, 2, 1, 0], [0.5, 0, 0, 2, 2, 1, 0]])
    points = np.array([[0.2, 0, 0.5], [1.2, 0, 0.5]], np.float32)
    moved = move_points_with_boxes(
        points, boxes, boxes + np.array([[0, 10, 0, 0, 0, 0, 0], [0] * 7])
    )
    np.testing.assert_allclose(moved, [[0.2, 10, 0.5], [1.2, 0, 0.5]])


def test_noise_without_room_changes_nothing():
    boxes = np.tile(np.array([[0.0, 0, 0, 4, 4, 1, 0]]), (2, 1))
    points = np.zeros((5, 4), np.float32)
    new_boxes, new_points = noise_per_object_v3_(
        boxes, points, center_noise_std=0.1, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(new_boxes, boxes)
    np.testing.assert_array_equal(new_points, points)


def test_flip_by_hand():
    boxes = np.array([[3.0, 2, -1, 2, 4, 1.5, 0.3]])
    points = np.array([[1.0, -2, 3, 0.5]], np.float32)
    new_boxes, new_points = random_flip(boxes, points, probability=1)
    np.testing.assert_allclose(new_boxes, [[3, -2, -1, 2, 4, 1.5, np.pi - 0.3]])
    np.testing.assert_array_equal(new_points, np.array([[1, 2, 3, 0.5]], np.float32))
    for new, old in zip(random_flip(boxes, points, probability=0), (boxes, points)):
        np.testing.assert_array_equal(new, old)


def test_flip_happens_half_of_the_time():
    rng = np.random.default_rng(0)
    boxes, points = np.ones((1, 7)), np.ones((1, 4), np.float32)
    flips = sum(random_flip(boxes, points, rng=rng)[1][0, 1] < 0 for _ in range(400))
    assert 160 < flips < 240


def test_rotation_by_hand():
    """A quarter turn, clockwise seen from above, takes x (forward) to -y (right)."""
    boxes = np.array([[3.0, 0, -1, 2, 4, 1.5, 0.1]])
    points = np.array([[2.0, 0, 3, 0.5]], np.float32)
    quarter = [np.pi / 2, np.pi / 2]
    new_boxes, new_points = global_rotation(boxes, points, rotation=quarter)
    np.testing.assert_allclose(new_boxes, [[0, -3, -1, 2, 4, 1.5, np.pi / 2 + 0.1]], atol=1e-12)
    np.testing.assert_allclose(new_points, [[0, -2, 3, 0.5]], atol=1e-6)


def test_ranges_are_respected():
    rng = np.random.default_rng(0)
    boxes, points = np.zeros((1, 7)), np.ones((1, 4), np.float32)
    angles = [global_rotation(boxes, points, 0.5, rng=rng)[0][0, 6] for _ in range(300)]
    assert -0.5 <= min(angles) < -0.45
    assert 0.45 < max(angles) <= 0.5
    scales = [global_scaling(boxes, points, 0.9, 1.2, rng=rng)[1][0, 0] for _ in range(300)]
    assert 0.9 <= min(scales) < 0.91
    assert 1.19 < max(scales) <= 1.2


def test_scaling_by_hand():
    boxes = np.array([[3.0, 2, -1, 2, 4, 1.5, 0.3]])
    points = np.array([[1.0, -2, 3, 0.5]], np.float32)
    new_boxes, new_points = global_scaling(boxes, points, 2, 2)
    np.testing.assert_array_equal(new_boxes, [[6, 4, -2, 4, 8, 3, 0.3]])
    np.testing.assert_array_equal(new_points, [[2, -4, 6, 0.5]])


def test_translation_has_the_deviations_it_is_given():
    boxes = np.array([[3.0, 2, -1, 2, 4, 1.5, 0.3]])
    points = np.array([[1.0, -2, 3, 0.5]], np.float32)
    rng, shifts = np.random.default_rng(0), []
    for _ in range(2000):
        new_boxes, new_points = global_translation(boxes, points, [0.0, 0.5, 0.2], rng)
        shifts.append((new_boxes - boxes)[0])
        np.testing.assert_allclose((new_points - points)[0], [*shifts[-1][:3], 0], atol=1e-6)
    np.testing.assert_allclose(np.std(shifts, axis=0), [0, 0.5, 0.2, 0, 0, 0, 0], rtol=0.1)


def test_a_slope_lifts_boxes_and_points_alike():
    """Somewhere at (x, y), the deviation of the height is that of the sum of both rises."""
    boxes = np.array([[30.0, 10, -1, 2, 4, 1.5, 0.3]])
    points = np.array([[30.0, 10, -1, 0.5]], np.float32)
    rng, shifts = np.random.default_rng(0), []
    for _ in range(2000):
        new_boxes, new_points = global_slope(boxes, points, [0.01, 0.02], rng)
        shifts.append((new_boxes - boxes)[0])
        np.testing.assert_allclose((new_points - points)[0, 2], shifts[-1][2], atol=1e-6)
        np.testing.assert_array_equal(new_points[:, [0, 1, 3]], points[:, [0, 1, 3]])
    expected = [0, 0, np.hypot(30 * 0.01, 10 * 0.02), 0, 0, 0, 0]
    np.testing.assert_allclose(np.std(shifts, axis=0), expected, rtol=0.1)


def test_remove_points_in_boxes():
    """Boxes may be float64, as ground truth is, and points float32."""
    boxes, points = make_scene(0)
    kept = remove_points_in_boxes3d(points, boxes[:4])
    np.testing.assert_array_equal(kept, points[~np.isin(points[:, 3], range(4))])
    np.testing.assert_array_equal(remove_points_in_boxes3d(points, boxes[:0]), points)
    assert remove_points_in_boxes3d(points[:0], boxes).shape == (0, 5)
