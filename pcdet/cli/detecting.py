"""What demo.py does: detect objects in raw scans, and write pictures and boxes."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pcdet.cli.start import prepare_detector, read_config
from pcdet.config import cfg
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.engine.detect import detect
from pcdet.engine.device_options import amp_type, checked_device
from pcdet.models import build_network
from pcdet.utils import log_utils
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.point_files import list_scans, read_points
from pcdet.utils.visualize_utils import DrawnBoxes, draw_bev
from pcdet.viewer.page import write_page
from pcdet.viewer.pictures import save_picture
from pcdet.viewer.results import SCENES
from pcdet.viewer.scene import Pane, Scene


def detect_scans(args: argparse.Namespace) -> None:
    """Detect objects in all scans of the command line, and write pictures and boxes."""
    logger = log_utils.create_logger()
    read_config(args)
    test_cfg = cfg.MODEL.TEST
    test_cfg.SCORE_THRESH = args.score_thresh
    test_cfg.USE_RAW_SCORE = False  # probabilities are easier to read than logits
    scans = ScanFolder(args.data)
    device = checked_device(args.device)
    amp = amp_type(args.amp, device, logger)
    model = prepare_detector(build_network(scans), args, device)
    model.load_params_from_file(args.ckpt, to_cpu=True, logger=logger)
    scenes = detect_all(scans, model, args, amp)
    if args.html:
        write_page(scenes, cfg.CLASS_NAMES, args.out / SCENES, f"{cfg.TAG}, {args.data}")
    else:
        deque(scenes, maxlen=0)
    logger.info("pictures and boxes of %d scans are in %s", len(scans), args.out)


def detect_all(
    scans: ScanFolder, model: nn.Module, args: argparse.Namespace, amp: torch.dtype | None
) -> Iterator[Scene]:
    """Detect objects in each scan and write the results into a folder; yield the scenes."""
    with tqdm(total=len(scans), desc="scans", dynamic_ncols=True) as bar:
        for first in range(0, len(scans), args.batch_size):
            last = min(first + args.batch_size, len(scans))
            samples = [scans[k] for k in range(first, last)]
            detections, _ = detect(model, scans.collate_batch(samples), amp)
            for sample, frame in zip(samples, detections):
                yield show_scan(sample, frame, args.out)
                bar.update()


def show_scan(sample: dict[str, Any], frame: dict[str, torch.Tensor], out: Path) -> Scene:
    """Write what was found in a scan, boxes and picture, and make a scene of it."""
    rows = detection_list(frame, cfg.CLASS_NAMES)
    boxes = np.array([row["box3d_lidar"] for row in rows]).reshape(-1, 7)
    scores = np.array([row["score"] for row in rows])
    found = DrawnBoxes(boxes, [row["name"] for row in rows], scores)
    name, points = sample["sample_idx"], sample["points"]
    write_results(out / name, points, rows, found)
    return Scene(name, [Pane("detections", points, found=found)])


class ScanFolder(DatasetTemplate):
    """The scans of a folder, or one of them, as a data set without labels."""

    def __init__(self, path: Path):
        super().__init__()
        self.configure(cfg.DATA_CONFIG, cfg.CLASS_NAMES, training=False)
        self.root_path = path
        self.files = list_scans(path)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        path = self.files[index]
        points = read_points(path, self.num_stored_features)
        frame = {"sample_idx": path.stem, "points": points, "calib": None}
        return self.prepare_data(frame, has_label=False)


def detection_list(detections: dict, class_names: list[str]) -> list[dict]:
    """Detections of a frame as plain data, LiDAR boxes [x, y, z (bottom), w, l, h, rz]."""
    boxes, scores = detections["boxes"].tolist(), detections["scores"].tolist()
    names = [class_names[label - 1] for label in detections["labels"].tolist()]
    rows = zip(names, scores, boxes)
    return [{"name": name, "score": score, "box3d_lidar": box} for name, score, box in rows]


def write_results(path: Path, points: np.ndarray, rows: list[dict], found: DrawnBoxes) -> None:
    """Write a scan's detections to <path>.json and a picture of them to <path>.png."""
    title = f"{path.name}: {len(rows)} objects"
    limit_range = cfg.DATA_CONFIG.POINT_CLOUD_RANGE
    picture = draw_bev(points, [found], cfg.CLASS_NAMES, limit_range, title)
    save_picture(picture, path.with_name(f"{path.name}.png"))
    with atomic_write(path.with_name(f"{path.name}.json")) as file:
        file.write(json.dumps(rows, indent=1).encode())
