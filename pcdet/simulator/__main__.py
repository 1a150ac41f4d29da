"""`python -m pcdet.simulator --out data/synthetic --train 400 --val 100`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pcdet.simulator.own_sensor import fewer_beams, named_sensor, write_own_data
from pcdet.simulator.sensors import SENSORS
from pcdet.simulator.writer import write_dataset
from pcdet.utils.errors import ConfigError, PcdetError
from pcdet.utils.frame_pool import available_cores
from pcdet.utils.io_utils import atomic_write, read_text
from pcdet.utils.kitti_format.folders import TESTING, TRAINING
from pcdet.utils.memory_utils import keep_freed_memory
from pcdet.utils.program_name import program_name

_HEIGHT = 2.4  # of the sensor of --beams above the road, metres
# Folders of frames, of both layouts, and the options that they were written with.
_FOLDERS = (TRAINING, TESTING, "ImageSets", "points", "labels")
_RECORD = "simulator.json"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Write simulated street scenes as a data set in KITTI's layout, or with "
        "--own_data as points and labels of a sensor of one's own.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--train", type=int, default=400, help="frames of the train split")
    parser.add_argument("--val", type=int, default=100, help="frames of the val split")
    parser.add_argument("--test", type=int, default=20, help="frames without labels")
    parser.add_argument("--seed", type=int, default=0, help="seed of all scenes")
    parser.add_argument(
        "--workers",
        type=int,
        default=available_cores(),
        help="processes; all cores, here %(default)s, if not given",
    )
    own = parser.add_argument_group("a sensor of one's own, which sees all around")
    own.add_argument(
        "--own_data",
        action="store_true",
        help="write points/ and labels/ of the classes Car and Forklift, or with --sensor of Car, "
        "Pedestrian and Cyclist",
    )
    own.add_argument(
        "--beams", type=int, choices=(8, 16, 32, 64), help="of KITTI's sensor (default: 32)"
    )
    own.add_argument("--sensor", help=f"one by name: {', '.join(SENSORS)}")
    own.add_argument(
        "--height",
        type=float,
        help="of the sensor above the road, metres; 2.4, or what is usual for --sensor",
    )
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Raise a ConfigError for numbers that make no sense."""
    for name in ("train", "val", "test", "seed"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name}: expected 0 or more, got {getattr(args, name)}")
    if args.height is not None and not 1 <= args.height <= 8:
        raise ConfigError(f"--height: expected 1 to 8 metres, got {args.height:g}")
    if args.sensor and not args.own_data:
        raise ConfigError("--sensor: expected --own_data with it, the layout for other sensors")
    for name in ("beams", "height"):
        if getattr(args, name) is not None and not args.own_data:
            raise ConfigError(f"--{name}: expected --own_data with it; KITTI's sensor is as it is")
    if args.workers < 1:
        raise ConfigError(f"--workers: expected 1 or more, got {args.workers}")
    if args.train + args.val + args.test == 0:
        raise ConfigError("--train, --val, --test: expected at least one frame, got 0")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out: expected a folder, {args.out} is a file")


def _claim_folder(args: argparse.Namespace) -> None:
    """Record the options in the folder; raise a ConfigError if it holds frames of others.

    The record comes before the frames, so that a call that was interrupted can be repeated.
    """
    options = {name: v for name, v in vars(args).items() if name not in ("out", "workers")}
    record, told = args.out / _RECORD, json.dumps(options)
    written = read_text(record).strip() if record.exists() else "none"
    holds = [name for name in _FOLDERS if (args.out / name).is_dir()]
    if written != told and any(any((args.out / name).iterdir()) for name in holds):
        raise ConfigError(
            f"--out: {args.out} holds frames already, in {', '.join(holds)}; expected {_RECORD} "
            f"with the options of this call, {told}, got {written[:300]}: give another folder"
        )
    with atomic_write(record) as file:
        file.write(f"{told}\n".encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data set; returns the exit code."""
    args = parse_args(argv)
    try:
        _check(args)
        _claim_folder(args)
        keep_freed_memory()
        splits = {"train": args.train, "val": args.val, "test": args.test}
        if args.own_data:
            setup = (
                named_sensor(args.sensor, args.height)
                if args.sensor
                else fewer_beams(args.beams or 32, args.height or _HEIGHT)
            )
            write_own_data(args.out, splits, setup, args.seed, args.workers)
        else:
            write_dataset(args.out, *splits.values(), args.seed, args.workers)
    except (PcdetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the command again to write all frames\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
