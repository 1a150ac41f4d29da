"""What things look like: KITTI's sizes, bodies that fill their boxes and are more than boxes."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.simulator import body, clutter, companions, street, trees, vehicles
from pcdet.simulator.materials import CONCRETE, METAL, TYRE
from pcdet.simulator.mesh import GLASS, RETRO, Mesh, box, from_triangles, merge, tube, wheel
from pcdet.simulator.placement import SHAPES

# KITTI's means of height, width and length over its training labels, metres.
KITTI_SIZES = {
    "Car": (1.53, 1.63, 3.88),
    "Van": (2.21, 1.90, 5.08),
    "Truck": (3.25, 2.59, 10.1),
    "Pedestrian": (1.76, 0.66, 0.84),
    "Person_sitting": (1.27, 0.59, 0.80),
    "Cyclist": (1.74, 0.60, 1.76),
    "Tram": (3.53, 2.54, 16.1),
    "Misc": (1.91, 1.51, 3.58),
}
# Not a class of KITTI: a counterbalance truck for loads of 2.5 t, with its forks.
SIZES = {**KITTI_SIZES, "Forklift": (2.2, 1.2, 3.3)}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def samples(request):
    rng = np.random.default_rng(2)
    return request.param, [SHAPES[request.param](rng) for _ in range(120)]


def test_sizes_are_those_of_the_class(samples):
    name, things = samples
    height, width, length = SIZES[name]
    mean = np.mean([size for _, size in things], axis=0)
    np.testing.assert_allclose(mean, [length, width, height], rtol=0.12)


def test_people_come_in_kittis_sizes():
    rng = np.random.default_rng(1)
    people = np.array([SHAPES["Pedestrian"](rng)[1] for _ in range(400)])
    assert 0.003 < (people[:, 2] < 1.4).mean() < 0.05  # few children
    assert people[:, 2].std() == pytest.approx(0.11, abs=0.03)  # KITTI's labels: 0.09 to 0.11
    # Their lengths and widths: 0.22 to 0.235 and 0.14 to 0.15.
    np.testing.assert_allclose(people[:, :2].std(axis=0), [0.235, 0.143], atol=0.035)


def test_bodies_fill_their_boxes(samples):
    name, things = samples
    for mesh, size in things:
        low, high = mesh.extent
        middle = (low + high) / 2
        assert low[2] == pytest.approx(0.0, abs=0.02)
        mirrors = 0.35 if name in ("Car", "Van") else 0.02
        np.testing.assert_array_less(high - low, size + np.array([0.02, mirrors, 0.02]))
        np.testing.assert_array_less(size - np.array([0.25, 0.2, 0.06]), high - low)
        np.testing.assert_allclose(middle[:2], 0.0, atol=0.03)


def test_nothing_is_degenerate(samples):
    for mesh, _ in samples[1]:
        assert np.isfinite(mesh.triangles).all()
        assert mesh.surfaces.shape == (len(mesh.triangles), 6)
        assert len(mesh.triangles) > 30


def test_a_cars_bumpers_answer_more_than_its_paint():
    mesh, (length, _, height) = vehicles.car(np.random.default_rng(0))
    x, z = mesh.triangles[..., 0], mesh.triangles[..., 2]
    paint = mesh.surfaces[0, 2]
    for end in (1.0, -1.0):
        low = (end * x > 0.45 * length).all(axis=1) & (z < 0.45 * height).all(axis=1)
        assert mesh.surfaces[low & (mesh.surfaces[:, 0] != RETRO), 2].max() > paint + 0.1


def test_only_mirrors_stand_out_of_a_cars_box():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mesh, size = vehicles.car(rng)
        beyond = (np.abs(mesh.triangles[..., 1]) > size[1] / 2).any(axis=1)
        assert 0 < beyond.sum() <= 24
        assert (mesh.triangles[beyond][..., 2] > 0.4 * size[2]).all()


def test_a_car_has_glass_lamps_and_a_cabin():
    mesh, size = vehicles.car(np.random.default_rng(1))
    kinds = mesh.surfaces[:, 0]
    assert (kinds == GLASS).sum() > 30
    assert (kinds == RETRO).sum() >= 10
    # The roof is narrower than the waist and shorter than the car.
    tops = mesh.triangles[mesh.triangles[..., 2].max(axis=1) > 0.97 * size[2]].reshape(-1, 3)
    roof = tops[tops[:, 2] > 0.9 * size[2]]
    assert np.abs(roof[:, 1]).max() < 0.44 * size[1]
    assert np.ptp(roof[:, 0]) < 0.75 * size[0]


STREET_THINGS = [
    make
    for module in (street, clutter, companions, trees)
    for name, make in vars(module).items()
    if callable(make) and make.__module__ == module.__name__ and name != "plant" and name[0] != "_"
]


@pytest.mark.parametrize("make", STREET_THINGS, ids=lambda make: make.__name__)
def test_street_things_stand_on_the_ground(make):
    rng = np.random.default_rng(5)
    arguments = {
        "building": (12.0, 8.0), "wall": (9.0, 1.2), "fence": (9.0, 1.2), "trunk": (7.0,),
    }.get(make.__name__, ())  # fmt: skip
    for _ in range(10):
        mesh = make(9.0) if make is street.guard_rail else make(*arguments, rng)
        low, high = mesh.extent
        assert -0.4 < low[2] < 0.2
        assert high[2] > 0.3
        assert np.isfinite(mesh.triangles).all()


def test_a_knee_is_as_far_from_hip_and_ankle_as_its_bones_are_long():
    hip, ankle = np.array([0.0, 0.1, 1.0]), np.array([0.2, 0.1, 0.4])
    knee = body.joint(hip, ankle, (0.42, 0.40))
    assert np.linalg.norm(knee - hip) == pytest.approx(0.42)
    assert np.linalg.norm(knee - ankle) == pytest.approx(0.40)
    assert knee[0] > 0.2  # it bends forward
    # A leg that is too short is stretched, both bones alike.
    np.testing.assert_allclose(body.joint(hip, ankle, (0.2, 0.1)), hip + (ankle - hip) * 2 / 3)


def test_riders_legs_move():
    rng = np.random.default_rng(4)
    riders = [SHAPES["Cyclist"](rng)[0].triangles for _ in range(12)]
    # The lowest corners of what is wider than a wheel: the pedals' height differs.
    lowest = [t[np.abs(t[..., 1]) > 0.08][:, 2].min() for t in riders]
    assert np.ptp(lowest) > 0.05


def test_moved_turns_counter_clockwise():
    mesh = box((2, 1, 1), (1, 0, 0.5), CONCRETE).moved((10, 20, 3), np.pi / 2)
    low, high = mesh.extent
    np.testing.assert_allclose([low, high], [[9.5, 20, 3], [10.5, 22, 4]], atol=1e-9)


def test_moved_shears_onto_a_slope():
    mesh = box((2, 2, 1), (0, 0, 0.5), CONCRETE).moved((0, 0, 0), 0.0, (0.1, 0.0))
    front = mesh.triangles[..., 0] > 0.9
    assert mesh.triangles[front][:, 2].min() == pytest.approx(0.1)


def test_a_tube_has_its_radius():
    mesh = tube((0, 0, 0), (0, 0, 2), (0.5, 0.25), METAL, sides=32)
    radius = np.hypot(mesh.triangles[..., 0], mesh.triangles[..., 1])
    low = mesh.triangles[..., 2] < 0.01
    assert radius[low].max() == pytest.approx(0.5)
    assert radius[~low].max() == pytest.approx(0.25)


def test_a_wheel_stands_on_its_tyre():
    low, high = wheel((0, 0, 0.3), 0.3, 0.2, TYRE, METAL).extent
    np.testing.assert_allclose(low[1:], [-0.1, 0.0], atol=0.01)
    np.testing.assert_allclose(high, [0.3, 0.1, 0.6], atol=0.01)


def test_merging_nothing():
    assert merge([]).triangles.shape == (0, 3, 3)
    assert isinstance(merge([]), Mesh)


def test_shapes_keep_their_order_among_triangles():
    first, second = box((1, 1, 1), (0, 0, 5), METAL), tube((0, 0, 0), (0, 0, 1), (1, 1), TYRE, 3)
    mixed = merge([first, from_triangles([[[7, 0, 0], [8, 0, 0], [7, 1, 0]]], CONCRETE), second])
    np.testing.assert_array_equal(mixed.triangles[:12], first.triangles)
    assert mixed.triangles[12, :, 0].min() == 7
    np.testing.assert_array_equal(mixed.triangles[13:], second.triangles)
    expected = [METAL] * 12 + [CONCRETE] + [TYRE] * 18
    np.testing.assert_array_equal(mixed.surfaces, expected)


def test_a_round_shape_of_too_many_sides_is_refused():
    with pytest.raises(ValueError, match="at most 32 sides, not 33"):
        tube((0, 0, 0), (0, 0, 1), (1, 1), METAL, sides=33)
