"""The commands train.py and test.py from end to end, on a small data set and a small network."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import arguments, train_arguments, weights
from pcdet.cli import convert, demo, testing, train, training
from pcdet.cli import test as test_command
from pcdet.config import cfg
from pcdet.engine.device_options import checked_device
from pcdet.run.leaving import run_command
from pcdet.run.lock import training_lock
from pcdet.utils.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError


@pytest.fixture(scope="module")
def trained(workplace, tmp_path_factory) -> Path:
    """The run folder of two finished epochs."""
    output = tmp_path_factory.mktemp("output")
    before = dict(cfg)
    train.main(train_arguments(workplace, output, "--epochs", "2"))
    cfg.clear()
    cfg.update(before)
    return output / "small" / "default"


def test_a_run_leaves_checkpoints_log_and_curves(trained):
    names = sorted(path.name for path in (trained / "ckpt").iterdir())
    assert names == ["checkpoint_epoch_1.pth", "checkpoint_epoch_2.pth"]
    (log,) = trained.glob("log_train_*.txt")
    text = log.read_text()
    assert "cfg.MODEL.TRAIN.OPTIMIZATION.LR: 0.003" in text and "seed 666" in text
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    expected = {"train/loss", "train/rpn_loss_cls", "train/rpn_loss_loc", "train/rpn_loss_dir"}
    expected |= {"train/grad_norm", "train/learning_rate"}
    expected |= {"time/seconds_per_iteration", "time/data_wait_share"}
    assert expected <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_a_run_leaves_its_record(workplace, trained):
    record = json.loads((trained / "run.json").read_text())
    (start,) = record["starts"]
    assert start["outcome"] == "finished" and start["seed"] == 666
    assert start["config"]["TAG"] == "small"
    assert start["data_dir"] == str(workplace / "kitti")
    final = (trained / "ckpt" / "checkpoint_epoch_2.pth").read_bytes()
    assert record["final_checkpoint"]["sha256"] == hashlib.sha256(final).hexdigest()


def test_a_second_training_in_the_same_folder_is_refused(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("pcdet.run.lock._PATIENCE", 0.1)
    with (
        training_lock(tmp_path / "small" / "default", logging.getLogger("pcdet")),
        pytest.raises(ConfigError, match="another training is running in this folder"),
    ):
        train.main(train_arguments(workplace, tmp_path, "--epochs", "1"))
    assert not (tmp_path / "small" / "default" / "ckpt").exists()


def test_an_interrupted_run_goes_on_to_the_same_weights(workplace, trained, tmp_path, caplog):
    """Two epochs at once, and two epochs with a stop between them, bit for bit."""
    run = tmp_path / "small" / "default" / "ckpt"
    run.mkdir(parents=True)
    (run / "checkpoint_epoch_1.pth").write_bytes(
        (trained / "ckpt" / "checkpoint_epoch_1.pth").read_bytes()
    )
    (run / "checkpoint_epoch_2.pth").write_bytes(b"cut off while it was written")
    train.main(train_arguments(workplace, tmp_path, "--epochs", "2"))
    (log,) = run.parent.glob("log_train_*.txt")
    assert "checkpoint_epoch_2.pth: not a readable checkpoint" in log.read_text()
    straight = weights(trained / "ckpt" / "checkpoint_epoch_2.pth")
    resumed = weights(run / "checkpoint_epoch_2.pth")
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_frozen_statistics_stay_while_the_weights_move(workplace, trained, tmp_path):
    options = ("--epochs", "2", "--precise_bn", "2", "--freeze_bn", "1")
    train.main(train_arguments(workplace, tmp_path, *options))
    run = tmp_path / "small" / "default" / "ckpt"
    before, after = (weights(run / f"checkpoint_epoch_{k}.pth") for k in (1, 2))
    moving = weights(trained / "ckpt" / "checkpoint_epoch_1.pth")
    means = [name for name in before if name.endswith("running_mean")]
    assert means and not any(torch.equal(before[name], moving[name]) for name in means)
    for name, value in before.items():
        frozen = "running_" in name or name.endswith("num_batches_tracked")
        assert torch.equal(value, after[name]) == frozen, name


def test_the_number_of_workers_does_not_matter(workplace, trained, tmp_path):
    parallel = ("--epochs", "2", "--workers", "2")
    train.main(train_arguments(workplace, tmp_path, *parallel))
    ours = weights(tmp_path / "small" / "default" / "ckpt" / "checkpoint_epoch_2.pth")
    for name, value in weights(trained / "ckpt" / "checkpoint_epoch_2.pth").items():
        assert torch.equal(value, ours[name]), name


def test_old_checkpoints_are_removed(workplace, tmp_path):
    few = ("--epochs", "3", "--max_ckpt_save_num", "1")
    train.main(train_arguments(workplace, tmp_path, *few))
    names = [path.name for path in (tmp_path / "small" / "default" / "ckpt").iterdir()]
    assert names == ["checkpoint_epoch_3.pth"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_other_optimisers_and_warm_up(workplace, tmp_path, optimizer):
    settings = ("MODEL.TRAIN.OPTIMIZATION.OPTIMIZER", optimizer)
    settings += ("MODEL.TRAIN.OPTIMIZATION.LR_WARMUP", "True")
    train.main(train_arguments(workplace, tmp_path, "--epochs", "1", "--set", *settings))
    assert (tmp_path / "small" / "default" / "ckpt" / "checkpoint_epoch_1.pth").is_file()


def test_bfloat16_training(workplace, tmp_path):
    train.main(train_arguments(workplace, tmp_path, "--epochs", "1", "--amp"))
    state = weights(tmp_path / "small" / "default" / "ckpt" / "checkpoint_epoch_1.pth")
    assert all(value.isfinite().all() and value.dtype != torch.bfloat16 for value in state.values())


def test_testing_writes_results_curves_and_pictures(workplace, trained):
    ckpt = trained / "ckpt" / "checkpoint_epoch_2.pth"
    options = ("--ckpt", str(ckpt), "--save_to_file", "--pictures", "1")
    low = ("--set", "MODEL.TEST.SCORE_THRESH", "0.0001")
    test_command.main(arguments(workplace, trained.parents[1], *options, *low))
    results = trained / "eval" / "epoch_2" / "val" / "default"
    files = sorted(path.name for path in (results / "final_result" / "data").iterdir())
    assert files == ["000004.txt", "000005.txt"]
    with zipfile.ZipFile(results / "final_result" / "submission.zip") as archive:
        assert archive.namelist() == files
    assert (results / "result.pkl").is_file()
    assert len(list((results / "pictures").glob("*.png"))) == 2
    text = "".join(path.read_text() for path in (trained / "eval").glob("log_eval_*.txt"))
    assert "AP_R40" in text and "objects found, 3D IoU over" in text
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    assert "val/recall/rcnn_0.7" in events.Tags()["scalars"]
    assert any("precision_recall" in tag for tag in events.Tags()["images"])
    assert any("pictures" in tag for tag in events.Tags()["images"])
    assert any(tag.startswith("val/Car_found/") for tag in events.Tags()["scalars"])
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    report = (trained / "report.html").read_text()
    assert "small/default, epoch 2" in report and "Training" in report and "seed" in report
    tested = hashlib.sha256(ckpt.read_bytes()).hexdigest()
    assert f"tested: checkpoint_epoch_2.pth, sha256 {tested}" in report
    assert ">last checkpoint</td><td" in report
    assert (trained / "scenes.html").is_file()


def test_weights_of_another_run_are_not_among_this_ones(workplace, trained, tmp_path):
    other = tmp_path / "checkpoint_epoch_7.pth"
    other.write_bytes((trained / "ckpt" / "checkpoint_epoch_1.pth").read_bytes())
    of_run = [trained / "run.json", *(trained / "tensorboard").iterdir()]
    before = [path.read_bytes() for path in of_run]
    options = ("--ckpt", str(other), "--eval_tag", "other", "--set", "MODEL.TEST.SCORE_THRESH", "0")
    test_command.main(arguments(workplace, trained.parents[1], *options))
    assert [path.read_bytes() for path in of_run] == before
    assert len(list((trained / "tensorboard").iterdir())) == len(of_run) - 1
    assert (trained / "eval" / "epoch_7" / "val" / "other" / "result.pkl").is_file()
    logs = "".join(path.read_text() for path in (trained / "eval").glob("log_eval_*.txt"))
    assert f"these weights are not of this run, which has its own in {trained / 'ckpt'}" in logs


@pytest.mark.parametrize("all_of_them", [False, True])
def test_what_cannot_be_written_costs_neither_the_ap_nor_the_other_files(
    workplace, trained, tmp_path, monkeypatch, all_of_them
):
    def disk_full(_, path):
        raise OSError(28, "No space left on device", str(path))

    def refused(*_):
        raise DataError("000004.txt:1: expected a 2D box inside the image")

    monkeypatch.setattr("pcdet.engine.evaluate.save_pickle", disk_full)
    monkeypatch.setattr("pcdet.datasets.kitti.kitti_dataset.write_submission", refused)
    output, ckpt = tmp_path / "small" / "default", trained / "ckpt"
    which = ("--ckpt", str(ckpt / "checkpoint_epoch_2.pth"))
    if all_of_them:
        which = ("--eval_all", "--ckpt_dir", str(ckpt), "--max_waiting_mins", "0")
    options = (*which, "--save_to_file", "--set", "MODEL.TEST.SCORE_THRESH", "0.0001")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: test_command.main(arguments(workplace, tmp_path, *options)))
    first = output / "eval" / f"epoch_{1 if all_of_them else 2}" / "val" / "default"
    assert f"error: {first / 'result.pkl'}: cannot be used: No space left" in stop.value.code
    assert "\n" not in stop.value.code and not list(output.glob("eval/eval_all_*"))
    (log,) = (output / "eval").glob("log_eval_*.txt")
    for told in ("AP_R40", "000004.txt:1: expected a 2D box inside", "results are in"):
        assert log.read_text().count(told) >= (2 if all_of_them else 1)
    assert (output / "eval" / "epoch_2" / "val" / "default" / "report.txt").is_file()
    assert "val" in json.loads((output / "run.json").read_text())["best"]


def test_the_test_split_has_no_ap_and_says_so(workplace, trained):
    options = ("--split", "test", "--save_to_file", "--eval_tag", "upload")
    test_command.main(arguments(workplace, trained.parents[1], *options))
    results = trained / "eval" / "epoch_2" / "test" / "upload"
    assert (results / "final_result" / "submission.zip").is_file()
    logs = (path.read_text() for path in (trained / "eval").glob("log_eval_*.txt"))
    assert any("labels missing for the split: no AP can be computed" in log for log in logs)


def test_all_checkpoints_are_tested_in_order(workplace, trained):
    options = ("--eval_all", "--max_waiting_mins", "0", "--eval_tag", "all")
    test_command.main(arguments(workplace, trained.parents[1], *options))
    for epoch in (1, 2):
        assert (trained / "eval" / f"epoch_{epoch}" / "val" / "all" / "result.pkl").is_file()
    tested = (trained / "eval" / "eval_all_all" / "eval_list_val.txt").read_text().splitlines()
    assert [line.split()[0] for line in tested] == ["1", "2"]


def test_a_loss_that_is_not_finite_stops_before_any_weight_changes(
    workplace, trained, tmp_path, monkeypatch
):
    seen = {}

    def poisoned_func(model, batch):
        result = original(model, batch)
        seen["before"] = {k: v.clone() for k, v in model.named_parameters()}
        seen["model"] = model
        return result._replace(loss=result.loss * float("nan"))

    original = training.model_fn_decorator()
    monkeypatch.setattr(training, "model_fn_decorator", lambda amp: poisoned_func)
    with pytest.raises(NonFiniteLossError, match=r"not finite: .*nan.* on the samples 0000"):
        train.main(train_arguments(workplace, tmp_path, "--epochs", "1"))
    for name, value in seen["model"].named_parameters():
        assert torch.equal(value, seen["before"][name])


def test_an_interrupt_keeps_the_last_checkpoint(workplace, tmp_path, monkeypatch, capsys):
    original, steps = training.model_fn_decorator(), []

    def interrupted_func(model, batch):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return original(model, batch)

    monkeypatch.setattr(training, "model_fn_decorator", lambda amp: interrupted_func)
    options = train_arguments(workplace, tmp_path, "--epochs", "3")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: train.main(options))
    assert stop.value.code == 130
    run = tmp_path / "small" / "default"
    assert [path.name for path in (run / "ckpt").iterdir()] == ["checkpoint_epoch_1.pth"]
    (start,) = json.loads((run / "run.json").read_text())["starts"]
    assert start["outcome"] == "stopped" and start["ended"]
    (log,) = run.glob("log_train_*.txt")
    assert "the same command resumes from the last checkpoint" in log.read_text()


def test_a_path_that_cannot_be_written_is_told_in_one_line(workplace, trained, tmp_path):
    ckpt = trained / "ckpt" / "checkpoint_epoch_2.pth"
    file = tmp_path / "file"
    file.touch()
    folder = tmp_path / "folder.pth"
    folder.mkdir()
    scans = "--data", str(workplace / "kitti" / "testing" / "velodyne")
    options = "--cfg_file", str(workplace / "small.yaml")
    detect = (*options, "--ckpt", str(ckpt), "--device", "cpu", *scans)
    for command, given in (
        (demo, (*detect, "--out", str(file))),
        (convert, (str(ckpt), str(folder))),
        (train, (*options, "--data_dir", str(workplace / "kitti"), "--output_dir", str(file))),
    ):
        with pytest.raises(SystemExit) as stop:
            run_command(lambda _, command=command, given=given: command.main([*given]))
        assert f"error: {tmp_path}" in stop.value.code
        assert ": cannot be used: " in stop.value.code and "\n" not in stop.value.code


def test_scans_whose_results_would_have_one_name_are_told(workplace, trained, tmp_path):
    scan = next((workplace / "kitti" / "testing" / "velodyne").iterdir())
    points = np.fromfile(scan, np.float32).reshape(-1, 4)
    np.save(tmp_path / f"{scan.stem}.npy", points)
    (tmp_path / scan.name).write_bytes(scan.read_bytes())
    ckpt = trained / "ckpt" / "checkpoint_epoch_2.pth"
    options = ("--cfg_file", str(workplace / "small.yaml"), "--ckpt", str(ckpt), "--device", "cpu")
    with pytest.raises(DataError, match="its results would have the name of those of"):
        demo.main([*options, "--data", str(tmp_path), "--out", str(tmp_path / "out")])


def test_raw_scans_are_drawn(workplace, trained, tmp_path, capsys):
    ckpt = trained / "ckpt" / "checkpoint_epoch_2.pth"
    options = ["--cfg_file", str(workplace / "small.yaml"), "--ckpt", str(ckpt), "--device", "cpu"]
    scans = workplace / "kitti" / "testing" / "velodyne"
    where = ("--data", str(scans), "--out", str(tmp_path))
    demo.main([*options, *where, "--html", "--score_thresh", "0.001"])
    assert f"{tmp_path}/scenes.html: open it in a browser" in " ".join(
        capsys.readouterr().err.split()
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000000.json", "000000.png", "000001.json", "000001.png", "scenes.html"]
    for found in json.loads((tmp_path / "000000.json").read_text()):
        assert found["name"] in ("Car", "Pedestrian", "Cyclist") and 0 <= found["score"] <= 1
        assert len(found["box3d_lidar"]) == 7

    both = tmp_path / "both"
    where = ("--data", str(scans), "--out", str(both), "--batch_size", "2")
    demo.main([*options, *where, "--score_thresh", "0.001"])
    for name in ("000000.json", "000001.json"):
        alone, together = (json.loads((f / name).read_text()) for f in (tmp_path, both))
        assert len(alone) == len(together)
        for one, other in zip(alone, together):
            assert one["name"] == other["name"]
            assert one["box3d_lidar"] == pytest.approx(other["box3d_lidar"], abs=1e-4)


def test_a_broken_scan_is_named(workplace, trained, tmp_path):
    ckpt = trained / "ckpt" / "checkpoint_epoch_2.pth"
    options = ["--cfg_file", str(workplace / "small.yaml"), "--ckpt", str(ckpt), "--device", "cpu"]
    (tmp_path / "cut.bin").write_bytes(b"x" * 50)
    with pytest.raises(DataError, match=r"cut\.bin: expected a multiple of 16 bytes .*, got 50"):
        demo.main([*options, "--data", str(tmp_path / "cut.bin")])
    with pytest.raises(DataError, match=r"none: scan cannot be read: No such file"):
        demo.main([*options, "--data", str(tmp_path / "none")])
    for scan in (workplace / "kitti" / "testing" / "velodyne").iterdir():
        (tmp_path / scan.name).write_bytes(scan.read_bytes())
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"cut\.bin: .* \(1 of 3 scans could not be read\)"):
        demo.main([*options, "--data", str(tmp_path), "--out", str(out), "--html"])
    assert {path.suffix for path in out.iterdir()} == {".json", ".png", ".html"}
    assert len(list(out.iterdir())) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--ckpt", "none.pth"), CheckpointError, "there is no such checkpoint"),
        (("--epochs", "0"), ConfigError, "--epochs must be at least 1"),
        (("--device", "tpu9"), ConfigError, "--device tpu9"),
        (("--precise_bn", "-1"), ConfigError, "--precise_bn must be at least 0, got -1"),
        (("--freeze_bn", "80"), ConfigError, "--freeze_bn must be less than --epochs, 80, got 80"),
        (("--seed", "-1"), ConfigError, "--seed must be at least 0, got -1"),
        (("--seed", "4294967296"), ConfigError, r"--seed must be below 2\^32, got 4294967296"),
        (
            ("--ckpt_save_time_interval", "nan"),
            ConfigError,
            "--ckpt_save_time_interval must be at least 0, got nan",
        ),
        (("--launcher", "pytorch"), ConfigError, "start this with torchrun"),
        (
            ("--set", "MODEL.TRAIN.OPTIMIZATION.OPTIMIZER", "lion"),
            ConfigError,
            r"OPTIMIZER: expected one of \['adam', 'adam_onecycle', 'sgd'\], got 'lion'",
        ),
        (("--set", "MODEL.RPN.PARAMS_FIXED", "True"), ConfigError, "nothing to train"),
    ],
)
def test_mistakes_are_named(workplace, tmp_path, monkeypatch, options, error, message):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(error, match=message):
        train.main(train_arguments(workplace, tmp_path, *options))


@pytest.mark.parametrize(
    ("name", "label", "epoch"),
    [
        ("checkpoint_epoch_80.pth", "epoch_80", 80),
        ("second_7862.pth", "second_7862", None),  # the end of a sum, not an epoch
        ("latest_model.pth", "latest_model", None),
        ("my_checkpoint_epoch_3.pth", "my_checkpoint_epoch_3", None),
    ],
)
def test_what_a_test_of_a_checkpoint_is_called(name, label, epoch):
    assert testing.label_of(f"some/{name}") == label
    assert testing.epoch_of(f"some/{name}") == epoch


@pytest.mark.parametrize("option", ["--pictures", "--start_epoch", "--max_waiting_mins"])
def test_numbers_below_0_are_named_before_anything_is_tested(option):
    with pytest.raises(ConfigError, match=f"{option} must be at least 0, got -1"):
        test_command.parse_args(["--cfg_file", "any.yaml", option, "-1"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta", "use cpu, cuda or cuda:N"),
        ("mps", "use cpu, cuda or cuda:N"),
        ("cuda:-1", "use cpu, cuda or cuda:N"),
        ("cuda:2", "the last of the GPUs here is cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_named(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1") == torch.device("cuda:1")
    assert checked_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=f"--device {name}: .*{message}"):
        checked_device(name)


def test_mistakes_end_a_command_with_one_line(workplace, tmp_path):
    options = arguments(workplace, tmp_path, "--ckpt", "none.pth", "--data_dir", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: test_command.main(options))
    assert stop.value.code == "error: none.pth: there is no such checkpoint"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_broken_frame_ends_a_command_with_one_line(workplace, tmp_path, workers):
    data = tmp_path / "kitti"
    shutil.copytree(workplace / "kitti", data)
    scan = data / "training" / "velodyne" / "000001.bin"
    scan.write_bytes(scan.read_bytes()[:-3])
    options = train_arguments(workplace, tmp_path, "--epochs", "1", "--workers", workers)
    options[options.index("--data_dir") + 1] = str(data)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: train.main(options))
    assert stop.value.code.startswith(f"error: {scan}")
    assert len(stop.value.code.splitlines()) == 1
