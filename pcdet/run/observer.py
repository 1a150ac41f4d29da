"""What a run does after each step and epoch of the training loop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pcdet.engine.train_loop import Observer, Position, Step, Training
from pcdet.run.bad_batch import save_bad_batch
from pcdet.run.checkpoint_folder import CheckpointFolder
from pcdet.run.progress_bars import ProgressBars
from pcdet.run.step_values import StepValues
from pcdet.run.stop_request import StopRequest
from pcdet.utils.checkpoint_utils import AVERAGED, checkpoint_state
from pcdet.utils.errors import CheckpointError

_LOGGER = logging.getLogger("pcdet")


@dataclass
class _Times:
    """Measures the steps since the last point of the curves."""

    begun: float = field(default_factory=time.perf_counter)
    data_wait: float = 0.0
    steps: int = 0

    def values(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.begun
        return {
            "seconds_per_iteration": seconds / self.steps,
            "data_wait_share": self.data_wait / seconds,
        }


class RunObserver(Observer):
    """Writes curves and checkpoints, saves and leaves when asked to, and looks for bad losses.

    What it raises ends the training: NonFiniteLossError, CheckpointError if the last checkpoint
    could not be written, SystemExit after a request to stop.

    Args:
        training: the one that is observed.
        checkpoints: where they go, and when one is due within an epoch.
        tb_log: has add_scalar and flush, as a TensorBoard writer; or None.
        ckpt_save_interval: epochs between checkpoints; the last epoch is always saved.
        log_interval: steps from one look at the losses to the next.
        stop: asked after each step whether to save and leave; or None.
        stored: further entries of the checkpoints: plain data.
    """

    def __init__(
        self,
        training: Training,
        checkpoints: CheckpointFolder,
        tb_log: Any = None,
        ckpt_save_interval: int = 1,
        log_interval: int = 1,
        stop: StopRequest | None = None,
        stored: dict[str, Any] | None = None,
    ):
        self._training = training
        self._checkpoints = checkpoints
        self._tb_log = tb_log
        self._ckpt_save_interval = ckpt_save_interval
        self._log_interval = log_interval
        self._stop = stop
        self._stored = stored or {}
        self._distributed = isinstance(training.model, nn.parallel.DistributedDataParallel)
        self._values = StepValues(self._dump, self._distributed)
        self._at = Position()
        self._times = _Times()
        self._bars: ProgressBars | None = None

    def before_epoch(self, at: Position) -> None:
        """Show a progress bar."""
        num_batches, total_epochs = len(self._training.train_loader), self._training.total_epochs
        if self._bars is None:
            rank = self._training.rank
            self._bars = ProgressBars(at.epoch, total_epochs, num_batches, rank)
        self._bars.begin_epoch(at.batches_done)
        self._at, self._times = at, _Times()

    def after_step(self, at: Position, step: Step) -> None:
        """Look at the losses and write them when it is time to; save if that is due."""
        self._values.add(at.it, step.batch, step.values, step.halted)
        self._times.data_wait += step.data_wait
        self._times.steps += 1
        self._bars.step()
        logged = at.it % self._log_interval == 0
        last = at.batches_done == len(self._training.train_loader)
        looked = logged or last or self._values.full
        if looked:
            numbers = self._values.collect()
        if logged:
            self._log(at.it, numbers, step.disp_dict)
        self._save_if_due(at, looked)

    def after_epoch(self, at: Position) -> None:
        """Save every `ckpt_save_interval` epochs, and after the last."""
        self._bars.end_epoch()
        last = at.epoch == self._training.total_epochs
        due = last or at.epoch % self._ckpt_save_interval == 0
        if not due or self._training.rank != 0:
            return
        if not self._checkpoints.save_epoch(at.epoch, self._state(at)) and last:
            raise CheckpointError(
                f"{self._checkpoints.folder}: the last checkpoint could not be written; the same "
                "command resumes from the one before"
            )

    def close(self) -> None:
        """Remove the progress bars."""
        if self._bars is not None:
            self._bars.close()

    def _log(self, it: int, numbers: dict[str, float], disp_dict: dict[str, Any]) -> None:
        """Write a point of each curve, and show the loss."""
        lr = self._training.optimizer.param_groups[0]["lr"]
        self._bars.show(it, numbers["loss"], lr, disp_dict)
        if self._tb_log is not None:
            for name, value in {**numbers, "learning_rate": lr}.items():
                self._tb_log.add_scalar(f"train/{name}", value, it)
            for name, value in self._times.values().items():
                self._tb_log.add_scalar(f"time/{name}", value, it)
        self._times = _Times()

    def _save_if_due(self, at: Position, looked: bool) -> None:
        """Within an epoch: save from time to time, and save and leave if asked to."""
        stop = self._stop
        # Several processes agree on it when they have waited for their losses anyway.
        ask = stop is not None and (looked or not self._distributed)
        device = next(self._training.model.parameters()).device
        stopping = ask and stop.agreed(device, self._distributed)
        # `collect` raises what a loss tells, which all processes must learn at the same step.
        due = self._checkpoints.due and (looked or not self._distributed)
        if self._training.rank == 0 and (stopping or due):
            self._values.collect()
            saved = self._checkpoints.save_latest(self._state(at))
            if stopping and saved:
                _LOGGER.info("saved iteration %d in %s", at.it, self._checkpoints.folder)
        if stopping and self._distributed:
            # A launcher ends the other processes when the first one leaves.
            stop.restart_grace()
            torch.distributed.barrier()
        if stopping:
            raise SystemExit(stop.exit_code)

    def _state(self, at: Position) -> dict[str, Any]:
        """Put the curves on the disk, then gather what a checkpoint holds."""
        if self._tb_log is not None:
            self._tb_log.flush()
        training, extra = self._training, {"epoch_it": at.batches_done, **self._stored}
        if training.scaler is not None:
            extra["scaler_state"] = training.scaler.state_dict()
        if training.average is not None:
            extra[AVERAGED] = training.average.state
        return checkpoint_state(training.model, training.optimizer, at.epoch, at.it, extra)

    def _dump(self, it: int, batch: dict[str, Any], values: dict[str, float]) -> str:
        """Write a bad batch, with all that computes its loss again."""
        training = self._training
        name = "bad_batch.pth" if training.rank == 0 else f"bad_batch_rank_{training.rank}.pth"
        path = self._checkpoints.folder.parent / name
        state = checkpoint_state(training.model, None, self._at.epoch, it, self._stored)
        step = {"seed": training.seed, "rank": training.rank, "values": values}
        return save_bad_batch(path, batch, {**state, **step})
