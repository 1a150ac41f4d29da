"""The training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from easydict import EasyDict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from pcdet.engine.safe_update import SafeUpdate
from pcdet.models import example_convert_to_torch
from pcdet.run.bad_batch import save_bad_batch
from pcdet.run.checkpoint_folder import CheckpointFolder
from pcdet.run.step_values import StepValues
from pcdet.run.stop_request import StopRequest
from pcdet.utils.checkpoint_utils import checkpoint_state
from pcdet.utils.errors import CheckpointError

_LOGGER = logging.getLogger("pcdet")


@dataclass
class TrainOptions:
    """What `train_model` takes beyond PCDet's arguments.

    Attributes:
        seed: with the number of a step and the rank it decides the random numbers of the step, such
            as dropout; None for torch's seed.
        batches_done: of the first epoch, by the training that this one goes on from.
        log_interval: steps from one look at the losses to the next.
        ckpt_save_time_interval: seconds between checkpoints within an epoch, or None.
        precise_bn_batches: measure the statistics of normalisation layers anew on so many batches
            when all other epochs but those of `freeze_bn_epochs` are done.
        freeze_bn_epochs: in so many last epochs these layers use their running averages, as in a
            test, instead of the batch's statistics.
        scaler: of the loss, for float16; its state is part of the checkpoints.
        stop: asked after each step whether to save and leave; or None.
        stored: further entries of the checkpoints: plain data.
    """

    seed: int | None = None
    batches_done: int = 0
    log_interval: int = 1
    ckpt_save_time_interval: float | None = None
    precise_bn_batches: int = 0
    freeze_bn_epochs: int = 0
    scaler: torch.amp.GradScaler | None = None
    stop: StopRequest | None = None
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
        model: in training mode it maps a batch to a loss.
        optimizer: its rates are set by the schedules.
        train_loader: gives batches; its dataset's `set_epoch` is called before each epoch.
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
    loop = _Loop(
        model=model,
        optimizer=optimizer,
        model_func=model_func,
        schedules=(lr_scheduler, lr_warmup_scheduler),
        optim_cfg=optim_cfg,
        rank=rank,
        tb_log=tb_log,
        options=options,
        checkpoints=CheckpointFolder(
            Path(ckpt_save_dir), max_ckpt_save_num, options.ckpt_save_time_interval, _LOGGER
        ),
    )
    it, batches_done = start_iter, options.batches_done
    frozen_from = total_epochs - options.freeze_bn_epochs
    epochs = tqdm(
        range(start_epoch, total_epochs),
        initial=start_epoch,
        total=total_epochs,
        desc="epochs",
        dynamic_ncols=True,
        disable=rank != 0,
    )
    with epochs:
        for epoch in epochs:
            train_loader.dataset.set_epoch(epoch)
            if train_sampler is not None:
                train_sampler.set_epoch(epoch)
            if batches_done:
                train_sampler.skip(batches_done * train_loader.batch_size)
            loop.freeze_norm = epoch >= frozen_from
            it = train_one_epoch(loop, train_loader, epoch, batches_done, it, epochs)
            batches_done = 0
            done = epoch + 1
            if done == frozen_from and options.precise_bn_batches:
                measure_norm_statistics(loop, train_loader, it)
            if done % ckpt_save_interval == 0 or done == total_epochs:
                loop.save_epoch(done, it, last=done == total_epochs)


@dataclass
class _Loop:
    """What stays the same from step to step; see `train_model` for the fields."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    model_func: Callable
    schedules: tuple[Any, Any]
    optim_cfg: EasyDict
    rank: int
    tb_log: Any
    options: TrainOptions
    checkpoints: CheckpointFolder

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.distributed = isinstance(self.model, nn.parallel.DistributedDataParallel)
        self.update = SafeUpdate(self.optimizer, self.options.scaler)
        self.values = StepValues(self._dump, self.distributed)
        seed = self.options.seed
        self.seed = torch.initial_seed() if seed is None else seed
        self.epoch = 0
        self.freeze_norm = False

    def before_step(self, it: int) -> None:
        """Set what depends on the number of the step alone: rates and random numbers."""
        lr_scheduler, warmup = self.schedules
        use_warmup = warmup is not None and it - 1 < warmup.T_max
        (warmup if use_warmup else lr_scheduler).step(it - 1)
        torch.manual_seed(step_seed(self.seed, it, self.rank))

    def log(self, values: dict[str, float], times: dict[str, float], it: int) -> None:
        """Write a point to each curve."""
        if self.tb_log is None:
            return
        for name, value in values.items():
            self.tb_log.add_scalar(f"train/{name}", value, it)
        self.tb_log.add_scalar("train/learning_rate", self.optimizer.param_groups[0]["lr"], it)
        for name, value in times.items():
            self.tb_log.add_scalar(f"time/{name}", value, it)

    def save_if_due(self, batches_done: int, it: int, logged: bool) -> None:
        """Within an epoch: save from time to time, and save and leave if asked to."""
        stop = self.options.stop
        # Several processes agree on it when they wait for each other's losses anyway.
        ask = stop is not None and (logged or not self.distributed)
        stopping = ask and stop.agreed(self.device, self.distributed)
        if self.rank == 0 and (stopping or self.checkpoints.due):
            self.values.collect()
            saved = self.checkpoints.save_latest(self._state(self.epoch, it, batches_done))
            if stopping and saved:
                _LOGGER.info("saved iteration %d in %s", it, self.checkpoints.folder)
        if stopping and self.distributed:
            # A launcher ends the other processes when the first one leaves.
            stop.restart_grace()
            torch.distributed.barrier()
        if stopping:
            raise SystemExit(stop.exit_code)

    def save_epoch(self, epoch: int, it: int, last: bool) -> None:
        """Save at the end of an epoch."""
        if (
            self.rank == 0
            and not self.checkpoints.save_epoch(epoch, self._state(epoch, it))
            and last
        ):
            raise CheckpointError(
                f"{self.checkpoints.folder}: the last checkpoint could not be written; the same "
                "command goes on from the one before"
            )

    def _state(self, epoch: int, it: int, batches_done: int = 0) -> dict[str, Any]:
        """A checkpoint; the curves up to it are on the disk before."""
        if self.tb_log is not None:
            self.tb_log.flush()
        extra = {"epoch_it": batches_done, **self.options.stored}
        if self.options.scaler is not None:
            extra["scaler_state"] = self.options.scaler.state_dict()
        return checkpoint_state(self.model, self.optimizer, epoch, it, extra)

    def _dump(self, it: int, batch: dict[str, Any], values: dict[str, float]) -> str:
        name = "bad_batch.pth" if self.rank == 0 else f"bad_batch_rank_{self.rank}.pth"
        path = self.checkpoints.folder.parent / name
        state = checkpoint_state(self.model, None, self.epoch, it, self.options.stored)
        step = {"seed": self.seed, "rank": self.rank, "values": values}
        return save_bad_batch(path, batch, {**state, **step})


def train_one_epoch(
    loop: _Loop,
    train_loader: torch.utils.data.DataLoader,
    epoch: int,
    batches_done: int,
    it: int,
    epochs: tqdm,
) -> int:
    """One pass over the data, or what is left of it; returns the number of finished iterations."""
    loop.epoch = epoch
    bar = tqdm(
        total=len(train_loader),
        initial=batches_done,
        desc="train",
        leave=False,
        dynamic_ncols=True,
        disable=epochs.disable,
    )
    begun, waited, steps = time.perf_counter(), 0.0, 0
    with bar:
        for batch, wait in timed_batches(train_loader):
            it += 1
            loop.before_step(it)
            values, shown = train_step(
                loop.model, batch, loop.model_func, loop.optim_cfg, loop.update, loop.freeze_norm
            )
            loop.values.add(it, batch, values, loop.update.halted)
            batches_done, waited, steps = batches_done + 1, waited + wait, steps + 1
            bar.update()
            logged = it % loop.options.log_interval == 0
            if logged or loop.values.full:
                numbers = loop.values.collect()
            if logged:
                seconds = time.perf_counter() - begun
                times = {
                    "seconds_per_iteration": seconds / steps,
                    "data_wait_share": waited / seconds,
                }
                loop.log(numbers, times, it)
                rate = f"{loop.optimizer.param_groups[0]['lr']:.2e}"
                bar.set_postfix(loss=f"{numbers['loss']:.4f}", lr=rate, **shown)
                epochs.set_postfix(it=it, loss=f"{numbers['loss']:.4f}", refresh=False)
                begun, waited, steps = time.perf_counter(), 0.0, 0
            loop.save_if_due(batches_done, it, logged)
        loop.values.collect()
    return it


def timed_batches(loader: torch.utils.data.DataLoader) -> Iterator[tuple[dict, float]]:
    """Batches, and the seconds that each was waited for."""
    begun = time.perf_counter()
    for batch in loader:
        yield batch, time.perf_counter() - begun
        begun = time.perf_counter()


def train_step(
    model: nn.Module,
    batch: dict[str, Any],
    model_func: Callable,
    optim_cfg: EasyDict,
    update: SafeUpdate,
    freeze_norm: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Forward, backward, clip, step; nothing here waits for the device.

    Args:
        model: whose `train` mode is set.
        batch: of the data loader.
        model_func: (model, batch) to a result with loss, tb_dict and disp_dict.
        optim_cfg: GRAD_NORM_CLIP is read from it.
        update: of the weights.
        freeze_norm: normalise with the running averages; see `TrainOptions.freeze_bn_epochs`.

    Returns:
        Loss, its terms and the norm of the gradient before clipping, on the device; and what the
        model wants to see on the progress bar.
    """
    model.train()
    if freeze_norm:
        for layer in norm_layers(model):
            layer.eval()
    update.optimizer.zero_grad(set_to_none=True)
    loss, tb_dict, disp_dict = model_func(model, batch)
    grad_norm = update(loss, model.parameters(), optim_cfg.GRAD_NORM_CLIP)
    return {"loss": loss.detach(), **tb_dict, "grad_norm": grad_norm}, disp_dict


def norm_layers(model: nn.Module) -> Iterator[_BatchNorm]:
    """The layers of batch normalisation."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def step_seed(seed: int, it: int, rank: int) -> int:
    """Seed of the random numbers of step `it`: the same after a resume, another on each rank."""
    return int(np.random.SeedSequence((seed, it, rank)).generate_state(1, np.uint64)[0])


def measure_norm_statistics(loop: _Loop, loader: torch.utils.data.DataLoader, it: int) -> None:
    """Replace the running averages of normalisation layers by those of the present weights.

    Running averages with PCDet's momentum of 0.01 lag hundreds of iterations behind the weights,
    which a short training cannot wait for (Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021,
    section 3; for the freezing afterwards, section 4).
    """
    num_batches = loop.options.precise_bn_batches
    # Not itertools.cycle, which would keep all batches in memory.
    endless = chain.from_iterable(repeat(loader))
    batches = tqdm(islice(endless, num_batches), "norm statistics", num_batches, leave=False)

    def seeded_batches() -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(batches, it + 1):
            torch.manual_seed(step_seed(loop.seed, step, loop.rank))
            yield example_convert_to_torch(batch, loop.device)

    # Each rank measures its own frames; the parallel model as a whole would send the averages of
    # rank 0 to all before each batch.
    update_bn(seeded_batches(), loop.model.module if loop.distributed else loop.model)
    if loop.distributed:
        average_norm_statistics(loop.model)


def average_norm_statistics(model: nn.Module) -> None:
    """Replace the running averages of normalisation layers by those of all ranks together."""
    ranks = torch.distributed.get_world_size()
    for layer in norm_layers(model):
        mean, variance = layer.running_mean, layer.running_var
        moments = torch.stack((mean, variance + mean**2)) / ranks
        torch.distributed.all_reduce(moments)
        mean.copy_(moments[0])
        variance.copy_(moments[1] - moments[0] ** 2)
