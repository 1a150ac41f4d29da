"""Scenes and a small data set that the tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_sizes import TEST, TRAIN, VAL

from pcdet.simulator.layout import draw_scene
from pcdet.simulator.lidar import sweep
from pcdet.simulator.writer import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A small data set, written by one process."""
    root = tmp_path_factory.mktemp("synthetic")
    write_dataset(root, TRAIN, VAL, TEST, seed=3, workers=1)
    return root


@pytest.fixture(scope="session")
def turns() -> list:
    """Scenes and their sweeps, 60 of them."""
    pairs = []
    for number in range(60):
        rng = np.random.default_rng([12, number])
        scene = draw_scene(rng)
        pairs.append((scene, sweep(scene, rng)))
    return pairs
