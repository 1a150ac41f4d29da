"""Frames of another sensor, in the layout of one's own data: points/ and labels/, no camera.

The sensor has fewer beams, stands at another height and is labelled all around; forklifts drive
where other scenes have vans, lorries and bicycles. So there is data that is of the same kind as
KITTI's, and unlike it in all that a detector has learnt by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.simulator import sensor
from pcdet.simulator.layout import draw_scene
from pcdet.simulator.lidar import Sweep, sweep
from pcdet.simulator.scene import SceneObject
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.split import split_path, write_split

CLASS_NAMES = ("Car", "Forklift")
_STAND_INS = {"Van": "Forklift", "Truck": "Forklift", "Cyclist": "Forklift"}
_STREAM = 2  # of random numbers, beside those of training/ and testing/
_LEAST_POINTS = 5


@dataclass(frozen=True)
class OwnFrame:
    """One frame to write.

    Attributes:
        root: folder of the data.
        number: the frame's number, its name.
        seed: seed of the data.
        beams: of the sensor, 64 or a part of it.
        height: of the sensor above the road, metres.
    """

    root: Path
    number: int
    seed: int
    beams: int
    height: float

    @property
    def name(self) -> str:
        """Its six digits."""
        return f"{self.number:06d}"


def write_own_frame(job: OwnFrame) -> None:
    """Make one frame and write its files; the frame depends on the job's fields alone."""
    rng = np.random.default_rng([job.seed, _STREAM, job.number])
    scene = draw_scene(rng, sensor_height=job.height, stand_ins=_STAND_INS)
    turn = sweep(scene, rng)
    kept = turn.ring % (sensor.RINGS // job.beams) == 0
    with atomic_write(job.root / "points" / f"{job.name}.npy") as file:
        np.save(file, turn.points[kept].astype(np.float32))
    lines = [_line(thing) for thing in _labelled(scene.objects, turn, kept)]
    with atomic_write(job.root / "labels" / f"{job.name}.txt") as file:
        file.write("".join(lines).encode())


def _labelled(things: list[SceneObject], turn: Sweep, kept: np.ndarray) -> list[SceneObject]:
    """The objects of the classes that some points show."""
    owners = turn.owner[kept]
    counts = np.bincount(owners[owners >= 0], minlength=len(things))
    return [
        thing
        for thing, count in zip(things, counts)
        if thing.name in CLASS_NAMES and count >= _LEAST_POINTS
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
    seed: int = 0,
    beams: int = 32,
    height: float = 2.4,
    workers: int = 1,
) -> None:
    """Write a folder of one's own data.

    Args:
        root: folder to write to; files that exist are replaced by equal ones.
        splits: frames of each split, numbered one split after the other.
        seed: seed of all randomness.
        beams: of the sensor: 64, 32, 16 or 8.
        height: of the sensor above the road, metres.
        workers: processes; the files are the same for any number.
    """
    jobs = [OwnFrame(root, k, seed, beams, height) for k in range(sum(splits.values()))]
    names = [job.name for job in jobs]
    for _ in map_frames(write_own_frame, jobs, names, workers, "synthetic frames", slow=True):
        pass
    start = 0
    for split, count in splits.items():
        if count:
            write_split(split_path(root, split), names[start : start + count])
        start += count
