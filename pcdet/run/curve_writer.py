"""TensorBoard curves that go on exactly where a checkpoint was written."""

from __future__ import annotations

import logging
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class CurveWriter:
    """Writes scalars for TensorBoard; a disk that is full costs points, and not the training.

    torch's writer and not tensorboardX's: its `flush` comes back only when all points are written,
    which a checkpoint waits for. So a training that is killed loses no point of a step before
    its checkpoint, and those after it are told to TensorBoard to be forgotten (`first_step`).
    """

    def __init__(self, folder: Path, logger: logging.Logger, first_step: int = 0):
        """Open a new file in `folder`.

        Args:
            folder: of the run's curves.
            logger: where lost points are reported.
            first_step: points of earlier files from this step on are void.
        """
        self._folder = folder
        self._logger = logger
        # A start at 0 has nothing to take back.
        self._writer = self._open(first_step or None)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        if self._writer is None:
            return
        try:
            self._writer.add_scalar(name, value, step)
        except OSError as error:
            self._give_up(error)

    def flush(self) -> None:
        """Wait until all points are in the file; after a failure, try a new file from here on."""
        if self._writer is None:
            self._writer = self._open(None)
            return
        try:
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _open(self, purge_step: int | None) -> SummaryWriter | None:
        try:
            return SummaryWriter(log_dir=str(self._folder), purge_step=purge_step)
        except OSError as error:
            self._give_up(error)
        return None

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        self._logger.error(
            "%s: curves cannot be written: %s; training goes on, points are missing until the "
            "next checkpoint that can be written",
            *(self._folder, error.strerror or error),
        )
