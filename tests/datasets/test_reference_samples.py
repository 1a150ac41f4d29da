"""Samples of a real frame, from its files, against those of PCDet v0.1."""

from __future__ import annotations

import numpy as np
import pytest
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos

FRAME = "000003"


@pytest.fixture(scope="module")
def infos(kitti_mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("infos")
    create_kitti_infos(kitti_mini, folder, workers=1)
    return folder


def make_dataset(kitti_mini, infos, training, request):
    cfg = cfg_from_yaml_file(request.config.rootpath / "tools/cfgs/second.yaml", EasyDict())
    for mode in ("TRAIN", "TEST"):
        cfg.DATA_CONFIG[mode].INFO_PATH = [str(infos / "kitti_infos_trainval.pkl")]
    sampler = cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER
    sampler.DB_INFO_PATH = [str(infos / "kitti_dbinfos_train.pkl")]
    cfg.MODEL.RPN.BACKBONE.TARGET_CONFIG = {"GENERATED_ON": "dataset", "GT_EXTEND_WIDTH": 0.2}
    return KittiDataset(kitti_mini, cfg.CLASS_NAMES, "val", training, cfg=cfg)


def test_test_mode_equals_pcdet(kitti_mini, infos, reference, request):
    dataset = make_dataset(kitti_mini, infos, False, request)
    sample = dataset[dataset.sample_ids.index(FRAME)]
    expected = {
        key.split("/")[1]: value
        for name in ("second", "parta2")
        for key, value in reference(f"eval_items_{name}.npz").items()
    }
    order = np.lexsort(sample["coordinates"].T[::-1])
    for key in ("voxels", "num_points", "coordinates", "seg_labels"):
        np.testing.assert_array_equal(sample[key][order], expected[key])
    for key in ("gt_boxes", "image_shape"):
        np.testing.assert_array_equal(sample[key], expected[key])
        assert sample[key].dtype == expected[key].dtype
    centers = sample["voxel_centers"][order][:5]
    np.testing.assert_array_equal(centers, expected["voxel_centers_first5"])
    part = sample["part_labels"][order][expected["part_fg_idx"]]
    np.testing.assert_allclose(part, expected["part_fg"], rtol=0, atol=1e-7)
    # PCDet v0.1 kept the points below and above the range.
    assert len(sample["points"]) <= expected["points_in_range_shape"][0]
    assert sample["points"][:, 2].min() >= -3
    assert sample["points"][:, 2].max() <= 1


def test_training_mode_on_real_frames(kitti_mini, infos, request):
    dataset = make_dataset(kitti_mini, infos, True, request)
    for index in range(len(dataset)):
        sample = dataset[index]
        assert len(sample["gt_boxes"])
        assert len(sample["voxels"]) > 5000
        foreground = sample["seg_labels"] > 0
        assert set(sample["seg_labels"][foreground]) <= set(sample["gt_boxes"][:, 7])
        assert (sample["part_labels"] >= 0).all()
        assert (sample["part_labels"] <= 1).all()
