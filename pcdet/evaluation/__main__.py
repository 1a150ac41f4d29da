"""Command line: KITTI AP of a folder of result files.

python -m pcdet.evaluation --gt data/kitti/training/label_2 --det RESULTS \
    --split_file data/kitti/ImageSets/val.txt --json ap.json --plots plots
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pcdet.evaluation import reasons, rules
from pcdet.evaluation.scoring import evaluate_overlap_sets, read_folders
from pcdet.utils.errors import PcdetError
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.program_name import program_name


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options of the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="KITTI AP by the official rules: 2D, AOS, BEV and 3D, R40 and R11.",
    )
    parser.add_argument("--gt", type=Path, required=True, help="folder of label files")
    parser.add_argument("--det", type=Path, required=True, help="folder of result files")
    parser.add_argument(
        "--split_file",
        type=Path,
        help="the frames to evaluate, one a line (default: all, and both folders must agree)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="write the AP of the first overlaps (the benchmark's, if none are given) with all "
        "digits to this file; null where there is none",
    )
    parser.add_argument("--plots", type=Path, help="write one PNG per class to this folder")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=list(rules.CLASS_NAMES),
        metavar="CLASS",
        help="classes to score (default: the benchmark's three)",
    )
    parser.add_argument(
        "--overlaps",
        nargs="+",
        type=float,
        metavar="OVERLAP",
        help="overlap that a hit must exceed, one for each class (default: the benchmark's for all "
        "metrics, and then 0.5 for cars and 0.25 for pedestrians and cyclists in BEV and 3D)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing what is wrong with the input."""
    args = parse_args(argv)
    try:
        _run(args)
    except (PcdetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by the user\n")
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    sets = rules.OVERLAP_SETS if args.overlaps is None else [(args.overlaps, rules.METRICS)]
    gt, det = read_folders(args.gt, args.det, args.split_file)
    for folder, labels in ((args.gt, gt), (args.det, det)):
        if doubt := reasons.doubt_about_angles(labels):
            sys.stderr.write(f"warning: {folder}: {doubt}\n")
    results = evaluate_overlap_sets(gt, det, args.classes, sets)
    sys.stdout.write("\n".join(result.table() for result in results))
    if args.json is not None:
        text = json.dumps(results[0].to_json())
        numbers = json.loads(text, parse_constant=lambda name: None)  # NaN, which is no JSON
        with atomic_write(args.json) as file:
            file.write(json.dumps(numbers, indent=1).encode())
    if args.plots is not None:
        # Imported here: matplotlib takes as long to start as a whole evaluation.
        from pcdet.evaluation.plots import save_plots

        save_plots(results[0], args.plots)


if __name__ == "__main__":
    sys.exit(main())
