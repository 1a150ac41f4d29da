"""Frames of another sensor, in the layout of one's own data: points/ and labels/, no camera.

Objects are labelled all around. Either some beams of KITTI's sensor at another height, in scenes
where forklifts drive in place of vans, lorries and bicycles: data of the same kind as KITTI's, and
unlike it in all that a detector has learnt by heart. Or a sensor of `sensors` by its name, with
KITTI's three classes, which no camera decides: vans are cars there, and who sits is a pedestrian.
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

# What `fewer_beams` has if nothing else is asked for: its beams, and metres above the road.
BEAMS, HEIGHT = 32, 2.4
_YARD_LABELS = (("Car", "Car"), ("Forklift", "Forklift"))
_STREET_LABELS = (
    *(("Car", "Car"), ("Van", "Car"), ("Cyclist", "Cyclist")),
    *(("Pedestrian", "Pedestrian"), ("Person_sitting", "Pedestrian")),
)
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
        labels: class to the name it is labelled by, as pairs; others get no label.
        stand_ins: class to the one that stands in its place, as pairs.
        half_turns: turn half of the frames about, as scenes have more ahead than behind.
    """

    sensor: Sensor
    height: float
    step: int
    labels: tuple[tuple[str, str], ...]
    stand_ins: tuple[tuple[str, str], ...] = ()
    half_turns: bool = False


def fewer_beams(beams: int = BEAMS, height: float = HEIGHT) -> Setup:
    """64, 32, 16 or 8 beams of KITTI's sensor, in a yard where forklifts drive."""
    return Setup(HDL_64E, height, HDL_64E.rings // beams, _YARD_LABELS, _STAND_INS)


def named_sensor(name: str, height: float | None = None) -> Setup:
    """A sensor by its name (`sensors.SENSORS`) at its usual height, if no other is given."""
    sensor = sensor_by_name(name)
    height = sensor.height if height is None else height
    return Setup(sensor, height, 1, _STREET_LABELS, half_turns=True)


@dataclass(frozen=True)
class OwnFrame:
    """One frame to write.

    Attributes:
        root: folder of the data.
        number: the frame's number, its name.
        seed: seed of the data.
        setup: sensor and labels.
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
    turn = sweep(scene, rng, setup.sensor, whole=True)  # as labels are all around
    kept = turn.ring % setup.step == 0
    about = setup.half_turns and rng.random() < 0.5
    points = turn.points[kept].astype(np.float32)
    points[:, :2] *= -1 if about else 1
    with atomic_write(job.root / "points" / f"{job.name}.npy") as file:
        np.save(file, points)
    lines = [_line(*labelled, about) for labelled in _labelled(turn, kept, dict(setup.labels))]
    with atomic_write(job.root / "labels" / f"{job.name}.txt") as file:
        file.write("".join(lines).encode())


def _labelled(
    turn: Sweep, kept: np.ndarray, labels: dict[str, str]
) -> list[tuple[SceneObject, str]]:
    """The objects that have labels and that some points show, each with its label's name."""
    owners = turn.owner[kept]
    counts = np.bincount(owners[owners >= 0], minlength=len(turn.objects))
    return [
        (thing, labels[thing.name])
        for thing, count in zip(turn.objects, counts)
        if thing.name in labels and count >= _LEAST_POINTS
    ]


def _line(thing: SceneObject, name: str, about: bool) -> str:
    """`x y z dx dy dz heading class`, z the middle; `about`: turned by half a turn."""
    x, y, bottom = thing.position
    if about:
        x, y = -x, -y
    heading = thing.heading + np.pi * about
    heading = np.arctan2(np.sin(heading), np.cos(heading))
    row = (x, y, bottom + thing.size[2] / 2, *thing.size, heading)
    return " ".join(f"{value:.4f}" for value in row) + f" {name}\n"


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
        setup: sensor and labels.
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
