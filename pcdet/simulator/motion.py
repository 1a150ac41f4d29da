"""The recording car drives on while its LiDAR turns: where a turn meets each thing.

KITTI's object scans are as the sensor made them: their points lie on the cones of its lasers to
within 1.3 mm all around, which no scan does from which the car's own motion was taken out. It turns
to the left here, as KITTI's does; the mirrored scenes of a training show the other way, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pcdet.simulator.scene import Scene

TURN = 0.1  # seconds of a turn; the middle of it, as it looks ahead, is the picture's moment


@dataclass(frozen=True)
class Motion:
    """How the recording car moves.

    Attributes:
        speed: metres a second along x.
        yaw_rate: radians a second, positive to the left.
    """

    speed: float = 0.0
    yaw_rate: float = 0.0


STANDING = Motion()


def seen_in_turn(scene: Scene, whole: bool = False) -> Scene:
    """Return the scene with each thing where the sensor finds it when it points there.

    The ground stays as it is: along a road it looks the same from a metre farther on.

    Args:
        scene: the scene at the picture's moment.
        whole: objects behind the sensor, where the turn begins and ends, are in one piece, as if it
            went on past their middles; else one part is seen a turn after the other.
    """
    headings = np.array([thing.heading for thing in scene.objects])
    speeds = np.array([thing.speed for thing in scene.objects])
    velocities = np.column_stack([speeds * np.cos(headings), speeds * np.sin(headings)])
    # The last row is for what has no owner, -1.
    velocities = np.vstack([velocities, np.zeros(2)]).astype(np.float32)
    spots = np.array([thing.position for thing in scene.objects]).reshape(-1, 3)
    middles = _azimuth(spots)
    azimuth = np.arctan2(scene.triangles[..., 1], scene.triangles[..., 0])
    if whole:
        owned = scene.owner >= 0
        off = middles[scene.owner[owned], None] - azimuth[owned]
        azimuth[owned] += 2 * np.pi * np.rint(off / (2 * np.pi))
    seam = (np.abs(azimuth - azimuth[:, :1]) > np.pi).any(axis=1)  # where the turn begins, behind
    azimuth[seam] = azimuth[seam, :1]
    triangles, volumes = scene.triangles.copy(), scene.volumes.copy()
    triangles[..., :2] = _moved(
        triangles[..., :2], azimuth, velocities[scene.owner][:, None], scene.motion
    )
    centres = volumes[:, 1:3]
    volumes[:, 1:3] = _moved(centres, _azimuth(centres), np.zeros(2), scene.motion)
    spots[:, :2] = _moved(spots[:, :2], middles, velocities[:-1], scene.motion)
    headings = headings - scene.motion.yaw_rate * _moment(middles)
    objects = [
        replace(thing, position=spot, heading=float(heading))
        for thing, spot, heading in zip(scene.objects, spots, headings)
    ]
    return replace(scene, objects=objects, triangles=triangles, volumes=volumes)


def _azimuth(spots: np.ndarray) -> np.ndarray:
    return np.arctan2(spots[:, 1], spots[:, 0])


def _moment(azimuth: np.ndarray) -> np.ndarray:
    """Seconds before (negative) or after the picture: from behind, over the right, to behind."""
    return azimuth * (TURN / (2 * np.pi))


def _moved(xy: np.ndarray, azimuth: np.ndarray, velocity: np.ndarray, motion: Motion) -> np.ndarray:
    """Spots (..., 2) that move with a velocity (..., 2) as the moving sensor finds them."""
    moment = _moment(azimuth)
    x = xy[..., 0] + (velocity[..., 0] - motion.speed) * moment
    y = xy[..., 1] + velocity[..., 1] * moment
    turned = motion.yaw_rate * moment  # so small that its sine is itself
    c = 1.0 - turned * turned / 2
    return np.stack([c * x + turned * y, c * y - turned * x], axis=-1)
