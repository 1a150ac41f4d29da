"""PCDet v0.1's own code, as an article on it quotes it, calls this package as written.

What PCDet's statements make of a frame must be what the package makes of it by itself.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter
from torch import nn
from torch.nn.utils import clip_grad_norm_

from pcdet.config import cfg, cfg_from_yaml_file, log_config_to_file
from pcdet.datasets import build_dataloader
from pcdet.datasets.kitti.kitti_dataset import BaseKittiDataset, KittiDataset, create_kitti_infos
from pcdet.models import build_network, model_fn_decorator
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.utils import box_utils, calibration, common_utils, object3d_utils
from pcdet_statements import prepare_data, process_single_scene
from tiny_kitti import SPLITS, make_tiny_kitti
from train_utils.optimization import build_optimizer, build_scheduler
from train_utils.train_utils import train_model

FRAME = "000000"  # a car, a pedestrian, a cyclist, and a DontCare region


@pytest.fixture
def root(tmp_path) -> Path:
    return make_tiny_kitti(tmp_path / "kitti")


@pytest.fixture
def config(workplace):
    """The global configuration, of a small SECOND on the data of `workplace`."""
    cfg_from_yaml_file(workplace / "small.yaml", cfg)
    cfg.DATA_CONFIG.DATA_DIR = str(workplace / "kitti")
    for mode, split in (("TRAIN", "train"), ("TEST", "val")):
        cfg.DATA_CONFIG[mode].INFO_PATH = [str(workplace / "kitti" / f"kitti_infos_{split}.pkl")]
    sampler = cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER
    sampler.DB_INFO_PATH = [str(workplace / "kitti" / "kitti_dbinfos_train.pkl")]
    sampler.USE_ROAD_PLANE = True
    sampler.SAMPLE_GROUPS = ["Car:4", "Pedestrian:4", "Cyclist:4"]
    sampler.PREPARE = {"filter_by_difficulty": [-1], "filter_by_min_points": ["Car:5"]}
    return cfg


def make_train_set(config, training=True):
    return KittiDataset(
        root_path=config.DATA_CONFIG.DATA_DIR,
        class_names=config.CLASS_NAMES,
        split="train",
        training=training,
    )


# 1. Infos and ground-truth database.


def assert_same(one, other):
    """Equal keys, dtypes and numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype.kind == other.dtype.kind
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_infos_are_those_of_pcdets_statements(root):
    dataset = BaseKittiDataset(root_path=root)
    infos = dataset.get_infos(num_workers=4, has_label=True, count_inside_pts=True)
    assert [info["point_cloud"]["lidar_idx"] for info in infos] == dataset.sample_id_list
    assert_same(infos[0], process_single_scene(dataset, FRAME))
    *counts, dont_care = infos[0]["annos"]["num_points_in_gt"].tolist()
    assert min(counts) >= 150 and dont_care == -1
    (only,) = dataset.get_infos(sample_id_list=["000001"])
    assert_same(only, process_single_scene(dataset, "000001"))


def test_splits_and_files(root):
    dataset = BaseKittiDataset(root_path=str(root), split="val")
    assert (dataset.split, dataset.sample_id_list) == ("val", list(SPLITS["val"]))
    dataset.set_split("test")
    assert Path(dataset.root_split_path) == root / "testing"
    infos = dataset.get_infos(num_workers=4, has_label=False, count_inside_pts=False)
    assert [set(info) for info in infos] == [{"point_cloud", "image", "calib"}] * 2
    dataset.set_split("train")
    assert Path(dataset.root_split_path) == root / "training"
    objects = object3d_utils.get_objects_from_label(str(root / "training/label_2" / f"{FRAME}.txt"))
    assert [obj.cls_type for obj in objects] == [o.cls_type for o in dataset.get_label(FRAME)]
    calib = calibration.Calibration(str(root / "training" / "calib" / f"{FRAME}.txt"))
    pts_img, depth = calib.rect_to_img(calib.lidar_to_rect(np.array([[20.0, 0, 0]], np.float32)))
    assert pts_img.shape == (1, 2) and depth[0] == pytest.approx(20, abs=0.5)
    plane = dataset.get_road_plane(FRAME)
    assert plane.shape == (4,) and plane[1] < 0 and np.linalg.norm(plane[:3]) == pytest.approx(1)


def test_hull_of_a_box_and_of_a_flat_one():
    box = np.array([[1.0, 2, 0, 2, 4, 1, 0.3]])
    corners = box_utils.boxes3d_to_corners3d_lidar(box)[0]
    points = np.array([[1, 2, 0.5], [1, 2, 1.1], [1 + 1.9 * np.sin(0.3), 2 + 1.9 * np.cos(0.3), 0]])
    assert box_utils.in_hull(points, corners).tolist() == [True, False, True]
    assert box_utils.in_hull(points[:0], corners).shape == (0,)
    assert not box_utils.in_hull(points, corners * [1, 1, 0]).any()


def test_infos_and_database_as_pcdet_makes_them(root, tmp_path):
    """PCDet's create_kitti_infos, statement by statement, against this package's."""
    dataset = BaseKittiDataset(root_path=root)
    save_path = root
    train_filename = save_path / "kitti_infos_train.pkl"
    dataset.set_split("train")
    kitti_infos_train = dataset.get_infos(num_workers=4, has_label=True, count_inside_pts=True)
    with open(train_filename, "wb") as f:  # noqa: PTH123
        pickle.dump(kitti_infos_train, f)
    dataset.set_split("val")
    kitti_infos_val = dataset.get_infos(num_workers=4, has_label=True, count_inside_pts=True)
    assert len(kitti_infos_train + kitti_infos_val) == 6
    dataset.set_split("train")
    dataset.create_groundtruth_database(train_filename, split="train")
    create_kitti_infos(data_path=root, save_path=tmp_path / "own", workers=1)

    with open(root / "kitti_dbinfos_train.pkl", "rb") as f:  # noqa: PTH123
        all_db_infos = pickle.load(f)
    assert {name: len(entries) for name, entries in all_db_infos.items()} == {
        "Car": 2,
        "Pedestrian": 2,
        "Cyclist": 2,
    }
    expected = {path.name: path.read_bytes() for path in (tmp_path / "own/gt_database").iterdir()}
    for info in kitti_infos_train:
        sample_idx, annos = info["point_cloud"]["lidar_idx"], info["annos"]
        points, gt_boxes = dataset.get_lidar(sample_idx), annos["gt_boxes_lidar"]
        point_indices = roiaware_pool3d_utils.points_in_boxes_cpu(
            torch.from_numpy(points[:, 0:3]), torch.from_numpy(gt_boxes)
        ).numpy()  # (nboxes, npoints)
        for i in range(gt_boxes.shape[0]):
            gt_points = points[point_indices[i] > 0]
            gt_points[:, :3] -= gt_boxes[i, :3]
            filename = f"{sample_idx}_{annos['name'][i]}_{i}.bin"
            assert (root / "gt_database" / filename).read_bytes() == gt_points.tobytes()
            assert expected.pop(filename) == gt_points.tobytes()
            (entry,) = (e for e in all_db_infos[annos["name"][i]] if e["path"].endswith(filename))
            assert entry["num_points_in_gt"] == len(gt_points) >= 150
    assert not expected


# 2. Augmentation.


@pytest.fixture
def wide(config):
    """The configuration with a range that holds all objects."""
    config.DATA_CONFIG.POINT_CLOUD_RANGE = [0, -40, -3, 70.4, 40, 1]
    return config


def frame_of(dataset) -> dict:
    info = dataset.infos[0]
    return {
        "sample_idx": FRAME,
        "points": dataset.get_lidar(FRAME),
        "calib": dataset.get_calib(FRAME),
        "gt_boxes_lidar": info["annos"]["gt_boxes_lidar"],
        "gt_names": info["annos"]["name"][:3],
    }


@pytest.mark.parametrize("training", [True, False])
def test_prepare_data_without_chance_is_that_of_pcdets_statements(wide, training):
    augmentation = wide.DATA_CONFIG.AUGMENTATION
    for section in augmentation.values():
        section.ENABLED = False
    for mode in ("TRAIN", "TEST"):
        wide.DATA_CONFIG[mode].SHUFFLE_POINTS = False
    dataset = make_train_set(wide, training)
    assert dataset.db_sampler is None
    assert dataset.mode == ("TRAIN" if training else "TEST")
    expected = prepare_data(dataset, frame_of(dataset))
    example = dataset.prepare_data(input_dict=frame_of(dataset), has_label=True)
    assert len(example["gt_boxes"]) == 3
    for key in ("voxels", "num_points", "coordinates", "points", "gt_boxes"):
        np.testing.assert_array_equal(example[key], expected[key])
    np.testing.assert_allclose(example["voxel_centers"], expected["voxel_centers"], atol=1e-5)


def test_pcdets_augmentation_keeps_objects_and_their_points_together(wide):
    dataset = make_train_set(wide)
    np.random.seed(0)  # noqa: NPY002
    counts = set()
    for _ in range(5):
        example = prepare_data(dataset, frame_of(dataset))
        boxes = example["gt_boxes"]
        counts.add(len(boxes))
        assert (np.abs(boxes[:, 6]) <= np.pi).all() and set(boxes[:, 7]) <= {1, 2, 3}
        inside = roiaware_pool3d_utils.points_in_boxes_cpu(
            torch.from_numpy(example["points"][:, :3]),
            torch.from_numpy(box_utils.enlarge_box3d(boxes[:, :7], 0.01)),
        )
        assert (inside.sum(dim=1) >= 100).all(), "each object has 150 points of its own"
    assert max(counts) > 3, "objects of other frames were added"


def test_sampled_objects_stand_on_the_road(config):
    dataset = make_train_set(config)
    frame = frame_of(dataset)
    calib, plane = frame["calib"], dataset.get_road_plane(FRAME)
    sampled = dataset.db_sampler.sample_all(
        dataset.root_path,
        frame["gt_boxes_lidar"],
        frame["gt_names"],
        road_planes=plane,
        num_point_features=4,
        calib=calib,
    )
    assert set(sampled["gt_names"]) <= set(config.CLASS_NAMES) and sampled["gt_masks"].all()
    bottom = calib.lidar_to_rect(sampled["gt_boxes"][:, :3])
    np.testing.assert_allclose(bottom @ plane[:3] + plane[3], 0, atol=1e-3)


def test_a_sample_and_a_batch(config):
    dataset = make_train_set(config)
    example = dataset[1]
    assert example["voxels"].shape[1:] == (
        config.DATA_CONFIG.VOXEL_GENERATOR.MAX_POINTS_PER_VOXEL,
        4,
    )
    batch = dataset.collate_batch([dataset[0], example])
    assert batch["batch_size"] == 2 and set(batch["coordinates"][:, 0]) == {0, 1}
    assert batch["gt_boxes"].shape[::2] == (2, 8)


# 3. Training.


def test_training_as_pcdets_main_does_it(config, tmp_path):
    common_utils.set_random_seed(666)
    output_dir = tmp_path / "output" / config.TAG / "default"
    ckpt_dir = output_dir / "ckpt"
    ckpt_dir.mkdir(parents=True, exist_ok=True)
    log_file = output_dir / "log_train.txt"
    logger = common_utils.create_logger(log_file, rank=config.LOCAL_RANK)
    log_config_to_file(config, logger=logger)
    assert "cfg.MODEL.TRAIN.OPTIMIZATION" in log_file.read_text()
    train_set, train_loader, train_sampler = build_dataloader(
        config.DATA_CONFIG.DATA_DIR, 2, False, workers=0, logger=logger, training=True
    )
    model = build_network(train_set)
    nn.SyncBatchNorm.convert_sync_batchnorm(build_network(train_set))  # which trains on GPUs alone
    optim_cfg = config.MODEL.TRAIN.OPTIMIZATION
    optimizer = build_optimizer(model, optim_cfg)
    lr_scheduler, lr_warmup_scheduler = build_scheduler(
        optimizer,
        total_iters_each_epoch=len(train_loader),
        total_epochs=1,
        last_epoch=-1,
        optim_cfg=optim_cfg,
    )
    tb_log = (
        SummaryWriter(log_dir=str(output_dir / "tensorboard")) if config.LOCAL_RANK == 0 else None
    )
    model.train()
    train_model(
        model,
        optimizer,
        train_loader,
        model_func=model_fn_decorator(),
        lr_scheduler=lr_scheduler,
        optim_cfg=optim_cfg,
        start_epoch=0,
        total_epochs=1,
        start_iter=0,
        rank=config.LOCAL_RANK,
        tb_log=tb_log,
        ckpt_save_dir=ckpt_dir,
        train_sampler=train_sampler,
        lr_warmup_scheduler=lr_warmup_scheduler,
        ckpt_save_interval=1,
        max_ckpt_save_num=2,
    )
    tb_log.close()
    curves = EventAccumulator(str(output_dir / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [1, 2]
    (ckpt,) = ckpt_dir.glob("*checkpoint_epoch_*.pth")

    again = build_network(train_set)
    optimizer = build_optimizer(again, optim_cfg)
    dist = torch.distributed  # PCDet passes the module, which is as good as True
    again.load_params_from_file(filename=ckpt, to_cpu=dist, logger=logger)
    found = again.load_params_with_optimizer(ckpt, to_cpu=dist, optimizer=optimizer, logger=logger)
    assert found == (2, 1)
    for one, other in zip(model.parameters(), again.parameters()):
        assert torch.equal(one, other)


def test_one_step_as_pcdets_loop_does_it(config):
    common_utils.set_random_seed(0)
    train_set, train_loader, _ = build_dataloader(
        config.DATA_CONFIG.DATA_DIR, 2, False, workers=0, training=True
    )
    model, model_func = build_network(train_set), model_fn_decorator()
    optim_cfg = config.MODEL.TRAIN.OPTIMIZATION
    optimizer = build_optimizer(model, optim_cfg)
    batch = next(iter(train_loader))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.train()
    optimizer.zero_grad()
    loss, tb_dict, disp_dict = model_func(model, batch)
    loss.backward()
    norm = clip_grad_norm_(model.parameters(), optim_cfg.GRAD_NORM_CLIP)
    optimizer.step()
    assert loss.item() > 0 and norm > 0
    assert "rpn_loss_cls" in tb_dict and isinstance(disp_dict, dict)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_joining_a_process_group_as_pcdets_main_does_it(monkeypatch):
    launcher, batch_size = "pytorch", 4
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    join = getattr(common_utils, f"init_dist_{launcher}")
    try:
        assert join(batch_size, None, 0, backend="nccl") == (4, 0)
    finally:
        torch.distributed.destroy_process_group()
