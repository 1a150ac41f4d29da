"""Loaders: the same samples for any workers and ranks, in an order that the epoch decides."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file
from pcdet.datasets import EveryKthSampler, build_dataloader
from pcdet.datasets.kitti.kitti_dataset import create_kitti_infos
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import save_pickle
from tiny_kitti import make_tiny_kitti

CFG_FILE = "tools/cfgs/second.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_tiny_kitti(tmp_path_factory.mktemp("kitti"))
    create_kitti_infos(root, root, workers=1)
    return root


@pytest.fixture
def cfg(request):
    return cfg_from_yaml_file(request.config.rootpath / CFG_FILE, EasyDict(ROOT_DIR="/nowhere"))


def batches_of_epoch(dataset, loader, sampler, epoch):
    dataset.set_epoch(epoch)
    sampler.set_epoch(epoch)
    return list(loader)


def assert_same_batches(batches, expected):
    assert len(batches) == len(expected)
    for a, b in zip(batches, expected):
        assert a.keys() == b.keys()
        for key in a.keys() - {"calib"}:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.fixture(scope="module")
def expected_epochs(root, request):
    """Three epochs made without workers."""
    cfg = cfg_from_yaml_file(request.config.rootpath / CFG_FILE, EasyDict(ROOT_DIR="/"))
    torch.manual_seed(5)
    parts = build_dataloader(root, 2, dist=False, workers=0, cfg=cfg)
    return [batches_of_epoch(*parts, epoch) for epoch in range(3)]


def test_epochs_differ_in_order_and_augmentation(expected_epochs):
    orders = [tuple(np.concatenate([b["sample_idx"] for b in e])) for e in expected_epochs]
    assert len(set(orders)) > 1
    assert all(sorted(order) == ["000000", "000001", "000002", "000003"] for order in orders)
    points = [np.concatenate([b["points"] for b in e]) for e in expected_epochs]
    assert len({p.sum() for p in points}) == 3
    assert {b["gt_boxes"].dtype.name for e in expected_epochs for b in e} == {"float32"}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_make_the_same_samples(root, cfg, workers, expected_epochs):
    torch.manual_seed(5)
    parts = build_dataloader(root, 2, dist=False, workers=workers, cfg=cfg)
    for epoch, expected in enumerate(expected_epochs):
        assert_same_batches(batches_of_epoch(*parts, epoch), expected)
    assert_same_batches(batches_of_epoch(*parts, 1), expected_epochs[1])  # as after a resume


def test_how_workers_start(root, cfg, monkeypatch):
    def context(workers):
        loader = build_dataloader(root, 2, dist=False, workers=workers, cfg=cfg)[1]
        return loader.multiprocessing_context

    assert context(0) is None
    monkeypatch.setattr(sys, "platform", "linux")
    assert context(1).get_start_method() == "fork"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert context(1) is None


@pytest.mark.slow
def test_spawned_workers_make_the_same_samples(root, cfg, expected_epochs):
    torch.manual_seed(5)
    dataset, loader, sampler = build_dataloader(root, 2, dist=False, workers=1, cfg=cfg)
    loader.multiprocessing_context = "spawn"
    for epoch in range(2):
        batches = batches_of_epoch(dataset, loader, sampler, epoch)
        assert_same_batches(batches, expected_epochs[epoch])


def test_ranks_share_an_epoch(root, cfg, expected_epochs, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shared = []

    def broadcast(objects, src):
        shared[:] = shared or objects  # of rank 0, which comes first
        objects[:] = shared

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    samples = []
    for rank in range(2):
        torch.manual_seed(5 + rank)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts = build_dataloader(root, 1, dist=True, workers=0, cfg=cfg)
        samples.append(batches_of_epoch(*parts, 1))
    interleaved = [batch for pair in zip(*samples) for batch in pair]
    for batch, position in zip(interleaved, range(4)):
        whole = expected_epochs[1][position // 2]
        assert batch["sample_idx"] == whole["sample_idx"][position % 2 : position % 2 + 1]
        points = whole["points"][whole["points"][:, 0] == position % 2]
        np.testing.assert_array_equal(batch["points"][:, 1:], points[:, 1:])


def test_test_mode_takes_every_frame_once_and_in_order(root, cfg, monkeypatch):
    dataset, loader, _ = build_dataloader(root, 2, dist=False, workers=0, training=False, cfg=cfg)
    assert [b["sample_idx"] for b in loader] == [dataset.sample_ids]
    assert dataset.sample_ids == ["000004", "000005"]
    frames = [list(EveryKthSampler(7, num_replicas=3, rank=rank)) for rank in range(3)]
    assert frames == [[0, 3, 6], [1, 4], [2, 5]]
    assert [len(EveryKthSampler(7, 3, rank)) for rank in range(3)] == [3, 2, 2]
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    _, loader, _ = build_dataloader(root, 2, dist=True, workers=0, training=False, cfg=cfg)
    assert [b["sample_idx"] for b in loader] == [["000005"]]


def test_frames_without_objects_get_sampled_ones(root, cfg):
    cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.PREPARE.filter_by_difficulty = []
    dataset, _, _ = build_dataloader(root, 2, dist=False, workers=0, cfg=cfg)
    boxes = np.concatenate([dataset[k]["gt_boxes"] for k in range(len(dataset))])
    assert len(boxes) > 6  # two frames have three objects each, two have none
    empty = dataset.sample_ids.index("000002")
    assert len(dataset[empty]["gt_boxes"])


def test_data_dir_below_the_repository(root, cfg):
    cfg.ROOT_DIR = root.parent
    dataset, _, _ = build_dataloader(root.name, 1, dist=False, workers=0, cfg=cfg)
    assert dataset.root_path == root


def test_errors(root, cfg, tmp_path):
    other = copy.deepcopy(cfg)
    other.DATA_CONFIG.DATASET = "KitiDataset"
    with pytest.raises(
        ConfigError,
        match=r"DATASET: expected one of .* got 'KitiDataset'; did you mean 'KittiDataset'",
    ):
        build_dataloader(root, 1, dist=False, cfg=other)
    with pytest.raises(DataError, match=r"kitti_dbinfos_train\.pkl: .*create_kitti_infos"):
        build_dataloader(tmp_path, 1, dist=False, cfg=cfg)
    save_pickle([], tmp_path / "kitti_infos_val.pkl")
    with pytest.raises(DataError, match="split 'val' has no frame"):
        build_dataloader(tmp_path, 1, dist=False, training=False, cfg=cfg)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("DATA_CONFIG", "DATASET"),
        ("MODEL", "TRAIN"),
        ("MODEL.TRAIN", "SPLIT"),
        ("MODEL", "RPN"),
        ("MODEL.RPN", "BACKBONE"),
        ("MODEL", "TEST"),
    ],
)
def test_a_missing_key_is_named(root, cfg, section, key):
    node = cfg
    for name in section.split("."):
        node = node[name]
    node.pop(key)
    with pytest.raises(ConfigError, match=f"^{section}: the key '{key}' is missing"):
        build_dataloader(root, 1, dist=False, cfg=cfg)


def test_the_box_filter_may_be_left_out(root, cfg):
    cfg.MODEL.TEST.pop("BOX_FILTER")
    dataset, _, _ = build_dataloader(root, 1, dist=False, workers=0, training=False, cfg=cfg)
    assert len(dataset) == 2
