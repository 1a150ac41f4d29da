"""Trainings that are stopped, killed, short of disk space or that diverge."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import kill_and_resume
from command_line import train_arguments, weights
from models.model_fixture import narrow_config
from pcdet.cli import replay, replaying, train, training
from pcdet.config import cfg
from pcdet.datasets import ResumableSampler
from pcdet.datasets.kitti.kitti_dataset import KittiDataset
from pcdet.engine.batch_norm import batch_norm_layers
from pcdet.engine.first_fault import FirstFault
from pcdet.engine.train_loop import Position, Step
from pcdet.inference.network import build_from_config
from pcdet.run import checkpoint_folder
from pcdet.run.bad_batch import load_bad_batch
from pcdet.run.curve_writer import CurveWriter
from pcdet.run.leaving import run_command
from pcdet.run.observer import RunObserver
from pcdet.run.record import RunRecord
from pcdet.run.resume import plain_config
from pcdet.run.stop_request import StopRequest
from pcdet.utils.checkpoint_utils import save_checkpoint
from pcdet.utils.errors import CheckpointError, NonFiniteLossError

LOGGER = logging.getLogger("test")


def train_fresh(*options: str) -> None:
    """train.main, as a process of its own would run it."""
    before = dict(cfg)
    try:
        train.main(list(options))
    finally:
        cfg.clear()
        cfg.update(before)


@pytest.fixture(scope="module")
def straight(workplace, tmp_path_factory) -> Path:
    """The run folder of two epochs, two steps each, that ran through."""
    output = tmp_path_factory.mktemp("straight")
    train_fresh(*train_arguments(workplace, output, "--epochs", "2"))
    return output / "small" / "default"


def at_step(monkeypatch, number: int, action: Callable[[], None]) -> None:
    """Do something in the middle of a training's `number`-th step."""
    original, steps = training.model_fn_decorator, []

    def decorator(amp):
        model_func = original(amp)

        def acting_func(model, batch):
            steps.append(1)
            if len(steps) == number:
                action()
            return model_func(model, batch)

        return acting_func

    monkeypatch.setattr(training, "model_fn_decorator", decorator)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_within_the_epoch_and_the_next_start_goes_on_exactly(
    workplace, straight, tmp_path, monkeypatch, number
):
    at_step(monkeypatch, 3, lambda: signal.raise_signal(number))
    options = train_arguments(workplace, tmp_path, "--epochs", "2")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda _: train_fresh(*options))
    assert stop.value.code == 128 + number
    run = tmp_path / "small" / "default"
    names = sorted(path.name for path in (run / "ckpt").iterdir())
    assert names == ["checkpoint_epoch_1.pth", "latest_model.pth"]
    state = torch.load(run / "ckpt" / "latest_model.pth", weights_only=True)
    assert (state["epoch"], state["it"], state["epoch_it"], state["seed"]) == (1, 3, 1, 666)
    assert state["config"]["MODEL"]["NAME"] == "second_net" and "pcdet" in state["version"]
    (log,) = run.glob("log_train_*.txt")
    assert "saved iteration 3 in" in log.read_text()

    monkeypatch.setattr(training, "tell_plan_of", lambda run, dataset: None)  # reads samples too
    loaded, original = [], KittiDataset.__getitem__
    monkeypatch.setattr(
        KittiDataset, "__getitem__", lambda self, k: (loaded.append(k), original(self, k))[1]
    )
    without_seed = [option for option in options if option != "--fix_random_seed"]
    train_fresh(*without_seed)
    assert len(loaded) == 2, "the samples of the batch that was done are not read again"
    assert kill_and_resume.differences(straight, run) == []


def test_a_second_signal_leaves_at_once():
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    with StopRequest() as stop:
        assert not stop.agreed(torch.device("cpu"), distributed=False)
        signal.raise_signal(signal.SIGINT)
        assert stop.agreed(torch.device("cpu"), distributed=False) and stop.exit_code == 130
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(signal.SIGINT)
        assert left.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_several_processes_stop_and_save_every_16_steps_at_the_latest(tmp_path, monkeypatch):
    """However seldom points of the curves are written."""
    asked, saved, step = [], [], Step({}, {"loss": 1.0}, {}, torch.tensor(False), 0.0)
    monkeypatch.setattr(StopRequest, "agreed", lambda *_: asked.append(at.it))
    folder = checkpoint_folder.CheckpointFolder(tmp_path, 1, 0.0, LOGGER)
    monkeypatch.setattr(folder, "save_latest", lambda state: saved.append(state["it"]))
    parts = {"model": nn.Linear(1, 1), "optimizer": None, "scaler": None, "average": None}
    shape = {"train_loader": range(100), "total_epochs": 1, "rank": 0}
    observer = RunObserver(SimpleNamespace(**parts, **shape), folder, None, 1, 500, StopRequest())
    observer._distributed = True
    observer.before_epoch(Position())
    for it in range(1, 41):
        at = Position(0, it, it)
        observer.after_step(at, step)
    observer.close()
    assert asked == saved == [16, 32]


def test_a_signal_that_a_launcher_repeats_counts_once(capfd):
    with StopRequest(grace=60) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGINT
    assert "once more after 60 seconds to leave at once" in capfd.readouterr().err


def test_the_grace_begins_anew_when_another_process_tells_of_a_signal(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda number, op: number.fill_(15))
    with StopRequest(grace=60) as stop:
        assert stop.agreed(torch.device("cpu"), distributed=True)
        signal.raise_signal(signal.SIGTERM)
        assert stop.exit_code == 128 + signal.SIGTERM


def test_a_launchers_signal_after_an_agreed_stop_does_not_spoil_the_record(
    workplace, tmp_path, monkeypatch
):
    """Rank 0 writes its record when the launcher has seen the others leave."""

    def stopped(*_, options, **__):
        signal.raise_signal(signal.SIGTERM)
        raise SystemExit(options.stop.exit_code)

    def end(self, outcome, checkpoint):
        signal.raise_signal(signal.SIGTERM)
        original(self, outcome, checkpoint)

    original = RunRecord.end
    monkeypatch.setattr(RunRecord, "end", end)
    monkeypatch.setattr(training, "train_model", stopped)
    monkeypatch.setattr(training, "StopRequest", lambda grace: StopRequest(grace=60))
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("it would be killed"))
    try:
        with pytest.raises(SystemExit):
            train.main(train_arguments(workplace, tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    (start,) = json.loads((tmp_path / "small" / "default" / "run.json").read_text())["starts"]
    assert start["outcome"] == "stopped"


@pytest.mark.slow
def test_kills_leave_no_trace():
    """Also as a process of its own: forks need one that has no threads."""
    script = Path(kill_and_resume.__file__)
    command = [sys.executable, str(script), "--kills", "4", "--epochs", "2", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills" in done.stdout and "all are equal, byte for byte" in done.stdout


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond `size` fails as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    workplace, straight, tmp_path, monkeypatch
):
    """The first epoch's checkpoint cannot be written, the second's can."""
    saved, save_epoch = [], checkpoint_folder.CheckpointFolder.save_epoch

    def save_on_full_disk(self, epoch, state):
        with largest_file(100_000 if epoch == 1 else resource.RLIM_INFINITY):
            saved.append(save_epoch(self, epoch, state))
        return saved[-1]

    monkeypatch.setattr(checkpoint_folder.CheckpointFolder, "save_epoch", save_on_full_disk)
    train_fresh(*train_arguments(workplace, tmp_path, "--epochs", "2"))
    run = tmp_path / "small" / "default"
    assert saved == [False, True]
    assert [path.name for path in (run / "ckpt").iterdir()] == ["checkpoint_epoch_2.pth"]
    (log,) = run.glob("log_train_*.txt")
    assert "checkpoint_epoch_1.pth could not be written: File too large" in log.read_text()
    ours, name = weights(run / "ckpt" / "checkpoint_epoch_2.pth"), "checkpoint_epoch_2.pth"
    for key, value in weights(straight / "ckpt" / name).items():
        assert torch.equal(value, ours[key]), key


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "latest_model.pth"
    save_checkpoint({"model_state": {"w": torch.zeros(2)}}, path)
    before = path.read_bytes()
    with largest_file(50_000), pytest.raises(OSError, match="File too large"):
        save_checkpoint({"model_state": {"w": torch.zeros(100_000)}}, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_curves_on_a_full_disk_lose_points_and_go_on(tmp_path, caplog):
    writer = CurveWriter(tmp_path, LOGGER)
    writer.add_scalar("loss", 1.0, 1)
    writer.flush()
    with largest_file(1), caplog.at_level("ERROR"):
        for step in (2, 3):
            writer.add_scalar("loss", 1.0, step)
            writer.flush()
    assert "curves cannot be written: File too large" in caplog.text
    writer.flush()
    writer.add_scalar("loss", 1.0, 4)
    writer.close()
    # Sorted, as files that were opened within one second are read as their names sort.
    steps = sorted(step for step, _ in kill_and_resume.curves_in(tmp_path)["loss"])
    assert steps[0] == 1 and steps[-1] == 4


def test_points_after_a_checkpoint_are_taken_back(tmp_path):
    for first, last in ((1, 5), (4, 6)):
        writer = CurveWriter(tmp_path, LOGGER, first_step=first)
        for step in range(first, last + 1):
            writer.add_scalar("loss", float(step * first), step)
        writer.close()
        time.sleep(1.1)  # files are read in the order of their names, which hold whole seconds
    assert kill_and_resume.curves_in(tmp_path)["loss"] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 16.0), (5, 20.0), (6, 24.0)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_training_that_diverges_stops_and_its_batch_is_replayed(workplace, tmp_path, capfd):
    options = ("--epochs", "4", "--set", "MODEL.TRAIN.OPTIMIZATION.LR", "1e25")
    with pytest.raises(NonFiniteLossError, match=r"not finite: .*tools/replay\.py") as error:
        train_fresh(*train_arguments(workplace, tmp_path, *options))
    path = tmp_path / "small" / "default" / "bad_batch.pth"
    state = load_bad_batch(path)
    assert f"iteration {state['it']}:" in str(error.value)
    assert all(p.isfinite().all() for n, p in state["model_state"].items() if "running" not in n)
    capfd.readouterr()
    replay.main([str(path), "--device", "cpu"])
    told = capfd.readouterr().err
    assert f"iteration {state['it']}, seed 666" in told
    assert "forward: first output that is not finite: rpn_net.conv" in told


@pytest.mark.parametrize(("epoch", "frozen"), [(2, False), (3, True)])
def test_replay_normalises_as_the_training_did_in_that_epoch(epoch, frozen):
    config = plain_config(narrow_config())
    state = {"config": config, "model_state": build_from_config(config).model.state_dict()}
    next(v for k, v in state["model_state"].items() if k.endswith("running_mean"))[0] = torch.nan
    state.update(epoch=epoch, settings={"epochs": 4, "freeze_bn": 1})
    model = replaying.rebuild_model(state, LOGGER)
    assert model.training
    assert all(layer.training is not frozen for layer in batch_norm_layers(model))


def test_a_checkpoint_is_no_bad_batch(tmp_path):
    path = tmp_path / "checkpoint_epoch_1.pth"
    save_checkpoint({"model_state": {}, "epoch": 1}, path)
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth: .*not a bad_batch\.pth"):
        load_bad_batch(path)


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 0).sqrt()


def test_replay_names_the_module_where_a_gradient_begins_to_be_nan():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), Root(), nn.Linear(8, 1))
    fault = FirstFault()
    with fault.watch(model):
        model(torch.randn(4, 3)).sum().backward()
    assert fault.output is None
    assert fault.gradient == "output of 0 (Linear)"
    assert fault.last_finite == "output of 1 (Root)"


def test_a_sampler_goes_on_within_an_epoch_on_each_rank():
    data = list(range(11))
    for rank in range(2):
        sampler = ResumableSampler(data, 2, rank, shuffle=True, seed=3)
        sampler.set_epoch(5)
        whole = list(sampler)
        sampler.skip(4)
        assert list(sampler) == whole[4:] and len(sampler) == 6
        assert list(sampler) == whole, "skipped once only"


def test_workers_obey_their_parent_alone(workplace):
    from pcdet.config import cfg_from_yaml_file
    from pcdet.datasets import build_dataloader

    cfg_from_yaml_file(workplace / "small.yaml", cfg)
    _, loader, _ = build_dataloader(workplace / "kitti", 2, False, workers=1, seed=0)
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    for number in (signal.SIGINT, signal.SIGTERM):
        subprocess.run(["/bin/kill", f"-{int(number)}", str(worker.pid)], check=True)
    next(batches)
    worker.join(0.5)
    assert worker.is_alive()
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(20)
    assert worker.exitcode == 0
