"""Train for thousands of steps and watch for memory and file handles that are not given back.

    python tools/soak.py                  # 2,000 steps of a small SECOND on simulated scenes

Runs tools/train.py with its worker processes, and prints after every 100 steps the resident memory
of this process and of its workers, and the file handles of all. Ends with 1 if either grew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook

from pcdet.cli import train
from pcdet.config import cfg
from pcdet.datasets.kitti.kitti_dataset import create_kitti_infos
from pcdet.run.leaving import run_command
from pcdet.simulator.writer import write_dataset
from pcdet.utils import log_utils
from pcdet.utils.errors import ConfigError, PcdetError

_FRAMES = 40
_BATCH_SIZE = 2
_MB = 1 << 20
# A corner of the range, and few channels: the soak is about the loop and not about the network.
_RANGE = [0, -6.4, -3, 12.8, 6.4, 1]
_SMALL = {
    "DATA_CONFIG.POINT_CLOUD_RANGE": _RANGE,
    "DATA_CONFIG.TRAIN.MAX_NUMBER_OF_VOXELS": 1500,
    "MODEL.RPN.BACKBONE.ARGS.num_filters": [4, 8, 8, 8],
    "MODEL.RPN.BACKBONE.ARGS.num_output_features": 8,
    "MODEL.RPN.RPN_HEAD.ARGS.num_input_features": 8,
    "MODEL.RPN.RPN_HEAD.ARGS.layer_nums": [1, 1, 1],
    "MODEL.RPN.RPN_HEAD.ARGS.num_filters": [8, 16, 16],
    "MODEL.RPN.RPN_HEAD.ARGS.num_upsample_filters": [8, 8, 8],
    **{
        f"MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR.{k}.anchor_range": [
            *(*_RANGE[:2], z, *_RANGE[3:5], z)
        ]
        for k, z in enumerate((-1.78, -0.6, -0.6))
    },
}


def small_settings() -> list[str]:
    """What --set makes of second_demo.yaml."""
    return [word for key, value in _SMALL.items() for word in (key, str(value))]


class GrowthError(PcdetError):
    """Memory or file handles grew."""


@dataclass
class Sample:
    """What processes held after a number of steps.

    Attributes:
        step: the number.
        own_memory: resident bytes of this process.
        worker_memory: resident bytes of all its children together.
        workers: how many children.
        handles: open file handles of all.
    """

    step: int
    own_memory: int
    worker_memory: int
    workers: int
    handles: int


@dataclass
class Watch:
    """A hook behind every optimiser's step, that takes a sample now and then.

    Attributes:
        every: steps between samples.
        samples: those taken.
    """

    every: int
    samples: list[Sample] = field(default_factory=list)
    steps: int = 0

    def __call__(self, optimizer: object, arguments: object, keywords: object) -> None:
        """Count a step, and take a sample if it is time to."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.samples.append(take_sample(self.steps))
            sys.stderr.write(f"\n{as_line(self.samples[-1])}\n")


def take_sample(step: int) -> Sample:
    """Read what this process and its children hold from /proc."""
    own = os.getpid()
    children = [
        int(child)
        for thread in Path("/proc/self/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return Sample(
        step=step,
        own_memory=_resident(own),
        worker_memory=sum(_resident(child) for child in children),
        workers=len(children),
        handles=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (own, *children)),
    )


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def as_line(sample: Sample) -> str:
    """A sample as a row of the table."""
    return (
        f"step {sample.step:5d}  process {sample.own_memory / _MB:7.1f} MB  "
        f"{sample.workers} workers {sample.worker_memory / _MB:7.1f} MB  "
        f"{sample.handles} file handles"
    )


def growth(values: list[float]) -> float:
    """Median of the last quarter less that of the second: the first quarter may fill caches."""
    quarter = len(values) // 4
    return statistics.median(values[-quarter:]) - statistics.median(values[quarter : 2 * quarter])


def judge(samples: list[Sample], max_growth: float) -> str:
    """One line about a soak.

    Args:
        samples: eight at least.
        max_growth: megabytes that memory may grow by.

    Raises:
        GrowthError: memory, file handles or workers grew.
    """
    if len(samples) < 8:
        raise ConfigError(f"--every: expected eight samples at least, got {len(samples)}")
    own = growth([s.own_memory for s in samples]) / _MB
    workers = growth([s.worker_memory for s in samples]) / _MB
    handles = growth([s.handles for s in samples])
    told = (
        f"from the second to the last quarter of {samples[-1].step} steps: process {own:+.1f} MB, "
        f"workers {workers:+.1f} MB, file handles {handles:+.0f}"
    )
    if own > max_growth or workers > max_growth or handles > 0:
        raise GrowthError(f"{told}; allowed are {max_growth:g} MB and no handle")
    return told


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=2000, help="training steps (default: %(default)s)")
    add("--every", type=int, default=100, help="steps between samples (default: %(default)s)")
    add("--workers", type=int, default=2, help="processes that load data (default: %(default)s)")
    add(
        "--max_growth",
        type=float,
        default=16,
        help="megabytes that the process, or all workers together, may grow by between the "
        "second and the last quarter of the steps (default: %(default)s)",
    )
    add(
        "--output_dir",
        type=Path,
        default=Path("output"),
        help="the scenes and the run go to soak/ below it (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.steps < 8 * args.every or args.every < 1:
        raise ConfigError("--steps must be eight times --every at least")
    return args


def main(argv: list[str] | None = None) -> None:
    """Train, watch, and print what the processes held."""
    args = parse_args(argv)
    folder = args.output_dir.resolve() / "soak"
    data = folder / "data"
    if not (data / "kitti_dbinfos_train.pkl").exists():
        write_dataset(data, train=_FRAMES, val=1, test=1)
        create_kitti_infos(data, data, workers=1)
    shutil.rmtree(folder / "second_demo", ignore_errors=True)  # of the soak before
    watch = Watch(args.every)
    hook = register_optimizer_step_post_hook(watch)
    epochs = -(-args.steps * _BATCH_SIZE // _FRAMES)
    try:
        train.main([
            *("--cfg_file", str(cfg.ROOT_DIR / "tools" / "cfgs" / "second_demo.yaml")),
            *("--data_dir", str(data), "--output_dir", str(folder), "--epochs", str(epochs)),
            *("--batch_size", str(_BATCH_SIZE), "--workers", str(args.workers), "--device", "cpu"),
            *("--amp", "none", "--precise_bn", "0", "--freeze_bn", "0"),
            *("--fix_random_seed", "--ckpt_save_interval", "10", "--set", *small_settings()),
        ])  # fmt: skip
    finally:
        hook.remove()
    told = judge(watch.samples, args.max_growth)
    logger = log_utils.create_logger()
    logger.info("\n%s", "\n".join(as_line(sample) for sample in watch.samples))
    logger.info("%s", told)


if __name__ == "__main__":
    run_command(main)
