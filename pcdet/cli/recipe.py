"""The recipe of a training: from the command line, else from its yaml, else by default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pcdet.utils.errors import ConfigError

# What --amp takes, besides "none": the keys of `pcdet.engine.device_options.AMP_TYPES`.
AMP_NAMES = ("bf16", "fp16")


@dataclass
class Recipe:
    """How a detector is trained.

    A value comes from the option of its name, else from the key of its name, in capitals, in the
    yaml's MODEL.TRAIN.OPTIMIZATION, else it is the default here.

    Attributes:
        epochs: epochs of the whole training.
        batch_size: frames of a step, over all processes together; None for what suits the device.
        amp: compute in 16 bits where that is safe: bf16 or fp16; or None.
        precise_bn: measure the statistics of batch normalisation anew on so many batches.
        freeze_bn: keep these statistics in so many last epochs.
    """

    epochs: int = 80
    batch_size: int | None = None
    amp: str | None = None
    precise_bn: int = 0
    freeze_bn: int = 0


def recipe_of(args: argparse.Namespace, optim_cfg: Mapping[str, Any]) -> Recipe:
    """Gather the recipe of a training.

    Args:
        args: the command line; None stands for an option that was not given.
        optim_cfg: MODEL.TRAIN.OPTIMIZATION of the yaml.

    Raises:
        ConfigError: values that do not fit together.
    """
    recipe = Recipe()
    for name in (field.name for field in fields(Recipe)):
        for value in (getattr(args, name), optim_cfg.get(name.upper())):
            if value is not None:
                setattr(recipe, name, value)
                break
    if recipe.amp == "none":
        recipe.amp = None
    if recipe.freeze_bn >= recipe.epochs:
        raise ConfigError(
            f"--freeze_bn must be less than --epochs, {recipe.epochs}, got {recipe.freeze_bn}: the "
            "averages come from the epochs before"
        )
    return recipe
