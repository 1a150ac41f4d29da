"""Write a checkpoint in another program's names, layouts and conventions.

    pcdet-convert second_7862.pth second.pth --cfg_file second.yaml    OpenPCDet's to ours
    pcdet-convert checkpoint_epoch_80.pth theirs.pth --to openpcdet    ours to OpenPCDet's
    pcdet-convert checkpoint_epoch_80.pth old.pth --to pcdet_v0.1      for PCDet v0.1, spconv 1
    pcdet-convert checkpoint_epoch_80.pth second.safetensors           safetensors

The format of the file that is read is found by itself. What was written is read again and compared.
Weights alone go over, not the state of the optimiser: docs/checkpoints.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import add_set_option, make_parser
from pcdet.run.leaving import run_command
from pcdet.utils.errors import ConfigError

TARGETS = ("pcdet", "openpcdet", "pcdet_v0.1")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("source", type=Path, metavar="FILE", help="the checkpoint to convert")
    add("out", type=Path, metavar="OUT", help="the file to write, .pth or .safetensors")
    add(
        "--to",
        choices=TARGETS,
        default="pcdet",
        help="whose checkpoint it becomes (default: pcdet)",
    )
    add("--cfg_file", help="yaml of the network (default: the configuration in the checkpoint)")
    add_set_option(parser)
    args = parser.parse_args(argv)
    if args.out.suffix not in (".pth", ".safetensors"):
        raise ConfigError(f"OUT: expected a name that ends in .pth or .safetensors, got {args.out}")
    if args.out.suffix == ".safetensors" and args.to != "pcdet":
        raise ConfigError(
            f"{args.out}: safetensors files are written for pcdet alone, not {args.to}"
        )
    if args.out.exists() and args.source.exists() and args.out.samefile(args.source):
        raise ConfigError(f"{args.out}: this is the file to read; name another one to write")
    return args


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.converting import convert  # imports torch, which --help does without

    convert(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
