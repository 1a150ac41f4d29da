"""Values of the yaml's OPTIMIZATION section that cannot be meant."""

from __future__ import annotations

import pytest
import yaml
from easydict import EasyDict
from torch import nn

from pcdet.config import cfg
from pcdet.engine.optimization import build_optimizer
from pcdet.utils.errors import ConfigError


def optimization(**changes) -> EasyDict:
    text = (cfg.ROOT_DIR / "tools" / "cfgs" / "second.yaml").read_text()
    return EasyDict({**yaml.safe_load(text)["MODEL"]["TRAIN"]["OPTIMIZATION"], **changes})


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adam_onecycle"])
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MOMS", [0.9], "2 numbers of at least 0 and below 1, got"),
        ("MOMS", [0.95, 1], "2 numbers of at least 0 and below 1, got"),
        ("DIV_FACTOR", 0, "a number above 0"),
        ("LR", -0.003, "a number above 0"),
        ("LR", 0, "a number above 0"),
        ("GRAD_NORM_CLIP", 0, "a number above 0"),
        ("WEIGHT_DECAY", -0.1, "a number of at least 0, got -0.1"),
        ("MOMENTUM", 1, "a number of at least 0 and below 1, got 1"),
        ("PCT_START", 1.5, "a number from 0 to 1, got 1.5"),
        ("DECAY_STEP_LIST", [35, -45], "a list of whole numbers of at least 0, got"),
        ("LR_DECAY", 0, "a number above 0"),
        ("LR_CLIP", -1, "a number of at least 0, got -1"),
        ("WARMUP_EPOCH", -1, "a whole number of at least 0, got -1"),
    ],
)
def test_a_value_out_of_its_range_is_named(optimizer, key, value, expected):
    model = nn.Linear(2, 2)
    build_optimizer(model, optimization(OPTIMIZER=optimizer))
    with pytest.raises(
        ConfigError, match=rf"MODEL\.TRAIN\.OPTIMIZATION\.{key}: expected {expected}"
    ):
        build_optimizer(model, optimization(OPTIMIZER=optimizer, **{key: value}))
