"""The yaml files: PCDet's keys and values, and networks that fit their voxel grids."""

from __future__ import annotations

import re
from ast import literal_eval
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models.model_fixture import CFGS, load_config
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.models import build_network, model_fn_decorator

YAMLS = sorted(path.stem for path in CFGS.glob("*.yaml"))


def flattened(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path to value of every leaf, as the list of PCDet's settings has them."""
    if isinstance(value, dict):
        pairs = [(f"{path}.{key}" if path else key, part) for key, part in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        pairs = [(f"{path}[{k}]", part) for k, part in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for pair in pairs for key, leaf in flattened(pair[1], pair[0]).items()}


def listed_settings(text: str) -> dict[str, dict[str, Any]]:
    """Yaml name to all of its settings, by the list of differences."""
    settings: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in text.splitlines():
        if match := re.match(r"## (\w+)\.yaml(?: \(differences from (\w+)\.yaml\))?", line):
            current = dict(settings.get(match[2], {}))
            settings[match[1]] = current
        elif match := re.match(r"- `(.+?)` = `(.*)`", line):
            current[match[1]] = literal_eval(match[2])
        elif match := re.match(r"- absent: `(.+)`", line):
            del current[match[1]]
    return settings


def test_keys_and_values_are_those_of_pcdet(reference):
    listed = listed_settings(reference("settings.md").read_text())
    assert set(listed) == {"second", "pointpillar", "PartA2", "PartA2_car", "PartA2_fc"}
    for name, expected in listed.items():
        config = load_config(name)
        own = flattened({key: config[key] for key in ("CLASS_NAMES", "DATA_CONFIG", "MODEL")})
        assert own == expected, name


def yaml_dataset(cfg) -> SimpleNamespace:
    """What `build_network` reads from a data set, the grid worked out as the data set does."""
    data = cfg.DATA_CONFIG
    return SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        num_point_features=data.NUM_POINT_FEATURES.use,
        voxel_generator=VoxelGenerator(
            data.VOXEL_GENERATOR.VOXEL_SIZE,
            data.POINT_CLOUD_RANGE,
            data.VOXEL_GENERATOR.MAX_POINTS_PER_VOXEL,
        ),
    )


@pytest.mark.parametrize("name", YAMLS)
def test_each_yaml_builds(name):
    cfg = load_config(name)
    build_network(yaml_dataset(cfg), cfg)


@pytest.mark.parametrize("name", [name for name in YAMLS if name.endswith("_demo")])
def test_each_demo_trains_on_a_frame(name):
    cfg = load_config(name)
    dataset = yaml_dataset(cfg)
    points = torch.rand(1000, 4) * torch.tensor([20.0, 20, 1, 1]) - torch.tensor([-10, 10, 2, 0])
    voxels, coordinates, num_points = dataset.voxel_generator.generate(points.numpy())
    centers = dataset.voxel_generator.voxel_centers(coordinates)
    batch = {
        "voxels": torch.from_numpy(voxels),
        "num_points": torch.from_numpy(num_points),
        "coordinates": torch.nn.functional.pad(torch.from_numpy(coordinates), (1, 0)),
        "voxel_centers": torch.from_numpy(centers),
        "gt_boxes": torch.tensor([[[20.0, 0, -1.7, 1.6, 3.9, 1.5, 0.3, 1]]]),
        "seg_labels": torch.zeros(len(centers), dtype=torch.int32),
        "part_labels": torch.zeros(len(centers), 3),
        "batch_size": 1,
    }
    model = build_network(dataset, cfg).train()
    result = model_fn_decorator()(model, batch)
    result.loss.backward()
    assert result.loss.isfinite()
