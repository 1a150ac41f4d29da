"""Casts the rays of a sensor through a whole scene: ground, then solid things, then leaves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pcdet.simulator import raycast
from pcdet.simulator.leaves import cast_volumes_
from pcdet.simulator.raycast import Hits, Rays
from pcdet.simulator.scene import Scene
from pcdet.simulator.windows import enclosing, volume_hulls
from pcdet.utils.compiling import compiled


def cast_scene(
    scene: Scene,
    rays: Rays,
    windows_of: Callable[[np.ndarray], np.ndarray],
    is_turn: bool,
    rng: np.random.Generator,
) -> Hits:
    """Find what each ray meets.

    Args:
        scene: the scene.
        rays: (R, C) of them.
        windows_of: windows (T, 4) of triangles (T, 3, 3) in the grid of rays.
        is_turn: columns go once around; else they are an image's.
        rng: for the leaves that single rays meet.
    """
    shape = rays.directions.shape[1:]
    hits = raycast.no_hits(shape, len(scene.objects))
    raycast.cast_ground_(scene.ground.heights, rays, hits)
    windows = windows_of(scene.triangles)
    raycast.cast_triangles_(scene.triangles, scene.is_glass, scene.owner, windows, rays, hits)
    if len(scene.volumes):
        hulls = windows_of(volume_hulls(scene.volumes).reshape(-1, 3, 3))
        windows = enclosing(hulls, len(scene.volumes), shape if is_turn else None)
        luck = rng.random(shape, dtype=np.float32)
        cast_volumes_(scene.volumes, windows, luck, len(scene.triangles), rays, hits)
    return hits


def visible_of(scene: Scene, hits: Hits) -> np.ndarray:
    """Count the rays (M,) that meet each object first, on a pane or on what is opaque."""
    return _visible(hits, scene.owner, len(scene.objects))


@compiled()
def _visible(hits, owner, objects):
    """The counts of `visible_of`; owner as in `Scene`."""
    visible = np.zeros(objects, np.int64)
    for r in range(hits.distance.shape[0]):
        for c in range(hits.distance.shape[1]):
            pane_first = hits.glass_distance[r, c] < hits.distance[r, c]
            what = hits.glass_index[r, c] if pane_first else hits.index[r, c]
            if 0 <= what < len(owner) and owner[what] >= 0:
                visible[owner[what]] += 1
    return visible


def owners_of(scene: Scene, index: np.ndarray) -> np.ndarray:
    """Find the object that each hit (see `raycast`) is on, -1 for none; same shape as `index`."""
    solid = (index >= 0) & (index < len(scene.owner))
    return np.where(solid, np.append(scene.owner, -1)[np.where(solid, index, -1)], -1)
