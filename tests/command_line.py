"""Command lines of a small training and evaluation, and the folder they work on."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml

from models.model_fixture import narrow_config
from pcdet.datasets.kitti.kitti_dataset import create_kitti_infos
from tiny_kitti import make_tiny_kitti


def make_workplace(folder: Path) -> Path:
    """Write data (kitti/) and the yaml of a small SECOND (small.yaml) into a folder."""
    make_tiny_kitti(folder / "kitti")
    create_kitti_infos(folder / "kitti", folder / "kitti", workers=1)
    config = narrow_config()
    sections = {key: config[key] for key in ("CLASS_NAMES", "DATA_CONFIG", "MODEL")}
    config = json.loads(json.dumps(sections))  # plain dicts and lists
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    return folder


def arguments(workplace: Path, output: Path, *more: str) -> list[str]:
    return [
        *("--cfg_file", str(workplace / "small.yaml"), "--data_dir", str(workplace / "kitti")),
        *("--output_dir", str(output), "--batch_size", "2", "--workers", "0", "--device", "cpu"),
        *more,
    ]


def train_arguments(workplace: Path, output: Path, *more: str) -> list[str]:
    seeded = ("--fix_random_seed", "--ckpt_save_interval", "1")
    return arguments(workplace, output, *seeded, *more)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model_state"]
