"""Look at a split, at detections, or at what training sees: one HTML file, for any browser.

    pcdet-view --cfg_file tools/cfgs/second.yaml                       labels and the newest results
    pcdet-view --cfg_file ... --result A/result.pkl B/result.pkl       two checkpoints side by side
    pcdet-view --cfg_file ... --train_samples 20                       samples after augmentation

The file needs no server and no network: open it with a double click, or mail it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import (
    add_extra_tag_option,
    add_set_option,
    check_at_least,
    check_exclusive,
    check_goes_with,
    make_parser,
)
from pcdet.run.leaving import run_command
from pcdet.utils.errors import ConfigError

_FRAMES = 20
_EXCLUSIVE = (
    ("train_samples", "result"),
    ("train_samples", "labels_only"),
    ("train_samples", "split"),
    ("train_samples", "frames"),
    ("train_samples", "whole_scan"),
    ("labels_only", "result"),
    ("frames", "ids"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    files = parser.add_argument_group("files").add_argument
    files("--cfg_file", required=True, help="yaml of the model, such as tools/cfgs/second.yaml")
    files("--data_dir", help="folder of the data set, instead of the yaml's DATA_CONFIG.DATA_DIR")
    add_extra_tag_option(files)
    files(
        "--output_dir",
        type=Path,
        help="folder of all runs (default: output/ in the repository, or in the working folder "
        "where pcdet is installed without it)",
    )
    files("--out", type=Path, default=Path("view.html"), help="the page (default: %(default)s)")
    files("--rerun", type=Path, metavar="FILE.rrd", help="also a recording for the Rerun viewer")
    _add_content_options(parser.add_argument_group("what to show"))
    add_set_option(parser)
    args = parser.parse_args(argv)
    check_at_least(args, 1, "frames", "train_samples")
    check_at_least(args, 0, "seed", "epoch")
    if len(args.result or ()) > 2:
        raise ConfigError(f"--result: expected one file, or two to compare, got {len(args.result)}")
    check_exclusive(args, *_EXCLUSIVE)
    check_goes_with(args, "train_samples", "seed", "epoch")
    args.frames = args.frames or _FRAMES
    args.seed, args.epoch = args.seed or 0, args.epoch or 0
    return args


def _add_content_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--result",
        type=Path,
        nargs="+",
        metavar="result.pkl",
        help="detections of a test, or two to compare (default: the newest of the run, if any)",
    )
    add("--labels_only", action="store_true", help="show no detections")
    add("--frames", type=int, help=f"so many, spread over the split (default: {_FRAMES})")
    add("--ids", nargs="+", metavar="ID", help="these frames, such as 000012, instead of --frames")
    add("--split", help="split to show, instead of the yaml's MODEL.TEST.SPLIT")
    add(
        "--whole_scan",
        action="store_true",
        help="show all points, not only those in the network's range and the camera's view",
    )
    add(
        "--train_samples",
        type=int,
        metavar="N",
        help="show N training samples, after all augmentation, beside the frames as recorded; "
        "instead of --frames",
    )
    add("--seed", type=int, help="with --train_samples: of the augmentation (default: 0)")
    add("--epoch", type=int, help="with --train_samples: of the augmentation (default: 0)")


def main(argv: list[str] | None = None) -> None:
    """Write the page that the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.viewing import view  # imports torch, which --help does without

    view(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
