"""Curves and pictures for TensorBoard, resumed exactly where a checkpoint was written."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class CurveWriter:
    """Writes points and pictures; a full disk costs some of them, and not the training.

    It has the calls of tensorboardX's SummaryWriter that are needed here, over its event files and
    without its queue: SummaryWriter's `flush` does not wait for what is still in the queue, and a
    disk that is full ends the thread that empties it, so that the training waits for ever. Here an
    event is in the file's buffer when the call returns, and on the disk after `flush`. A checkpoint
    calls that first, so a training that is killed loses no point of a step before its checkpoint;
    TensorBoard is told to forget those after it (`first_step`).

    Args:
        folder: of the run's curves.
        logger: where lost points are reported.
        first_step: points of earlier files from this step on are void.
    """

    def __init__(self, folder: Path, logger: logging.Logger, first_step: int = 0):
        self._folder = folder
        self._logger = logger
        self._file = self._open()
        if first_step:  # a start at 0 has nothing to take back
            self._add(Event(file_version="brain.Event:2"), first_step)
            self._add(Event(session_log=SessionLog(status=SessionLog.START)), first_step)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._add(Event(summary=summary.scalar(name, value)), step)

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str = "CHW") -> None:
        """Add a picture.

        Args:
            name: of the picture.
            pixels: uint8, or floats from 0 to 1.
            step: that it belongs to.
            dataformats: the order of height, width and channels in `pixels`.
        """
        self._add(Event(summary=summary.image(name, pixels, dataformats=dataformats)), step)

    def add_hparams(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Tell TensorBoard's table of runs how this one was made.

        Args:
            values: numbers, words and flags by name.
            metrics: names of curves whose last points stand beside them.
        """
        for part in summary.hparams(dict(values), dict.fromkeys(metrics, 0.0)):
            self._add(Event(summary=part), 0)

    def flush(self) -> None:
        """Wait until all is on the disk; after a failure, try a new file from here on."""
        if self._file is None:
            self._file = self._open()
        else:
            self._write(EventsWriter.flush)

    def close(self) -> None:
        """Write what is left."""
        self._write(EventsWriter.close)

    def _open(self) -> EventsWriter | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads files in the order of their names, which begin with whole seconds.
            return EventsWriter(str(self._folder / "events"), f".{time.time_ns()}")
        except OSError as error:
            self._give_up(error)
        return None

    def _add(self, event: Event, step: int) -> None:
        event.step, event.wall_time = step, time.time()
        self._write(EventsWriter.write_event, event)

    def _write(self, method: Any, *arguments: Any) -> None:
        """Call a method of the file, if there is one."""
        if self._file is None:
            return
        try:
            method(self._file, *arguments)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file = None
        self._logger.error(
            "%s: curves cannot be written: %s; all else goes on without these points; a training "
            "tries again at its next checkpoint",
            *(self._folder, error.strerror or error),
        )
