"""What replay.py does: rebuild the model of a bad batch and compute its step again."""

from __future__ import annotations

import argparse
import logging
from typing import Any

import torch
from torch import nn

from pcdet.engine.batch_norm import freeze_bn
from pcdet.engine.device_options import AMP_TYPES, checked_device
from pcdet.engine.first_fault import FirstFault
from pcdet.engine.seeds import step_seed
from pcdet.inference.network import build_from_config
from pcdet.models import model_fn_decorator
from pcdet.run.bad_batch import load_bad_batch
from pcdet.utils import log_utils
from pcdet.utils.checkpoint_utils import load_weights


def replay(args: argparse.Namespace) -> None:
    """Compute the stored step again and log where it stopped being finite."""
    logger = log_utils.create_logger()
    state = load_bad_batch(args.file)
    device = checked_device(args.device)
    logger.info(
        "epoch %d, iteration %d, seed %d, rank %d, --amp %s, samples %s",
        *(state["epoch"] + 1, state["it"], state["seed"], state["rank"]),
        *(state["settings"]["amp"], ", ".join(state["batch"]["sample_idx"])),
    )
    fault = replay_step(state, rebuild_model(state, logger).to(device), logger)
    logger.info("forward: first output that is not finite: %s", fault.output or "none in a module")
    logger.info(
        "backward: first gradient that is not finite: %s; the last finite one before it: %s",
        *(fault.gradient or "none", fault.last_finite or "none"),
    )
    if fault.output is None and fault.gradient is None:
        logger.info("it does not happen again on %s", device)


def rebuild_model(state: dict[str, Any], logger: logging.Logger) -> nn.Module:
    """The network of the stored configuration with the stored weights, as its epoch trained it."""
    model = build_from_config(state["config"]).model
    # The forward pass that was not finite has moved running statistics, too.
    load_weights(model, state, "the stored weights", logger, finite=False)
    model.train()
    settings = state["settings"]
    if state["epoch"] >= settings["epochs"] - settings.get("freeze_bn", 0):
        freeze_bn(model)
    return model


def replay_step(state: dict[str, Any], model: nn.Module, logger: logging.Logger) -> FirstFault:
    """Run the stored step on `model` and log what is not finite."""
    settings, fault = state["settings"], FirstFault()
    model_func = model_fn_decorator(amp=AMP_TYPES.get(settings["amp"]))
    torch.manual_seed(step_seed(state["seed"], state["it"], state["rank"]))
    with fault.watch(model), torch.autograd.detect_anomaly():
        loss, terms, _ = model_func(model, state["batch"])
        try:
            loss.backward()
        except RuntimeError as error:  # of the anomaly detection, which stops at the first NaN
            logger.info("backward: %s", str(error).splitlines()[0])
    now = {"loss": loss.item(), **{name: float(value) for name, value in terms.items()}}
    for name, value in now.items():
        logger.info("%-16s %.9g, in the training %.9g", name, value, state["values"][name])
    return fault
