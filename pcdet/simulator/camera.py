"""The picture that camera 2 takes of a scene: plain shading, but the true scene from its pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.simulator import ground as terrain
from pcdet.simulator.casting import cast_scene, visible_of
from pcdet.simulator.ground import cover_at
from pcdet.simulator.raycast import GROUND, NOTHING, Hits, Rays
from pcdet.simulator.recording import Recording
from pcdet.simulator.scene import Scene
from pcdet.simulator.windows import camera_windows
from pcdet.utils.compiling import compiled

_HAZE_DISTANCE = 140.0  # metres over which two thirds of the contrast is lost
_HAZE = np.array([0.80, 0.85, 0.90])
_SKY_TOP = np.array([0.45, 0.62, 0.86])
_AMBIENT = 0.50


@dataclass
class Picture:
    """A rendered image and what is seen in it.

    Attributes:
        image: (rows, columns, 3) uint8.
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
        return camera_windows(triangles, projection, recording.image_shape)

    hits = cast_scene(scene, rays, windows_of, False, rng)
    return Picture(_shade(scene, hits, rays), visible_of(scene, hits), hits.reached)


def pixel_rays(recording: Recording) -> Rays:
    """Return the ray of each pixel in the LiDAR frame.

    A direction has depth 1, so a distance along it is a depth in metres.
    """
    matrix = recording.lidar_to_image
    inverse = np.linalg.inv(matrix[:, :3])
    origins = np.broadcast_to(-inverse @ matrix[:, 3], (recording.image_shape[0], 3))
    rows, columns = (np.arange(size) for size in recording.image_shape)
    down = inverse[:, 1, None, None] * rows[:, None]
    across = inverse[:, 0, None, None] * columns + inverse[:, 2, None, None]
    directions = down.astype(np.float32) + across.astype(np.float32)
    # In rows, as those of the LiDAR, for which the casters are compiled.
    return Rays(np.ascontiguousarray(origins, np.float32), directions)


def _shade(scene: Scene, hits: Hits, rays: Rays) -> np.ndarray:
    """Colours of all pixels, (rows, columns, 3) uint8."""
    lit = _lit_colours(scene.triangles, scene.surfaces, scene.sun)
    floor_colours = terrain.SURFACES[:, 3:6] * (_AMBIENT + (1.0 - _AMBIENT) * scene.sun[2])
    if scene.ground.rain:
        floor_colours[[terrain.ASPHALT, terrain.PAVING, terrain.GRAVEL]] *= 0.6
    table = np.concatenate([lit, scene.volumes[:, 12:15], floor_colours]).astype(np.float32)
    distance = np.minimum(hits.distance, hits.glass_distance)
    haze = 1.0 - np.exp(distance * np.float32(-1.0 / _HAZE_DISTANCE))
    return _paint(table, scene.volumes, scene.ground.plan, hits, haze, rays)


@compiled()
def _paint(table, volumes, plan, hits, haze, rays):
    """The picture (R, C, 3) uint8.

    Args:
        table: (T + V + 5, 3) float32 colours of triangles, volumes and kinds of ground.
        volumes: (V, 15), rows of `foliage.Volume`.
        plan: the ground's.
        hits: what the pixels show.
        haze: (R, C) float32 share of haze before it.
        rays: the pixels' rays.
    """
    (roads, verges, _, divider), origin, shape = plan, rays.origins[0], haze.shape
    floors = len(table) - len(terrain.SURFACES)
    first_volume = floors - len(volumes)
    image = np.empty((*shape, 3), np.uint8)
    for r in range(shape[0]):
        for c in range(shape[1]):
            row, far = hits.index[r, c], hits.distance[r, c]
            if hits.glass_distance[r, c] < far:
                row, far = hits.glass_index[r, c], hits.glass_distance[r, c]
            # No view of the ray's direction: to make one takes longer than to paint the pixel.
            x, y, z = rays.directions[0, r, c], rays.directions[1, r, c], rays.directions[2, r, c]
            light = np.float32(1.0)
            if row == GROUND:
                row = floors + cover_at(
                    roads, verges, divider, origin[0] + far * x, origin[1] + far * y
                )
            elif row >= first_volume:
                volume = row - first_volume
                share = (origin[2] + far * z - volumes[volume, 3]) / volumes[volume, 6]
                light = np.float32(min(max(0.8 + 0.35 * share, 0.4), 1.2))
            rise = min(max(z * 4.0, 0.0), 1.0)
            for i in range(3):
                if row == NOTHING:
                    color = np.float32(_HAZE[i] + (_SKY_TOP[i] - _HAZE[i]) * rise)
                else:
                    color = table[row, i] * light
                    color += (np.float32(_HAZE[i]) - color) * haze[r, c]
                # Few levels make small files, and the eye takes no notice.
                image[r, c, i] = 4 * min(max(np.rint(color * np.float32(63.0)), 0), 63)
    return image


@compiled()
def _lit_colours(triangles, surfaces, sun):
    """Colour (T, 3) of each triangle under the scene's light."""
    colours = np.empty((len(triangles), 3))
    for k in range(len(triangles)):
        ax, ay, az = triangles[k, 0, 0], triangles[k, 0, 1], triangles[k, 0, 2]
        ux, uy, uz = triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az
        vx, vy, vz = triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        size = max(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-9))
        nx, ny, nz = nx / size, ny / size, nz / size
        light = _AMBIENT + (1.0 - _AMBIENT) * abs(nx * sun[0] + ny * sun[1] + nz * sun[2])
        for i in range(3):
            colours[k, i] = surfaces[k, 3 + i] * light
    return colours
