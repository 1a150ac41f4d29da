"""Infos, database and annotations against the numbers of PCDet v0.1 on real frames."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.datasets.kitti.annotations import BoxFilter, Frame, predictions_to_annotation
from pcdet.datasets.kitti.kitti_dataset import BaseKittiDataset
from pcdet.utils.box_utils import boxes3d_camera_to_imageboxes, boxes3d_lidar_to_camera
from pcdet.utils.io_utils import load_pickle, save_pickle

NAMES = ["000000", "000001", "000002"]


def assert_same(ours, theirs, where=""):
    """Equal values of equal types; a key more is not a difference."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        np.testing.assert_array_equal(ours, theirs, err_msg=where)
    else:
        assert type(ours) is type(theirs), where
        assert ours == theirs, where


@pytest.fixture
def dataset(kitti_mini):
    return BaseKittiDataset(kitti_mini)


@pytest.fixture
def infos(dataset):
    return dataset.get_infos(sample_id_list=NAMES)


def test_infos_are_equal(infos, reference):
    theirs = load_pickle(reference("kitti_infos_000000_000002.pkl"))
    assert len(infos) == len(theirs)
    for ours, expected in zip(infos, theirs):
        assert_same(ours, expected, expected["image"]["image_idx"])
        assert ours["annos"].keys() == expected["annos"].keys()


def test_database_is_equal(dataset, infos, reference, tmp_path):
    save_pickle(infos, tmp_path / "kitti_infos_train.pkl")
    dataset.create_groundtruth_database(save_path=tmp_path)
    ours = load_pickle(tmp_path / "kitti_dbinfos_train.pkl")
    theirs = load_pickle(reference("kitti_dbinfos_000000_000002.pkl"))
    # The order in which the classes come decides the order of the packed points.
    assert {k: len(v) for k, v in ours.items()} == {k: len(v) for k, v in theirs.items()}
    for name, entries in theirs.items():
        for mine, expected in zip(ours[name], entries):
            assert mine.keys() == expected.keys()
            assert_same(mine, expected, expected["path"])
    files = sorted(reference("gt_database").iterdir())
    assert [p.name for p in files] == sorted(p.name for p in (tmp_path / "gt_database").iterdir())
    for file in files:
        assert (tmp_path / "gt_database" / file.name).read_bytes() == file.read_bytes(), file.name


def test_annotations_are_equal(dataset, reference):
    data = reference("forward_eval_second.npz")
    final = {
        key: data[f"000003/final_nms1/{key}"]
        for key in ("boxes", "scores", "labels", "boxes_camera", "bbox")
    }
    calib, shape = dataset.get_calib("000003"), dataset.get_image_shape("000003")
    camera = boxes3d_lidar_to_camera(final["boxes"], calib)
    np.testing.assert_allclose(camera, final["boxes_camera"], atol=1e-5)
    bbox = boxes3d_camera_to_imageboxes(camera, calib, shape)
    np.testing.assert_allclose(bbox, final["bbox"], rtol=1e-5, atol=1e-3)
    anno = predictions_to_annotation(
        final["boxes"],
        final["scores"],
        final["labels"],
        Frame("000003", calib, shape),
        ["Car", "Pedestrian", "Cyclist"],
        BoxFilter(use_image_area=True, limit_range=(0, -40, -3.0, 70.4, 40, 3.0)),
    )
    assert len(anno["name"]) == data["000003/annotations_num_example_nms1"]
    np.testing.assert_allclose(anno["alpha"], data["000003/annotations_alpha_nms1"], atol=1e-6)


def test_estimated_ground_meets_the_labelled_objects(dataset):
    """The bottoms of all labelled objects, 8 to 69 m away, lie within 0.25 m of the plane."""
    distances = []
    for name in (f"{k:06d}" for k in range(6)):
        plane = dataset.get_road_plane(name)
        objects = [o for o in dataset.get_label(name) if o.cls_type != "DontCare"]
        distances += [abs(o.loc @ plane[:3] + plane[3]) for o in objects]
    assert max(distances) < 0.25
    assert np.mean(distances) < 0.1
