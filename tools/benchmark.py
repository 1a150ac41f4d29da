"""Time each stage of the framework on this machine, next to a plain way of doing the same.

    python tools/benchmark.py [--data_dir data/kitti] [--stages infos samples second ...]

Absolute times depend on the machine and on what else runs on it; compare the ratios of one run.
Beside a time stands the memory that was taken to measure it, at its peak, that of what it is
compared with included.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmark_utils.common import Row
from benchmark_utils.memory import PeakMemory
from pcdet.config import cfg
from pcdet.engine.device_options import choose_algorithms
from pcdet.run.leaving import run_command
from pcdet.utils import log_utils
from pcdet.utils.errors import DataError

STAGES = ("infos", "samples", "ops", "second", "models", "floor", "evaluation")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=STAGES,
        help="what to measure (default: everything)",
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="folder in KITTI's layout (default: data/kitti of the repository if it is there, "
        "else stages that need frames are skipped)",
    )
    return parser.parse_args(argv)


def find_data(data_dir: Path | None) -> Path | None:
    """The folder of the data set, or None if none was asked for and the usual one is not there."""
    usual = cfg.ROOT_DIR / "data" / "kitti"
    folder = data_dir or usual
    if (folder / "training" / "velodyne").is_dir():
        return folder.resolve()
    if data_dir is not None:
        raise DataError(f"{data_dir}: there is no training/velodyne in it")
    return None


def format_row(row: Row, memory: int | None) -> str:
    """Write a measurement, and the bytes that it took on the way, as a line of the table."""
    size = "-" if memory is None else f"{memory / 2**20:.0f} MiB"
    text = f"{row.stage:<52} {row.milliseconds:>10.2f} ms {size:>10}"
    if row.ratio is not None:
        text += (
            f"   {row.ratio:>6.1f} x as fast as {row.baseline} ({row.baseline_milliseconds:.1f} ms)"
        )
    if row.floor_ms:
        text += f"   {row.milliseconds / row.floor_ms:>6.1f} x the floor of {row.floor_ms:.2f} ms"
    return text + (f"   [{row.note}]" if row.note else "")


def main(argv: list[str] | None = None) -> None:
    """Measure the stages and print a table."""
    args = parse_args(argv)
    data_dir = find_data(args.data_dir)
    choose_algorithms()
    out = sys.stdout
    out.write(f"{log_utils.machine_line()}\n")
    out.write(f"frames: {data_dir or 'none; give --data_dir to measure on real ones'}\n")
    for name in args.stages:
        out.write(f"\n{name}\n")
        memory = PeakMemory()
        for row in importlib.import_module(f"benchmark_utils.{name}").stages(data_dir):
            out.write(f"  {format_row(row, memory.taken())}\n")
            out.flush()
            memory.reset()


if __name__ == "__main__":
    run_command(main)
