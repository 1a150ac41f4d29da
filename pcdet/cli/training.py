"""What train.py does: build everything, resume from the newest checkpoint, train."""

from __future__ import annotations

import argparse
import logging
import secrets
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from pcdet.cli.recipe import Recipe, recipe_of
from pcdet.cli.start import read_config, start
from pcdet.config import cfg, log_config_to_file
from pcdet.config.schema import read_model
from pcdet.datasets import build_dataloader
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.datasets.training_plan import tell_plan
from pcdet.engine.data_parallel import data_parallel
from pcdet.engine.device_options import (
    amp_type,
    choose_algorithms,
    compile_dense_network,
    grad_scaler,
)
from pcdet.engine.optimization import build_optimizer, build_scheduler
from pcdet.engine.train_loop import Position
from pcdet.engine.weight_average import WeightAverage
from pcdet.models import build_network, model_fn_decorator, unused_arrays
from pcdet.models.fine_tuning import load_pretrained
from pcdet.models.folding import fuse_relu_
from pcdet.models.model_utils.norm import synchronise_norms_
from pcdet.run.curve_writer import CurveWriter
from pcdet.run.resume import (
    ckpt_of,
    find_start,
    pretrained_of,
    resume,
    resume_average,
    statistics_are_due,
    stored_entries,
)
from pcdet.run.session import Run, training_session
from pcdet.run.stop_request import StopRequest
from pcdet.run.train_model import TrainOptions, train_model
from pcdet.utils import device_utils


def train(args: argparse.Namespace) -> None:
    """Train as the command line asks for, as the only training in the run's folder."""
    read_config(args)
    optim_cfg = cfg.MODEL.TRAIN.OPTIMIZATION
    recipe = recipe_of(args, optim_cfg)
    run = start(args, recipe.batch_size)
    # Closed after the record: until then the signals of a launcher, whose other processes have left
    # already, do not end this one.
    with ExitStack() as leaving, training_session(run, cfg) as record:
        amp = amp_type(recipe.amp, run.device, run.logger)
        choose_algorithms(args.deterministic)
        begin_log(run, recipe)
        found = find_start(run)
        began_with = run.from_rank0(partial(pretrained_of, args.pretrained_model, *found))
        seed = choose_seed(run, found[1])
        train_set, train_loader, train_sampler = build_dataloader(
            run.data_dir,
            run.batch_size,
            run.distributed,
            workers=args.workers,
            logger=run.logger,
            seed=seed,
            pin_memory=run.device.type == "cuda",
        )
        run.from_rank0(lambda: tell_plan_of(run, train_set))
        model = build_model(run, train_set, seed, recipe.sync_bn)
        train_set.unused = unused_arrays(model)
        optimizer = build_optimizer(model, optim_cfg)
        options = train_options(run, recipe, seed, amp, len(train_loader))
        options.stored.update(ckpt=ckpt_of(args.ckpt, found[1]), pretrained_model=began_with)
        run.logger.info(model)  # before what the user is told: it is long
        at = load_state(run, model, optimizer, found, options)
        del found  # a second copy of weights and optimiser
        begins = {"finished_epochs": at.epoch, "finished_iterations": at.it}
        record.note(seed=seed, epochs=recipe.epochs, **begins)
        if run.distributed:
            model = data_parallel(model, run.device)
        lr_scheduler, lr_warmup_scheduler = build_scheduler(
            optimizer, len(train_loader), recipe.epochs, at.epoch, optim_cfg
        )
        leaving.enter_context(options.stop)
        with open_curves(run, at) as tb_log:
            train_model(
                model,
                optimizer,
                train_loader,
                model_func=model_fn_decorator(amp=amp),
                lr_scheduler=lr_scheduler,
                optim_cfg=optim_cfg,
                start_epoch=at.epoch,
                total_epochs=recipe.epochs,
                start_iter=at.it,
                rank=run.rank,
                tb_log=tb_log,
                ckpt_save_dir=run.ckpt_dir,
                train_sampler=train_sampler,
                lr_warmup_scheduler=lr_warmup_scheduler,
                ckpt_save_interval=args.ckpt_save_interval,
                max_ckpt_save_num=args.max_ckpt_save_num,
                options=options,
            )


def begin_log(run: Run, recipe: Recipe) -> None:
    """Make the run's folders and log machine, options, recipe and settings."""
    run.from_rank0(lambda: run.ckpt_dir.mkdir(parents=True, exist_ok=True))
    run.start_log(run.output_dir, "train")
    for line in recipe.lines():
        run.logger.info(line)
    log_config_to_file(cfg, logger=run.logger)


def choose_seed(run: Run, checkpoint: dict[str, Any] | None) -> int:
    """The seed that was asked for, else the checkpoint's, else a random one for all ranks."""
    seed = 666 if run.args.fix_random_seed and run.args.seed is None else run.args.seed
    if seed is None and checkpoint is not None:
        seed = checkpoint.get("seed")
    seed = run.from_rank0(lambda: secrets.randbits(31) if seed is None else seed)
    run.logger.info("seed %d", seed)
    return seed


def tell_plan_of(run: Run, train_set: DatasetTemplate) -> None:
    """Log what the training learns from; end it if that is nothing."""
    generators = read_model(cfg.MODEL).RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR
    heights = {g.class_name: [g.bottom] for g in generators}
    tell_plan(train_set, heights, run.logger, run.args.allow_empty_classes)


def build_model(run: Run, train_set: DatasetTemplate, seed: int, sync_bn: bool) -> nn.Module:
    """Build the network with the weights of the seed, on this process's device."""
    device_utils.set_random_seed(seed)
    model = build_network(train_set)
    if sync_bn and run.distributed:
        model = synchronise_norms_(model, run.device)
    fuse_relu_(model)
    model.to(run.device)
    if run.args.compile:
        compile_dense_network(model, run.device)
    return model


def train_options(
    run: Run, recipe: Recipe, seed: int, amp: torch.dtype | None, iterations_per_epoch: int
) -> TrainOptions:
    """Gather what `train_model` takes beyond PCDet's arguments."""
    # What a checkpoint tells of this command, to compare it with that of a later start.
    settings = {
        "epochs": recipe.epochs,
        "batch_size": run.batch_size * run.num_ranks,
        "iterations_per_epoch": iterations_per_epoch,
        "amp": None if amp is None else recipe.amp,
        "sync_bn": recipe.sync_bn,
        "precise_bn": recipe.precise_bn,
        "freeze_bn": recipe.freeze_bn,
    }
    return TrainOptions(
        seed=seed,
        scaler=grad_scaler(amp, run.device),
        precise_bn=recipe.precise_bn,
        freeze_bn=recipe.freeze_bn,
        log_interval=run.args.log_interval or (10 if run.device.type == "cuda" else 1),
        ckpt_save_time_interval=run.args.ckpt_save_time_interval,
        stop=StopRequest(grace=10.0 if run.distributed else 0.0),
        stored=stored_entries(seed, cfg, settings),
    )


def load_state(
    run: Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    found: tuple[str | None, dict[str, Any] | None],
    options: TrainOptions,
) -> Position:
    """Copy what `find_start` found, or pretrained weights, into model, optimiser and scaler."""
    source, checkpoint = found
    decay = cfg.MODEL.TRAIN.get("EMA")
    if checkpoint is None:
        if run.args.pretrained_model is not None:
            load_pretrained(model, run.args.pretrained_model, cfg, run.logger)
        else:
            tell_of_fixed_parts(model, run.logger)
        options.average = None if decay is None else WeightAverage(model, decay)
        return Position()
    scaler, stored = options.scaler, options.stored
    at = resume(checkpoint, source, model, optimizer, scaler, stored, run.logger)
    options.batches_done = at.batches_done
    options.statistics_are_due = statistics_are_due(checkpoint, stored["settings"], at)
    if decay is not None:
        options.average = resume_average(checkpoint, source, model, decay, run.logger)
    epochs = stored["settings"]["epochs"]
    if at.epoch >= epochs:
        run.logger.info(
            "all %d epochs are trained already (%s): nothing to do; --epochs with more goes on, "
            "another --extra_tag begins anew",
            *(epochs, source),
        )
    if options.statistics_are_due:
        told = "measured now" if at.epoch < epochs else "not measured, as all epochs are finished"
        run.logger.warning("--precise_bn: statistics of normalisation are %s", told)
    return at


def tell_of_fixed_parts(model: nn.Module, logger: logging.Logger) -> None:
    """Warn of parts that keep the weights that they were drawn with."""
    has_weights = {
        n: any(True for _ in model.get_submodule(n).parameters()) for n in model.fixed_parts
    }
    for name in cfg.MODEL.get("FREEZE", ()):
        if not has_weights[name]:
            logger.warning("MODEL.FREEZE: %s has no weights that could be frozen", name)
    if any(has_weights.values()):
        logger.warning(
            "MODEL.FREEZE or MODEL.RPN.PARAMS_FIXED keeps %s as drawn at random: give weights "
            "for it to --pretrained_model",
            ", ".join(name for name, has in has_weights.items() if has),
        )


@contextmanager
def open_curves(run: Run, at: Position) -> Iterator[CurveWriter | None]:
    """Open the curves, on rank 0, and log how the training begins and ends."""
    logger, tb_log = run.logger, None
    if run.rank == 0:
        tb_log = CurveWriter(run.output_dir / "tensorboard", logger, first_step=at.it + 1)
    stars, ckpt_dir = "**********************", run.ckpt_dir
    logger.info("%sStart training %s(%s)%s", stars, cfg.TAG, run.args.extra_tag, stars)
    try:
        yield tb_log
    except (KeyboardInterrupt, SystemExit):
        logger.info(
            "stopped by the user; the same command resumes from the last checkpoint in %s", ckpt_dir
        )
        raise
    finally:
        if tb_log is not None:
            tb_log.close()
    logger.info("%sEnd training%s", stars, stars)
    curves = f"tensorboard --logdir {shlex.quote(str(run.output_dir))}"
    logger.info("checkpoints: %s; curves: %s", ckpt_dir, curves)
