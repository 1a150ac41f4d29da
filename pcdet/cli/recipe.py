"""The recipe of a training: from the command line, else from its yaml, else by default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pcdet.config.schema.keys import keys_of
from pcdet.config.schema.training import Optimization
from pcdet.utils.errors import ConfigError

_DEFAULTS = {name: declared.default for name, declared in keys_of(Optimization).items()}


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
        sync_bn: normalise by the statistics of all processes' frames together.
        sources: where each of these comes from, for the log.
    """

    epochs: int = _DEFAULTS["EPOCHS"]
    batch_size: int | None = _DEFAULTS["BATCH_SIZE"]
    amp: str | None = _DEFAULTS["AMP"]
    precise_bn: int = _DEFAULTS["PRECISE_BN"]
    freeze_bn: int = _DEFAULTS["FREEZE_BN"]
    sync_bn: bool = _DEFAULTS["SYNC_BN"]
    sources: dict[str, str] = field(default_factory=dict, compare=False)

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
        ConfigError: values that do not fit together.
    """
    recipe = Recipe()
    for name in (f.name for f in fields(Recipe) if f.compare):
        key, option = name.upper(), getattr(args, name)
        recipe.sources[name] = "default"
        if option is not None:
            setattr(recipe, name, option)
            recipe.sources[name] = f"--{name}"
        elif key in optim_cfg:
            setattr(recipe, name, optim_cfg[key])
            recipe.sources[name] = f"{key} of the yaml"
    if recipe.amp == "none":
        recipe.amp = None
    _check_frozen_epochs(recipe, whole_yaml={"EPOCHS", "FREEZE_BN"} <= optim_cfg.keys())
    return recipe


def _check_frozen_epochs(recipe: Recipe, whole_yaml: bool) -> None:
    """Let FREEZE_BN make way for an --epochs below the EPOCHS that it stands beside in the yaml.

    A recipe of the yaml can so be tried for an epoch.

    Raises:
        ConfigError: there is no epoch whose statistics could be kept.
    """
    if recipe.freeze_bn < recipe.epochs:
        return
    epochs, frozen = recipe.sources["epochs"], recipe.sources["freeze_bn"]
    if whole_yaml and epochs == "--epochs" and frozen == "FREEZE_BN of the yaml":
        recipe.sources["freeze_bn"] = f"{frozen}, {recipe.freeze_bn}, is too much for --epochs"
        recipe.freeze_bn = recipe.epochs - 1
        return
    raise ConfigError(
        f"--freeze_bn must be less than --epochs, {recipe.epochs}, got {recipe.freeze_bn}: the "
        f"averages come from the epochs before (sources: {epochs}, {frozen})"
    )
