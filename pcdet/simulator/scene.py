"""A scene: everything that stands about the recording car at one moment, in the LiDAR frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.simulator.ground import Ground
from pcdet.simulator.mesh import GLASS, Mesh, merge
from pcdet.simulator.motion import STANDING, Motion


@dataclass
class SceneObject:
    """One thing that gets a label.

    Attributes:
        name: KITTI's class.
        mesh: its triangles in the LiDAR frame.
        position: (3,) bottom centre, metres, LiDAR frame.
        size: (3,) length, width, height, metres.
        heading: direction of its front, radians from +x towards +y.
        speed: metres a second along its heading.
    """

    name: str
    mesh: Mesh
    position: np.ndarray
    size: np.ndarray
    heading: float
    speed: float = 0.0


@dataclass
class Scene:
    """What a frame is made from.

    Attributes:
        ground: the terrain.
        objects: what gets a label.
        triangles: (T, 3, 3) float32, objects' first, in their order, then all else.
        surfaces: (T, 6) float32, see `mesh.Surface`.
        owner: (T,) int32 index of the object, -1 for all else.
        volumes: (V, 15), see `foliage.Volume`; the nearest first.
        sun: (3,) unit vector towards the light.
        motion: the recording car's.
    """

    ground: Ground
    objects: list[SceneObject]
    triangles: np.ndarray
    surfaces: np.ndarray
    owner: np.ndarray
    volumes: np.ndarray
    sun: np.ndarray
    motion: Motion = STANDING

    @property
    def is_glass(self) -> np.ndarray:
        """Which triangles are panes, (T,) bool."""
        return self.surfaces[:, 0] == GLASS


def assemble(
    ground: Ground,
    objects: list[SceneObject],
    statics: list[Mesh],
    volumes: list[tuple],
    sun: np.ndarray,
    motion: Motion = STANDING,
) -> Scene:
    """Put the parts of a scene into the arrays that the ray caster reads."""
    solid = merge([*(thing.mesh for thing in objects), *statics])
    owner = np.full(len(solid.triangles), -1, np.int32)
    start = 0
    for k, thing in enumerate(objects):
        owner[start : start + len(thing.mesh.triangles)] = k
        start += len(thing.mesh.triangles)
    rows = np.array(volumes, dtype=np.float64).reshape(-1, 15)
    # The nearest first: what they hide of the others need not be walked through.
    rows = rows[np.argsort(np.hypot(rows[:, 1], rows[:, 2]), kind="stable")]
    return Scene(
        ground,
        objects,
        solid.triangles.astype(np.float32),
        solid.surfaces.astype(np.float32),
        owner,
        rows,
        sun,
        motion,
    )
