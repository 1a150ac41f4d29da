"""Where the recipe of a training comes from: command line, yaml, or default."""

from __future__ import annotations

import argparse

import pytest
from easydict import EasyDict

from pcdet.cli.recipe import recipe_of
from pcdet.cli.train import parse_args
from pcdet.config import CFG_DIR, cfg_from_list, cfg_from_yaml_file
from pcdet.utils.errors import ConfigError


def arguments(*words: str) -> argparse.Namespace:
    return parse_args(["--cfg_file", "x.yaml", *words])


def optimization(name: str = "second", *words: str) -> EasyDict:
    config = cfg_from_yaml_file(CFG_DIR / f"{name}.yaml", EasyDict())
    cfg_from_list([f"MODEL.TRAIN.OPTIMIZATION.{word}" if k % 2 == 0 else word
                   for k, word in enumerate(words)], config)  # fmt: skip
    return config.MODEL.TRAIN.OPTIMIZATION


def values(recipe) -> tuple:
    return tuple(getattr(recipe, name) for name in recipe.sources)


def test_without_option_and_key_the_defaults_count():
    recipe = recipe_of(arguments(), optimization())
    assert values(recipe) == (80, None, None, 0, 0)
    assert set(recipe.sources.values()) == {"default"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("second_demo", (5, 2, "bf16", 30, 2)),
        ("pointpillar_demo", (7, 2, "bf16", 30, 2)),
        ("PartA2_demo", (5, 2, "bf16", 30, 2)),
        ("second_synthetic", (4, 2, None, 100, 0)),
    ],
)
def test_recipes_of_the_yaml_files(name, expected):
    assert values(recipe_of(arguments(), optimization(name))) == expected


def test_the_command_line_overrides_the_yaml_and_the_log_tells():
    words = ("--epochs", "4", "--amp", "none", "--batch_size", "8", "--precise_bn", "0")
    recipe = recipe_of(arguments(*words), optimization("second_demo", "PRECISE_BN", "7"))
    assert values(recipe) == (4, 8, None, 0, 2)
    assert recipe.lines() == [
        "recipe: epochs       4 (--epochs)",
        "recipe: batch_size   8 (--batch_size)",
        "recipe: amp          None (--amp)",
        "recipe: precise_bn   0 (--precise_bn)",
        "recipe: freeze_bn    2 (FREEZE_BN of the yaml)",
    ]


@pytest.mark.parametrize(("epochs", "frozen"), [(1, 0), (2, 1), (3, 2)])
def test_a_trial_of_few_epochs_freezes_fewer_than_the_yaml_says(epochs, frozen):
    recipe = recipe_of(arguments("--epochs", str(epochs)), optimization("second_demo"))
    assert (recipe.epochs, recipe.freeze_bn) == (epochs, frozen)
    told = "FREEZE_BN of the yaml, 2, is too much for --epochs"
    assert (recipe.sources["freeze_bn"] == told) == (frozen < 2)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("--epochs", "2", "--freeze_bn", "2"), ()),
        ((), ("EPOCHS", "2", "FREEZE_BN", "2")),
        (("--freeze_bn", "2"), ("EPOCHS", "2")),
    ],
)
def test_frozen_epochs_without_any_before_are_refused(words, settings):
    message = "--freeze_bn must be less than --epochs, 2, got 2: .*sources: "
    with pytest.raises(ConfigError, match=message):
        recipe_of(arguments(*words), optimization("second", *settings))


def test_a_recipe_built_by_hand_is_checked():
    with pytest.raises(ConfigError, match=r"OPTIMIZATION\.EPOCHS: expected a whole number .*'5'"):
        recipe_of(arguments(), EasyDict({**optimization(), "EPOCHS": "5"}))
