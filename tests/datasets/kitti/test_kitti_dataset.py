"""Samples of KITTI files, evaluation of annotations, and the command line."""

from __future__ import annotations

import logging
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from easydict import EasyDict

from pcdet.cli import kitti_infos
from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.kitti.kitti_dataset import (
    BaseKittiDataset,
    KittiDataset,
    create_kitti_infos,
    main,
)
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import save_pickle
from pcdet.utils.kitti_format.split import split_path, write_split
from tiny_kitti import EMPTY_FRAME, SPLITS, make_tiny_kitti

CLASSES = ["Car", "Pedestrian", "Cyclist"]
YAML = Path(__file__).parents[3] / "tools" / "cfgs" / "second.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_tiny_kitti(tmp_path_factory.mktemp("tiny_kitti"), planes=False)
    create_kitti_infos(root, root)
    return root


@pytest.fixture
def cfg():
    return cfg_from_yaml_file(YAML, EasyDict())


def make(root, cfg, split="train", training=True):
    return KittiDataset(root, CLASSES, split, training, logging.getLogger("pcdet.test"), cfg)


def equal(a, b):
    assert a.keys() == b.keys()
    return all(np.array_equal(a[k], b[k]) for k in a if k != "calib")


def test_every_kind_of_frame_becomes_a_sample(root, cfg):
    for training in (True, False):
        dataset = make(root, cfg, training=training)
        cfg.DATA_CONFIG.TEST.INFO_PATH = cfg.DATA_CONFIG.TRAIN.INFO_PATH
        dataset.set_epoch(3)
        for name, sample in zip(dataset.sample_ids, (dataset[k] for k in range(len(dataset)))):
            assert sample["sample_idx"] == name
            assert sample["gt_boxes"].shape[1] == 8
            assert sample["image_shape"].tolist() == [375, 1242]
            assert len(sample["voxels"]) == len(sample["coordinates"]) > 500


def test_test_mode_keeps_the_labels_and_what_the_camera_sees(root, cfg):
    dataset = make(root, cfg, "val", training=False)
    sample, info = dataset[0], dataset.infos[0]
    assert dataset.sample_ids == list(SPLITS["val"])
    np.testing.assert_array_equal(sample["gt_boxes"][:, :7], info["annos"]["gt_boxes_lidar"])
    assert sample["gt_boxes"][:, 7].tolist() == [1, 2, 3]
    seen = len(sample["points"])
    cfg.DATA_CONFIG.FOV_POINTS_ONLY = False
    everything = len(make(root, cfg, "val", training=False)[0]["points"])
    assert seen < everything < 4000 + 450 + 1


def test_a_frame_that_two_files_of_infos_hold_is_told(root, cfg):
    cfg.DATA_CONFIG.TRAIN.INFO_PATH = [
        f"data/kitti/kitti_infos_{split}.pkl" for split in ("val", "trainval")
    ]
    told = r"frame 000004 is in .*infos_val\.pkl and again in .*infos_trainval\.pkl: expected each"
    with pytest.raises(DataError, match=told):
        make(root, cfg)


def test_split_without_labels(root, cfg):
    cfg.DATA_CONFIG.TEST.INFO_PATH = ["data/kitti/kitti_infos_test.pkl"]
    sample = make(root, cfg, "test", training=False)[0]
    assert "gt_boxes" not in sample
    assert len(sample["voxels"])


def test_sample_depends_on_seed_epoch_and_index_alone(root, cfg):
    torch.manual_seed(7)
    one, two = make(root, cfg), make(root, cfg)
    first = one[1]
    two[0]
    assert equal(first, two[1])
    assert equal(first, two[-3])
    one.set_epoch(1)
    assert not equal(first, one[1])


def test_planes_are_taken_from_the_infos_with_one_line_in_the_log(root, cfg, caplog):
    with caplog.at_level("INFO", "pcdet"):
        dataset = make(root, cfg)
        dataset[0]
    assert sum("ground planes are estimated" in message for message in caplog.messages) == 1
    for info in dataset.infos:
        plane = dataset.get_road_plane(info["point_cloud"]["lidar_idx"])
        assert plane is info["road_plane"]
        fresh = BaseKittiDataset(root).get_road_plane(info["point_cloud"]["lidar_idx"])
        np.testing.assert_array_equal(plane, fresh)


def test_planes_files_come_first(tmp_path, cfg):
    root = make_tiny_kitti(tmp_path, planes=False)
    create_kitti_infos(root, root)
    make_tiny_kitti(tmp_path, planes=True)
    dataset = make(root, cfg)
    assert dataset.get_road_plane("000000") is not dataset.infos[0]["road_plane"]


def test_missing_infos_are_named(tmp_path, cfg):
    root = make_tiny_kitti(tmp_path / "of my own")
    told = r"no info file .*kitti_infos_val\.pkl.* create_kitti_infos --data_path '.*of my own.*'`"
    with pytest.raises(DataError, match=told):
        make(root, cfg, "val", training=False)


def test_lists_that_were_edited_after_the_infos_are_told(tmp_path, cfg, caplog):
    root = make_tiny_kitti(tmp_path)
    create_kitti_infos(root, root, workers=1)
    kinds = [["train"], ["trainval"], ["train", "val"]]
    paths = [[f"data/kitti/kitti_infos_{split}.pkl" for split in kind] for kind in kinds]

    def warnings():
        caplog.clear()
        for cfg.DATA_CONFIG.TRAIN.INFO_PATH in paths:
            make(root, cfg)
        return [message for message in caplog.messages if "ImageSets" in message]

    write_split(split_path(root, "trainval"), ["000000"])  # KITTI's own lists all of training/
    assert warnings() == []
    write_split(split_path(root, "train"), SPLITS["train"][1:])
    of_train, of_union, of_files = warnings()
    assert "kitti_infos_train.pkl holds 4 frames, ImageSets/train.txt 3, and frame " in of_train
    assert of_train.endswith(f"create_kitti_infos --data_path {root}`")
    assert "holds 6 frames, ImageSets/train.txt and ImageSets/val.txt 5, and" in of_union
    assert of_files == of_train
    shutil.rmtree(root / "ImageSets")
    assert warnings() == []


def test_pickle_with_code_in_it_is_refused(root, tmp_path, cfg):
    path = tmp_path / "kitti_infos_train.pkl"
    path.write_bytes(pickle.dumps([Path("harmless")]))
    cfg.DATA_CONFIG.TRAIN.INFO_PATH = [str(path)]
    with pytest.raises(DataError, match=rf"{path.name}: .*pathlib.*not plain data"):
        make(root, cfg)


def test_a_split_and_the_infos_of_another_are_refused(root, tmp_path, cfg):
    """training/ and testing/ have frames of the same names: the wrong scans would be read."""
    cfg.DATA_CONFIG.TEST.INFO_PATH = [str(tmp_path / "renamed.pkl")]
    shutil.copyfile(root / "kitti_infos_val.pkl", tmp_path / "renamed.pkl")
    with pytest.raises(ConfigError, match=r"TEST\.SPLIT, DATA_CONFIG\.TEST\.INFO_PATH.* has label"):
        make(root, cfg, "test", training=False)
    shutil.copyfile(root / "kitti_infos_test.pkl", tmp_path / "renamed.pkl")
    with pytest.raises(ConfigError, match=r"split 'val'.* frame 000000 .*not listed in .*val\.txt"):
        make(root, cfg, "val", training=False)
    unlabelled = BaseKittiDataset(root, "val").get_infos(has_label=False)
    save_pickle(unlabelled, tmp_path / "infos.pkl")
    cfg.DATA_CONFIG.TEST.INFO_PATH = [str(tmp_path / "infos.pkl")]
    assert "gt_boxes" not in make(root, cfg, "val", training=False)[0]


def test_training_needs_labels(root, cfg, tmp_path):
    shutil.copyfile(root / "kitti_infos_test.pkl", tmp_path / "infos.pkl")
    cfg.DATA_CONFIG.TRAIN.INFO_PATH = [str(tmp_path / "infos.pkl")]
    with pytest.raises(DataError, match=r"infos\.pkl: info 0: it has no labels"):
        make(root, cfg)


@pytest.mark.parametrize("names", [["Car", "car"], ["Car", "DontCare"], ["a car"], []])
def test_classes_that_cannot_be_told_apart_are_refused(root, cfg, names):
    with pytest.raises(ConfigError, match="CLASS_NAMES: "):
        KittiDataset(root, names, "val", False, cfg=cfg)


def test_labels_evaluated_against_themselves_are_perfect(root, cfg, tmp_path):
    """Through boxes and annotations to AP."""
    dataset = make(root, cfg, "val", training=False)
    samples = [dataset[k] for k in range(len(dataset))]
    batch = dataset.collate_batch(samples)
    predictions = [
        {
            "boxes": torch.from_numpy(sample["gt_boxes"][:, :7]),
            "scores": torch.linspace(0.9, 0.5, len(sample["gt_boxes"])),
            "labels": torch.from_numpy(sample["gt_boxes"][:, 7].astype(int)),
        }
        for sample in samples
    ]
    annos = dataset.generate_annotations(
        batch, predictions, CLASSES, save_to_file=True, output_dir=tmp_path
    )
    assert sorted(p.stem for p in tmp_path.iterdir()) == dataset.sample_ids
    dataset.check_saving(tmp_path)
    dataset.save_results(annos, tmp_path)
    (tmp_path / "data" / "999999.txt").touch()
    with pytest.raises(
        DataError, match="holds 1 result files of frames that are not in this split"
    ):
        dataset.check_saving(tmp_path)
    table, results = dataset.evaluation(annos, CLASSES)
    assert "Car" in table
    # Of two objects the official program takes two of the curve's 41 samples, and the first, at
    # recall 0, does not count for the AP of 40.
    for name in CLASSES:
        assert results[f"{name}_3d/easy_R40"] == pytest.approx(100 / 40)
    with pytest.raises(ValueError, match="save_to_file needs an output_dir"):
        dataset.generate_annotations(batch, predictions, CLASSES, save_to_file=True)


def test_set_split(root):
    dataset = BaseKittiDataset(str(root))
    assert dataset.sample_id_list == list(SPLITS["train"])
    dataset.set_split("test")
    assert dataset.sample_id_list == list(SPLITS["test"])
    assert dataset.root_split_path == root / "testing"
    dataset.set_split("nothing")
    with pytest.raises(DataError, match=r"nothing\.txt: missing; expected one frame name"):
        dataset.get_infos()


def run(*words):
    return main(["create_kitti_infos", *map(str, words)])


def test_command_makes_all_files(tmp_path, capfd):
    root = make_tiny_kitti(tmp_path / "kitti")
    for _ in range(2):
        assert run("--data_path", root, "--save_path", tmp_path / "out", "--workers", 1) == 0
    made = {p.name for p in (tmp_path / "out").iterdir()}
    infos = {
        f"kitti_infos_{split}.{kind}"
        for split in ("train", "val", "trainval", "test")
        for kind in ("pkl", "json")
    }
    others = {"kitti_dbinfos_train.pkl", "kitti_gt_points_train.npy", "gt_database"}
    assert made == infos | others | {"ImageSets", "training", "testing"}  # links
    assert "infos of train" in capfd.readouterr().err


def test_infos_of_one_data_set_do_not_go_beside_links_to_another(tmp_path, capsys):
    """Else they would be read with the other's scans."""
    roots = [make_tiny_kitti(tmp_path / name) for name in ("one", "two")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "testing").symlink_to(roots[0] / "testing")  # as a run of the first would make it
    assert run("--data_path", roots[1], "--save_path", out) == 1
    told = f"error: {out}/testing: expected a link to {roots[1]}/testing, as of --data_path, got "
    assert told + f"{roots[0]}/testing: remove it" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["testing"]


@pytest.mark.parametrize("yaml", ["sassd.yaml", "second.yaml"])
def test_command_knows_which_labels_count_as_a_class(tmp_path, capfd, yaml):
    root = make_tiny_kitti(tmp_path)
    for path in (root / "training" / "label_2").iterdir():
        path.write_text(path.read_text().replace("Car ", "Van "))
    data = ("--set", "DATA_CONFIG.DATA_DIR", root)
    assert run("--workers", 1, "--cfg_file", yaml, *data) == 0
    told = "CLASS_NAMES: no object of 'Car'" in " ".join(capfd.readouterr().err.split())
    assert told == (yaml == "second.yaml")  # sassd.yaml has CLASS_MAP: {'Van': 'Car'}


@pytest.mark.parametrize("words", [[], ["create_kitti_infos"]])
def test_the_command_takes_its_word_or_does_without(tmp_path, capsys, words):
    assert kitti_infos.main([*words, "--data_path", str(tmp_path)]) == 1
    told = f"{tmp_path}/training: no such folder; expected KITTI's layout"
    assert told in capsys.readouterr().err


def test_command_names_what_is_wrong(tmp_path, capsys):
    root = make_tiny_kitti(tmp_path)
    (root / "training" / "calib" / "000002.txt").unlink()
    assert run("--data_path", root) == 1
    assert "error: frame 000002: " in capsys.readouterr().err
    (root / "ImageSets" / "val.txt").unlink()
    assert run("--data_path", root) == 1
    told = capsys.readouterr().err
    assert "val.txt: missing; expected one frame name" in told
    assert f"create_kitti_infos --make_random_split SEED --data_path {root}`" in told


def test_command_names_a_folder_that_cannot_be_written(tmp_path, capsys):
    root = make_tiny_kitti(tmp_path)
    assert run("--data_path", root, "--save_path", root / "ImageSets" / "val.txt") == 1
    assert "error: " in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gt_database").write_text("in the place of the folder")
    assert run("--data_path", root, "--save_path", tmp_path / "out") == 1
    assert re.search(r"error: .*File exists: .*gt_database", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "least"), [("--make_random_split", 0), ("--workers", 0), ("--num_point_features", 3)]
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, capsys, option, least):
    with pytest.raises(SystemExit):
        run("--data_path", tmp_path, option, -2)
    assert f"error: {option}: expected at least {least}, got -2\n" in capsys.readouterr().err


def test_random_split(tmp_path, capfd):
    root = make_tiny_kitti(tmp_path)
    assert run("--data_path", root, "--make_random_split", 1) == 1
    assert "train.txt: exists already" in capfd.readouterr().err

    def draw(seed):
        for path in (root / "ImageSets").iterdir():
            path.unlink()
        assert run("--data_path", root, "--make_random_split", seed) == 0
        return {p.stem: p.read_text().split() for p in (root / "ImageSets").iterdir()}

    splits = draw(1)
    assert run("--data_path", root, "--make_random_split", 1) == 0  # as after a run that failed
    assert "not KITTI's standard split" in " ".join(capfd.readouterr().err.split())
    assert sorted(splits["train"] + splits["val"]) == [f"{k:06d}" for k in range(6)]
    assert len(splits["train"]) == 3
    assert splits["test"] == list(SPLITS["test"])
    assert draw(1) == splits
    assert any(draw(seed) != splits for seed in (2, 3, 4))


def test_frame_without_objects_is_sampled_into(root, cfg):
    """Ground-truth sampling works in a frame that has no object of its own."""
    dataset = make(root, cfg)
    assert len(dataset[dataset.sample_ids.index(EMPTY_FRAME)]["gt_boxes"]) > 0


def test_nothing_that_draws_is_started_before_something_is_drawn():
    modules = "pcdet.datasets.kitti.kitti_dataset, pcdet.evaluation, pcdet.simulator.writer"
    check = f"import sys, {modules}; print({{'matplotlib', 'skimage', 'PIL'}} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"
