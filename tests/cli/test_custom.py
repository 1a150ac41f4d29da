"""pcdet-custom, and then training, test and demo on a folder that it prepared."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import yaml

from pcdet.cli import custom, demo, train, view
from pcdet.cli import test as test_command
from pcdet.config import cfg, cfg_from_yaml_file
from pcdet.datasets import build_dataloader
from pcdet.utils.errors import ConfigError, DataError
from tiny_custom import GROUND_Z, make_tiny_custom

QUICK = (
    *("--workers", "0", "--device", "cpu", "--set"),
    *("MODEL.TRAIN.OPTIMIZATION.PRECISE_BN", "0", "MODEL.TRAIN.OPTIMIZATION.FREEZE_BN", "0"),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder whose scans have five columns."""
    root = make_tiny_custom(tmp_path_factory.mktemp("own") / "custom", frames=6)
    for path in (root / "points").iterdir():
        points = np.load(path)
        np.save(path, np.column_stack((points, np.arange(len(points)) % 32)).astype(np.float32))
    (root / "dataset.yaml").write_text("POINT_COLUMNS: [x, y, z, intensity, ring]\n")
    models = ["second", "pointpillar", "PartA2", "sassd"]
    models += ["second_synthetic", "pointpillar_synthetic"]  # made for x, y, z alone
    custom.main(["prepare", str(root), "--workers", "1", "--size", "small", "--model", *models])
    return root


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The run's folder after one epoch, and its output folder."""
    output = tmp_path_factory.mktemp("output")
    before = dict(cfg)
    options = ["--cfg_file", str(prepared / "second_custom.yaml"), "--output_dir", str(output)]
    train.main([*options, "--epochs", "1", "--fix_random_seed", *QUICK])
    cfg.clear()
    cfg.update(before)
    return output / "second_custom" / "default", options


def test_a_page_that_cannot_be_written_hides_no_findings(tmp_path, capsys):
    root = make_tiny_custom(tmp_path / "custom", frames=2)
    check = ["check", str(root), "--workers", "1", "--out", str(root / "labels")]
    with pytest.raises(DataError, match=r"labels: cannot be used: .*; give a place .* to --out"):
        custom.main(check)
    broken = sorted((root / "labels").iterdir())[0]
    broken.write_text("nonsense")
    with pytest.raises(DataError, match=f"1 frames cannot be used:\n.*{broken.name}"):
        custom.main(check)
    assert "labels: cannot be used" in capsys.readouterr().err


def test_prepare_leaves_what_a_training_reads(prepared):
    names = {path.name for path in prepared.iterdir()}
    assert {"custom_infos_train.pkl", "custom_infos_val.pkl", "custom_dbinfos_train.pkl"} <= names
    assert {"second_custom.yaml", "pointpillar_custom.yaml", "PartA2_custom.yaml"} <= names
    text = (prepared / "second_custom.yaml").read_text()
    config = yaml.safe_load(text)
    comments = " ".join(text.replace("#", " ").split())
    assert config["CLASS_NAMES"] == ["Car", "Forklift"]
    data = config["DATA_CONFIG"]
    assert data["NUM_POINT_FEATURES"] == {"total": 5, "use": 4}
    assert data["POINT_COLUMNS"] == ["x", "y", "z", "intensity", "ring"]
    assert data["POINT_CLOUD_RANGE"][0] < -5 and "360 degrees" in comments
    sampler = data["AUGMENTATION"]["DB_SAMPLER"]
    assert sampler["USE_ROAD_PLANE"] and "100% of the objects stand within" in comments
    assert [group.split(":")[0] for group in sampler["SAMPLE_GROUPS"]] == ["Car", "Forklift"]
    anchors = config["MODEL"]["RPN"]["RPN_HEAD"]["TARGET_CONFIG"]["ANCHOR_GENERATOR"]
    scales = [0.07, 0.125, 2.0, pytest.approx(0.5 * 12**0.5, rel=0.05)]  # of numbers from 0 to 1
    assert config["MODEL"]["VFE"]["ARGS"]["input_scales"] == scales
    assert "the standard deviation of intensity is 0.2" in comments
    for name, added in (("second", []), ("pointpillar", [10.0, 10.0, 1.0] * 2)):
        of_three = yaml.safe_load((prepared / f"{name}_synthetic_custom.yaml").read_text())
        assert of_three["MODEL"]["VFE"]["ARGS"]["input_scales"][3:] == [scales[3], *added]
    assert [a["anchor_range"][2] for a in anchors] == pytest.approx([GROUND_Z] * 2, abs=0.01)
    assert config["MODEL"]["TEST"]["EVAL_OVERLAPS"] == {"Car": 0.7, "Forklift": 0.5}
    parts = yaml.safe_load((prepared / "PartA2_custom.yaml").read_text())
    assert set(parts["MODEL"]["RPN"]["BACKBONE"]["TARGET_CONFIG"]["MEAN_SIZE"]) == {
        "Car",
        "Forklift",
    }
    warped = yaml.safe_load((prepared / "sassd_custom.yaml").read_text())
    assert warped["MODEL"]["EXTRA_HEAD"]["MATCHED_THRESHOLD"] == [0.7, 0.5]


def test_sampled_objects_stand_on_the_ground(prepared):
    cfg_from_yaml_file(prepared / "second_custom.yaml", cfg)
    cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.SAMPLE_GROUPS = ["Car:8", "Forklift:8"]
    for section in ("NOISE_PER_OBJECT", "NOISE_GLOBAL_SCENE"):
        cfg.DATA_CONFIG.AUGMENTATION[section].ENABLED = False
    dataset, loader, _ = build_dataloader(prepared, 2, False, workers=0, seed=1)
    boxes = dataset[0]["gt_boxes"]
    assert len(boxes) > 4
    np.testing.assert_allclose(boxes[:, 2], GROUND_Z, atol=0.1)
    batch = next(iter(loader))
    assert batch["gt_boxes"].shape[2] == 8 and torch.is_tensor(torch.from_numpy(batch["voxels"]))


@pytest.mark.slow
def test_training_leads_to_a_report_with_distances(trained):
    run, options = trained
    test_command.main([*options, "--save_to_file", "--pictures", "1", *QUICK])
    results = run / "eval" / "epoch_1" / "val" / "default"
    report = (results / "report.txt").read_text()
    assert "0-20m" in report and "Forklift" in report and "labelled as" in report
    assert len(list((results / "final_result" / "data").glob("*.txt"))) == 1
    assert len(list((results / "pictures").glob("*_bev.png"))) == 1
    assert (run / "report.html").is_file() and (run / "scenes.html").is_file()


@pytest.mark.slow
def test_all_checkpoints_and_the_training_split_can_be_tested(trained):
    run, options = trained
    test_command.main([*options, "--eval_all", "--max_waiting_mins", "0", *QUICK])
    assert list((run / "eval").glob("eval_all_*/eval_list_val.txt"))
    test_command.main([*options, "--split", "train", *QUICK])
    assert (run / "eval" / "epoch_1" / "train" / "default" / "report.txt").is_file()


@pytest.mark.slow
def test_a_raw_scan_is_detected_in_and_samples_are_viewed(prepared, trained, tmp_path):
    run, _ = trained
    model = ["--cfg_file", str(prepared / "second_custom.yaml")]
    ckpt = run / "ckpt" / "checkpoint_epoch_1.pth"
    scan = prepared / "points" / "0000.npy"
    demo.main([*model, "--ckpt", str(ckpt), "--data", str(scan), "--out", str(tmp_path / "d")])
    assert (tmp_path / "d" / "0000.png").is_file()
    page = tmp_path / "samples.html"
    view.main([*model, "--train_samples", "1", "--out", str(page)])
    assert page.stat().st_size > 100_000


@pytest.mark.slow
def test_a_run_begins_with_weights_of_other_classes(prepared, trained, tmp_path):
    run, _ = trained
    root = tmp_path / "custom"
    shutil.copytree(prepared, root)
    for path in (root / "labels").iterdir():
        path.write_text(path.read_text().replace("Forklift", "Crane"))
    model = ["prepare", str(root), "--workers", "1", "--size", "small", "--model", "second"]
    custom.main(model)
    options = ["--cfg_file", str(root / "second_custom.yaml"), "--output_dir", str(tmp_path / "o")]
    ckpt = str(run / "ckpt" / "checkpoint_epoch_1.pth")
    train.main([*options, "--epochs", "1", "--pretrained_model", ckpt, *QUICK])
    (log,) = (tmp_path / "o" / "second_custom" / "default").glob("log_train_*.txt")
    assert "head rows of ['Car'] kept, of ['Crane'] drawn anew" in log.read_text()


def test_rare_classes_are_left_out_and_wanted_ones_must_be_there(tmp_path, capfd):
    root = make_tiny_custom(tmp_path, frames=6)
    label = root / "labels" / "0000.txt"
    label.write_text(label.read_text() + "5 5 -1.5 1 1 1.4 0 Cone\n")
    label = root / "labels" / "0005.txt"
    label.write_text(label.read_text() + "5 5 -1.5 1 1 1.4 0 Barrow\n")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("0000\n0001\n0002\n0003\n")
    command = ["prepare", str(root), "--workers", "1", "--size", "small", "--model", "second"]
    custom.main(command)
    told = capfd.readouterr().err
    assert "class Cone: 1 objects for training: left out" in told
    assert "class Barrow: left out, as it is in frames for validation alone" in told
    with pytest.raises(ConfigError, match="--classes Cones: no such object in the training split"):
        custom.main([*command, "--classes", "Car", "Cones"])
    custom.main([*command, "--classes", "Cone"])
    config = yaml.safe_load((root / "second_custom.yaml").read_text())
    assert config["CLASS_NAMES"] == ["Cone"]


def test_a_model_is_named_with_or_without_its_ending(tmp_path):
    root = make_tiny_custom(tmp_path, frames=3)
    command = ["prepare", str(root), "--workers", "1", "--size", "small", "--model"]
    with pytest.raises(ConfigError, match=r"--model nosuch: no such yaml file; expected one of P"):
        custom.main([*command, "nosuch"])
    custom.main([*command, "second.yaml", "second"])
    assert [path.name for path in root.glob("*.yaml")] == ["second_custom.yaml"]
    with pytest.raises(ConfigError, match=r"--model: expected .* different names, got .*'second_d"):
        custom.main([*command, "second", "second_demo"])


def test_scans_without_a_point_cannot_be_prepared(tmp_path):
    root = make_tiny_custom(tmp_path, frames=3)
    for path, points in zip(sorted((root / "points").iterdir()), (0, 5, 5)):
        np.save(path, np.full((points, 4), np.nan, np.float32))
    with pytest.raises(DataError, match=r"points: no point in any of 3 scans"):
        custom.main(["prepare", str(root), "--workers", "1", "--size", "small"])


def test_a_folder_without_an_object_cannot_be_prepared(tmp_path):
    root = make_tiny_custom(tmp_path, frames=3)
    for path in (root / "labels").iterdir():
        path.write_text("")
    with pytest.raises(DataError, match="the labels of 2 frames for training hold no object"):
        custom.main(["prepare", str(root), "--workers", "1", "--size", "small"])


@pytest.mark.parametrize(
    ("command", "option", "value", "least"),
    [
        ("check", "--workers", "-1", 0),
        ("check", "--frames", "0", 1),
        ("prepare", "--workers", "-1", 0),
        ("prepare", "--seed", "-1", 0),
    ],
)
def test_numbers_that_are_too_low_are_refused(command, option, value, least):
    with pytest.raises(ConfigError, match=f"{option} must be at least {least}, got {value}"):
        custom.parse_args([command, "data", option, value])


def test_a_folder_in_kittis_layout_is_told(tmp_path):
    (tmp_path / "training" / "velodyne").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    told = rf"no points/ in it.*create_kitti_infos --data_path {tmp_path}`.*import kitti {tmp_path}"
    for command in ("check", "prepare"):
        with pytest.raises(DataError, match=told):
            custom.main([command, str(tmp_path)])


def test_import_is_a_command(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        custom.main(["import", "labelcloud", str(tmp_path / "no"), str(tmp_path / "out")])
