"""run.json: what a reader needs to repeat a run, and what came of it.

    starts            one entry for each time the training was started in this folder, oldest first:
                      command, folder it was given in, config, data_dir, seed, git, packages,
                      machine, processes, started, ended, outcome; once all is built,
                      epochs, finished_epochs and finished_iterations (before it)
    final_checkpoint  file name and sha256 of the newest checkpoint when the training last ended,
                      which is latest_model.pth after a stop within an epoch
    best              by split: the best AP so far, its checkpoint with its sha256, and all numbers;
                      of other data than the training's by "<split> of <folder>"

A start that was killed says "running" until the next one corrects it to "killed". Training and
evaluations write at the same time: each change is read, made and written back under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from pcdet.utils import main_metric
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.run_starts import trained_start

RECORD = "run.json"
RUNNING, FINISHED, STOPPED, KILLED = "running", "finished", "stopped", "killed"
# The number that "best" means.
BEST_METRIC = f"mean over classes of {main_metric.IN_WORDS}; 0 for a class without an AP"


class RunRecord:
    """The record of one run's folder.

    Args:
        folder: of the run.
        logger: takes warnings about the file.
        writes: False on ranks other than 0, where all changes are dropped.
    """

    def __init__(self, folder: Path, logger: logging.Logger, writes: bool = True):
        self.path = folder / RECORD
        self._logger = logger
        self._writes = writes
        self._entry: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Read the record so far; rank 0 moves a file that is not one aside, with a warning."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(record.get("starts"), list) and isinstance(record.get("best"), dict):
                return record
        except FileNotFoundError:
            return _empty()
        except (ValueError, AttributeError):
            pass
        if not self._writes:
            return _empty()
        broken = self.path.with_name(f"{RECORD}.broken")
        self._logger.warning("%s: not a record of a run; it is now %s", self.path, broken.name)
        self.path.replace(broken)
        return _empty()

    def update(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Let `change` work on the record while no other process can write it.

        The record is a by-product: if it cannot be written, the log says so and the run continues.
        """
        if not self._writes:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f".{RECORD}.lock").open("a") as lock:
                _lock(lock)
                record = self.read()
                change(record)
                with atomic_write(self.path) as file:
                    file.write(json.dumps(record, indent=1, default=str).encode() + b"\n")
        except OSError as error:
            self._logger.warning("%s could not be written: %s", self.path, error)

    def start(
        self, config: Mapping[str, Any], processes: int, data_dir: Path | None = None
    ) -> None:
        """Add an entry for the training that begins now."""
        self._entry = {
            "command": shlex.join([sys.executable, *sys.argv]),
            "folder": str(Path.cwd()),
            "outcome": RUNNING,
            "started": _now(),
            "ended": None,
            "pid": os.getpid(),
            "processes": processes,
            "machine": _machine(),
            "git": source_revision(),
            "packages": {d.metadata["Name"]: d.version for d in metadata.distributions()},
            "config": config,
            "data_dir": data_dir and str(data_dir),
        }

        def add(record: dict[str, Any]) -> None:
            for earlier in record["starts"]:
                if earlier.get("outcome") == RUNNING:
                    earlier["outcome"] = KILLED
            record["starts"].append(self._entry)

        self.update(add)

    def note(self, **facts: Any) -> None:
        """Add facts to the entry of this start, such as its seed."""
        self._entry.update(facts)
        self.update(self._put_entry)

    def _put_entry(self, record: dict[str, Any]) -> None:
        """Replace the entry of this start, which is the last one unless the file was removed."""
        starts, key = record["starts"], ("started", "pid")
        if starts and [starts[-1].get(k) for k in key] == [self._entry[k] for k in key]:
            starts.pop()
        starts.append(self._entry)

    def end(self, outcome: str, final_checkpoint: Path | None) -> None:
        """Say how this start ended, and with which checkpoint."""
        self._entry.update(outcome=outcome, ended=_now())

        def close(record: dict[str, Any]) -> None:
            self._put_entry(record)
            record["final_checkpoint"] = final_checkpoint and file_identity(final_checkpoint)

        self.update(close)

    def add_evaluation(
        self,
        split: str,
        checkpoint: Mapping[str, str],
        results: Mapping[str, Any],
        data_dir: Path | None = None,
    ) -> None:
        """Keep an evaluation if it is the best on its split of the same data so far.

        Args:
            split: the split that was tested on.
            checkpoint: file and sha256 of what was tested.
            results: numbers by tag, see `eval_one_epoch`; without a 3D AP they do not count.
            data_dir: folder of the data; None for that of the training.
        """
        aps = [value for name, value in results.items() if main_metric.is_main_metric(name)]
        if all(value is None for value in aps):
            return
        entry = {
            "metric": BEST_METRIC,
            "value": sum(value or 0.0 for value in aps) / len(aps),
            "checkpoint": dict(checkpoint),
            "command": shlex.join([sys.executable, *sys.argv]),
            "evaluated": _now(),
            "results": dict(results),
            "data_dir": data_dir and str(data_dir),
        }

        def keep_better(record: dict[str, Any]) -> None:
            earlier = trained_start(record) or record["best"].get(split, {})
            own = earlier.get("data_dir")  # records of old runs have none
            same = own is None or entry["data_dir"] in (None, own)
            key = split if same else f"{split} of {data_dir}"
            best = record["best"].get(key)
            if best is None or entry["value"] > best["value"]:
                record["best"][key] = entry

        self.update(keep_better)

    def last_outcome(self) -> str | None:
        """Tell how the newest start ended: "running" if it did not say, None without any start."""
        starts = self.read()["starts"]
        return starts[-1].get("outcome") if starts else None


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_identity(path: Path) -> dict[str, str]:
    """Give name and SHA-256 of a file, under `file` and `sha256`."""
    return {"file": path.name, "sha256": sha256_of(path)}


def _empty() -> dict[str, Any]:
    return {"starts": [], "final_checkpoint": None, "best": {}}


def _lock(file: Any) -> None:
    """Wait for the lock; a file system without locks is written to without one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _machine() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
    }


def source_revision() -> dict[str, Any] | None:
    """Revision of the source, and whether tracked files differ; None where git does not hold it."""
    source = Path(__file__).resolve()

    def ask(*words: str) -> str:
        command = ["git", "-C", str(source.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", str(source))  # else the repository is something else's
        changed = ask("status", "--porcelain", "--untracked-files=no")
        return {"revision": ask("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None
