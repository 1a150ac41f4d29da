"""The pool of processes: order, where the work is done, errors, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from pcdet.utils import frame_pool
from pcdet.utils.errors import DataError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(frame_pool, "available_cores", lambda: 2)


def names(count):
    return [f"{k:06d}" for k in range(count)]


def process_of(item):
    return item, os.getpid()


def run(count, **options):
    return list(frame_pool.map_frames(process_of, range(count), names(count), 2, "test", **options))


@pytest.mark.parametrize(
    ("count", "options", "processes"),
    [
        (0, {}, 0),
        (1, {"slow": True}, 1),
        (2, {"slow": True}, 2),
        (9, {"slow": True}, (2, 3)),
        (63, {}, 1),
        (64, {}, (2, 3)),
    ],
)
def test_few_quick_frames_are_not_shared_out(count, options, processes):
    results = run(count, **options)
    assert [item for item, _ in results] == list(range(count))
    used = {process for _, process in results}
    assert len(used) in (processes if isinstance(processes, tuple) else (processes,))
    if results:
        assert results[0][1] == os.getpid(), "the first compiles what all need"


def no_room(item):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("slow", [True, False])
def test_a_full_disk_names_the_frame(slow):
    with pytest.raises(DataError, match=r"frame 000000: .*No space left"):
        list(frame_pool.map_frames(no_room, [1, 2, 3], names(3), 2, "test", slow))


def killed(item):
    if item:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_told_in_one_line():
    with pytest.raises(DataError, match=r"^one of 2 processes was killed, .* fewer --workers$"):
        list(frame_pool.map_frames(killed, range(9), names(9), 2, "test", True))


def test_ctrl_c_waits_until_all_work_is_handed_out(monkeypatch):
    """Within `submit` it may leave a lock taken, for which shutting down waits forever."""
    submitted = []

    class Executor(ProcessPoolExecutor):
        def submit(self, *call):
            if len(submitted) == 3:
                signal.raise_signal(signal.SIGINT)
            submitted.append(call)
            return super().submit(*call)

    monkeypatch.setattr(frame_pool, "ProcessPoolExecutor", Executor)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(9, slow=True)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(submitted) == 8, "all but the first"


_INTERRUPTED = """
import signal, time
from pcdet.utils import frame_pool
# A shell's background jobs, and so the tests in them, begin with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
frame_pool.available_cores = lambda: 2

def work(item):
    print(item, flush=True)
    time.sleep(SECONDS if item else 0)

try:
    list(frame_pool.map_frames(work, range(100), [""] * 100, 2, "test", True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start(seconds):
    """Start the script, and wait until two workers are at it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED.replace("SECONDS", str(seconds))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[0] == "0\n"
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="the workers of this script are forked")
def test_ctrl_c_ends_all_processes_and_leaves_no_traceback_of_theirs():
    process = start(0.5)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out.splitlines()[-1] == "interrupted" and process.returncode == 0
    assert len(out.splitlines()) < 12 and time.monotonic() - begun < 10
    assert "Traceback" not in err


def is_running(pid: str) -> bool:
    """Whether a process runs; one that has ended may wait for its new parent to be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the workers of this script are forked")
def test_workers_end_with_the_process_that_started_them():
    process = start(60)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert workers
    process.kill()
    process.communicate(timeout=20)  # its pipes are open as long as a worker has them
    end = time.monotonic() + 20
    while any(map(is_running, workers)):
        assert time.monotonic() < end, "a worker goes on"
        time.sleep(0.05)
