"""Train a detector.

    python tools/train.py --cfg_file tools/cfgs/second.yaml
    torchrun --nproc_per_node=8 tools/train.py --launcher pytorch --cfg_file ... --batch_size 32

Writes output/<yaml>/<extra_tag>/: ckpt/checkpoint_epoch_N.pth, tensorboard/, log_train_<time>.txt.
Started again with the same command it goes on from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

import torch
from tensorboardX import SummaryWriter

from pcdet.config import cfg
from pcdet.datasets import build_dataloader
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.models import build_network, model_fn_decorator
from pcdet.utils import common_utils
from pcdet.utils.errors import ConfigError
from run_record import RunRecord
from run_utils import Run, add_common_arguments, run_command, start, training_session
from train_utils.optimization import build_optimizer, build_scheduler
from train_utils.train_utils import resume_from_newest, train_model


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--epochs", type=int, default=80, help="epochs of the whole training (default: 80)")
    add("--ckpt", help="checkpoint to go on from (default: the newest of this run, if any)")
    add("--pretrained_model", help="checkpoint whose weights to start with")
    add("--sync_bn", action="store_true", help="batch statistics over all GPUs")
    add(
        "--precise_bn",
        type=int,
        default=0,
        metavar="BATCHES",
        help="measure the statistics of normalisation layers anew on so many batches at the end; "
        "for trainings of less than some thousand iterations (default: 0, PCDet's averages)",
    )
    add("--amp", action="store_true", help="compute in bfloat16 where that is safe")
    add("--fix_random_seed", action="store_true", help="the same as --seed 666")
    add(
        "--seed",
        type=int,
        help="decides initial weights, shuffling and augmentation (default: another one each time)",
    )
    add("--ckpt_save_interval", type=int, default=2, help="epochs between checkpoints (default: 2)")
    add("--max_ckpt_save_num", type=int, default=30, help="newest checkpoints kept (default: 30)")
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    for name in ("epochs", "ckpt_save_interval", "max_ckpt_save_num"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def choose_seed(args: argparse.Namespace, distributed: bool) -> int:
    """The seed that was asked for, else a random one, the same on all ranks."""
    seed = 666 if args.fix_random_seed and args.seed is None else args.seed
    drawn = [secrets.randbits(31) if seed is None else seed]
    if distributed:
        torch.distributed.broadcast_object_list(drawn, src=0)
    return drawn[0]


def build_model(run: Run, train_set: DatasetTemplate, seed: int) -> torch.nn.Module:
    common_utils.set_random_seed(seed)
    model = build_network(train_set)
    if run.args.sync_bn:
        if run.device.type != "cuda":
            raise ConfigError("--sync_bn needs GPUs; torch has no synchronised norm on the CPU")
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model.to(run.device)


def load_state(
    run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, ckpt_dir: Path
) -> tuple[int, int]:
    """Finished iterations and epochs of what this run goes on from."""
    args, logger = run.args, run.logger
    if args.pretrained_model is not None:
        model.load_params_from_file(filename=args.pretrained_model, to_cpu=True, logger=logger)
    if args.ckpt is not None:
        return model.load_params_with_optimizer(
            args.ckpt, to_cpu=True, optimizer=optimizer, logger=logger
        )
    return resume_from_newest(model, optimizer, ckpt_dir, logger)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    run = start(args)
    with training_session(run) as record:
        train(run, record)


def train(run: Run, record: RunRecord) -> None:
    """Build everything, go on from the newest checkpoint if there is one, train."""
    args = run.args
    ckpt_dir = run.output_dir / "ckpt"
    ckpt_dir.mkdir(parents=True, exist_ok=True)
    run.start_log(run.output_dir, "train")
    logger = run.logger
    seed = choose_seed(args, run.distributed)
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
    start_iter, start_epoch = load_state(run, model, optimizer, ckpt_dir)
    record.note(seed=seed, finished_epochs=start_epoch, finished_iterations=start_iter)
    model.train()
    if run.distributed:
        device_ids = [run.device.index] if run.device.type == "cuda" else None
        model = torch.nn.parallel.DistributedDataParallel(model, device_ids=device_ids)
    logger.info(model)
    lr_scheduler, lr_warmup_scheduler = build_scheduler(
        optimizer,
        total_iters_each_epoch=len(train_loader),
        total_epochs=args.epochs,
        last_epoch=start_epoch,
        optim_cfg=cfg.MODEL.TRAIN.OPTIMIZATION,
    )
    tb_log = SummaryWriter(log_dir=str(run.output_dir / "tensorboard")) if run.rank == 0 else None

    logger.info(
        "**********************Start training %s(%s)**********************", cfg.TAG, args.extra_tag
    )
    try:
        train_model(
            model,
            optimizer,
            train_loader,
            model_func=model_fn_decorator(amp=args.amp),
            lr_scheduler=lr_scheduler,
            optim_cfg=cfg.MODEL.TRAIN.OPTIMIZATION,
            start_epoch=start_epoch,
            total_epochs=args.epochs,
            start_iter=start_iter,
            rank=run.rank,
            tb_log=tb_log,
            ckpt_save_dir=ckpt_dir,
            train_sampler=train_sampler,
            lr_warmup_scheduler=lr_warmup_scheduler,
            ckpt_save_interval=args.ckpt_save_interval,
            max_ckpt_save_num=args.max_ckpt_save_num,
            precise_bn_batches=args.precise_bn,
        )
    except KeyboardInterrupt:
        logger.info(
            "stopped by the user; the same command goes on from the last checkpoint in %s", ckpt_dir
        )
        raise
    finally:
        if tb_log is not None:
            tb_log.close()
    logger.info("**********************End training**********************")
    logger.info("checkpoints: %s; curves: tensorboard --logdir %s", ckpt_dir, run.output_dir)


if __name__ == "__main__":
    run_command(main)
