"""Compute the step again whose loss or gradient was not finite, and name where it began.

    python tools/replay.py output/second/default/bad_batch.pth

The training wrote the file when it stopped; it holds the batch, the weights, the configuration and
the seed, so that no data set is needed. Prints the first module whose output is not finite in the
forward pass, and the first gradient that is not in the backward pass.
"""

from __future__ import annotations

import argparse

from pcdet.cli.options import add_device_option, make_parser
from pcdet.run.leaving import run_command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    parser.add_argument("file", help="bad_batch.pth of a training")
    add_device_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Compute the stored step again and print where it stopped being finite."""
    args = parse_args(argv)
    from pcdet.cli.replaying import replay  # imports torch, which --help does without

    replay(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
