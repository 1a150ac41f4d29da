"""Trees, out of a stock that is drawn once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pcdet.simulator import foliage
from pcdet.simulator import materials as m
from pcdet.simulator.mesh import Mesh, merge, tube
from pcdet.simulator.placement import Builder

_STOCK = 256  # a scene has seventy trees, and to draw each anew took a fifth of the scene's time
_HEIGHTS = (4.0, 13.0)  # of trees, metres


def trunk(height: float, rng: np.random.Generator) -> Mesh:
    """Make the trunk of a tree of `height` metres, with a fork or two."""
    radius = np.clip(rng.lognormal(np.log(0.16), 0.4), 0.07, 0.45)
    lean = rng.normal(0.0, 0.06, 2) * height
    fork = np.array([lean[0] * 0.5, lean[1] * 0.5, height * 0.45])
    parts = [
        tube((0, 0, -0.2), (0, 0, 0.3), (radius * 1.5, radius * 1.1), m.BARK, 8),
        tube((0, 0, 0.3), fork, (radius * 1.1, radius * 0.8), m.BARK, 8),
    ]
    for _ in range(int(rng.integers(2, 5))):
        tip = fork + rng.normal(0.0, [0.16, 0.16, 0.03]) * height + [0, 0, 0.35 * height]
        parts.append(tube(fork, tip, (radius * 0.6, radius * 0.2), m.BARK, 5))
    return merge(parts)


@lru_cache(maxsize=_STOCK)
def _stocked(number: int) -> tuple[Mesh, list[foliage.Volume]]:
    """Trunk and crown about the origin; they depend on the number alone, not on the scene."""
    rng = np.random.default_rng(number)
    height = rng.uniform(*_HEIGHTS)
    return trunk(height, rng), foliage.crown(height, rng)


def plant(builder: Builder, x: float, y: float) -> None:
    """A tree: trunk and crown; some with a bush at the foot, from afar like somebody who stands."""
    rng = builder.rng
    mesh, crown = _stocked(int(rng.integers(_STOCK)))
    if builder.add_static(mesh, x, y, rng.uniform(-np.pi, np.pi), solid=False):
        builder.take(x, y, 0.5, 0.5, 0.0)
        z = builder.height(x, y)
        builder.add_volumes([v._replace(x=v.x + x, y=v.y + y, z=v.z + z) for v in crown])
        if rng.random() < 0.2:
            radius = rng.uniform(0.3, 0.9)
            x, y = x + rng.normal(0.0, 0.3), y + rng.normal(0.0, 0.3)
            builder.add_volumes([foliage.bush(x, y, builder.height(x, y), radius, rng)])
