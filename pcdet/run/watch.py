"""Watch a running training for new checkpoints until it is over."""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pcdet.run.checkpoint_folder import list_checkpoints
from pcdet.run.lock import is_locked
from pcdet.run.record import FINISHED, RunRecord, file_identity
from pcdet.utils.errors import CheckpointError, CheckpointMismatch
from pcdet.utils.io_utils import atomic_write

# Longest sleep of one call: with several processes the others wait for its end.
_POLL_SECONDS = 10.0


class Watch(enum.Enum):
    """What there is when there is no new checkpoint."""

    WAITING = "waiting"
    OVER = "over"


@dataclass
class NewCheckpoint:
    """A checkpoint to test.

    Attributes:
        epoch: of its name.
        identity: its name and sha256.
    """

    epoch: int
    identity: dict[str, str]


class TestedList:
    """The file that remembers what --eval_all has tested: a line `epoch sha256` for each.

    A line of PCDet's holds the epoch alone, which then counts whatever the file's content.
    """

    __test__ = False  # the name is no test's

    def __init__(self, path: Path):
        self.path = path

    def __contains__(self, checkpoint: NewCheckpoint) -> bool:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        lines = [line.split() for line in text.splitlines()]
        epoch, sha256 = str(checkpoint.epoch), checkpoint.identity["sha256"]
        return any(line in ([epoch], [epoch, sha256]) for line in lines)

    def add(self, checkpoint: NewCheckpoint) -> None:
        """Remember a checkpoint."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        with atomic_write(self.path) as file:
            file.write(f"{text}{checkpoint.epoch} {checkpoint.identity['sha256']}\n".encode())


class CheckpointWatch:
    """Watches a folder of checkpoints that a training may be writing to.

    Args:
        ckpt_dir: the folder; it need not be there yet. The one above it is the training's.
        tested: checkpoints to skip.
        load: reads a checkpoint and returns its name and sha256, or raises CheckpointError.
        start_epoch: earlier epochs are skipped.
        max_waiting: seconds without a checkpoint and without a running training.
        logger: told what is waited for and what is skipped.
    """

    def __init__(
        self,
        ckpt_dir: Path,
        tested: TestedList,
        load: Callable[[Path], dict[str, str]],
        start_epoch: int,
        max_waiting: float,
        logger: logging.Logger,
    ):
        self._ckpt_dir = ckpt_dir
        self._tested = tested
        self._load = load
        self._start_epoch = start_epoch
        self._max_waiting = max_waiting
        self._logger = logger
        self._record = RunRecord(ckpt_dir.parent, logger, writes=False)
        self._seen: set[tuple[Path, int, int]] = set()
        self._last_news = time.monotonic()
        self._told = ""
        self._found_any = False

    def next(self) -> NewCheckpoint | Watch:
        """Load the next checkpoint to test, or wait for some seconds, or say that there is none.

        A file that cannot be read is named and skipped until it is replaced.

        Raises:
            CheckpointMismatch: one is of another network, as all others will be.
            CheckpointError: it is over, and none was tested, now or before.
        """
        # The state first: the last checkpoint is written before the training is over.
        running, over = self._training_state()
        for epoch, path in list_checkpoints(self._ckpt_dir):
            if epoch >= self._start_epoch and self._is_new(path):
                self._last_news = time.monotonic()
                checkpoint = self._loaded(epoch, path)
                if checkpoint is not None:
                    return checkpoint
        if over:
            self._logger.info("the training in %s is over", self._ckpt_dir.parent)
            return self._end()
        now = time.monotonic()
        if running:
            self._last_news = now
        left = self._last_news + self._max_waiting - now
        if left <= 0:
            minutes = self._max_waiting / 60
            self._logger.info(
                "%s: no new checkpoint and no training for %.1f minutes", self._ckpt_dir, minutes
            )
            return self._end()
        time.sleep(min(_POLL_SECONDS, left))
        return Watch.WAITING

    def _end(self) -> Watch:
        if self._found_any:
            return Watch.OVER
        some = any(epoch >= self._start_epoch for epoch, _ in list_checkpoints(self._ckpt_dir))
        reason = (
            "none of its checkpoints can be read"
            if some
            else f"it holds no checkpoint_epoch_N.pth from epoch {self._start_epoch} on"
        )
        raise CheckpointError(
            f"{self._ckpt_dir}: nothing was tested, as {reason}: check --extra_tag or --ckpt_dir"
        )

    def _training_state(self) -> tuple[bool, bool]:
        """Whether a training is running, and whether it came to its end."""
        running = is_locked(self._ckpt_dir.parent)
        outcome = None if running else self._record.last_outcome()
        if outcome != FINISHED:
            state = "the training is running" if running else f"no training runs ({outcome})"
            if not running and outcome is None:
                missing = "" if self._ckpt_dir.is_dir() else ", and there is no such folder"
                state = f"no training has begun there yet{missing}"
            if state != self._told:
                self._logger.info("waiting for checkpoints in %s; %s", self._ckpt_dir, state)
            self._told = state
        return running, outcome == FINISHED

    def _is_new(self, path: Path) -> bool:
        """Whether this version of the file is new."""
        try:
            status = path.stat()
        except FileNotFoundError:  # removed just now, as one of the oldest
            return False
        version = (path, status.st_mtime_ns, status.st_size)
        new = version not in self._seen
        self._seen.add(version)
        return new

    def _loaded(self, epoch: int, path: Path) -> NewCheckpoint | None:
        try:
            if NewCheckpoint(epoch, file_identity(path)) in self._tested:
                self._logger.info("%s was tested already", path)
                self._found_any = True
                return None
            checkpoint = NewCheckpoint(epoch, self._load(path))
            self._found_any = True
            return checkpoint
        except CheckpointMismatch:
            raise
        except (CheckpointError, FileNotFoundError) as error:
            self._logger.warning("%s; it is skipped", error)
            return None
