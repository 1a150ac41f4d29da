"""KITTI's labels of a scene: 3D boxes in the camera's frame, 2D boxes, truncation, occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.simulator.camera import Picture
from pcdet.simulator.lidar import Sweep
from pcdet.simulator.recording import Recording
from pcdet.simulator.scene import Scene, SceneObject
from pcdet.utils.kitti_format.label import (
    DONT_CARE,
    NO_ALPHA,
    NO_LOCATION,
    decimals,
    dont_care_line,
)

_NEAR = 0.2  # metres; the box is cut here before it is projected
_FARTHEST = {"Pedestrian": 55.0, "Person_sitting": 45.0, "Cyclist": 60.0}
_FARTHEST_VEHICLE = 75.0
_LEAST_HEIGHT = 14.0  # pixels
_LEAST_PIXELS, _LEAST_POINTS = 12, 3
_MOST_TRUNCATED = 0.92
# Least share of an object that is seen, for occlusion 0, 1 and 2; below, it is 3 (unclear).
_VISIBLE_SHARES = (0.80, 0.35, 0.12)
_HIDDEN = 0.03  # seen less than this, an object gets no label
_EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4)] + [
    (k, k + 4) for k in range(4)
]


@dataclass(frozen=True)
class Label:
    """One line of a label file; the fields are KITTI's, see `kitti_format.label.Object3d`."""

    name: str
    truncation: float
    occlusion: int
    alpha: float
    box: tuple[float, float, float, float]
    size: tuple[float, float, float]
    location: tuple[float, float, float]
    rotation_y: float

    def line(self) -> str:
        """Write the line of a label file, with two decimals as KITTI does."""
        if self.name == DONT_CARE:
            return dont_care_line(self.box)
        values = (self.alpha, *self.box, *self.size, *self.location, self.rotation_y)
        return f"{self.name} {self.truncation:.2f} {self.occlusion} {decimals(values, 2)}"


def _dont_care(box: tuple[float, float, float, float]) -> Label:
    nowhere = (NO_LOCATION,) * 3
    return Label(DONT_CARE, -1.0, -1, NO_ALPHA, box, (-1.0, -1.0, -1.0), nowhere, NO_ALPHA)


def label_scene(scene: Scene, picture: Picture, sweep: Sweep, recording: Recording) -> list[Label]:
    """Labels of the objects in the camera's view; regions of those hardly seen come last.

    Args:
        scene: the scene.
        picture: which pixels show each object.
        sweep: which rays meet each object.
        recording: the calibration.
    """
    hits = np.bincount(sweep.owner[sweep.owner >= 0], minlength=len(scene.objects))
    labels, ignored = [], []
    for k, thing in enumerate(sweep.objects):  # boxes are drawn about the points
        unclipped = project_box(thing, recording)
        if unclipped is None:
            continue
        box = _clip(unclipped, recording.image_shape)
        truncation = 1.0 - _area(box) / max(_area(unclipped), 1e-9)
        share = _visible_share(picture, sweep, k)
        hidden = picture.visible[k] == 0 or share < _HIDDEN or truncation > _MOST_TRUNCATED
        if hidden and hits[k] < _LEAST_POINTS:
            continue
        distance = float(np.hypot(*thing.position[:2]))
        unclear = (
            hidden
            or box[3] - box[1] < _LEAST_HEIGHT
            or picture.visible[k] < _LEAST_PIXELS
            or hits[k] < _LEAST_POINTS
            or distance > _FARTHEST.get(thing.name, _FARTHEST_VEHICLE)
        )
        if unclear:
            ignored.append(_dont_care(box))
        else:
            labels.append(_label(thing, box, truncation, share, recording))
    return labels + ignored


def _visible_share(picture: Picture, sweep: Sweep, k: int) -> float:
    """Share of an object that nothing hides: of its pixels, or of its rays where those are few."""
    if picture.reached[k] >= 60:
        return picture.visible[k] / picture.reached[k]
    rays = picture.visible[k] + sweep.visible[k]
    return rays / max(picture.reached[k] + sweep.reached[k], 1)


def _label(
    thing: SceneObject,
    box: tuple[float, float, float, float],
    truncation: float,
    share: float,
    recording: Recording,
) -> Label:
    location, rotation_y = _camera_pose(thing, recording)
    alpha = _wrap(rotation_y - np.arctan2(location[0], location[2]))
    occlusion = next((k for k, least in enumerate(_VISIBLE_SHARES) if share >= least), 3)
    length, width, height = thing.size
    return Label(
        thing.name,
        truncation,
        occlusion,
        alpha,
        box,
        (height, width, length),
        tuple(location),
        rotation_y,
    )


def _camera_pose(thing: SceneObject, recording: Recording) -> tuple[np.ndarray, float]:
    """Bottom centre (3,) and rotation_y of an object in the rectified camera frame."""
    matrix = recording.lidar_to_rect
    front = matrix[:, :3] @ np.array([np.cos(thing.heading), np.sin(thing.heading), 0.0])
    location = matrix[:, :3] @ thing.position + matrix[:, 3]
    return location, _wrap(-np.arctan2(front[2], front[0]))


def project_box(
    thing: SceneObject, recording: Recording
) -> tuple[float, float, float, float] | None:
    """Rectangle x1, y1, x2, y2 about the projected 3D box, beyond the image's borders too.

    As in KITTI the box stands upright in the camera's frame, which is nearly parallel to the road;
    the LiDAR is pitched by most of a degree.

    Returns:
        None if the box is behind the camera or out of the picture.
    """
    location, rotation_y = _camera_pose(thing, recording)
    length, width, height = thing.size
    along = np.array([1, 1, -1, -1] * 2) * length / 2
    across = np.array([1, -1, -1, 1] * 2) * width / 2
    down = np.array([0] * 4 + [-1] * 4) * height
    c, s = np.cos(rotation_y), np.sin(rotation_y)
    corners = np.stack([c * along + s * across, down, c * across - s * along], axis=1) + location
    projection = recording.projections[2]
    points = corners @ projection[:, :3].T + projection[:, 3]
    pieces = [points[points[:, 2] > _NEAR]]
    for a, b in _EDGES:
        (low, high) = sorted((points[a], points[b]), key=lambda point: point[2])
        if low[2] <= _NEAR < high[2]:
            share = (_NEAR + 1e-6 - low[2]) / (high[2] - low[2])
            pieces.append((low + share * (high - low))[None])
    seen = np.concatenate(pieces)
    if len(seen) == 0:
        return None
    pixels = seen[:, :2] / seen[:, 2:]
    box = (*pixels.min(axis=0), *pixels.max(axis=0))
    clipped = _clip(box, recording.image_shape)
    return box if _area(clipped) > 0 else None


def _clip(
    box: tuple[float, float, float, float], image_shape: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Cut a rectangle to an image of so many rows and columns."""
    right, bottom = image_shape[1] - 1.0, image_shape[0] - 1.0
    x = np.clip([box[0], box[2]], 0.0, right)
    y = np.clip([box[1], box[3]], 0.0, bottom)
    return float(x[0]), float(y[0]), float(x[1]), float(y[1])


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _wrap(angle: float) -> float:
    """An angle in [-pi, pi), kept there when it is rounded to two decimals."""
    wrapped = float(np.mod(angle + np.pi, 2 * np.pi) - np.pi)
    return float(np.clip(wrapped, -3.14, 3.14))


def ground_plane(scene: Scene, recording: Recording) -> np.ndarray:
    """Fit a plane to the road before the car: (4,) a b c d in the rectified camera frame.

    The normal points up (b < 0 there) and has unit length, as in KITTI's `planes` files.
    """
    ahead, aside = np.arange(3.0, 30.0), np.arange(-6.0, 6.5)
    spots = np.array([(x, y, scene.ground.at(x, y)) for y in aside for x in ahead])
    matrix = recording.lidar_to_rect
    spots = spots @ matrix[:, :3].T + matrix[:, 3]
    middle = spots.mean(axis=0)
    normal = np.linalg.svd(spots - middle, full_matrices=False)[2][2]
    normal *= -np.sign(normal[1])
    return np.append(normal, -normal @ middle)
