"""The training loop."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import torch
from easydict import EasyDict
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from pcdet.models import example_convert_to_torch
from pcdet.utils import checkpoint_utils
from pcdet.utils.errors import CheckpointError, NonFiniteLossError


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints (epoch, path) of a run, oldest first."""
    found = []
    for path in folder.glob("checkpoint_epoch_*.pth"):
        match = re.fullmatch(r"checkpoint_epoch_(\d+)", path.stem)
        if match:
            found.append((int(match.group(1)), path))
    return sorted(found)


def resume_from_newest(
    model: nn.Module, optimizer: torch.optim.Optimizer, ckpt_dir: Path, logger: logging.Logger
) -> tuple[int, int]:
    """Load the newest readable checkpoint of a run.

    Returns:
        Finished iterations and epochs, 0 and 0 if there is no checkpoint.
    """
    for _, path in reversed(list_checkpoints(ckpt_dir)):
        try:
            checkpoint = checkpoint_utils.load_checkpoint(path)
        except CheckpointError as error:
            logger.warning("%s; going on from the one before", error)
            continue
        logger.info("going on from %s", path)
        return checkpoint_utils.restore_training(model, optimizer, checkpoint, str(path), logger)
    return 0, 0


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
    precise_bn_batches: int = 0,
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
        tb_log: TensorBoard writer, or None.
        ckpt_save_dir: folder of the checkpoints.
        train_sampler: its `set_epoch` is called before each epoch.
        lr_warmup_scheduler: used instead of lr_scheduler up to its T_max, or None.
        ckpt_save_interval: epochs between checkpoints; the last epoch is always saved.
        max_ckpt_save_num: the newest checkpoints that are kept.
        precise_bn_batches: measure the statistics of normalisation layers anew on so many batches
            before the last checkpoint.

    Raises:
        NonFiniteLossError: the loss or the gradient is not finite; no weight was touched by it.
    """
    it = start_iter
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
            schedules = (lr_scheduler, lr_warmup_scheduler)
            it = train_one_epoch(
                model, optimizer, train_loader, model_func, schedules, optim_cfg, it, tb_log, epochs
            )
            done = epoch + 1
            if done == total_epochs and precise_bn_batches:
                measure_norm_statistics(model, train_loader, precise_bn_batches)
            if rank == 0 and (done % ckpt_save_interval == 0 or done == total_epochs):
                state = checkpoint_utils.checkpoint_state(model, optimizer, done, it)
                path = Path(ckpt_save_dir) / f"checkpoint_epoch_{done}.pth"
                checkpoint_utils.save_checkpoint(state, path)
                for _, old in list_checkpoints(Path(ckpt_save_dir))[:-max_ckpt_save_num]:
                    old.unlink()


def measure_norm_statistics(
    model: nn.Module, loader: torch.utils.data.DataLoader, num_batches: int
) -> None:
    """Replace the running averages of normalisation layers by those of the present weights.

    Running averages with PCDet's momentum of 0.01 lag hundreds of iterations behind the weights,
    which a short training cannot wait for (Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021,
    section 3).
    """
    device = next(model.parameters()).device
    # Not itertools.cycle, which would keep all batches in memory.
    endless = chain.from_iterable(repeat(loader))
    batches = tqdm(islice(endless, num_batches), "norm statistics", num_batches, leave=False)
    update_bn((example_convert_to_torch(batch, device) for batch in batches), model)


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_loader: torch.utils.data.DataLoader,
    model_func: Callable,
    schedules: tuple[Any, Any],
    optim_cfg: EasyDict,
    it: int,
    tb_log: Any,
    epochs: tqdm,
) -> int:
    """One pass over the data; returns the number of finished iterations."""
    lr_scheduler, warmup = schedules
    bar = tqdm(
        total=len(train_loader),
        desc="train",
        leave=False,
        dynamic_ncols=True,
        disable=epochs.disable,
    )
    with bar:
        for batch, wait, begun in timed_batches(train_loader):
            use_warmup = warmup is not None and it < warmup.T_max
            (warmup if use_warmup else lr_scheduler).step(it)
            values, shown = train_step(model, optimizer, batch, model_func, optim_cfg)
            it += 1
            lr, seconds = optimizer.param_groups[0]["lr"], time.perf_counter() - begun
            bar.update()
            bar.set_postfix(loss=f"{values['loss']:.4f}", lr=f"{lr:.2e}", **shown)
            epochs.set_postfix(it=it, loss=f"{values['loss']:.4f}", refresh=False)
            if tb_log is not None:
                for name, value in values.items():
                    tb_log.add_scalar(f"train/{name}", value, it)
                tb_log.add_scalar("train/learning_rate", lr, it)
                tb_log.add_scalar("time/seconds_per_iteration", seconds, it)
                tb_log.add_scalar("time/data_wait_share", wait / seconds, it)
    return it


def timed_batches(loader: torch.utils.data.DataLoader) -> Iterator[tuple[dict, float, float]]:
    """Batches, the seconds each was waited for, and when that waiting began."""
    begun = time.perf_counter()
    for batch in loader:
        yield batch, time.perf_counter() - begun, begun
        begun = time.perf_counter()


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Any],
    model_func: Callable,
    optim_cfg: EasyDict,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Forward, backward, clip, step.

    Returns:
        Loss, its terms and the norm of the gradient before clipping; and what the model wants to
        see on the progress bar.
    """
    model.train()
    optimizer.zero_grad(set_to_none=True)
    loss, tb_dict, disp_dict = model_func(model, batch)
    named = {"loss": loss.detach(), **tb_dict}
    # One transfer from the device for all of them.
    numbers = torch.stack([torch.as_tensor(v, dtype=loss.dtype) for v in named.values()]).tolist()
    values = dict(zip(named, numbers))
    _check_finite(values, batch)
    loss.backward()
    values["grad_norm"] = float(clip_grad_norm_(model.parameters(), optim_cfg.GRAD_NORM_CLIP))
    _check_finite({"grad_norm": values["grad_norm"]}, batch)
    optimizer.step()
    return values, disp_dict


def _check_finite(values: dict[str, float], batch: dict[str, Any]) -> None:
    bad = {name: value for name, value in values.items() if not abs(value) < float("inf")}
    if bad:
        ids = ", ".join(str(k) for k in batch.get("sample_idx", ["unknown"]))
        raise NonFiniteLossError(
            f"not finite: {bad} on the samples {ids}; stopped before changing any weight"
        )
