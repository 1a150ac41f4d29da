"""Optimisers and learning-rate schedules, chosen by the yaml's OPTIMIZATION section."""

from __future__ import annotations

import torch
from easydict import EasyDict
from torch import nn

from pcdet.config.schema import read_optimization
from pcdet.engine.optimization.learning_schedules import CosineWarmupLR, OneCycle, StepDecay
from pcdet.utils.errors import ConfigError

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def build_optimizer(model: nn.Module, optim_cfg: EasyDict) -> torch.optim.Optimizer:
    """The optimiser of the yaml: adam, sgd or adam_onecycle.

    adam_onecycle decays weights apart from the gradient, on all parameters (Loshchilov and Hutter,
    Decoupled Weight Decay Regularization, 2019), with betas as fastai sets them; its parameter
    groups are those of normalisation layers and all others, as PCDet's.

    Raises:
        ConfigError: an unknown key or optimiser, a value out of its range, or nothing to train.
    """
    read_optimization(optim_cfg)
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(
            "nothing to train: all parameters are fixed (MODEL.RPN.PARAMS_FIXED, MODEL.FREEZE)"
        )
    builders = {"adam": _adam, "sgd": _sgd, "adam_onecycle": _adam_onecycle}
    return builders[optim_cfg.OPTIMIZER](model, optim_cfg)


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _adam(model: nn.Module, optim_cfg: EasyDict) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        _trainable(model), lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, fused=True
    )


def _sgd(model: nn.Module, optim_cfg: EasyDict) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        _trainable(model),
        lr=optim_cfg.LR,
        weight_decay=optim_cfg.WEIGHT_DECAY,
        momentum=optim_cfg.MOMENTUM,
        fused=True,
    )


def _adam_onecycle(model: nn.Module, optim_cfg: EasyDict) -> torch.optim.Optimizer:
    norm_parameters = {
        id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)
    }
    others = [p for p in _trainable(model) if id(p) not in norm_parameters]
    norms = [p for p in _trainable(model) if id(p) in norm_parameters]
    groups = [{"params": group} for group in (others, norms) if group]
    return torch.optim.AdamW(
        groups, lr=optim_cfg.LR, betas=(0.9, 0.99), weight_decay=optim_cfg.WEIGHT_DECAY, fused=True
    )


def build_scheduler(
    optimizer: torch.optim.Optimizer,
    total_iters_each_epoch: int,
    total_epochs: int,
    last_epoch: int,
    optim_cfg: EasyDict,
) -> tuple[OneCycle | StepDecay, CosineWarmupLR | None]:
    """The learning-rate schedule of the yaml and, if LR_WARMUP is on, that of the first epochs.

    Both set the rate for an iteration from its number alone (`step(it)` before the optimiser's
    step), so a resumed training needs nothing but the number.

    Args:
        optimizer: what the rates are set in.
        total_iters_each_epoch: iterations of an epoch.
        total_epochs: epochs of the whole training.
        last_epoch: PCDet's argument for schedules that count by themselves; not needed here.
        optim_cfg: MODEL.TRAIN.OPTIMIZATION.
    """
    del last_epoch
    if optim_cfg.OPTIMIZER == "adam_onecycle":
        schedule = OneCycle(
            optimizer,
            total_step=total_iters_each_epoch * total_epochs,
            lr_max=optim_cfg.LR,
            moms=optim_cfg.MOMS,
            div_factor=optim_cfg.DIV_FACTOR,
            pct_start=optim_cfg.PCT_START,
        )
        return schedule, None
    schedule = StepDecay(
        optimizer,
        lr=optim_cfg.LR,
        decay_steps=[epoch * total_iters_each_epoch for epoch in optim_cfg.DECAY_STEP_LIST],
        decay=optim_cfg.LR_DECAY,
        lr_clip=optim_cfg.LR_CLIP,
    )
    if not optim_cfg.LR_WARMUP:
        return schedule, None
    warmup = CosineWarmupLR(
        optimizer,
        T_max=optim_cfg.WARMUP_EPOCH * total_iters_each_epoch,
        lr=optim_cfg.LR,
        div_factor=optim_cfg.DIV_FACTOR,
    )
    return schedule, warmup
