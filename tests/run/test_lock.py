"""The lock of a run's folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import time

import pytest

from pcdet.run import lock as run_lock
from pcdet.run.lock import TRAIN_LOCK, is_locked, training_lock
from pcdet.utils.errors import ConfigError

LOGGER = logging.getLogger("pcdet")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(run_lock, "_PATIENCE", 0.2)


def holder_in_a_process(folder) -> tuple[int, int]:
    """A process that holds the lock and has a child, as a training with a loader's process."""
    ready, signal_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        with training_lock(folder, LOGGER):
            worker = os.fork()
            if worker:
                os.write(signal_ready, worker.to_bytes(8, "little"))
            time.sleep(60)
        os._exit(0)
    worker = int.from_bytes(os.read(ready, 8), "little")
    return pid, worker


def test_a_second_training_is_refused_by_name(tmp_path):
    with training_lock(tmp_path / "run", LOGGER):
        assert is_locked(tmp_path / "run")
        message = rf"run: another training .*process {os.getpid()} on .* since .*--extra_tag"
        with (
            pytest.raises(ConfigError, match=message),
            training_lock(tmp_path / "run", LOGGER),
        ):
            pass
        assert is_locked(tmp_path / "run")
    assert not is_locked(tmp_path / "run")
    with training_lock(tmp_path / "run", LOGGER):
        pass


def assert_held_by(pid, folder):
    assert is_locked(folder)
    with (
        pytest.raises(ConfigError, match=f"process {pid} on"),
        training_lock(folder, LOGGER),
    ):
        pass


def test_a_killed_process_holds_nothing_even_if_its_child_lives(tmp_path):
    pid, worker = holder_in_a_process(tmp_path)
    try:
        assert_held_by(pid, tmp_path)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.kill(worker, 0)  # it is alive
        assert str(pid) in (tmp_path / TRAIN_LOCK).read_text()
        assert not is_locked(tmp_path)
        with training_lock(tmp_path, LOGGER):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_look_at_the_lock_refuses_nobody(tmp_path):
    """`is_locked` holds the lock for an instant; a training that begins then waits for it."""
    (tmp_path / TRAIN_LOCK).touch()
    with (tmp_path / TRAIN_LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        pid = os.fork()
        if pid == 0:
            with training_lock(tmp_path, LOGGER):
                os._exit(7)
        time.sleep(0.05)
        fcntl.flock(file, fcntl.LOCK_UN)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_restarted_job_waits_for_its_predecessor(monkeypatch):
    assert run_lock._patience() < 5
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert run_lock._patience() < 5
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert run_lock._patience() > 30


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    pid, worker = holder_in_a_process(tmp_path)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(LOGGER, "propagate", True)
    try:
        assert_held_by(pid, tmp_path)
    finally:
        for process in (pid, worker):
            os.kill(process, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not is_locked(tmp_path)
    with training_lock(tmp_path, LOGGER):
        pass
    assert "keeps no locks (No locks available)" in caplog.text
