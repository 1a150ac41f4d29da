"""PCDet's `train_model`: the training loop, with what a run does beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from easydict import EasyDict
from torch import nn

from pcdet.engine.train_loop import Position, Training, train_epochs
from pcdet.engine.weight_average import WeightAverage
from pcdet.run.checkpoint_folder import CheckpointFolder
from pcdet.run.observer import RunObserver
from pcdet.run.stop_request import StopRequest

_LOGGER = logging.getLogger("pcdet")


@dataclass
class TrainOptions:
    """What `train_model` takes beyond PCDet's arguments.

    Attributes:
        seed, scaler, precise_bn, freeze_bn, statistics_are_due: see
            `pcdet.engine.train_loop.Training`.
        batches_done: of the first epoch, by the training that is resumed.
        log_interval: steps from one look at the losses to the next.
        ckpt_save_time_interval: seconds between checkpoints within an epoch, or None.
        stop: asked after each step whether to save and leave; or None.
        average: of the weights over the steps; or None.
        stored: further entries of the checkpoints: plain data.
    """

    seed: int | None = None
    scaler: torch.amp.GradScaler | None = None
    precise_bn: int = 0
    freeze_bn: int = 0
    statistics_are_due: bool = False
    batches_done: int = 0
    log_interval: int = 1
    ckpt_save_time_interval: float | None = None
    stop: StopRequest | None = None
    average: WeightAverage | None = None
    stored: dict[str, Any] = field(default_factory=dict)


def train_model(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_loader: torch.utils.data.DataLoader,
    model_func: Callable,
    lr_scheduler: Any,
    optim_cfg: EasyDict,
    start_epoch: int,
    total_epochs: int,
    start_iter: int,
    rank: int,
    tb_log: Any,
    ckpt_save_dir: Path,
    train_sampler: Any = None,
    lr_warmup_scheduler: Any = None,
    ckpt_save_interval: int = 1,
    max_ckpt_save_num: int = 50,
    options: TrainOptions | None = None,
) -> None:
    """Train from `start_epoch` to `total_epochs`, saving checkpoints on rank 0.

    Args:
        model: see `pcdet.engine.train_loop.Training` for what has no words here.
        optimizer: its rates are set by the schedules.
        train_loader: gives batches.
        model_func: (model, batch) to a result with loss, tb_dict and disp_dict.
        lr_scheduler: `step(it)` sets the rates of iteration `it`.
        optim_cfg: GRAD_NORM_CLIP is read from it.
        start_epoch: finished epochs.
        total_epochs: epochs of the whole training.
        start_iter: finished iterations.
        rank: of this process.
        tb_log: has add_scalar and flush, as a TensorBoard writer; or None.
        ckpt_save_dir: folder of the checkpoints.
        train_sampler: its `set_epoch` is called before each epoch.
        lr_warmup_scheduler: used instead of lr_scheduler up to its T_max, or None.
        ckpt_save_interval: epochs between checkpoints; the last epoch is always saved.
        max_ckpt_save_num: the newest checkpoints that are kept.
        options: what PCDet does not have.

    Raises:
        NonFiniteLossError: the loss or the gradient is not finite; no weight was touched by it, and
            the batch is in bad_batch.pth beside the folder of the checkpoints.
        CheckpointError: the last checkpoint could not be written.
        SystemExit: `options.stop` asked for it; a checkpoint was saved.
    """
    options = options or TrainOptions()
    training = Training(
        model,
        optimizer,
        train_loader,
        model_func,
        lr_scheduler,
        optim_cfg,
        total_epochs,
        rank,
        train_sampler,
        lr_warmup_scheduler,
        seed=options.seed,
        scaler=options.scaler,
        precise_bn=options.precise_bn,
        freeze_bn=options.freeze_bn,
        statistics_are_due=options.statistics_are_due,
        average=options.average,
    )
    checkpoints = CheckpointFolder(
        Path(ckpt_save_dir), max_ckpt_save_num, options.ckpt_save_time_interval, _LOGGER
    )
    observer = RunObserver(
        training,
        checkpoints,
        tb_log,
        ckpt_save_interval,
        options.log_interval,
        options.stop,
        options.stored,
    )
    with closing(observer):
        train_epochs(training, Position(start_epoch, start_iter, options.batches_done), observer)
