"""`python -m pcdet.simulator --out data/synthetic --train 400 --val 100`."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pcdet.simulator import WORLD
from pcdet.simulator.own_sensor import (
    BEAMS,
    HEIGHT,
    Setup,
    fewer_beams,
    named_sensor,
    write_own_data,
)
from pcdet.simulator.raycast import cast_ground_
from pcdet.simulator.sensors import SENSORS
from pcdet.simulator.writer import write_dataset
from pcdet.utils.compiling import is_kept
from pcdet.utils.errors import ConfigError, PcdetError
from pcdet.utils.frame_pool import available_cores
from pcdet.utils.io_utils import read_text
from pcdet.utils.kitti_format.folders import TESTING, TRAINING
from pcdet.utils.memory_utils import keep_freed_memory
from pcdet.utils.program_name import program_name

# Folders of frames, of both layouts, and what they were written with.
_FOLDERS = (TRAINING, TESTING, "ImageSets", "points", "labels")
_RECORD = "simulator.json"


def _folder(text: str) -> Path:
    """The type of --out: nothing, as of a variable without a value, is no folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got ''; write . for this one")
    return Path(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Write simulated street scenes as a data set in KITTI's layout, or with "
        "--own_data as points and labels of a sensor of one's own.",
    )
    parser.add_argument("--out", type=_folder, required=True, help="folder of the data set")
    parser.add_argument("--train", type=int, default=400, help="frames for training (%(default)s)")
    parser.add_argument("--val", type=int, default=100, help="frames to score (%(default)s)")
    parser.add_argument(
        "--test",
        type=int,
        default=20,
        help="frames without labels in KITTI's layout (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all scenes (%(default)s)")
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
        "--beams",
        type=int,
        choices=(8, 16, 32, 64),
        help=f"of KITTI's sensor ({BEAMS} if not given), where --sensor names no other",
    )
    own.add_argument("--sensor", help=f"one by name: {', '.join(SENSORS)}")
    own.add_argument(
        "--height",
        type=float,
        help=f"of the sensor above the road, metres; {HEIGHT}, or what is usual for --sensor",
    )
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Raise a ConfigError for numbers that make no sense."""
    for name in ("train", "val", "test", "seed"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name}: expected 0 or more, got {getattr(args, name)}")
    if args.height is not None and not 1 <= args.height <= 8:
        raise ConfigError(f"--height: expected 1 to 8 metres, got {args.height:g}")
    if args.sensor is not None and not args.own_data:
        raise ConfigError("--sensor: expected --own_data with it, the layout for other sensors")
    for name in ("beams", "height"):
        if getattr(args, name) is not None and not args.own_data:
            raise ConfigError(f"--{name}: expected --own_data with it; KITTI's sensor is as it is")
    if args.beams is not None and args.sensor is not None:
        raise ConfigError("--beams: expected without --sensor, which has its own: leave one out")
    if args.workers < 1:
        raise ConfigError(f"--workers: expected 1 or more, got {args.workers}")
    if args.train + args.val + args.test == 0:
        raise ConfigError("--train, --val, --test: expected at least one frame, got 0")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out: expected a folder, {args.out} is a file")


def _setup(args: argparse.Namespace) -> Setup | None:
    """The sensor of --own_data, None without."""
    if not args.own_data:
        return None
    if args.sensor is not None:
        return named_sensor(args.sensor, args.height)
    return fewer_beams(args.beams or BEAMS, args.height or HEIGHT)


def _record_of(args: argparse.Namespace, setup: Setup | None) -> str:
    """All that the frames depend on, however the call was written."""
    record = {"world": WORLD}
    record |= {name: getattr(args, name) for name in ("train", "val", "test", "seed")}
    if setup is not None:
        record |= {"sensor": setup.sensor.name, "beams": setup.sensor.rings // setup.step}
        record |= {"height": setup.height, "labels": sorted({name for _, name in setup.labels})}
    return json.dumps(record)


def _claim_folder(folder: Path, told: str) -> None:
    """Record in the folder what its frames depend on; raise a ConfigError if it is another call's.

    The record comes before the frames, so that a call that was interrupted can be repeated, and
    only the first call can make it, so that two at once do not mix their frames.
    """
    record = folder / _RECORD
    folders = [folder / name for name in _FOLDERS]
    holds = [path.name for path in folders if path.is_dir() and any(path.iterdir())]
    if not holds:
        folder.mkdir(parents=True, exist_ok=True)
        with record.open("a") as file:
            with suppress(OSError):  # where a file system has no locks
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is written and closed
            if record.stat().st_size == 0:  # new, or of a call that was killed just then
                file.write(f"{told}\n")
    written = read_text(record).strip() if record.exists() else "none"
    if written == told:
        return
    what, advice = "is another call's", f", or remove {record}, as there is no frame yet"
    if holds:
        what, advice = f"holds frames already, in {', '.join(holds)}", ""
        if written != "none" and not written.startswith(f'{{"world": {WORLD},'):
            advice = f", or remove {folder}, whose frames another version of the simulator made"
    raise ConfigError(
        f"--out: {folder} {what}; expected {_RECORD} with what this call writes, {told}, "
        f"got {written[:300]}: give another folder{advice}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data set; returns the exit code."""
    args = parse_args(argv)
    try:
        _check(args)
        setup = _setup(args)
        _claim_folder(args.out, _record_of(args, setup))
        keep_freed_memory()
        if not is_kept(cast_ground_):
            sys.stderr.write("compiling for this machine, which takes a minute or more\n")
        splits = {"train": args.train, "val": args.val, "test": args.test}
        if setup is not None:
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
