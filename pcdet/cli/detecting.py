"""What demo.py does: detect objects in raw scans, and write pictures and boxes."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from pcdet.engine.device_options import checked_device
from pcdet.inference.detector import Detector
from pcdet.inference.network import load_network
from pcdet.utils import log_utils
from pcdet.utils.checkpoint_reading import check_is_there
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import first_of_one_name
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.point_files import list_scans
from pcdet.viewer.page import write_page
from pcdet.viewer.results import SCENES
from pcdet.viewer.scene import Pane, Scene


def detect_scans(args: argparse.Namespace) -> None:
    """Detect objects in all scans of the command line, and write pictures and boxes."""
    logger = log_utils.create_logger()
    check_is_there(args.ckpt)
    if args.device is not None:
        checked_device(args.device)
    scans = list_scans(args.data)
    _check_names(scans)
    network, _ = load_network(args.ckpt, args.cfg_file, args.set_cfgs, logger)
    detector = Detector(
        network,
        device=args.device,
        amp=args.amp,
        score_thresh=args.score_thresh,
        compile=args.compile,
    )
    failed: list[DataError] = []

    def note(error: DataError) -> None:
        failed.append(error)
        logger.error("%s; the other scans go on", error)

    scenes = detect_all(detector, scans, args.batch_size, args.out, note)
    if args.html:
        title = f"{network.config.get('TAG', args.ckpt)}, {args.data}"
        write_page(scenes, detector.class_names, args.out / SCENES, title)
        logger.info("%s: open it in a browser", args.out / SCENES)
    else:
        deque(scenes, maxlen=0)
    logger.info("pictures and boxes of %d scans are in %s", len(scans) - len(failed), args.out)
    if failed:
        raise DataError(f"{failed[0]} ({len(failed)} of {len(scans)} scans could not be read)")


def _check_names(scans: list[Path]) -> None:
    """Raise a DataError if the results of two scans would have one name."""
    if pair := first_of_one_name((scan.stem, scan) for scan in scans):
        other, scan = pair
        raise DataError(
            f"{scan}: its results would have the name of those of {other}: rename one, or give "
            "the scans one by one with another --out"
        )


def detect_all(
    detector: Detector,
    scans: list[Path],
    batch_size: int,
    out: Path,
    unreadable: Callable[[DataError], None],
) -> Iterator[Scene]:
    """Detect objects in each scan and write the results into a folder; yield the scenes."""
    for result in detector.stream(scans, batch_size, unreadable=unreadable):
        result.draw(out / f"{result.frame_id}.png")
        with atomic_write(out / f"{result.frame_id}.json") as file:
            file.write(json.dumps(result.rows(), indent=1).encode())
        yield Scene(result.frame_id, [Pane("detections", result.points, found=result.drawn())])
