"""Writes a data set in KITTI's layout, frame by frame, the same whatever the number of workers."""

from __future__ import annotations

import multiprocessing
import signal
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pcdet.simulator.camera import take_picture
from pcdet.simulator.labelling import ground_plane, label_scene
from pcdet.simulator.layout import draw_scene
from pcdet.simulator.lidar import sweep
from pcdet.simulator.recording import draw_recording
from pcdet.utils.io_utils import atomic_write

_STREAMS = {"training": 0, "testing": 1}
_PNG_LEVEL = 3


@dataclass(frozen=True)
class FrameJob:
    """One frame to write.

    Attributes:
        root: folder of the data set.
        part: "training" or "testing"; the latter gets no labels and planes.
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
        "velodyne": ("bin", turn.points.astype("<f4").tobytes()),
        "image_2": ("png", encode_png(picture.image)),
        "calib": ("txt", recording.text().encode()),
    }
    if job.part == "training":
        lines = [label.line() + "\n" for label in label_scene(scene, picture, turn, recording)]
        files["label_2"] = ("txt", "".join(lines).encode())
        files["planes"] = ("txt", plane_text(ground_plane(scene, recording)).encode())
    for folder, (suffix, content) in files.items():
        with atomic_write(job.root / job.part / folder / f"{job.name}.{suffix}") as file:
            file.write(content)


def encode_png(image: np.ndarray) -> bytes:
    """A picture (R, C, 3) uint8 as a PNG file.

    Its rows are not filtered, since plain areas of few colours deflate best as they are. Encoders
    that choose a filter for each row take four times as long here and make larger files.
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


def plane_text(plane: np.ndarray) -> str:
    """A ground plane (4,) as KITTI's `planes` files have it."""
    return "# Plane\nWidth 4\nHeight 1\n" + " ".join(f"{value:.12e}" for value in plane) + "\n"


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
    jobs = [FrameJob(root, "training", number, seed) for number in range(train + val)]
    jobs += [FrameJob(root, "testing", number, seed) for number in range(test)]
    for _ in tqdm(_run(jobs, workers), total=len(jobs), desc="synthetic frames", unit="frame"):
        pass
    splits = {
        "train": range(train),
        "val": range(train, train + val),
        "trainval": range(train + val),
        "test": range(test),
    }
    for split, numbers in splits.items():
        path = root / "ImageSets" / f"{split}.txt"
        if not numbers:  # a split without frames is not listed
            path.unlink(missing_ok=True)
            continue
        with atomic_write(path) as file:
            file.write("".join(f"{number:06d}\n" for number in numbers).encode())


def _run(jobs: list[FrameJob], workers: int) -> Iterator[None]:
    """Do all jobs, yielding after each."""
    if workers <= 1:
        yield from map(write_frame, jobs)
        return
    # The first frame is done here so that the kernels are compiled and cached once.
    yield write_frame(jobs[0])
    # Forked workers have all modules loaded already. Elsewhere than on Linux fork is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(workers, _ignore_interrupts) as pool:
        yield from pool.imap_unordered(write_frame, jobs[1:], chunksize=2)


def _ignore_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; the one that started them deals with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
