"""An even street without a kerb."""

from __future__ import annotations

import numpy as np

from pcdet.simulator.ground import ASPHALT, Ground, Verge
from pcdet.simulator.road import Road

GROUND = -1.73


def flat_ground() -> Ground:
    road = Road(0, 0, 0, 0, 100.0)
    verge = Verge(0.0, ASPHALT)
    ground = Ground([road], verge, verge, kerb=0.0, height=GROUND, slope=(0.0, 0.0), arch=0.0,
                    waves=np.zeros((0, 4)), shade=0.0, divider=False)  # fmt: skip
    ground.build(np.random.default_rng(0))
    ground.heights[:] = GROUND
    return ground
