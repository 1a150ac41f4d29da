"""Writes a data set in KITTI's layout, frame by frame, the same whatever the number of workers."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdet.simulator.camera import take_picture
from pcdet.simulator.labelling import ground_plane, label_scene
from pcdet.simulator.layout import draw_scene
from pcdet.simulator.lidar import sweep
from pcdet.simulator.recording import draw_recording
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.folders import TESTING, TRAINING, frame_path
from pcdet.utils.kitti_format.planes import road_plane_text
from pcdet.utils.kitti_format.split import split_path, write_split

# Stream of random numbers of each part.
_STREAMS = {TRAINING: 0, TESTING: 1}
_PNG_LEVEL = 3


@dataclass(frozen=True)
class FrameJob:
    """One frame to write.

    Attributes:
        root: folder of the data set.
        part: training or testing; the latter gets no labels and planes.
        number: the frame's number, its name.
        seed: seed of the data set.
    """

    root: Path
    part: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        """Its six digits."""
        return f"{self.number:06d}"


def write_frame(job: FrameJob) -> None:
    """Make one frame and write its files; the frame depends on the job's fields alone."""
    rng = np.random.default_rng([job.seed, _STREAMS[job.part], job.number])
    scene = draw_scene(rng)
    recording = draw_recording(rng)
    turn = sweep(scene, rng)
    picture = take_picture(scene, recording, rng)
    files = {
        "velodyne": turn.points.astype("<f4").tobytes(),
        "image_2": encode_png(picture.image),
        "calib": recording.text().encode(),
    }
    if job.part == TRAINING:
        lines = [label.line() + "\n" for label in label_scene(scene, picture, turn, recording)]
        files["label_2"] = "".join(lines).encode()
        files["planes"] = road_plane_text(ground_plane(scene, recording)).encode()
    for kind, content in files.items():
        with atomic_write(frame_path(job.root / job.part, kind, job.name)) as file:
            file.write(content)


def encode_png(image: np.ndarray) -> bytes:
    """Encode a picture (R, C, 3) uint8 as a PNG file.

    Its rows are not filtered, since plain areas of few colours deflate best as they are. The
    encoders of image libraries choose a filter for each row; they take four times as long here and
    make larger files.
    """
    height, width, _ = image.shape
    rows = np.insert(image.reshape(height, -1), 0, 0, axis=1)  # each begins with its filter
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, _PNG_LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def write_dataset(
    root: Path, train: int, val: int, test: int, seed: int = 0, workers: int = 1
) -> None:
    """Write a whole data set and its lists of frames.

    Args:
        root: folder to write to; files that exist are replaced by equal ones.
        train: number of frames of the train split, the first of `training`.
        val: number of frames of the val split, which follow.
        test: number of frames of `testing`.
        seed: seed of all randomness.
        workers: processes; the files are the same for any number.
    """
    jobs = [FrameJob(root, TRAINING, number, seed) for number in range(train + val)]
    jobs += [FrameJob(root, TESTING, number, seed) for number in range(test)]
    names = [f"{job.part}/{job.name}" for job in jobs]
    for _ in map_frames(write_frame, jobs, names, workers, "synthetic frames", slow=True):
        pass
    splits = {
        "train": range(train),
        "val": range(train, train + val),
        "trainval": range(train + val),
        "test": range(test),
    }
    for split, numbers in splits.items():
        if numbers:  # a split without frames is not listed
            write_split(split_path(root, split), [f"{number:06d}" for number in numbers])
