"""Two objects, and helpers that write and import them."""

from __future__ import annotations

import json

import numpy as np

from pcdet.datasets.custom.folder import CustomFolder, stated_columns
from pcdet.datasets.custom.label_file import rows_from_boxes
from pcdet.own_data.importers import import_folder

# x, y, z, dx, dy, dz, heading of a car and of a forklift.
CAR = [10.0, 4.0, -0.5, 4.0, 2.0, 1.5, np.radians(30)]
LIFT = [-6.0, 3.0, 0.25, 2.5, 1.2, 2.0, np.radians(-120)]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def scan(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.random.default_rng(0).uniform(-30, 30, (300, 4)).astype(np.float32).tofile(path)


def imported(name, source, target, frame="000000"):
    import_folder(name, source, target)
    folder = CustomFolder(target, stated_columns(target) or ("x", "y", "z", "intensity"))
    objects = folder.read_objects(frame)
    return objects.names.tolist(), rows_from_boxes(objects.boxes)


def assert_car_and_lift(result, names=("Car", "Fork_lift")):
    assert result[0] == list(names)
    np.testing.assert_allclose(result[1], [CAR, LIFT], atol=1e-3)
