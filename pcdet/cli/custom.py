"""Your own data: check a folder, prepare it for training, import labels of other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import check_at_least, make_parser
from pcdet.run.leaving import run_command
from pcdet.utils.frame_pool import available_cores

_DESCRIPTION = """Your own data: points/<frame>.{npy,bin,pcd,ply} and labels/<frame>.txt, lines
`x y z dx dy dz heading class`.

    pcdet-custom import  labelcloud SRC data/custom  if the labels are another program's
    pcdet-custom check   data/custom                 tables, warnings, and a page of pictures
    pcdet-custom prepare data/custom                 infos, database, yaml
    python tools/train.py --cfg_file data/custom/second_custom.yaml
    python tools/test.py  --cfg_file data/custom/second_custom.yaml
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        ConfigError: a number is too low.
    """
    parser = make_parser(_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="read everything, and write a page of pictures")
    check.add_argument("folder", type=Path, help="folder of the data")
    _add_workers(check)
    check.add_argument(
        "--frames", type=int, default=10, help="frames shown from above (default: %(default)s)"
    )
    check.add_argument("--out", type=Path, help="the page (default: check.html in the folder)")
    prepare = commands.add_parser("prepare", help="write splits, infos, database and yaml")
    prepare.add_argument("folder", type=Path, help="folder of the data")
    _add_workers(prepare)
    prepare.add_argument(
        "--seed", type=int, default=0, help="of the split, where ImageSets has none (default: 0)"
    )
    prepare.add_argument(
        "--model",
        nargs="+",
        default=["second", "pointpillar"],
        metavar="NAME",
        help="yaml files of tools/cfgs to adapt, .yaml may be left out (default: %(default)s)",
    )
    prepare.add_argument(
        "--size",
        choices=("small", "full"),
        help="small adapts NAME_demo.yaml, a network that two CPU cores train (default: full "
        "where there is a GPU, else small)",
    )
    prepare.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="classes to learn (default: all with objects enough)",
    )
    imported = commands.add_parser(
        "import", help="turn labels and scans of another program into such a folder"
    )
    imported.add_argument(
        "format",
        metavar="FORMAT",
        help="labelcloud (or centroid_rel, centroid_abs, vertices, labelcloud_kitti, "
        "kitti_untransformed), sustechpoints, cvat (its exports Datumaro, Kitti Raw and Sly Point "
        "Cloud), supervisely, segments, xtreme1, openlabel, kitti, nuscenes",
    )
    imported.add_argument("source", metavar="SRC", type=Path, help="folder of that program")
    imported.add_argument("folder", metavar="DST", type=Path, help="folder to write")
    imported.add_argument(
        "--points", type=Path, metavar="DIR", help="folder of the scans (default: below SRC)"
    )
    args = parser.parse_args(argv)
    if args.command == "check":
        check_at_least(args, 1, "frames")
    if args.command == "prepare":
        check_at_least(args, 0, "seed")
    if args.command != "import":
        check_at_least(args, 0, "workers")
    return args


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int,
        default=available_cores(),
        help="processes at most; all cores, here %(default)s, if not given",
    )


def main(argv: list[str] | None = None) -> None:
    """Do what the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli import own_data  # imports torch, which --help does without

    own_data.COMMANDS[args.command](args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
