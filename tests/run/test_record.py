"""run.json: written by trainings and evaluations at the same time."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import subprocess
import threading

import pytest
import torch

from pcdet.cli.reporting import hparams_of
from pcdet.run import checkpoint_folder
from pcdet.run import record as run_record
from pcdet.run.record import FINISHED, KILLED, RUNNING, STOPPED, RunRecord
from pcdet.run.session import Run, training_session
from pcdet.utils.run_starts import trained_start
from pcdet.viewer.report import _how_to_repeat

LOGGER = logging.getLogger("pcdet")


def car_ap(value) -> dict:
    return {
        "Car_3d/moderate_R40": value,
        "Cyclist_3d/moderate_R40": None,
        "Car_3d_0.50/moderate_R40": 99.0,
        "Car_bev/moderate_R40": 98.0,
        "recall/rcnn_0.5": 0.5,
    }


def checkpoint(name: str) -> dict[str, str]:
    return {"file": name, "sha256": "0" * 64}


def test_a_start_tells_how_to_repeat_it_and_what_came_of_it(tmp_path):
    (tmp_path / "checkpoint_epoch_1.pth").write_bytes(b"weights")
    record = RunRecord(tmp_path, LOGGER)
    record.start({"MODEL": {"NAME": "SECONDNet"}}, processes=2)
    assert record.last_outcome() == RUNNING
    record.note(seed=5)
    record.end(FINISHED, tmp_path / "checkpoint_epoch_1.pth")
    written = json.loads((tmp_path / "run.json").read_text())
    (start,) = written["starts"]
    assert start["outcome"] == FINISHED and start["seed"] == 5 and start["processes"] == 2
    assert start["config"]["MODEL"]["NAME"] == "SECONDNet"
    assert start["started"] <= start["ended"]
    assert start["packages"]["torch"] and start["machine"]["host"] and start["command"]
    assert start["git"] is None or len(start["git"]["revision"]) == 40
    assert written["final_checkpoint"] == {
        "file": "checkpoint_epoch_1.pth",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def test_the_repository_of_something_else_is_not_the_revision(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "record.py").write_text("")
    monkeypatch.setattr(run_record, "__file__", str(tmp_path / "record.py"))
    assert run_record.source_revision() is None


@pytest.mark.parametrize(
    ("written", "newest"),
    [
        ([], None),
        (["latest_model.pth"], "latest_model.pth"),
        (["checkpoint_epoch_9.pth", "checkpoint_epoch_10.pth"], "checkpoint_epoch_10.pth"),
        (["checkpoint_epoch_10.pth", "latest_model.pth"], "latest_model.pth"),
        (["latest_model.pth", "checkpoint_epoch_10.pth"], "checkpoint_epoch_10.pth"),
        (["checkpoint_epoch_80.pth", "checkpoint_epoch_30.pth"], "checkpoint_epoch_30.pth"),
    ],
)
def test_the_checkpoint_that_was_written_last_is_recorded(tmp_path, written, newest):
    """Also the one within an epoch, and not one that a killed process had no time to remove."""
    cpu = torch.device("cpu")
    run = Run(argparse.Namespace(), tmp_path, tmp_path, cpu, 2, False, 0, LOGGER)
    (tmp_path / "ckpt").mkdir()

    def train() -> None:
        with training_session(run, {}):
            for second, name in enumerate(written):
                (tmp_path / "ckpt" / name).write_bytes(name.encode())
                os.utime(tmp_path / "ckpt" / name, (second, second))
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        train()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["starts"][0]["outcome"] == STOPPED
    assert (record["final_checkpoint"] or {"file": None})["file"] == newest


def test_a_checkpoint_that_cannot_be_written_promises_nothing(tmp_path, monkeypatch, caplog):
    """The training may be about to stop."""
    monkeypatch.setattr(LOGGER, "propagate", True)

    def disk_full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(checkpoint_folder, "save_checkpoint", disk_full)
    folder = checkpoint_folder.CheckpointFolder(tmp_path, 3, None, LOGGER)
    assert not folder.save_latest({})
    assert "latest_model.pth could not be written: No space left" in caplog.text
    assert "the training tries again at the next one" in caplog.text


def test_starts_are_added_and_a_killed_one_is_told(tmp_path):
    for _ in range(2):
        record = RunRecord(tmp_path, LOGGER)
        record.start({}, processes=1)
    record.end("failed: DataError: x.bin", None)
    starts = record.read()["starts"]
    assert [s["outcome"] for s in starts] == [KILLED, "failed: DataError: x.bin"]


def test_the_best_evaluation_of_each_split_stays(tmp_path):
    record = RunRecord(tmp_path, LOGGER)
    record.add_evaluation("val", checkpoint("a.pth"), {"recall/rcnn_0.5": 0.9})
    record.add_evaluation("test", checkpoint("a.pth"), car_ap(None))
    assert not (tmp_path / "run.json").exists()
    for name, value in (("a.pth", 10.0), ("b.pth", 30.0), ("c.pth", 20.0)):
        record.add_evaluation("val", checkpoint(name), car_ap(value))
    record.add_evaluation("trainval", checkpoint("c.pth"), car_ap(50.0))
    best = record.read()["best"]
    assert best["val"]["checkpoint"]["file"] == "b.pth" and best["val"]["value"] == 15.0
    assert best["trainval"]["value"] == 25.0
    assert best["val"]["results"]["Car_bev/moderate_R40"] == 98.0


@pytest.mark.parametrize("trained", [True, False])
def test_evaluations_on_other_data_are_kept_apart(tmp_path, trained):
    """The training's data have the plain name; without a training, those tested first."""
    record, own, other = RunRecord(tmp_path, LOGGER), tmp_path / "own", tmp_path / "other"
    if trained:
        record.start({}, processes=1)
        record.note(data_dir=str(own), finished_iterations=0)
        RunRecord(tmp_path, LOGGER).start({}, processes=1, data_dir=other)  # refused later
    for folder, value in ((other, 80.0), (own, 20.0))[:: 1 if trained else -1]:
        record.add_evaluation("val", checkpoint("a.pth"), car_ap(value), folder)
    record.add_evaluation("val", checkpoint("b.pth"), car_ap(30.0), own)
    best = record.read()["best"]
    assert {key: entry["value"] for key, entry in best.items()} == {
        "val": 15.0,
        f"val of {other}": 40.0,
    }
    assert best["val"]["data_dir"] == str(own)


def test_the_newest_start_that_trained_counts():
    trained = {"seed": 5, "config": {}, "epochs": 3, "finished_epochs": 1, "finished_iterations": 9}
    refused = {"seed": None, "config": {}, "outcome": "failed: ConfigError: another --data_dir"}
    idle = {**trained, "seed": 6, "finished_epochs": 3}
    assert trained_start({"starts": [idle, trained, refused, idle, refused]}) is trained
    assert trained_start({"starts": [refused, idle]}) is None and trained_start({}) is None
    old = {key: value for key, value in trained.items() if key != "epochs"}
    assert trained_start({"starts": [old, refused]}) is old
    assert hparams_of({"starts": [trained, idle]}, "a") == {"yaml": "a", "seed": 5}
    page = "".join(_how_to_repeat({"starts": [trained | {"command": "mine"}, refused]}))
    assert "<pre>mine</pre>" in page and "another --data_dir" not in page


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path):
    record = RunRecord(tmp_path, LOGGER)
    record.start({}, processes=1)

    def evaluate(worker: int) -> None:
        own = RunRecord(tmp_path, LOGGER)
        for k in range(10):
            own.add_evaluation(f"split{worker}_{k}", checkpoint("a.pth"), car_ap(1.0))

    threads = [threading.Thread(target=evaluate, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for k in range(10):
        record.note(**{f"fact{k}": k})
    for thread in threads:
        thread.join()
    written = record.read()
    assert len(written["best"]) == 40
    assert {f"fact{k}" for k in range(10)} <= set(written["starts"][0])


@pytest.mark.parametrize("text", ["{", "[]", '{"starts": 3, "best": {}}'])
def test_a_broken_record_is_moved_aside(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    record = RunRecord(tmp_path, LOGGER)
    record.add_evaluation("val", checkpoint("a.pth"), car_ap(1.0))
    assert (tmp_path / "run.json.broken").read_text() == text
    assert record.read()["best"]["val"]["value"] == 0.5


def test_a_record_that_was_removed_is_made_again(tmp_path):
    record = RunRecord(tmp_path, LOGGER)
    record.start({}, processes=1)
    (tmp_path / "run.json").unlink()
    record.end(FINISHED, None)
    assert record.last_outcome() == FINISHED


def test_a_record_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(LOGGER, "propagate", True)

    def disk_full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pcdet.run.record.atomic_write", disk_full)
    RunRecord(tmp_path, LOGGER).start({}, processes=1)
    assert "run.json could not be written" in caplog.text and "No space left" in caplog.text


def test_other_ranks_write_nothing(tmp_path):
    record = RunRecord(tmp_path, LOGGER, writes=False)
    record.start({}, processes=2)
    record.end(FINISHED, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_folder_that_rank_0_cannot_use_ends_all_ranks(tmp_path, monkeypatch, rank):
    (tmp_path / "file").touch()
    folder, told = tmp_path / "file" / "eval", []

    def broadcast(answer: list, src: int) -> None:
        told.append(answer[1])
        answer[1] = answer[1] or NotADirectoryError(20, "not a folder", str(folder))

    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    cpu = torch.device("cpu")
    run = Run(argparse.Namespace(), tmp_path, tmp_path, cpu, 2, True, rank, LOGGER)
    with pytest.raises(SystemExit if rank else NotADirectoryError):
        run.start_log(folder, "eval")
    assert isinstance(told[0], NotADirectoryError) is (rank == 0)
