"""Write a network as an ONNX file and as a torch.export file, for programs without pcdet.

    pcdet-export checkpoint_epoch_80.pth --out exported

PointPillar as a whole, from pillars to the outputs of the head; of SECOND and Part-A2 the dense
part. Beside them: settings as JSON, and postprocess.py, which makes pillars and boxes with NumPy
alone. The ONNX file is run by onnxruntime and compared with torch. See docs/export.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import add_set_option, check_at_least, make_parser
from pcdet.run.leaving import run_command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("ckpt", type=Path, metavar="FILE", help="the checkpoint")
    add(
        "--out",
        type=Path,
        default=Path("exported"),
        help="folder for the files (default: exported)",
    )
    add("--name", help="of the files, without an ending (default: that of the yaml)")
    add("--cfg_file", help="yaml of the network (default: the configuration in the checkpoint)")
    add("--batch_size", type=int, default=1, help="frames of a batch of a PointPillar (default: 1)")
    add_set_option(parser)
    args = parser.parse_args(argv)
    check_at_least(args, 1, "batch_size")
    return args


def main(argv: list[str] | None = None) -> None:
    """Export what the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.exporting import export_checkpoint  # imports torch, which --help does without

    export_checkpoint(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
