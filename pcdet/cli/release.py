"""Write a small file for testing from a checkpoint of a training.

    pcdet-release output/second/default/ckpt/checkpoint_epoch_80.pth     second_1a2b3c4d.pth

It holds the weights (their average over the training, if MODEL.TRAIN.EMA made one), the
configuration, the classes, AP and where it comes from, and not the optimiser. The name ends with
the first digits of its sha256, which also stands in a file beside it, as sha256sum reads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import make_parser
from pcdet.run.leaving import run_command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("ckpt", type=Path, metavar="FILE", help="the checkpoint, in the folder of its run")
    add(
        "--out", type=Path, default=Path(), help="folder for the file (default: the working folder)"
    )
    add("--name", help="begin of its name (default: that of the yaml)")
    add("--cfg_file", help="yaml of the network (default: the configuration in the checkpoint)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Release what the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.releasing import release  # imports torch, which --help does without

    release(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
