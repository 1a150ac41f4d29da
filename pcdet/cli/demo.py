"""Detect and draw objects in raw LiDAR scans; no calibration, image or label is needed.

    python tools/demo.py --ckpt FILE.pth --data SCANS --out DIR
    python tools/demo.py --ckpt second_7862.pth --cfg_file tools/cfgs/second.yaml --data SCANS

Each scan is a file .bin (rows of float32), .npy, .pcd or .ply of x, y, z, intensity in the LiDAR
frame (x forward, y left, z up, metres; the sensor about 1.7 m above the ground, as KITTI mounts
it). Written for each: a picture from above and the boxes as json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdet.cli.options import (
    add_detection_options,
    add_device_option,
    add_set_option,
    check_at_least,
    make_parser,
)
from pcdet.run.leaving import run_command
from pcdet.utils.errors import ConfigError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--cfg_file", help="yaml of the model (default: the configuration in the checkpoint)")
    add("--ckpt", required=True, help="checkpoint of the model")
    add("--data", type=Path, required=True, help="a scan, or a folder of them")
    add("--out", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    add("--score_thresh", type=float, default=0.3, help="least score of a box (default: 0.3)")
    add("--html", action="store_true", help="also write scenes.html, which shows them all in 3D")
    add("--batch_size", type=int, default=1, help="scans of a step (default: 1)")
    add_detection_options(parser)
    add_device_option(parser)
    add_set_option(parser)
    args = parser.parse_args(argv)
    check_at_least(args, 1, "batch_size")
    if not 0 <= args.score_thresh <= 1:
        raise ConfigError(
            f"--score_thresh: expected a probability from 0 to 1, got {args.score_thresh:g}"
        )
    return args


def main(argv: list[str] | None = None) -> None:
    """Detect objects in all scans of the command line, and write pictures and boxes."""
    args = parse_args(argv)
    from pcdet.cli.detecting import detect_scans  # imports torch, which --help does without

    detect_scans(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
