"""Testing checkpoints while a training writes them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from command_line import arguments
from models.model_fixture import small_model
from pcdet.cli import test as test_command
from pcdet.cli import testing
from pcdet.run import watch as watch_module
from pcdet.run.lock import training_lock
from pcdet.run.record import FINISHED, STOPPED, RunRecord, file_identity
from pcdet.run.watch import CheckpointWatch, NewCheckpoint, TestedList, Watch
from pcdet.utils.checkpoint_utils import checkpoint_state, load_checkpoint, save_checkpoint
from pcdet.utils.errors import CheckpointError, CheckpointMismatch
from pcdet.utils.io_utils import atomic_write

LOGGER = logging.getLogger("pcdet")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(watch_module, "_POLL_SECONDS", 0.02)


@pytest.fixture
def messages(monkeypatch, caplog):
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def checkpoint_path(run: Path, epoch: int) -> Path:
    return run / "ckpt" / f"checkpoint_epoch_{epoch}.pth"


def write_checkpoint(run: Path, epoch: int) -> None:
    save_checkpoint({"model_state": {}, "epoch": epoch}, checkpoint_path(run, epoch))


def make_watch(run: Path, max_waiting: float = 0.0, start_epoch: int = 0) -> CheckpointWatch:
    def load(path: Path) -> dict[str, str]:
        identity = file_identity(path)
        load_checkpoint(path)
        return identity

    tested = TestedList(run / "eval_list_val.txt")
    return CheckpointWatch(run / "ckpt", tested, load, start_epoch, max_waiting, LOGGER)


def all_news(watch: CheckpointWatch, remember: bool = True) -> list[int]:
    epochs = []
    while (news := watch.next()) is not Watch.OVER:
        if isinstance(news, NewCheckpoint):
            epochs.append(news.epoch)
            if remember:
                watch._tested.add(news)
    return epochs


def test_without_a_folder_the_watch_waits_and_gives_up(tmp_path, messages):
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match=r"nothing was tested, as it holds no checkpoint_ep"):
        all_news(make_watch(tmp_path / "run", max_waiting=0.3))
    assert time.monotonic() - begun >= 0.3
    assert "no training has begun there yet, and there is no such folder" in messages.text
    assert "no new checkpoint and no training for" in messages.text


def test_a_running_training_is_waited_for_and_its_end_is_noticed(tmp_path, messages):
    """Checkpoints come slower than the watch waits; the last comes just before the end."""

    def train() -> None:
        record = RunRecord(tmp_path, LOGGER)
        with training_lock(tmp_path, LOGGER):
            record.start({}, processes=1)
            begun.set()
            for epoch in (1, 2, 10):
                time.sleep(0.3)
                write_checkpoint(tmp_path, epoch)
            record.end(FINISHED, None)

    begun = threading.Event()
    thread = threading.Thread(target=train)
    thread.start()
    begun.wait()
    assert all_news(make_watch(tmp_path, max_waiting=0.1)) == [1, 2, 10]
    assert "the training in" in messages.text and "is over" in messages.text
    thread.join()


def test_a_training_that_stopped_may_go_on(tmp_path):
    record = RunRecord(tmp_path, LOGGER)
    record.start({}, processes=1)
    record.end(STOPPED, None)
    write_checkpoint(tmp_path, 1)
    watch = make_watch(tmp_path, max_waiting=30)
    assert watch.next().epoch == 1
    assert watch.next() is Watch.WAITING
    record.start({}, processes=1)
    write_checkpoint(tmp_path, 2)
    record.end(FINISHED, None)
    assert all_news(watch) == [2]


def test_no_half_written_file_is_read(tmp_path):
    """The bytes of a checkpoint come slowly; in its folder it is never seen incomplete."""
    write_checkpoint(tmp_path, 1)
    whole = checkpoint_path(tmp_path, 1).read_bytes()
    checkpoint_path(tmp_path, 1).unlink()

    def write_slowly() -> None:
        with training_lock(tmp_path, LOGGER):
            begun.set()
            for epoch in range(1, 6):
                with atomic_write(checkpoint_path(tmp_path, epoch)) as file:
                    for k in range(10):
                        file.write(whole[k * len(whole) // 10 : (k + 1) * len(whole) // 10])
                        file.flush()
                        time.sleep(0.01)

    begun = threading.Event()
    thread = threading.Thread(target=write_slowly)
    thread.start()
    begun.wait()
    seen, refused = [], []
    watch = make_watch(tmp_path, max_waiting=0.2)
    watch._logger = logging.getLogger("test_no_half")
    watch._logger.warning = lambda *args: refused.append(args)
    seen = all_news(watch)
    thread.join()
    assert seen == [1, 2, 3, 4, 5] and refused == []


def test_a_broken_checkpoint_is_named_and_left_out(tmp_path, messages):
    write_checkpoint(tmp_path, 1)
    write_checkpoint(tmp_path, 3)
    checkpoint_path(tmp_path, 2).write_bytes(b"cut off")
    watch = make_watch(tmp_path, max_waiting=30)
    assert [watch.next().epoch for _ in range(2)] == [1, 3]
    assert f"{checkpoint_path(tmp_path, 2)}: not a readable checkpoint" in messages.text
    assert messages.text.count("it is skipped") == 1
    assert watch.next() is Watch.WAITING
    assert messages.text.count("it is skipped") == 1
    write_checkpoint(tmp_path, 2)  # written anew, as by a resumed training
    assert watch.next().epoch == 2


def test_a_watch_that_could_read_nothing_is_an_error(tmp_path):
    write_checkpoint(tmp_path, 1)
    assert all_news(make_watch(tmp_path)) == [1]
    with pytest.raises(CheckpointError, match=r"no checkpoint_epoch_N\.pth from epoch 2 on"):
        all_news(make_watch(tmp_path, start_epoch=2))
    assert all_news(make_watch(tmp_path)) == [], "tested before"
    checkpoint_path(tmp_path, 1).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="nothing was tested, as none of its checkpoints can"):
        all_news(make_watch(tmp_path))


def test_a_checkpoint_that_is_removed_while_it_is_looked_at(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, 1)
    write_checkpoint(tmp_path, 2)

    def removed_first(path: Path) -> dict[str, str]:
        if path == checkpoint_path(tmp_path, 1):
            path.unlink(missing_ok=True)
        return file_identity(path)

    monkeypatch.setattr(watch_module, "file_identity", removed_first)
    assert all_news(make_watch(tmp_path)) == [2]


def test_what_was_tested_is_not_tested_again_unless_it_changed(tmp_path):
    for epoch in (1, 2, 3):
        write_checkpoint(tmp_path, epoch)
    assert all_news(make_watch(tmp_path, start_epoch=2)) == [2, 3]
    assert all_news(make_watch(tmp_path)) == [1]
    assert all_news(make_watch(tmp_path)) == []
    save_checkpoint({"model_state": {}, "other": 1}, checkpoint_path(tmp_path, 2))
    assert all_news(make_watch(tmp_path)) == [2]


def test_the_list_of_pcdet_counts(tmp_path):
    (tmp_path / "eval_list_val.txt").write_text("1\n3\n")
    for epoch in (1, 2, 3):
        write_checkpoint(tmp_path, epoch)
    assert all_news(make_watch(tmp_path)) == [2]


def test_the_command_tests_what_a_training_writes(workplace, tmp_path, monkeypatch):
    """Without any folder at first, with a broken file among the others, to the training's end."""
    run = tmp_path / "small" / "default"
    waiting = threading.Event()
    monkeypatch.setattr(CheckpointWatch, "next", told_when_waiting(CheckpointWatch.next, waiting))

    def train() -> None:
        waiting.wait()
        record = RunRecord(run, LOGGER)
        with training_lock(run, LOGGER):
            record.start({}, processes=1)
            checkpoint_path(run, 1).parent.mkdir()
            checkpoint_path(run, 1).write_bytes(b"broken")
            state = checkpoint_state(small_model(), None, 2, 0)
            save_checkpoint(state, checkpoint_path(run, 2))
            record.end(FINISHED, checkpoint_path(run, 2))

    thread = threading.Thread(target=train)
    thread.start()
    low = ("--set", "MODEL.TEST.SCORE_THRESH", "0.001")
    test_command.main(arguments(workplace, tmp_path, "--eval_all", *low))
    thread.join()
    lines = (run / "eval" / "eval_all_default" / "eval_list_val.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2"]
    assert (run / "eval" / "epoch_2" / "val" / "default" / "report.txt").is_file()
    (log,) = (run / "eval").glob("log_eval_*.txt")
    assert "checkpoint_epoch_1.pth: not a readable checkpoint" in log.read_text()
    record = json.loads((run / "run.json").read_text())
    assert record["starts"][0]["outcome"] == FINISHED
    best = record["best"]["val"]
    assert best["checkpoint"] == file_identity(checkpoint_path(run, 2))
    tags = [f"{name}_3d/moderate_R40" for name in ("Car", "Pedestrian", "Cyclist")]
    assert best["value"] == sum(best["results"][tag] or 0 for tag in tags) / 3


def test_a_folder_without_checkpoints_is_told(workplace, tmp_path):
    options = ("--eval_all", "--extra_tag", "typo", "--max_waiting_mins", "0")
    with pytest.raises(CheckpointError, match=r"small/typo/ckpt: nothing was tested.*--extra_tag"):
        test_command.main(arguments(workplace, tmp_path, *options))


def told_when_waiting(original, waiting: threading.Event):
    def next_news(self):
        news = original(self)
        if news is Watch.WAITING:
            waiting.set()
        return news

    return next_news


def test_a_checkpoint_of_another_network_ends_the_watch(tmp_path):
    """It would skip all of them, and wait for nothing."""
    save_checkpoint(
        checkpoint_state(torch.nn.Linear(2, 2), None, 1, 0), tmp_path / "checkpoint_epoch_1.pth"
    )
    run = type("Run", (), {"logger": LOGGER})()
    model, tested = small_model(), TestedList(tmp_path / "list.txt")
    load = lambda path: testing.load_checkpoint(run, model, path)  # noqa: E731
    watch = CheckpointWatch(tmp_path, tested, load, 0, 60, LOGGER)
    with pytest.raises(CheckpointMismatch, match=r"epoch_1\.pth: only 0 of the model's"):
        watch.next()


def test_weights_of_a_checkpoint_are_loaded(tmp_path):
    model = small_model(seed=1)
    path = tmp_path / "checkpoint_epoch_7.pth"
    save_checkpoint(checkpoint_state(small_model(seed=2), None, 7, 0), path)
    run = type("Run", (), {"logger": LOGGER})()
    assert testing.load_checkpoint(run, model, path) == file_identity(path)
    for name, value in small_model(seed=2).state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_checkpoint_that_was_written_after_that_of_the_highest_epoch_is_told(tmp_path, messages):
    run = Namespace(args=Namespace(ckpt=None, ckpt_dir=None), ckpt_dir=tmp_path / "ckpt")
    run.logger = LOGGER
    for second, epoch in enumerate((30, 80, 40)):
        write_checkpoint(tmp_path, epoch)
        os.utime(checkpoint_path(tmp_path, epoch), (second, second))
    assert testing.single_checkpoint(run) == checkpoint_path(tmp_path, 80)
    assert "checkpoint_epoch_40.pth was written later: to test it, give --ckpt" in messages.text
    messages.clear()
    checkpoint_path(tmp_path, 40).unlink()
    assert testing.single_checkpoint(run) == checkpoint_path(tmp_path, 80) and not messages.text
