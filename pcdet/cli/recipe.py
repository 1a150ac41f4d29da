"""The recipe of a training: from the command line, else from its yaml, else by default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pcdet.config.schema import read_optimization
from pcdet.utils.errors import ConfigError


@dataclass
class Recipe:
    """How a detector is trained.

    A value comes from the option of its name, else from the key of its name, in capitals, in the
    yaml's MODEL.TRAIN.OPTIMIZATION, else it is that key's default in the schema.

    Attributes:
        epochs: epochs of the whole training.
        batch_size: frames of a step, over all processes together; None for what suits the device.
        amp: compute in 16 bits where that is safe: bf16 or fp16; or None.
        precise_bn: measure the statistics of batch normalisation anew on so many batches.
        freeze_bn: keep these statistics in so many last epochs.
        sources: where each of these comes from, for the log.
    """

    epochs: int
    batch_size: int | None
    amp: str | None
    precise_bn: int
    freeze_bn: int
    sources: dict[str, str]

    def lines(self) -> list[str]:
        """A line for each value: its name, the value and where it comes from."""
        return [
            f"recipe: {name:12} {getattr(self, name)} ({source})"
            for name, source in self.sources.items()
        ]


def recipe_of(args: argparse.Namespace, optim_cfg: Mapping[str, Any]) -> Recipe:
    """Gather the recipe of a training.

    Args:
        args: the command line; None stands for an option that was not given.
        optim_cfg: MODEL.TRAIN.OPTIMIZATION of the yaml.

    Raises:
        ConfigError: a key or value of `optim_cfg` does not fit, or values do not fit together.
    """
    checked = read_optimization(optim_cfg)
    values, sources = {}, {}
    for name in (field.name for field in fields(Recipe) if field.name != "sources"):
        key = name.upper()
        values[name], sources[name] = getattr(checked, key), "default"
        if getattr(args, name) is not None:
            values[name], sources[name] = getattr(args, name), f"--{name}"
        elif key in optim_cfg:
            sources[name] = f"{key} of the yaml"
    if values["amp"] == "none":
        values["amp"] = None
    recipe = Recipe(**values, sources=sources)
    _check_frozen_epochs(recipe)
    return recipe


def _check_frozen_epochs(recipe: Recipe) -> None:
    """Let the yaml's FREEZE_BN make way for an --epochs that is shorter than the yaml means.

    Raises:
        ConfigError: there is no epoch whose statistics could be kept.
    """
    if recipe.freeze_bn < recipe.epochs:
        return
    epochs, frozen = recipe.sources["epochs"], recipe.sources["freeze_bn"]
    if epochs == "--epochs" and frozen == "FREEZE_BN of the yaml":
        recipe.sources["freeze_bn"] = f"{frozen}, {recipe.freeze_bn}, is too much for --epochs"
        recipe.freeze_bn = recipe.epochs - 1
        return
    raise ConfigError(
        f"--freeze_bn must be less than --epochs, {recipe.epochs}, got {recipe.freeze_bn}: the "
        f"averages come from the epochs before (sources: {epochs}, {frozen})"
    )
