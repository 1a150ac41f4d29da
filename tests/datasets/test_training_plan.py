"""What is told before a training, and what ends it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos
from pcdet.datasets.training_plan import tell_plan
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import load_pickle, save_pickle
from tiny_kitti import make_tiny_kitti

YAML = Path(__file__).parents[2] / "tools" / "cfgs" / "second.yaml"
CLASSES = ["Car", "Pedestrian", "Cyclist"]
ANCHORS = {name: [-1.7] for name in CLASSES}
LOGGER = logging.getLogger("pcdet.test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = make_tiny_kitti(tmp_path_factory.mktemp("tiny_kitti"))
    create_kitti_infos(root, root, 1)
    return root


@pytest.fixture
def cfg(prepared):
    config = cfg_from_yaml_file(YAML, EasyDict())
    sampler = config.DATA_CONFIG.AUGMENTATION.DB_SAMPLER
    config.DATA_CONFIG.TRAIN.INFO_PATH = [str(prepared / "kitti_infos_train.pkl")]
    sampler.DB_INFO_PATH = [str(prepared / "kitti_dbinfos_train.pkl")]
    return config


def plan(root, cfg, anchors=ANCHORS, **options):
    dataset = KittiDataset(root, CLASSES, "train", True, LOGGER, cfg)
    tell_plan(dataset, anchors, LOGGER, **options)


def changed_infos(prepared, tmp_path, cfg, change):
    infos = load_pickle(prepared / "kitti_infos_train.pkl")
    for info in infos:
        change(info["annos"])
    save_pickle(infos, tmp_path / "infos.pkl")
    cfg.DATA_CONFIG.TRAIN.INFO_PATH = [str(tmp_path / "infos.pkl")]


def lower(annos):
    annos["name"] = np.char.lower(annos["name"])
    annos["name"][annos["name"] == "dontcare"] = "DontCare"


def test_a_plan(prepared, cfg, caplog):
    caplog.set_level(logging.INFO)
    plan(prepared, cfg)
    told = "plan: 4 frames; objects in range: Car 2 of 2, Pedestrian 2 of 2, Cyclist 2 of 2"
    assert told in caplog.text
    assert "MAX_NUMBER_OF_VOXELS 16000, which drops 0.0 %" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_classes_of_another_spelling_end_it(prepared, tmp_path, cfg, caplog):
    changed_infos(prepared, tmp_path, cfg, lower)
    message = (
        r"CLASS_NAMES: no object of 'Car' in the 4 training frames; there are car 2, .*; did you "
        r"mean 'car'\? \(and 2 more\); --allow_empty_classes"
    )
    with pytest.raises(ConfigError, match=message):
        plan(prepared, cfg)
    plan(prepared, cfg, allow_empty=True)
    assert "no object of 'Cyclist'" in caplog.text


def test_labels_that_count_as_a_class_are_learned(prepared, tmp_path, cfg, caplog):
    """One of the two cars is a van, or both are."""
    caplog.set_level(logging.INFO)
    cfg.DATA_CONFIG.CLASS_MAP = {"Van": "Car"}
    for count in (1, 4):
        infos = load_pickle(prepared / "kitti_infos_train.pkl")
        for info in infos[:count]:
            names = info["annos"]["name"]
            info["annos"]["name"] = np.where(names == "Car", "Van", names)
        save_pickle(infos, tmp_path / "infos.pkl")
        cfg.DATA_CONFIG.TRAIN.INFO_PATH = [str(tmp_path / "infos.pkl")]
        plan(prepared, cfg)
    told = [line for line in caplog.messages if "objects in range" in line]
    assert len(told) == 2
    assert all(line.endswith("Car 2 of 2, Pedestrian 2 of 2, Cyclist 2 of 2") for line in told)


def test_objects_out_of_range_end_it(prepared, cfg):
    cfg.DATA_CONFIG.POINT_CLOUD_RANGE = [0, -40, 1, 70.4, 40, 5]
    message = (
        r"no object of CLASS_NAMES in the 4 training frames lies wholly in POINT_CLOUD_RANGE "
        r"\[0.0, -40.0, 1.*; the median of all objects is \[1\d\.\d, "
    )
    with pytest.raises(ConfigError, match=message):
        plan(prepared, cfg)


def test_a_class_out_of_range_is_told(prepared, cfg, caplog):
    cfg.DATA_CONFIG.POINT_CLOUD_RANGE = [0, -40, -3, 17.6, 40, 1]
    plan(prepared, cfg)
    assert "none of the 2 objects of Car lies wholly in POINT_CLOUD_RANGE" in caplog.text


def test_points_out_of_range_end_it(tmp_path, prepared, cfg):
    root = make_tiny_kitti(tmp_path)
    for path in (root / "training" / "velodyne").iterdir():
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        (points + np.float32([0, 0, -30, 0])).tofile(path)
    cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.ENABLED = False
    message = r"no point of 4 frames lies in POINT_CLOUD_RANGE .*; those of frame 000000 lie from"
    with pytest.raises(DataError, match=message):
        plan(root, cfg)


def test_too_many_voxels_and_anchors_of_another_height_are_told(prepared, cfg, caplog):
    caplog.set_level(logging.INFO)
    cfg.DATA_CONFIG.TRAIN.MAX_NUMBER_OF_VOXELS = 500
    plan(prepared, cfg, anchors={**ANCHORS, "Car": [0.5]})
    assert "plan: 500 voxels in each of 4 frames" in caplog.text
    assert "% of the points are dropped" in caplog.text
    assert "objects of Car stand at z -1.7 m (median), its anchors at 0.5" in caplog.text


@pytest.mark.parametrize("key", ["SAMPLE_GROUPS", "filter_by_min_points"])
def test_sampling_of_classes_that_no_one_knows_ends_it(prepared, cfg, key):
    sampler = cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER
    section = sampler if key == "SAMPLE_GROUPS" else sampler.PREPARE
    section[key] = ["Car:5", "Cyclists:5"]
    with pytest.raises(ConfigError, match=rf"{key}: class 'Cyclists' .* did you mean 'Cyclist'"):
        plan(prepared, cfg)
    plan(prepared, cfg, allow_empty=True)
