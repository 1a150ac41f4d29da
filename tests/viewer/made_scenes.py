"""Scenes made up for the tests of the viewer: a plane of points and a few boxes."""

from __future__ import annotations

import numpy as np

from pcdet.utils.visualize_utils import DrawnBoxes
from pcdet.viewer.scene import Pane, Scene
from tiny_kitti import GROUND_Z, calibration

CLASSES = ("Car", "Pedestrian", "Cyclist")
CAR = (1.6, 3.9, 1.5)
IMAGE_SHAPE = (375, 1242)


def car(x: float, y: float, rz: float = 0.0) -> list[float]:
    return [x, y, GROUND_Z, *CAR, rz]


def drawn(boxes: list[list[float]], names: list[str], scores: list[float] | None = None):
    array = np.array(boxes, dtype=np.float64).reshape(-1, 7)
    return DrawnBoxes(array, names, None if scores is None else np.array(scores))


def ground(count: int, seed: int = 0) -> np.ndarray:
    """(count, 4) points on the ground, from 2 to 60 m ahead."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(2, 60, count), rng.uniform(-25, 25, count)
    z = GROUND_Z + rng.normal(0, 0.02, count)
    return np.stack((x, y, z, rng.uniform(0, 1, count)), axis=1).astype(np.float32)


def image(seed: int = 0) -> np.ndarray:
    """A picture about as hard to compress as a photograph: a gradient with noise."""
    height, width = IMAGE_SHAPE
    rng = np.random.default_rng(seed)
    grey = np.linspace(40, 200, width) + rng.normal(0, 12, (height, width))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def two_scenes(num_panes: int = 1) -> list[Scene]:
    """Two frames; the first has a car that is found, one that is missed, and a van.

    Detections of the first: 0.9 on the first car, 0.6 on the van (as a car), 0.4 on nothing. In a
    second pane, the second car is found with 0.8 and the first is not.
    """
    truth = drawn([car(12, 0), car(20, 6), car(25, -6)], ["Car", "Car", "Van"])
    found = [
        drawn([car(12, 0.1), car(25, -6), car(30, 10)], ["Car"] * 3, [0.9, 0.6, 0.4]),
        drawn([car(20, 6)], ["Car"], [0.8]),
    ]
    walker = [15, 2, GROUND_Z, 0.6, 0.8, 1.75, 0.5]
    other = drawn([walker], ["Pedestrian"])
    scenes = []
    for k, (objects, detections) in enumerate(
        [(truth, found), (other, [drawn([walker], ["Pedestrian"], [0.5]), drawn([], [], [])])]
    ):
        points = ground(6000, seed=k)
        panes = [Pane(f"run {j}", points, objects, detections[j]) for j in range(num_panes)]
        scenes.append(Scene(f"{k:06d}", panes, image(k), calibration()))
    return scenes
