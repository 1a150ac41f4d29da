"""Test a checkpoint, or all checkpoints of a run as they appear.

    python tools/test.py --cfg_file tools/cfgs/second.yaml --ckpt output/.../checkpoint_epoch_80.pth
    python tools/test.py --cfg_file tools/cfgs/second.yaml --eval_all

Prints KITTI's AP (no GPU needed) and writes output/<yaml>/<extra_tag>/eval/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import (
    add_common_options,
    add_detection_options,
    check_at_least,
    check_common_options,
    check_exclusive,
    check_goes_with,
    make_parser,
    name_of_evaluation,
)
from pcdet.run.leaving import run_command
from pcdet.utils.errors import ConfigError

_MAX_WAITING_MINS = 30


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    _add_checkpoint_options(parser.add_argument_group("what to test"))
    _add_result_options(parser.add_argument_group("results"))
    add_detection_options(parser.add_argument_group("speed"))
    add_common_options(parser)
    args = parser.parse_args(argv)
    check_common_options(args)
    check_at_least(args, 0, "pictures", "html", "start_epoch", "max_waiting_mins")
    check_exclusive(args, ("ckpt", "eval_all"), ("ckpt", "ckpt_dir"))
    check_goes_with(args, "eval_all", "start_epoch", "max_waiting_mins")
    args.start_epoch = args.start_epoch or 0
    if args.max_waiting_mins is None:
        args.max_waiting_mins = _MAX_WAITING_MINS
    if args.report:
        for name in ("eval_all", "ckpt_dir", "save_to_file", "pictures", "compile", "amp"):
            if getattr(args, name) not in (None, False, 0, "none"):
                raise ConfigError(f"--report detects nothing, so --{name} cannot go with it")
    elif args.eval_tag is None:
        args.eval_tag = "default"
    return args


def _add_checkpoint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ckpt", help="checkpoint to test (default: that of the last epoch)")
    group.add_argument(
        "--eval_all",
        action="store_true",
        help="test every checkpoint that this option has not tested yet, and new ones until the "
        "training is over",
    )
    group.add_argument(
        "--start_epoch", type=int, help="with --eval_all: skip earlier epochs (default: 0)"
    )
    group.add_argument(
        "--max_waiting_mins",
        type=float,
        help="with --eval_all: give up when for so long no checkpoint came and no training was "
        f"running (default: {_MAX_WAITING_MINS})",
    )
    group.add_argument(
        "--ckpt_dir", type=Path, help="where the checkpoints are (default: ckpt/ of the run)"
    )
    group.add_argument("--split", help="split to test on, instead of the yaml's MODEL.TEST.SPLIT")


def _add_result_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--eval_tag",
        type=name_of_evaluation,
        help="names this evaluation among those of the run (default: default; of --report: any)",
    )
    group.add_argument(
        "--save_to_file",
        action="store_true",
        help="write the detections as files: KITTI's txt and the zip for its server, or the format "
        "of one's own labels",
    )
    group.add_argument("--pictures", type=int, default=0, help="draw so many frames (default: 0)")
    group.add_argument(
        "--html",
        type=int,
        nargs="?",
        const=20,
        default=20,
        metavar="N",
        help="frames of scenes.html, which shows them in 3D, beside report.html in the run's "
        "folder (default: 20; 0 for none)",
    )
    group.add_argument(
        "--report",
        action="store_true",
        help="write the report of the run's last test again, without detecting anything; --ckpt "
        "and --eval_tag choose the last test of a checkpoint of that file name, and with that tag",
    )


def main(argv: list[str] | None = None) -> None:
    """Test what the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.testing import test  # imports torch, which --help does without

    test(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
