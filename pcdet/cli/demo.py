"""Detect and draw objects in raw LiDAR scans; no calibration, image or label is needed.

    python tools/demo.py --cfg_file tools/cfgs/second.yaml --ckpt FILE.pth --data SCANS --out DIR

Each scan is a .bin file of float32 x, y, z, intensity in the LiDAR frame (x forward, y left, z up,
metres; the sensor about 1.7 m above the ground, as KITTI mounts it). Written for each: a picture
from above and the boxes as json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pcdet.cli.common import checked_device, run_command
from pcdet.config import cfg, cfg_from_list, cfg_from_yaml_file, find_yaml
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.datasets.sections import read_entry
from pcdet.models import build_network, example_convert_to_torch
from pcdet.utils import log_utils
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import atomic_write, read_points
from pcdet.utils.visualize_utils import DrawnBoxes, draw_bev


class ScanFolder(DatasetTemplate):
    """The .bin files of a folder, or one of them, as a data set without labels."""

    def __init__(self, path: Path):
        super().__init__()
        self.configure(cfg.DATA_CONFIG, cfg.CLASS_NAMES, training=False)
        self.root_path = path
        self.files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
        if not self.files or not self.files[0].is_file():
            raise DataError(f"{path}: expected a .bin file or a folder with .bin files")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        path, features = self.files[index], cfg.DATA_CONFIG.NUM_POINT_FEATURES.total
        frame = {"sample_idx": path.stem, "points": read_points(path, features), "calib": None}
        return self.prepare_data(frame, has_label=False)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cfg_file", required=True, help="yaml of the model")
    add("--ckpt", required=True, help="checkpoint of the model")
    add("--data", type=Path, required=True, help="a .bin file, or a folder of them")
    add("--out", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    add("--score_thresh", type=float, default=0.3, help="least score of a box (default: 0.3)")
    add("--device", help="cpu, cuda or cuda:N (default: a GPU if one is usable, else the CPU)")
    add(
        "--set",
        dest="set_cfgs",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overwrite settings of the yaml; must come last",
    )
    return parser.parse_args(argv)


def detection_list(detections: dict, class_names: list[str]) -> list[dict]:
    """Detections of a frame as plain data, LiDAR boxes [x, y, z (bottom), w, l, h, rz]."""
    boxes, scores = detections["boxes"].tolist(), detections["scores"].tolist()
    names = [class_names[label - 1] for label in detections["labels"].tolist()]
    rows = zip(names, scores, boxes)
    return [{"name": name, "score": score, "box3d_lidar": box} for name, score, box in rows]


@torch.inference_mode()
def main(argv: list[str] | None = None) -> None:
    """Detect objects in all scans of the command line, and write pictures and boxes."""
    args = parse_args(argv)
    logger = log_utils.create_logger()
    cfg_from_yaml_file(find_yaml(args.cfg_file), cfg)
    cfg_from_list(args.set_cfgs, cfg)
    test_cfg = read_entry(cfg, "MODEL.TEST")
    test_cfg.SCORE_THRESH = args.score_thresh
    test_cfg.USE_RAW_SCORE = False  # probabilities are easier to read than logits
    scans = ScanFolder(args.data)
    device = checked_device(args.device)
    model = build_network(scans).to(device).eval()
    model.load_params_from_file(args.ckpt, to_cpu=True, logger=logger)
    for k in tqdm(range(len(scans)), desc="scans", dynamic_ncols=True):
        sample = scans[k]
        batch = example_convert_to_torch(scans.collate_batch([sample]), device=device)
        found = detection_list(model(batch)[0][0], cfg.CLASS_NAMES)
        boxes = np.array([row["box3d_lidar"] for row in found]).reshape(-1, 7)
        drawn = DrawnBoxes(boxes, [row["name"] for row in found], [row["score"] for row in found])
        title = f"{sample['sample_idx']}: {len(found)} objects"
        limit_range = cfg.DATA_CONFIG.POINT_CLOUD_RANGE
        picture = draw_bev(sample["points"], [drawn], cfg.CLASS_NAMES, limit_range, title)
        with atomic_write(args.out / f"{sample['sample_idx']}.png") as file:
            picture.savefig(file, format="png", dpi=150)
        with atomic_write(args.out / f"{sample['sample_idx']}.json") as file:
            file.write(json.dumps(found, indent=1).encode())
    logger.info("pictures and boxes of %d scans are in %s", len(scans), args.out)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
