"""A forklift: a short body with a guard over the driver, and a mast with two forks before it."""

from __future__ import annotations

import numpy as np

from pcdet.simulator import materials as m
from pcdet.simulator.mesh import Mesh, box, merge, tube, wheel


def forklift(rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """Make a forklift, about 3.3 x 1.2 x 2.2 metres with its forks, and its size (3,)."""
    size = np.clip(rng.normal([3.3, 1.2, 2.2], [0.25, 0.08, 0.08]), [2.7, 1.0, 2.0],
                   [3.9, 1.4, 2.4])  # fmt: skip
    length, width, height = size
    paint = m.lacquer(rng)
    rear, mast = -length / 2, length / 2 - 1.1
    body = mast - 0.2 - rear
    middle = rear + body / 2
    parts = [
        box((body, width, 0.7), (middle, 0, 0.6), paint),
        box((0.55, width * 0.95, 0.5), (rear + 0.28, 0, 1.05), paint),
        box((0.45, 0.5, 0.75), (middle, 0, 1.3), m.SEAT),
        box((0.6 * body, width * 0.9, 0.06), (middle + 0.1, 0, height - 0.03), m.METAL),
        box((0.08, width * 0.7, 0.5), (mast + 0.12, 0, 0.5), m.DARK_METAL),
    ]
    for side in (-1.0, 1.0):
        y = 0.32 * width * side
        parts.append(box((0.12, 0.1, height - 0.1), (mast, y, height / 2), m.DARK_METAL))
        lift = rng.uniform(0.1, 0.3)
        parts.append(box((1.0, 0.12, 0.05), (length / 2 - 0.5, 0.6 * y, lift), m.METAL))
        for x in (middle - 0.25 * body, middle + 0.42 * body):
            post = (0.03, 0.03)
            parts.append(tube((x, 1.3 * y, 0.9), (x, 1.3 * y, height), post, m.DARK_METAL))
        for x in (rear + 0.35, mast - 0.35):
            at = (x, side * (width / 2 - 0.12), 0.3)
            parts.append(wheel(at, 0.3, 0.2, m.TYRE, m.METAL))
    return merge(parts).fitted(size), size
