"""Compute the step again whose loss or gradient was not finite, and name where it began.

    python tools/replay.py output/second/default/bad_batch.pth

The training wrote the file when it stopped; it holds the batch, the weights, the configuration and
the seed, so that no data set is needed. Prints the first module whose output is not finite in the
forward pass, and the first gradient that is not in the backward pass.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from easydict import EasyDict
from torch import nn

from pcdet.cli.common import checked_device, run_command
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.engine.device_options import AMP_TYPES
from pcdet.engine.train_loop import step_seed
from pcdet.models import build_network, model_fn_decorator
from pcdet.run.bad_batch import load_bad_batch
from pcdet.utils import log_utils
from pcdet.utils.checkpoint_utils import load_matching_state


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="bad_batch.pth of a training")
    parser.add_argument(
        "--device", help="cpu, cuda or cuda:N (default: a GPU if one is usable, else the CPU)"
    )
    return parser.parse_args(argv)


def rebuild_model(state: dict[str, Any], logger: logging.Logger) -> nn.Module:
    """The network of the stored configuration with the stored weights, in training mode."""
    config = EasyDict(state["config"])
    data_set = DatasetTemplate()
    data_set.configure(config.DATA_CONFIG, config.CLASS_NAMES, training=False)
    model = build_network(data_set, config)
    load_matching_state(model, state["model_state"], "the stored weights", logger)
    return model.train()


class FirstFault:
    """Watches the outputs of all modules, and the gradients of these and of the parameters.

    Attributes:
        output: the first module whose output is not finite, or None.
        gradient: what the first gradient that is not finite belongs to, in the order of the
            backward pass, or None.
        last_finite: what the last finite gradient before it belongs to, or None. If it is the
            output of a module, this module's backward pass is where it began.
    """

    def __init__(self) -> None:
        self.output: str | None = None
        self.gradient: str | None = None
        self.last_finite: str | None = None

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Watch one forward and backward pass of `model`."""
        handles = [
            module.register_forward_hook(partial(self._after_forward, name or "the model"))
            for name, module in model.named_modules()
        ]
        handles += [
            parameter.register_hook(partial(self._on_gradient, f"parameter {name}"))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _after_forward(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        told = f"{name} ({type(module).__name__})"
        for tensor in _tensors(output):
            if self.output is None and not torch.isfinite(tensor).all():
                self.output = told
            if tensor.requires_grad:
                tensor.register_hook(partial(self._on_gradient, f"output of {told}"))

    def _on_gradient(self, name: str, gradient: torch.Tensor) -> None:
        if self.gradient is not None:
            return
        if torch.isfinite(gradient).all():
            self.last_finite = name
        else:
            self.gradient = name


def _tensors(value: Any) -> list[torch.Tensor]:
    """Floating-point tensors in what a module returned, those of sparse tensors included."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if hasattr(value, "features"):
        return _tensors(value.features)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [tensor for part in value for tensor in _tensors(part)]


def replay(state: dict[str, Any], model: nn.Module, logger: logging.Logger) -> FirstFault:
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


def main(argv: list[str] | None = None) -> None:
    """Compute the stored step again and print where it stopped being finite."""
    args = parse_args(argv)
    logger = log_utils.create_logger()
    state = load_bad_batch(args.file)
    device = checked_device(args.device)
    logger.info(
        "epoch %d, iteration %d, seed %d, rank %d, --amp %s, samples %s",
        *(state["epoch"] + 1, state["it"], state["seed"], state["rank"]),
        *(state["settings"]["amp"], ", ".join(state["batch"]["sample_idx"])),
    )
    fault = replay(state, rebuild_model(state, logger).to(device), logger)
    logger.info("forward: first output that is not finite: %s", fault.output or "none in a module")
    logger.info(
        "backward: first gradient that is not finite: %s; the last finite one before it: %s",
        *(fault.gradient or "none", fault.last_finite or "none"),
    )
    if fault.output is None and fault.gradient is None:
        logger.info("it does not happen again on %s", device)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
