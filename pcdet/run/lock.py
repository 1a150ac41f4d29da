"""One training at a time in a folder: a lock that dies with its process.

The kernel holds the lock (flock), so a process that was killed holds none, whatever the file says;
the text in the file only serves the message. On a network file system the lock counts on all
machines if the server keeps locks (NFS does); where it keeps none, the text is all there is, and a
process on another machine cannot be seen.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from pcdet.utils.errors import ConfigError

TRAIN_LOCK = "train.lock"
# `is_locked` takes the lock for an instant; a training that wants it tries again for so long.
_PATIENCE = 2.0
# Processes that a launcher replaces may take so long to leave, perhaps on another machine.
_PATIENCE_AFTER_RESTART = 60.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_held: set[int] = set()


def _close_in_child() -> None:
    """Close the lock in a worker, which may outlive its parent by some seconds."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def training_lock(folder: Path, logger: logging.Logger) -> Iterator[None]:
    """Hold the lock of a run's folder.

    Raises:
        ConfigError: another living process holds it; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TRAIN_LOCK
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file, path, logger)
        _held.add(file.fileno())
        try:
            _write(file, _own_entry())
            yield
        finally:
            _write(file, "")
            _held.discard(file.fileno())


def _acquire(file: IO[str], path: Path, logger: logging.Logger) -> None:
    deadline = time.monotonic() + _patience()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:
                holder = _living_holder(path)
                if holder is None:
                    logger.warning(
                        "%s: this file system keeps no locks (%s); make sure that no other "
                        "machine trains in this folder",
                        *(path, error.strerror),
                    )
                    return
            elif not isinstance(error, BlockingIOError):
                raise
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{path.parent}: another training is running in this folder "
                f"({_describe(_read(path))}); wait for it, stop it, or choose another --extra_tag"
            )
        time.sleep(0.1)


def is_locked(folder: Path) -> bool:
    """Whether a training holds the lock of this run's folder just now."""
    path = folder / TRAIN_LOCK
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return _living_holder(path) is not None
    return False


def _patience() -> float:
    restarts = (
        os.environ.get(k, "0") for k in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    )
    return _PATIENCE_AFTER_RESTART if any(k not in ("", "0") for k in restarts) else _PATIENCE


def _own_entry() -> str:
    return json.dumps({
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
    })  # fmt: skip


def _write(file: IO[str], text: str) -> None:
    with suppress(OSError):  # a full disk costs the message, not the lock
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()


def _read(path: Path) -> dict:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _describe(entry: dict) -> str:
    if not entry:
        return "it left no name"
    return f"process {entry.get('pid')} on {entry.get('host')} since {entry.get('started')}"


def _living_holder(path: Path) -> dict | None:
    """Without locks: the process that the file names, if it is on this machine and alive."""
    entry = _read(path)
    if entry.get("host") != socket.gethostname() or not isinstance(entry.get("pid"), int):
        return None
    alive = Path(f"/proc/{entry['pid']}").exists() and entry["pid"] != os.getpid()
    return entry if alive else None
