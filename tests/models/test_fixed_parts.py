"""Parts that stay as they are in a training: weights, statistics, also when these are measured."""

from __future__ import annotations

import copy
import logging
from argparse import Namespace

import pytest
import torch

from models.model_fixture import narrow_config, random_batch, small_dataset
from pcdet.cli import training
from pcdet.engine.batch_norm import batch_norm_layers, precise_bn
from pcdet.models import build_network, example_convert_to_torch, model_fn_decorator
from pcdet.run.session import Run
from pcdet.run.train_model import TrainOptions
from pcdet.utils.errors import ConfigError


def built(*names: str, params_fixed: bool = False):
    cfg = narrow_config("pointpillar")
    cfg.MODEL.FREEZE, cfg.MODEL.RPN.PARAMS_FIXED = list(names), params_fixed
    return build_network(small_dataset(cfg), cfg)


def changed_parts(model, work) -> set[str]:
    before = copy.deepcopy(model.state_dict())
    work()
    after = model.state_dict()
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


def train_a_step(model):
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    model_fn_decorator()(model, random_batch(name="pointpillar"))[0].backward()
    optimizer.step()


@pytest.mark.parametrize("fixed", [("vfe",), ("rpn_head.blocks", "rpn_head.deblocks"), ()])
def test_fixed_parts_stay(fixed):
    model = built(*fixed)
    expected = {"vfe", "rpn_head"} - {name for name in fixed if "." not in name}
    changed = changed_parts(model, lambda: train_a_step(model))
    assert changed - {"global_step"} == expected
    batches = [random_batch(name="pointpillar", seed=seed) for seed in range(2)]
    frozen = {
        name: module.running_mean.clone()
        for name, module in model.named_modules()
        if name.startswith(fixed or "-") and hasattr(module, "running_mean")
    }
    changed = changed_parts(model, lambda: precise_bn(model, batches, 2, 0, 0, 0))
    assert changed == {"vfe", "rpn_head"} - {name.split(".")[0] for name in fixed}
    modules = dict(model.named_modules())
    assert all(torch.equal(modules[name].running_mean, mean) for name, mean in frozen.items())


def test_params_fixed_keeps_statistics():
    model = built(params_fixed=True).train()
    assert not any(layer.training for layer in batch_norm_layers(model))
    assert model.training
    batch = example_convert_to_torch(random_batch(name="pointpillar"))
    assert not changed_parts(model, lambda: model(batch))


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"FREEZE: the network has no part 'backbone'; it .*vfe"):
        built("backbone")


def test_a_part_that_is_frozen_as_drawn_is_told(tmp_path, caplog, monkeypatch):
    cfg, names = narrow_config("pointpillar"), ["vfe", "rpn_head.target_assigner"]
    cfg.MODEL.FREEZE = names
    monkeypatch.setattr(training, "cfg", cfg)
    args = Namespace(pretrained_model=None)
    run = Run(args, tmp_path, tmp_path, torch.device("cpu"), 2, False, 0, logging.getLogger("test"))
    model = built(*names, params_fixed=True)
    training.load_state(run, model, None, (None, None), TrainOptions())
    assert caplog.messages == [
        "MODEL.FREEZE: rpn_head.target_assigner has no weights that could be frozen",
        "MODEL.FREEZE or MODEL.RPN.PARAMS_FIXED keeps vfe, rpn_head as drawn at random: give "
        "weights for it to --pretrained_model",
    ]
