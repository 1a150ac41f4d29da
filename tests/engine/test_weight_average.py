"""MODEL.TRAIN.EMA: by hand, through a checkpoint, and as what is tested."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from command_line import arguments, train_arguments, weights
from pcdet.cli import test as test_command
from pcdet.cli import train
from pcdet.engine.weight_average import WeightAverage
from pcdet.run.resume import resume_average
from pcdet.utils.checkpoint_utils import load_checkpoint, load_weights, restore_training
from pcdet.utils.errors import CheckpointError

LOGGER = logging.getLogger("test")
EMA = ("--set", "MODEL.TRAIN.EMA", "0.9")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize(("first", "moved"), [(1000, 0.29), (0, 9 / 11 * 0.25 + 2 * 0.75)])
def test_an_average_by_hand(first, moved):
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = WeightAverage(model, 0.9)
    for step in (1, 2):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1) if value.is_floating_point() else value.fill_(step)
        average.update(first + step)
    # 0.9 (0.9 w + 0.1 (w + 1)) + 0.1 (w + 2); from the first step on the decays are 2/11 and 3/12
    for name, value in average.state.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, before[name] + moved)
    assert int(average.state["1.num_batches_tracked"]) == 2


def test_a_model_without_counters_has_an_average():
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    average.update(1)
    assert torch.equal(average.state["weight"], model.weight)


def test_the_average_stands_in_for_the_weights_for_a_while():
    model = small()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight.add_(1)
    own, averaged = model[0].weight.clone(), average.state["0.weight"].clone()
    with average.in_place_of(model):
        assert torch.equal(model[0].weight, averaged)
        model[1].running_mean.fill_(7)  # as a measurement does
    assert torch.equal(model[0].weight, own) and torch.equal(average.state["0.weight"], averaged)
    assert (average.state["1.running_mean"] == 7).all() and not model[1].running_mean.any()


def test_an_interrupted_training_goes_on_to_the_same_average(workplace, tmp_path):
    train.main(train_arguments(workplace, tmp_path / "a", "--epochs", "2", *EMA))
    train.main(train_arguments(workplace, tmp_path / "b", "--epochs", "2", *EMA))
    runs = [tmp_path / k / "small" / "default" / "ckpt" for k in "ab"]
    (runs[1] / "checkpoint_epoch_2.pth").unlink()
    train.main(train_arguments(workplace, tmp_path / "b", "--epochs", "2", *EMA))
    straight, resumed = (load_checkpoint(run / "checkpoint_epoch_2.pth") for run in runs)
    for entry in ("model_state", "ema_state"):
        for name, value in straight[entry].items():
            assert torch.equal(value, resumed[entry][name]), (entry, name)
    name = "rpn_head.conv_cls.weight"
    assert not torch.equal(straight["ema_state"][name], straight["model_state"][name])
    # Without it the weights are the same.
    train.main(train_arguments(workplace, tmp_path / "c", "--epochs", "2"))
    plain = weights(tmp_path / "c" / "small" / "default" / "ckpt" / "checkpoint_epoch_2.pth")
    assert all(torch.equal(value, plain[n]) for n, value in straight["model_state"].items())
    # The average is what is tested.
    options = ("--ckpt", str(runs[0] / "checkpoint_epoch_2.pth"))
    test_command.main(arguments(workplace, tmp_path / "a", *options))
    logs = (runs[0].parent / "eval").glob("log_eval_*.txt")
    assert any("weights averaged over the training" in log.read_text() for log in logs)


def test_detectors_take_the_average_and_trainings_the_weights():
    model, other = small(), small()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight.add_(1)
    checkpoint = {"model_state": model.state_dict(), "ema_state": average.state}
    load_weights(other, checkpoint, "c.pth", LOGGER)
    assert torch.equal(other[0].weight, average.state["0.weight"])
    restore_training(other, None, checkpoint, "c.pth", LOGGER)
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_checkpoint_without_average_or_with_another_models(caplog):
    model = small()
    average = resume_average({}, "c.pth", model, 0.9, LOGGER)
    assert "c.pth: it holds no averaged weights" in caplog.text
    assert torch.equal(average.state["0.weight"], model[0].weight)
    no_tensors = dict.fromkeys(average.state, 0)
    for stored in ({"0.weight": torch.zeros(1)}, no_tensors, "text"):
        with pytest.raises(CheckpointError, match=r"c\.pth: its averaged weights .* not of this"):
            resume_average({"ema_state": stored}, "c.pth", model, 0.9, LOGGER)
