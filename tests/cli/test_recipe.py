"""Where the recipe of a training comes from: command line, yaml, or default."""

from __future__ import annotations

import argparse

import pytest
from easydict import EasyDict

from pcdet.cli.recipe import recipe_of
from pcdet.cli.train import parse_args
from pcdet.config import CFG_DIR, cfg_from_list, cfg_from_yaml_file


def arguments(*words: str) -> argparse.Namespace:
    return parse_args(["--cfg_file", "x.yaml", *words])


def optimization(name: str = "second", *words: str) -> EasyDict:
    config = cfg_from_yaml_file(CFG_DIR / f"{name}.yaml", EasyDict())
    cfg_from_list([f"MODEL.TRAIN.OPTIMIZATION.{word}" if k % 2 == 0 else word
                   for k, word in enumerate(words)], config)  # fmt: skip
    return config.MODEL.TRAIN.OPTIMIZATION


def values(recipe) -> tuple:
    return tuple(getattr(recipe, name) for name in recipe.sources)


def test_the_sources_are_told():
    recipe = recipe_of(arguments("--amp"), optimization("second", "EPOCHS", "8"))
    told = {"epochs": "EPOCHS of the yaml", "amp": "--amp"}
    names = ("epochs", "batch_size", "amp", "precise_bn", "freeze_bn", "sync_bn")
    assert recipe.sources == {name: told.get(name, "default") for name in names}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("second_demo", (7, 2, "bf16", 30, 2, False)),
        ("pointpillar_demo", (7, 2, "bf16", 30, 2, False)),
        ("PartA2_demo", (5, 2, "bf16", 30, 2, False)),
        ("second_synthetic", (7, 2, None, 100, 1, False)),
        ("pointpillar_synthetic", (9, 2, None, 60, 1, False)),
    ],
)
def test_recipes_of_the_yaml_files(name, expected):
    assert values(recipe_of(arguments(), optimization(name))) == expected


def test_the_command_line_overrides_the_yaml_and_the_log_tells():
    words = ("--epochs", "4", "--amp", "none", "--batch_size", "8", "--precise_bn", "0")
    words += ("--sync_bn",)
    recipe = recipe_of(arguments(*words), optimization("second_demo", "PRECISE_BN", "7"))
    assert values(recipe) == (4, 8, None, 0, 2, True)
    assert recipe.lines() == [
        "recipe: epochs       4 (--epochs)",
        "recipe: batch_size   8 (--batch_size)",
        "recipe: amp          None (--amp)",
        "recipe: precise_bn   0 (--precise_bn)",
        "recipe: freeze_bn    2 (FREEZE_BN of the yaml)",
        "recipe: sync_bn      True (--sync_bn)",
    ]


@pytest.mark.parametrize(("epochs", "frozen"), [(1, 0), (2, 1), (3, 2)])
def test_a_trial_of_few_epochs_freezes_fewer_than_the_yaml_says(epochs, frozen):
    recipe = recipe_of(arguments("--epochs", str(epochs)), optimization("second_demo"))
    assert (recipe.epochs, recipe.freeze_bn) == (epochs, frozen)
    told = "FREEZE_BN of the yaml, 2, is too much for --epochs"
    assert (recipe.sources["freeze_bn"] == told) == (frozen < 2)
