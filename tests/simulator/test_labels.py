"""Labels: truncation, occlusion, angles and lines worked out on scenes of a few things."""

from __future__ import annotations

import numpy as np
import pytest
from flat_ground import GROUND, flat_ground

from pcdet.simulator import labelling, vehicles
from pcdet.simulator import materials as m
from pcdet.simulator.camera import take_picture
from pcdet.simulator.lidar import sweep
from pcdet.simulator.mesh import box
from pcdet.simulator.motion import STANDING
from pcdet.simulator.recording import draw_recording
from pcdet.simulator.scene import SceneObject, assemble
from pcdet.utils.kitti_format.label import Object3d


def a_car(x, y, heading=0.0) -> SceneObject:
    mesh, size = vehicles.car(np.random.default_rng(3))
    position = np.array([x, y, GROUND])
    return SceneObject("Car", mesh.moved(position, heading), position, size, heading)


def label(objects, statics=(), moving=STANDING):
    rng = np.random.default_rng(0)
    up = np.array([0, 0, 1.0])
    scene = assemble(flat_ground(), list(objects), list(statics), [], up, moving)
    recording = draw_recording(rng)
    picture = take_picture(scene, recording, rng)
    turn = sweep(scene, rng)
    return labelling.label_scene(scene, picture, turn, recording), scene, turn, recording


def test_a_car_ahead_and_alone():
    found, _, turn, _ = label([a_car(15.0, 0.0)])
    (only,) = found
    assert (only.name, only.truncation, only.occlusion) == ("Car", 0.0, 0)
    # It looks away from the camera: heading along the view is -pi / 2 in KITTI's angle.
    assert only.rotation_y == pytest.approx(-np.pi / 2, abs=0.03)
    assert only.alpha == pytest.approx(-np.pi / 2, abs=0.05)
    assert only.location[2] == pytest.approx(15.0 - 0.27, abs=0.1)
    assert only.location[1] == pytest.approx(1.73 - 0.08, abs=0.35)
    assert (turn.owner == 0).sum() > 150


@pytest.mark.parametrize("heading", [0.0, np.pi])
def test_a_cars_lamps_shine(heading):
    _, _, turn, _ = label([a_car(12.0, 0.0, heading)])
    height = turn.points[:, 2] - GROUND
    # Above the plate, at the end that looks to the sensor.
    lamps = (turn.owner == 0) & (turn.points[:, 3] > 0.5) & (height > 0.53) & (height < 0.9)
    assert (turn.points[lamps, 1] > 0.2).sum() > 2
    assert (turn.points[lamps, 1] < -0.2).sum() > 2


@pytest.mark.parametrize("heading", [0.0, 0.7, np.pi / 2, 3.0, -2.0])
def test_rotation_is_the_heading_turned(heading):
    (only,), *_ = label([a_car(18.0, 2.0, heading)])
    wrong = np.mod(only.rotation_y + heading + np.pi / 2 + np.pi, 2 * np.pi) - np.pi
    assert abs(wrong) < 0.03


def test_a_car_half_out_of_the_picture():
    found, scene, _, recording = label([a_car(6.0, 4.6)])
    (only,) = found
    unclipped = labelling.project_box(scene.objects[0], recording)
    assert unclipped[0] < 0 <= only.box[0]
    share = (only.box[2] - only.box[0]) * (only.box[3] - only.box[1])
    share /= (unclipped[2] - unclipped[0]) * (unclipped[3] - unclipped[1])
    assert only.truncation == pytest.approx(1 - share)
    assert 0.1 < only.truncation < 0.9


def test_a_car_that_only_the_lidar_sees_well_is_a_region_not_to_care_about():
    (only,), _, turn, _ = label([a_car(8.0, 8.4)])
    assert only.name == "DontCare"
    assert (turn.owner == 0).sum() > 100


def test_cars_behind_or_beside_get_no_label():
    assert label([a_car(-15.0, 0.0), a_car(3.0, 12.0)])[0] == []


@pytest.mark.parametrize(("edge", "occlusion"), [(1.2, 0), (0.15, 1), (-0.35, 2), (-0.5, 3)])
def test_occlusion_grows_with_what_hides_the_car(edge, occlusion):
    # A slab hides what lies left of `edge`, metres from the middle of the car's rear.
    slab = box((0.1, 4.0, 4.0), (11.0, edge * 11 / 14 + 2.0, 0.0), m.CONCRETE)
    (only,), *_ = label([a_car(16.0, 0.0)], [slab])
    assert only.occlusion == occlusion


def test_a_hidden_car_gets_no_label():
    slab = box((0.1, 6.0, 4.0), (11.0, 0.0, 0.0), m.CONCRETE)
    assert label([a_car(16.0, 0.0)], [slab])[0] == []


def test_a_far_car_is_a_region_not_to_care_about():
    (only,), *_ = label([a_car(77.0, 0.0)])
    assert only.name == "DontCare"
    assert only.line().split()[:4] == ["DontCare", "-1", "-1", "-10"]
    assert only.line().endswith("-1 -1 -1 -1000 -1000 -1000 -10")
    assert Object3d.from_line(only.line()).cls_type == "DontCare"


def test_a_line_has_two_decimals_and_is_read_back():
    (only,), *_ = label([a_car(15.0, 1.0, 0.3)])
    words = only.line().split()
    assert len(words) == 15
    assert all(len(word.split(".")[1]) == 2 for word in words[3:])
    back = Object3d.from_line(only.line())
    assert (back.h, back.w, back.l) == pytest.approx(only.size, abs=0.006)
    np.testing.assert_allclose(back.loc, only.location, atol=0.006)


@pytest.mark.parametrize("side", [1, -1])
def test_a_box_through_the_cameras_plane_is_cut(side):
    (only,), scene, _, recording = label([a_car(1.3, side * 1.6)])
    (car,), (rows, columns) = scene.objects, recording.image_shape
    projected = labelling.project_box(car, recording)
    outer = 0 if side > 0 else 2  # the side of the box that the picture cuts
    # Its outer side is cut 0.2 m before the camera.
    focal, centre = recording.projections[2][0, [0, 2]]
    beside = side * (1.6 + car.size[1] / 2)
    assert projected[outer] == pytest.approx(centre - focal * beside / 0.2, rel=0.05)
    assert only.box[outer] == (0 if side > 0 else columns - 1)
    assert only.box[2 - outer] == pytest.approx(projected[2 - outer])
    assert only.box[3] == rows - 1 < projected[3]


def test_the_road_as_a_plane():
    _, scene, _, recording = label([a_car(15.0, 0.0)])
    plane = labelling.ground_plane(scene, recording)
    assert plane[1] < -0.99
    assert np.linalg.norm(plane[:3]) == pytest.approx(1.0)
    spot = recording.lidar_to_rect @ [12.0, 1.0, GROUND, 1.0]
    assert plane[:3] @ spot + plane[3] == pytest.approx(0.0, abs=5e-3)
