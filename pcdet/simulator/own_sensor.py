"""Frames of another sensor, in the layout of one's own data: points/ and labels/, no camera.

Objects are labelled all around. Either some beams of KITTI's sensor at another height, in scenes
where forklifts drive in place of vans, lorries and bicycles: data of the same kind as KITTI's, and
unlike it in all that a detector has learnt by heart. Or a sensor of `sensors` by its name, with
KITTI's classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.simulator.layout import draw_scene
from pcdet.simulator.lidar import Sweep, sweep
from pcdet.simulator.scene import SceneObject
from pcdet.simulator.sensor import HDL_64E, Sensor
from pcdet.simulator.sensors import sensor_by_name
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.split import split_path, write_split

CLASS_NAMES = ("Car", "Forklift")
STREET_CLASSES = ("Car", "Pedestrian", "Cyclist")
_STAND_INS = (("Van", "Forklift"), ("Truck", "Forklift"), ("Cyclist", "Forklift"))
_STREAM = 2  # of random numbers, beside those of training/ and testing/
_LEAST_POINTS = 5


@dataclass(frozen=True)
class Setup:
    """The sensor of a data set, and what is labelled.

    Attributes:
        sensor: the model.
        height: above the road, metres.
        step: every how many-th laser is kept.
        classes: that get labels.
        stand_ins: class to the one that stands in its place, as pairs.
    """

    sensor: Sensor
    height: float
    step: int
    classes: tuple[str, ...]
    stand_ins: tuple[tuple[str, str], ...] = ()


def fewer_beams(beams: int = 32, height: float = 2.4) -> Setup:
    """64, 32, 16 or 8 beams of KITTI's sensor, in a yard where forklifts drive."""
    return Setup(HDL_64E, height, HDL_64E.rings // beams, CLASS_NAMES, _STAND_INS)


def named_sensor(name: str, height: float | None = None) -> Setup:
    """A sensor by its name (`sensors.SENSORS`) at its usual height, if no other is given."""
    sensor = sensor_by_name(name)
    return Setup(sensor, sensor.height if height is None else height, 1, STREET_CLASSES)


@dataclass(frozen=True)
class OwnFrame:
    """One frame to write.

    Attributes:
        root: folder of the data.
        number: the frame's number, its name.
        seed: seed of the data.
        setup: sensor and classes.
    """

    root: Path
    number: int
    seed: int
    setup: Setup

    @property
    def name(self) -> str:
        """Its six digits."""
        return f"{self.number:06d}"


def write_own_frame(job: OwnFrame) -> None:
    """Make one frame and write its files; the frame depends on the job's fields alone."""
    rng = np.random.default_rng([job.seed, _STREAM, job.number])
    setup = job.setup
    scene = draw_scene(rng, setup.height, dict(setup.stand_ins), setup.sensor.beside_road)
    turn = sweep(scene, rng, setup.sensor)
    kept = turn.ring % setup.step == 0
    with atomic_write(job.root / "points" / f"{job.name}.npy") as file:
        np.save(file, turn.points[kept].astype(np.float32))
    lines = [_line(thing) for thing in _labelled(turn.objects, turn, kept, setup.classes)]
    with atomic_write(job.root / "labels" / f"{job.name}.txt") as file:
        file.write("".join(lines).encode())


def _labelled(
    things: list[SceneObject], turn: Sweep, kept: np.ndarray, classes: tuple[str, ...]
) -> list[SceneObject]:
    """The objects of the classes that some points show."""
    owners = turn.owner[kept]
    counts = np.bincount(owners[owners >= 0], minlength=len(things))
    return [
        thing
        for thing, count in zip(things, counts)
        if thing.name in classes and count >= _LEAST_POINTS
    ]


def _line(thing: SceneObject) -> str:
    """`x y z dx dy dz heading class`, z the middle."""
    x, y, bottom = thing.position
    heading = np.arctan2(np.sin(thing.heading), np.cos(thing.heading))
    row = (x, y, bottom + thing.size[2] / 2, *thing.size, heading)
    return " ".join(f"{value:.4f}" for value in row) + f" {thing.name}\n"


def write_own_data(
    root: Path,
    splits: dict[str, int],
    setup: Setup,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Write a folder of one's own data.

    Args:
        root: folder to write to; files that exist are replaced by equal ones.
        splits: frames of each split, numbered one split after the other.
        setup: sensor and classes.
        seed: seed of all randomness.
        workers: processes; the files are the same for any number.
    """
    jobs = [OwnFrame(root, k, seed, setup) for k in range(sum(splits.values()))]
    names = [job.name for job in jobs]
    for _ in map_frames(write_own_frame, jobs, names, workers, "synthetic frames", slow=True):
        pass
    start = 0
    for split, count in splits.items():
        if count:
            write_split(split_path(root, split), names[start : start + count])
        start += count
