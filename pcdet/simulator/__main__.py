"""`python -m pcdet.simulator --out data/synthetic --train 400 --val 100`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pcdet.simulator.writer import write_dataset
from pcdet.utils.device_utils import keep_freed_memory
from pcdet.utils.errors import ConfigError, PcdetError
from pcdet.utils.frame_pool import available_cores


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pcdet.simulator",
        description="Write simulated street scenes as a data set in KITTI's layout.",
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
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Raise a ConfigError for numbers that make no sense."""
    for name in ("train", "val", "test", "seed"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name}: expected 0 or more, got {getattr(args, name)}")
    if args.workers < 1:
        raise ConfigError(f"--workers: expected 1 or more, got {args.workers}")
    if args.train + args.val + args.test == 0:
        raise ConfigError("--train, --val, --test: expected at least one frame, got 0")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out: expected a folder, {args.out} is a file")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data set; returns the exit code."""
    args = parse_args(argv)
    try:
        _check(args)
        keep_freed_memory()
        write_dataset(args.out, args.train, args.val, args.test, args.seed, args.workers)
    except (PcdetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the command again to write all frames\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
