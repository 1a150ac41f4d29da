"""The checkpoints of a run on the disk: find, write, and remove old ones."""

from __future__ import annotations

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcdet.utils.checkpoint_utils import finished_count, load_checkpoint, save_checkpoint
from pcdet.utils.errors import CheckpointError

# The newest state within an epoch, under the name that later versions of PCDet gave it.
LATEST = "latest_model.pth"


def full_path(path: str | Path | None) -> str | None:
    """Give an absolute path without links, which two ways to write a file's name share."""
    return None if path is None else os.path.realpath(path)


def epoch_of(ckpt: str | Path) -> int | None:
    """N of checkpoint_epoch_N.pth; None for other names, as of released weights."""
    match = re.fullmatch(r"checkpoint_epoch_(\d+)", Path(ckpt).stem)
    return int(match.group(1)) if match else None


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """List the complete checkpoints (epoch, path) of a run, oldest first."""
    epochs = ((epoch_of(path), path) for path in folder.glob("checkpoint_epoch_*.pth"))
    return sorted((epoch, path) for epoch, path in epochs if epoch is not None)


def newest_file(folder: Path) -> Path | None:
    """Find the checkpoint that was written last, unread; None without any."""
    found = [path for _, path in list_checkpoints(folder)]
    if (folder / LATEST).exists():
        found.append(folder / LATEST)
    # LATEST is the older one if the process was killed just before it removed it.
    return max(found, key=write_time, default=None)


def newest_checkpoint(
    folder: Path, logger: logging.Logger, ckpt: str | None = None
) -> tuple[Path, dict[str, Any]] | tuple[None, None]:
    """Read the newest readable checkpoint of a run: path and content, or None and None.

    Of files that cannot be read the one before is taken; they get another name, so that nothing is
    written over them.

    Args:
        folder: where they are.
        logger: takes the names of files that cannot be read.
        ckpt: `full_path` of what --ckpt names: only what it has led to counts; None for any.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    candidates = [(epoch, path) for epoch, path in reversed(list_checkpoints(folder))]
    if (folder / LATEST).exists():
        candidates.insert(0, (None, folder / LATEST))
    found: tuple[Path, dict[str, Any]] | tuple[None, None] = (None, None)
    broken: dict[Path, CheckpointError] = {}
    passed_over: Path | None = None  # the newest of another origin
    for epoch, path in candidates:
        # Of the same epoch LATEST is the newer one, as it is removed when an epoch is saved.
        if found[1] is not None and finished_count(found[1], "epoch", found[0]) >= epoch:
            break
        try:
            checkpoint = load_checkpoint(path)
            finished_count(checkpoint, "epoch", path)
        except CheckpointError as error:
            broken[path] = error
            continue
        if ckpt is None or full_path(checkpoint.get("ckpt")) == ckpt:
            found = path, checkpoint
            if epoch is not None:
                break
        elif full_path(path) == ckpt:
            break  # older ones did not come of it
        elif found[0] is None:
            passed_over = passed_over or path
    _set_aside(broken, found[0] is None and ckpt is None, logger)
    if passed_over is not None:
        logger.warning(
            "%s did not come of --ckpt %s: it is passed over, and checkpoints of the same epochs "
            "will be replaced; to go on from it, leave --ckpt out",
            *(passed_over, ckpt),
        )
    return found


def _set_aside(
    broken: dict[Path, CheckpointError], nothing_else: bool, logger: logging.Logger
) -> None:
    """Rename checkpoints that cannot be read; if there are no others, raise an error instead."""
    if broken and nothing_else:
        path, error = next(iter(broken.items()))
        raise CheckpointError(
            f"{error}; {path.parent} holds no checkpoint that can be read, and a training does not "
            "start anew over those that cannot: move them away, or give another --extra_tag"
        )
    for path, error in broken.items():
        aside = path.with_name(f"{path.name}.unreadable")
        path.replace(aside)
        logger.warning("%s; trying the one before; it is now %s", error, aside.name)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote a checkpoint."""
    for path in folder.glob(".*.pth.*.tmp"):
        path.unlink(missing_ok=True)


def write_time(path: Path) -> int:
    """Tell when a file was written, in nanoseconds; 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class CheckpointFolder:
    """Writes the checkpoints of one training.

    Args:
        folder: where checkpoints go.
        max_save_num: the last written that are kept, of those at the end of an epoch.
        time_interval: seconds after which a checkpoint is due within an epoch; None for never.
        logger: where failures are reported.

    Attributes:
        folder: where they are.
    """

    def __init__(
        self,
        folder: Path,
        max_save_num: int,
        time_interval: float | None,
        logger: logging.Logger,
    ):
        self.folder = folder
        self._max_save_num = max_save_num
        self._time_interval = time_interval
        self._logger = logger
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether a checkpoint within the epoch should be written now."""
        interval = self._time_interval
        return interval is not None and time.monotonic() - self._last >= interval

    def save_latest(self, state: dict[str, Any]) -> bool:
        """Write the state within an epoch, in the place of the one before.

        Returns:
            Whether it could be written.
        """
        return self._save(state, self.folder / LATEST)

    def save_epoch(self, epoch: int, state: dict[str, Any]) -> bool:
        """Write the state at the end of an epoch, and remove what is no longer needed.

        Returns:
            Whether it could be written; if not, nothing is removed.
        """
        path = self.folder / f"checkpoint_epoch_{epoch}.pth"
        if not self._save(state, path):
            return False
        (self.folder / LATEST).unlink(missing_ok=True)
        # By time as in PCDet, not by epoch: after a start with --ckpt the last are not the highest.
        others = [other for _, other in list_checkpoints(self.folder) if other != path]
        others.sort(key=write_time)
        for old in others[: max(len(others) + 1 - self._max_save_num, 0)]:
            with suppress(OSError):
                old.unlink()
        return True

    def _save(self, state: dict[str, Any], path: Path) -> bool:
        # Also after a failure: the next attempt should not follow at once.
        self._last = time.monotonic()
        try:
            save_checkpoint(state, path)
        except OSError as error:
            self._logger.error(
                "%s could not be written: %s; earlier checkpoints are as they were; the training "
                "tries again at the next one",
                *(path, error.strerror or error),
            )
            return False
        self._last = time.monotonic()
        return True
