"""Seeds of single steps."""

from __future__ import annotations

import numpy as np


def step_seed(seed: int, it: int, rank: int) -> int:
    """Derive the seed of step `it`: the same after a resume, another on each rank."""
    return int(np.random.SeedSequence((seed, it, rank)).generate_state(1, np.uint64)[0])
