"""What demo.py does: detect objects in raw scans, and write pictures and boxes."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pcdet.cli.start import read_config
from pcdet.config import cfg
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.engine.device_options import checked_device
from pcdet.models import build_network, example_convert_to_torch
from pcdet.utils import log_utils
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.point_files import list_scans, read_points
from pcdet.utils.visualize_utils import DrawnBoxes, draw_bev
from pcdet.viewer.page import write_page
from pcdet.viewer.pictures import save_picture
from pcdet.viewer.results import SCENES
from pcdet.viewer.scene import Pane, Scene


@torch.inference_mode()
def detect(args: argparse.Namespace) -> None:
    """Detect objects in all scans of the command line, and write pictures and boxes."""
    logger = log_utils.create_logger()
    read_config(args)
    test_cfg = cfg.MODEL.TEST
    test_cfg.SCORE_THRESH = args.score_thresh
    test_cfg.USE_RAW_SCORE = False  # probabilities are easier to read than logits
    scans = ScanFolder(args.data)
    device = checked_device(args.device)
    model = build_network(scans).to(device).eval()
    model.load_params_from_file(args.ckpt, to_cpu=True, logger=logger)
    scenes = detect_all(scans, model, device, args.out)
    if args.html:
        write_page(scenes, cfg.CLASS_NAMES, args.out / SCENES, f"{cfg.TAG}, {args.data}")
    else:
        deque(scenes, maxlen=0)
    logger.info("pictures and boxes of %d scans are in %s", len(scans), args.out)


def detect_all(
    scans: ScanFolder, model: torch.nn.Module, device: torch.device, out: Path
) -> Iterator[Scene]:
    """Detect objects in each scan and write the results into a folder; yield the scenes."""
    for k in tqdm(range(len(scans)), desc="scans", dynamic_ncols=True):
        sample = scans[k]
        batch = example_convert_to_torch(scans.collate_batch([sample]), device=device)
        rows = detection_list(model(batch)[0][0], cfg.CLASS_NAMES)
        boxes = np.array([row["box3d_lidar"] for row in rows]).reshape(-1, 7)
        scores = np.array([row["score"] for row in rows])
        found = DrawnBoxes(boxes, [row["name"] for row in rows], scores)
        name, points = sample["sample_idx"], sample["points"]
        write_results(out / name, points, rows, found)
        yield Scene(name, [Pane("detections", points, found=found)])


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
