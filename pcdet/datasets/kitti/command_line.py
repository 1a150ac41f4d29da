"""The options of `python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pcdet.utils.frame_pool import available_cores
from pcdet.utils.program_name import program_name


def parse_args(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Read the options.

    Args:
        argv: the words of the command line; None for those of this process.
        description: what --help says first.
    """
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser(
        "create_kitti_infos", help="write the infos of all splits and the ground-truth database"
    )
    _add_options(create)
    args = parser.parse_args(argv)
    for name, least in (("workers", 0), ("make_random_split", 0), ("num_point_features", 3)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name}: expected at least {least}, got {value}")
    if args.image_shape is not None and min(args.image_shape) < 1:
        parser.error(f"--image_shape: expected numbers above 0, got {args.image_shape}")
    return args


def _add_options(create: argparse.ArgumentParser) -> None:
    create.add_argument(
        "--data_path",
        type=Path,
        help="the data folder; the yaml's DATA_DIR, or data/kitti, if not given",
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
        "--cfg_file",
        help="yaml of a model: DATA_DIR, NUM_POINT_FEATURES and IMAGE_SHAPE count; by "
        "FOV_POINTS_ONLY, POINT_CLOUD_RANGE, CLASS_NAMES and CLASS_MAP the data are judged",
    )
    create.add_argument(
        "--num_point_features",
        type=int,
        metavar="N",
        help="numbers of each point in the .bin files; the yaml's NUM_POINT_FEATURES.total, or 4, "
        "if not given",
    )
    create.add_argument(
        "--image_shape",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="size in pixels of images that are not there; the yaml's IMAGE_SHAPE if not given",
    )
    create.add_argument(
        "--make_random_split",
        type=int,
        metavar="SEED",
        help="first write ImageSets by dividing the labelled frames at random; this is not the "
        "standard split, and results on it cannot be compared with published ones",
    )
    create.add_argument(
        "--set",
        dest="set_cfgs",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="change settings of the yaml; must come last",
    )
