"""One start of a training or a test: what its ranks share, log, lock and record."""

from __future__ import annotations

import argparse
import datetime
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pcdet.run.checkpoint_folder import newest_file
from pcdet.run.leaving import own_words
from pcdet.run.lock import training_lock
from pcdet.run.record import FINISHED, STOPPED, RunRecord
from pcdet.utils import log_utils
from pcdet.utils.errors import PcdetError

T = TypeVar("T")


@dataclass
class Run:
    """One start of train.py or test.py.

    Attributes:
        args: the parsed command line.
        data_dir: folder of the data set.
        output_dir: output/<yaml name>/<extra_tag>.
        device: where the model lives.
        batch_size: frames of one step of this process.
        distributed: one of several processes.
        rank: number of this process; rank 0 writes files.
        logger: writes to the terminal and, once `start_log` was called, to a file.
    """

    args: argparse.Namespace
    data_dir: Path
    output_dir: Path
    device: torch.device
    batch_size: int
    distributed: bool
    rank: int
    logger: logging.Logger

    @property
    def ckpt_dir(self) -> Path:
        """Folder of the checkpoints."""
        return self.output_dir / "ckpt"

    @property
    def num_ranks(self) -> int:
        """Number of processes."""
        return dist.get_world_size() if self.distributed else 1

    def from_rank0(self, work: Callable[[], T]) -> T:
        """Let rank 0 do something, and give its result to all ranks.

        All ranks must call this at the same point. A mistake of the user or a file that cannot be
        used, which rank 0 meets, ends all of them, and rank 0 alone tells of it.
        """
        if not self.distributed:
            return work()
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = work()
            except (PcdetError, OSError) as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0)
        result, error = answer
        if error is not None:
            raise error if self.rank == 0 else SystemExit(1)
        return result

    def start_log(self, folder: Path, name: str) -> None:
        """Log to `folder`/log_<name>_<time>.txt too, beginning with machine and options."""
        self.from_rank0(lambda: folder.mkdir(parents=True, exist_ok=True))
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        self.logger = log_utils.create_logger(folder / f"log_{name}_{time}.txt", self.rank)
        self.logger.info("**********************Start logging**********************")
        self.logger.info(log_utils.machine_line())
        self.logger.info("device %s, batch size of this process %d", self.device, self.batch_size)
        for key, value in vars(self.args).items():
            self.logger.info("%-20s %s", key, value)


@contextmanager
def training_session(run: Run, config: Mapping[str, Any]) -> Iterator[RunRecord]:
    """Hold the lock of the run's folder and keep its record, on rank 0 (`run.lock`, `run.record`).

    Args:
        run: of this process.
        config: the whole configuration, for the record.

    Yields:
        The record, for facts that are known later.

    Raises:
        ConfigError: another training holds the folder.
    """
    with ExitStack() as stack:
        lock = training_lock(run.output_dir, run.logger)
        run.from_rank0(lambda: stack.enter_context(lock))
        record = RunRecord(run.output_dir, run.logger, writes=run.rank == 0)
        record.start(config, processes=run.num_ranks, data_dir=run.data_dir)
        outcome = FINISHED
        try:
            yield record
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            # The files change while other ranks look, which record nothing.
            record.end(outcome, newest_file(run.ckpt_dir) if run.rank == 0 else None)


def _outcome(error: BaseException) -> str:
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return STOPPED
    message = own_words(error) if isinstance(error, PcdetError) else str(error)
    return f"failed: {type(error).__name__}: {message}"
