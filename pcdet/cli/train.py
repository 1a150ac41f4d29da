"""Train a detector.

    python tools/train.py --cfg_file tools/cfgs/second.yaml
    torchrun --nproc_per_node=8 tools/train.py --launcher pytorch --cfg_file ... --batch_size 32

Writes output/<yaml>/<extra_tag>/: ckpt/checkpoint_epoch_N.pth, tensorboard/, log_train_<time>.txt.
Started again with the same command it goes on from the newest checkpoint, as if it had never
stopped; with --ckpt, from the newest that came of the same --ckpt. Ctrl-C and SIGTERM save a
checkpoint first; at the second time they do not.
"""

from __future__ import annotations

import argparse
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcdet.cli.common import (
    Run,
    add_common_arguments,
    check_at_least,
    data_parallel,
    run_command,
    start,
    training_session,
)
from pcdet.config import cfg
from pcdet.datasets import build_dataloader
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.engine.device_options import (
    AMP_TYPES,
    amp_type,
    compile_dense_network,
    grad_scaler,
    use_deterministic_algorithms,
)
from pcdet.engine.optimization import build_optimizer, build_scheduler
from pcdet.engine.train_loop import TrainOptions, train_model
from pcdet.models import build_network, model_fn_decorator
from pcdet.run.checkpoint_folder import LATEST, newest_checkpoint, remove_leftovers
from pcdet.run.curve_writer import CurveWriter
from pcdet.run.record import RunRecord
from pcdet.run.resume import start_position, stored_entries
from pcdet.run.stop_request import StopRequest
from pcdet.utils import device_utils
from pcdet.utils.checkpoint_utils import load_checkpoint, restore_training
from pcdet.utils.errors import ConfigError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--epochs", type=int, default=80, help="epochs of the whole training (default: 80)")
    add(
        "--ckpt",
        help="checkpoint to go on from, until there is a newer one that the same option has led to "
        "(default: the newest of this run, if any)",
    )
    add("--pretrained_model", help="checkpoint whose weights to start with")
    add("--sync_bn", action="store_true", help="batch statistics over all GPUs")
    add(
        "--precise_bn",
        type=int,
        default=0,
        metavar="BATCHES",
        help="measure the statistics of normalisation layers anew at the end, on so many batches "
        "of each process; for trainings of less than some thousand iterations (default: 0, PCDet's "
        "averages)",
    )
    add(
        "--freeze_bn",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="in so many last epochs let normalisation layers use their averages, as in a test, "
        "not each batch's own statistics; for batches of one or two frames; --precise_bn then "
        "measures before these epochs (default: 0)",
    )
    add(
        "--amp",
        nargs="?",
        const="bf16",
        choices=list(AMP_TYPES),
        help="compute in 16 bits where that is safe: bf16 (what --amp alone means), or, on GPUs "
        "that lack it, fp16 with a scaled loss",
    )
    add(
        "--compile",
        action="store_true",
        help="compile the dense network in bird's-eye view (torch.compile); takes a minute at the "
        "start; checkpoints stay the same",
    )
    add(
        "--deterministic",
        action="store_true",
        help="torch's deterministic algorithms, where there are any: the same results from run to "
        "run on a GPU, more slowly (on the CPU they are the same anyway)",
    )
    add("--fix_random_seed", action="store_true", help="the same as --seed 666")
    add(
        "--seed",
        type=int,
        help="decides initial weights, shuffling and augmentation (default: another one each time)",
    )
    add("--ckpt_save_interval", type=int, default=2, help="epochs between checkpoints (default: 2)")
    add(
        "--ckpt_save_time_interval",
        type=float,
        default=300,
        help="seconds between checkpoints within an epoch, each in the place of the last, "
        f"ckpt/{LATEST} (default: 300)",
    )
    add(
        "--log_interval",
        type=int,
        help="iterations between points of the curves; each waits for the GPU (default: 1 on a "
        "CPU, 10 on a GPU)",
    )
    add("--max_ckpt_save_num", type=int, default=30, help="newest checkpoints kept (default: 30)")
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    check_at_least(args, 1, "epochs", "ckpt_save_interval", "max_ckpt_save_num", "log_interval")
    check_at_least(args, 0, "precise_bn", "freeze_bn", "seed", "ckpt_save_time_interval")
    if args.freeze_bn >= args.epochs:
        raise ConfigError(
            f"--freeze_bn must be less than --epochs, {args.epochs}, got {args.freeze_bn}: the "
            "averages come from the epochs before"
        )
    if args.seed is not None and args.seed >= 2**32:
        raise ConfigError(f"--seed must be below 2^32, got {args.seed}")
    return args


def find_start(run: Run, ckpt_dir: Path) -> tuple[str | None, dict[str, Any] | None]:
    """What this run goes on from: the checkpoint's file and content; None if from nothing.

    All ranks go on from the file that rank 0 finds.
    """
    checkpoint = None

    def newest() -> str | None:
        nonlocal checkpoint
        remove_leftovers(ckpt_dir)
        path, checkpoint = newest_checkpoint(ckpt_dir, run.logger, run.args.ckpt)
        if path is None and run.args.ckpt is not None:
            path, checkpoint = run.args.ckpt, load_checkpoint(run.args.ckpt)
        return path and str(path)

    path = run.from_rank0(newest)
    if path is not None and checkpoint is None:  # on the other ranks
        checkpoint = load_checkpoint(path)
    return path, checkpoint


def choose_seed(run: Run, checkpoint: dict[str, Any] | None) -> int:
    """The seed that was asked for, else the checkpoint's, else a random one for all ranks."""
    seed = 666 if run.args.fix_random_seed and run.args.seed is None else run.args.seed
    if seed is None and checkpoint is not None:
        seed = checkpoint.get("seed")
    return run.from_rank0(lambda: secrets.randbits(31) if seed is None else seed)


def build_model(run: Run, train_set: DatasetTemplate, seed: int) -> torch.nn.Module:
    """Build the network with the weights of the seed, on this process's device."""
    device_utils.set_random_seed(seed)
    model = build_network(train_set)
    if run.args.sync_bn:
        if run.device.type != "cuda":
            raise ConfigError("--sync_bn needs GPUs; torch has no synchronised norm on the CPU")
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(run.device)
    if run.args.compile:
        compile_dense_network(model, run.device)
    return model


def stored_settings(
    run: Run, seed: int, amp: torch.dtype | None, iterations_per_epoch: int
) -> dict[str, Any]:
    """What a checkpoint tells of this command, to compare it with that of a later start."""
    args = run.args
    processes = torch.distributed.get_world_size() if run.distributed else 1
    settings = {
        "epochs": args.epochs,
        "batch_size": run.batch_size * processes,
        "iterations_per_epoch": iterations_per_epoch,
        "amp": None if amp is None else args.amp,
        "sync_bn": args.sync_bn,
        "precise_bn": args.precise_bn,
        "freeze_bn": args.freeze_bn,
    }
    return stored_entries(seed, cfg, settings, args.ckpt)


@dataclass
class Start:
    """Where a training begins."""

    epoch: int = 0
    it: int = 0
    batches_done: int = 0


def load_state(
    run: Run,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    found: tuple[str | None, dict[str, Any] | None],
    options: TrainOptions,
) -> Start:
    """Copy what this run goes on from into model, optimiser and scaler."""
    (source, checkpoint), logger = found, run.logger
    if checkpoint is None:
        if run.args.pretrained_model is not None:
            name = run.args.pretrained_model
            model.load_params_from_file(filename=name, to_cpu=True, logger=logger)
        return Start()
    position = start_position(checkpoint, options.stored, source, logger)
    restore_training(model, optimizer, checkpoint, source, logger)
    if options.scaler is not None and "scaler_state" in checkpoint:
        options.scaler.load_state_dict(checkpoint["scaler_state"])
    start = Start(*position)
    options.batches_done = start.batches_done
    logger.info("going on from %s: epoch %d, iteration %d", source, start.epoch, start.it)
    if start.epoch >= run.args.epochs:
        logger.info("nothing to do: %d of %d epochs are finished", start.epoch, run.args.epochs)
    return start


def train_options(
    run: Run, seed: int, amp: torch.dtype | None, iterations_per_epoch: int, stop: StopRequest
) -> TrainOptions:
    """Gather what `train_model` takes beyond PCDet's arguments."""
    args = run.args
    return TrainOptions(
        seed=seed,
        log_interval=args.log_interval or (10 if run.device.type == "cuda" else 1),
        ckpt_save_time_interval=args.ckpt_save_time_interval,
        precise_bn_batches=args.precise_bn,
        freeze_bn_epochs=args.freeze_bn,
        scaler=grad_scaler(amp, run.device),
        stop=stop,
        stored=stored_settings(run, seed, amp, iterations_per_epoch),
    )


def main(argv: list[str] | None = None) -> None:
    """Train as the command line asks for, as the only training in the run's folder."""
    args = parse_args(argv)
    run = start(args)
    with ExitStack() as leaving, training_session(run) as record:
        train(run, record, leaving)


def train(run: Run, record: RunRecord, leaving: ExitStack) -> None:
    """Build everything, go on from the newest checkpoint if there is one, train.

    Args:
        run: of this process.
        record: takes the facts that are known later.
        leaving: closed after the record: until then the signals of a launcher, whose other
            processes have left already, do not end this one.
    """
    args = run.args
    amp = amp_type(args.amp, run.device, run.logger)
    if args.deterministic:
        use_deterministic_algorithms()
    ckpt_dir = run.output_dir / "ckpt"
    if run.rank == 0:
        ckpt_dir.mkdir(parents=True, exist_ok=True)
    run.start_log(run.output_dir, "train")
    logger = run.logger
    found = find_start(run, ckpt_dir)
    seed = choose_seed(run, found[1])
    logger.info("seed %d", seed)

    train_set, train_loader, train_sampler = build_dataloader(
        run.data_dir,
        run.batch_size,
        run.distributed,
        workers=args.workers,
        logger=logger,
        training=True,
        seed=seed,
    )
    model = build_model(run, train_set, seed)
    optimizer = build_optimizer(model, cfg.MODEL.TRAIN.OPTIMIZATION)
    stop = StopRequest(grace=10.0 if run.distributed else 0.0)
    options = train_options(run, seed, amp, len(train_loader), stop)
    begin = load_state(run, model, optimizer, found, options)
    del found  # a second copy of weights and optimiser
    record.note(seed=seed, finished_epochs=begin.epoch, finished_iterations=begin.it)
    model.train()
    if run.distributed:
        model = data_parallel(model, run.device)
    logger.info(model)
    lr_scheduler, lr_warmup_scheduler = build_scheduler(
        optimizer,
        total_iters_each_epoch=len(train_loader),
        total_epochs=args.epochs,
        last_epoch=begin.epoch,
        optim_cfg=cfg.MODEL.TRAIN.OPTIMIZATION,
    )
    tb_log = None
    if run.rank == 0:
        tb_log = CurveWriter(run.output_dir / "tensorboard", logger, first_step=begin.it + 1)

    logger.info(
        "**********************Start training %s(%s)**********************", cfg.TAG, args.extra_tag
    )
    try:
        leaving.enter_context(stop)
        train_model(
            model,
            optimizer,
            train_loader,
            model_func=model_fn_decorator(amp=amp),
            lr_scheduler=lr_scheduler,
            optim_cfg=cfg.MODEL.TRAIN.OPTIMIZATION,
            start_epoch=begin.epoch,
            total_epochs=args.epochs,
            start_iter=begin.it,
            rank=run.rank,
            tb_log=tb_log,
            ckpt_save_dir=ckpt_dir,
            train_sampler=train_sampler,
            lr_warmup_scheduler=lr_warmup_scheduler,
            ckpt_save_interval=args.ckpt_save_interval,
            max_ckpt_save_num=args.max_ckpt_save_num,
            options=options,
        )
    except (KeyboardInterrupt, SystemExit):
        logger.info(
            "stopped by the user; the same command goes on from the last checkpoint in %s", ckpt_dir
        )
        raise
    finally:
        if tb_log is not None:
            tb_log.close()
    logger.info("**********************End training**********************")
    logger.info("checkpoints: %s; curves: tensorboard --logdir %s", ckpt_dir, run.output_dir)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
