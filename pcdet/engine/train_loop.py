"""How a detector learns, from top to bottom: epochs, batches, forward pass, update, schedule.

All else that happens in a training, such as curves and checkpoints, is done by an observer, which
hears of each epoch and step (`pcdet.run.observer`). Without one the loop works as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from easydict import EasyDict
from torch import nn
from torch.utils.data import DataLoader

from pcdet.engine.batch_norm import freeze_bn, precise_bn
from pcdet.engine.safe_update import SafeUpdate
from pcdet.engine.seeds import step_seed
from pcdet.engine.weight_average import WeightAverage


@dataclass
class Training:
    """What stays the same from step to step.

    Attributes:
        model: in training mode it maps a batch to a loss; alone or in DistributedDataParallel.
        optimizer: its rates are set by the schedules.
        train_loader: gives batches; its dataset's `set_epoch` is called before each epoch.
        model_func: (model, batch) to a result with loss, tb_dict and disp_dict.
        lr_scheduler: `step(it)` sets the rates of iteration `it`, counted from 0.
        optim_cfg: GRAD_NORM_CLIP is read from it.
        total_epochs: epochs of the whole training.
        rank: of this process.
        train_sampler: its `set_epoch` is called before each epoch; None if there is none.
        lr_warmup_scheduler: used instead of lr_scheduler up to its T_max, or None.
        seed: with the number of a step and the rank it decides the random numbers of the step, such
            as dropout; None for torch's seed.
        scaler: of the loss, for float16; else None.
        precise_bn: measure the statistics of batch normalisation anew on so many batches, when all
            epochs but those of `freeze_bn` are finished.
        freeze_bn: keep these statistics in so many last epochs.
        statistics_are_due: measure them at the start, too: the training that this one goes on from
            has not, as it had other options.
        average: of the weights over the steps; None for none.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_loader: DataLoader
    model_func: Callable
    lr_scheduler: Any
    optim_cfg: EasyDict
    total_epochs: int
    rank: int = 0
    train_sampler: Any = None
    lr_warmup_scheduler: Any = None
    seed: int | None = None
    scaler: torch.amp.GradScaler | None = None
    precise_bn: int = 0
    freeze_bn: int = 0
    statistics_are_due: bool = False
    average: WeightAverage | None = None

    def __post_init__(self) -> None:
        self.update = SafeUpdate(self.optimizer, self.scaler)
        if self.seed is None:
            self.seed = torch.initial_seed()

    def draw_frames_of(self, epoch: int) -> None:
        """Let the loader draw the frames of an epoch, counted from 0, and change them by it."""
        self.train_loader.dataset.set_epoch(epoch)
        if self.train_sampler is not None:
            self.train_sampler.set_epoch(epoch)

    def schedule(self, it: int) -> None:
        """Set the rates of iteration `it`, counted from 0."""
        warmup = self.lr_warmup_scheduler
        in_warmup = warmup is not None and it < warmup.T_max
        (warmup if in_warmup else self.lr_scheduler).step(it)


@dataclass
class Position:
    """How far a training is.

    Attributes:
        epoch: finished epochs.
        it: finished iterations.
        batches_done: of the epoch under way.
    """

    epoch: int = 0
    it: int = 0
    batches_done: int = 0


@dataclass
class Step:
    """A step that was made; nobody has waited for the device yet.

    Attributes:
        batch: of the loader.
        values: the loss, its terms and the norm of the gradient before clipping, by name: scalars
            on the device of the loss, or numbers.
        disp_dict: what the model shows on the progress bar, by name.
        halted: scalar bool on the device of the loss: this step and all later ones change nothing
            (`SafeUpdate`).
        data_wait: seconds that the batch was waited for.
    """

    batch: dict[str, Any]
    values: dict[str, Any]
    disp_dict: dict[str, Any]
    halted: torch.Tensor
    data_wait: float


class Observer:
    """Hears of a training's epochs and steps; this one does nothing."""

    def before_epoch(self, at: Position) -> None:
        """Hear that an epoch begins, or what is left of it."""

    def after_step(self, at: Position, step: Step) -> None:
        """Hear that a step was made, after which the training is `at`."""

    def after_epoch(self, at: Position) -> None:
        """Hear that an epoch was finished, after which the training is `at`."""


def train_epochs(training: Training, at: Position, observer: Observer | None = None) -> None:
    """Train to the last epoch.

    Args:
        training: what learns, and how.
        at: where to begin; it moves on with the training.
        observer: hears of all epochs and steps; what it raises ends the training.
    """
    observer = observer or Observer()
    if training.statistics_are_due and at.epoch < training.total_epochs:
        training.draw_frames_of(at.epoch)
        measure_statistics(training, at)
    while at.epoch < training.total_epochs:
        training.draw_frames_of(at.epoch)
        if at.batches_done:
            training.train_sampler.skip(at.batches_done * training.train_loader.batch_size)
        train_one_epoch(training, at, observer)
        at.epoch, at.batches_done = at.epoch + 1, 0
        if training.precise_bn and at.epoch == training.total_epochs - training.freeze_bn:
            measure_statistics(training, at)
        observer.after_epoch(at)


def measure_statistics(training: Training, at: Position) -> None:
    """Measure the statistics of batch normalisation anew: of the weights, and of their average."""
    model, loader, count = training.model, training.train_loader, training.precise_bn
    precise_bn(model, loader, count, at.it, training.seed, training.rank)
    if training.average is not None:
        with training.average.in_place_of(model):
            precise_bn(model, loader, count, at.it, training.seed, training.rank)


def train_one_epoch(training: Training, at: Position, observer: Observer) -> None:
    """Pass over the data once, or over what is left of it."""
    observer.before_epoch(at)
    model, optimizer = training.model, training.optimizer
    model.train()
    if at.epoch >= training.total_epochs - training.freeze_bn:
        freeze_bn(model)
    for batch, data_wait in timed_batches(training.train_loader):
        training.schedule(at.it)
        at.it += 1
        at.batches_done += 1
        torch.manual_seed(step_seed(training.seed, at.it, training.rank))
        optimizer.zero_grad(set_to_none=True)
        loss, tb_dict, disp_dict = training.model_func(model, batch)
        max_norm = training.optim_cfg.GRAD_NORM_CLIP
        grad_norm = training.update(loss, model.parameters(), max_norm)
        if training.average is not None:
            training.average.update(at.it)
        values = {"loss": loss.detach(), **tb_dict, "grad_norm": grad_norm}
        observer.after_step(at, Step(batch, values, disp_dict, training.update.halted, data_wait))


def timed_batches(train_loader: DataLoader) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield batches, and the seconds that each was waited for."""
    begun = time.perf_counter()
    for batch in train_loader:
        yield batch, time.perf_counter() - begun
        begun = time.perf_counter()
