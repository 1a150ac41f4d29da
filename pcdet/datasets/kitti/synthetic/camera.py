"""The picture that camera 2 takes of a scene: plain shading, but the true scene from its pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.datasets.kitti.synthetic import ground as terrain
from pcdet.datasets.kitti.synthetic.casting import cast_scene, owners_of
from pcdet.datasets.kitti.synthetic.raycast import FAR, GROUND, NOTHING, Rays
from pcdet.datasets.kitti.synthetic.recording import IMAGE_SHAPE, Recording
from pcdet.datasets.kitti.synthetic.scene import Scene
from pcdet.datasets.kitti.synthetic.windows import camera_windows

_HAZE_DISTANCE = 140.0  # metres over which two thirds of the contrast is lost
_HAZE = np.array([0.80, 0.85, 0.90])
_SKY_TOP = np.array([0.45, 0.62, 0.86])
_AMBIENT = 0.50


@dataclass
class Picture:
    """A rendered image and what is seen in it.

    Attributes:
        image: (375, 1242, 3) uint8.
        visible: (M,) pixels that show each object.
        reached: (M,) pixels that would show it if nothing stood before it.
    """

    image: np.ndarray
    visible: np.ndarray
    reached: np.ndarray


def take_picture(scene: Scene, recording: Recording, rng: np.random.Generator) -> Picture:
    """Render the scene from camera 2.

    Args:
        scene: the scene.
        recording: calibration of the camera.
        rng: for the leaves that single rays meet.
    """
    rays = pixel_rays(recording)
    projection = recording.lidar_to_image

    def windows_of(triangles: np.ndarray) -> np.ndarray:
        return camera_windows(triangles.astype(np.float64), projection, IMAGE_SHAPE)

    hits = cast_scene(scene, rays, windows_of, False, rng)
    pane_first = hits.glass_distance < hits.distance
    distance = np.where(pane_first, hits.glass_distance, hits.distance)
    index = np.where(pane_first, hits.glass_index, hits.index)
    owner = owners_of(scene, index)
    visible = np.bincount(owner[owner >= 0], minlength=len(scene.objects))
    image = _shade(scene, index, distance, rays)
    return Picture(image, visible, hits.reached)


def pixel_rays(recording: Recording) -> Rays:
    """The ray of each pixel in the LiDAR frame.

    A direction has depth 1, so a distance along it is a depth in metres.
    """
    matrix = recording.lidar_to_image
    inverse = np.linalg.inv(matrix[:, :3])
    origin = -inverse @ matrix[:, 3]
    rows, columns = np.meshgrid(*map(np.arange, IMAGE_SHAPE), indexing="ij")
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    origins = np.broadcast_to(origin, (IMAGE_SHAPE[0], 3))
    return Rays(origins.astype(np.float32), (pixels @ inverse.T).astype(np.float32))


def _shade(scene: Scene, index: np.ndarray, distance: np.ndarray, rays: Rays) -> np.ndarray:
    """Colours of all pixels, (375, 1242, 3) uint8."""
    count, volumes = len(scene.triangles), scene.volumes
    origin, directions = rays.origins[0], rays.directions
    floor_light = _AMBIENT + (1.0 - _AMBIENT) * scene.sun[2]
    floor_colours = terrain.SURFACES[:, 3:6] * floor_light
    table = np.concatenate([_lit_colours(scene), volumes[:, 12:15], floor_colours, _HAZE[None]])
    row = index.copy()  # of the table, for each pixel
    floor = np.nonzero(index == GROUND)
    spot = origin[:2] + distance[floor][:, None] * directions[floor][:, :2]
    row[floor] = count + len(volumes) + scene.ground.cover(spot[:, 0], spot[:, 1])
    color = np.take(table.astype(np.float32), row, axis=0)  # nothing is -1: the last row
    leaf = np.nonzero((index >= count) & (index < count + len(volumes)))
    if len(leaf[0]):
        which = index[leaf] - count
        level = origin[2] + distance[leaf] * directions[leaf][:, 2]
        share = (level - volumes[which, 3]) / volumes[which, 6]
        color[leaf] *= np.clip(0.8 + 0.35 * share, 0.4, 1.2)[:, None].astype(np.float32)
    haze = 1.0 - np.exp(np.minimum(distance, FAR) * np.float32(-1.0 / _HAZE_DISTANCE))
    color += (_HAZE.astype(np.float32) - color) * haze[..., None]
    sky = np.nonzero(index == NOTHING)
    rise = np.clip(directions[sky][:, 2] * 4.0, 0.0, 1.0)[:, None]
    color[sky] = _HAZE + (_SKY_TOP - _HAZE) * rise
    # Few levels make small files, and the eye takes no notice.
    return (np.clip(np.rint(color * np.float32(63.0)), 0, 63) * 4).astype(np.uint8)


def _lit_colours(scene: Scene) -> np.ndarray:
    """Colour (T, 3) of each triangle under the scene's light."""
    a, b = (scene.triangles[:, k] - scene.triangles[:, 0] for k in (1, 2))
    normal = np.cross(a, b)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    light = _AMBIENT + (1.0 - _AMBIENT) * np.abs(normal @ scene.sun)
    return scene.surfaces[:, 3:6] * light[:, None]
