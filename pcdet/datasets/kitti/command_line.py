"""The options of `python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pcdet.datasets.kitti.kitti_infos import CREATE_COMMAND
from pcdet.utils.frame_pool import available_cores


def parse_args(argv: Sequence[str] | None, description: str, data_path: Path) -> argparse.Namespace:
    """Read the options.

    Args:
        argv: the words of the command line; None for those of this process.
        description: what --help says first.
        data_path: the data folder if none is given.
    """
    parser = argparse.ArgumentParser(
        prog=CREATE_COMMAND.rsplit(" ", 1)[0],
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser(
        "create_kitti_infos", help="write the infos of all splits and the ground-truth database"
    )
    create.add_argument(
        "--data_path",
        type=Path,
        default=data_path,
        help="the data folder; %(default)s if not given",
    )
    create.add_argument(
        "--save_path", type=Path, help="where the files go; the data folder if not given"
    )
    create.add_argument(
        "--workers",
        type=int,
        default=available_cores(),
        help="processes at most; all cores, here %(default)s, if not given",
    )
    create.add_argument(
        "--make_random_split",
        type=int,
        metavar="SEED",
        help="first write ImageSets by dividing the labelled frames at random; this is not the "
        "standard split, and results on it cannot be compared with published ones",
    )
    return parser.parse_args(argv)
