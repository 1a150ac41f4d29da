"""Trains and evaluates detectors on the CPU and on the device `away`, and reports how they compare.

A program of its own, started by test_other_device.py. Prints a JSON object: detector -> what
differs, and what crossed to the host; and "strays", what the device says to tensors of the CPU.
Sparse layers are computed by plain torch on both: the CPU's own operators add in another order.

    run_away.py NAME...    names of yaml files
"""

from __future__ import annotations

import json
import os
import sys

import torch

from models.away_device import AWAY, AwayMode, AwayTensor, crossings
from models.model_fixture import random_batch, small_model
from pcdet.models import example_convert_to_torch, model_fn_decorator
from pcdet.models.model_utils import norm
from pcdet.models.vfe import pillar_vfe

# Its numbers lie on the CPU: the same statistics, or they would differ in the last digits. So they
# would if the CPU computed once what a GPU computes as often as it is there.
norm._SUM_PLAINLY.add(AWAY.type)
pillar_vfe.EMPTY_ONCE.clear()


def at_home(value: torch.Tensor) -> torch.Tensor:
    return value.home if isinstance(value, AwayTensor) else value


def differing(on_cpu: dict, away: dict) -> list[str]:
    """Names of the tensors that are not the same, number for number."""
    assert on_cpu.keys() == away.keys()
    return [name for name in on_cpu if not torch.equal(at_home(on_cpu[name]), at_home(away[name]))]


def train(model: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
    """The terms of the loss, and the gradients, of one step."""
    torch.manual_seed(1)
    result = model_fn_decorator()(model.train(), batch)
    result.loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {"loss": result.loss.detach(), **result.tb_dict, **gradients}


@torch.no_grad()
def evaluate(model: torch.nn.Module, batch: dict, device: torch.device) -> dict[str, torch.Tensor]:
    """The detections of all frames."""
    detections, recall = model.eval()(example_convert_to_torch(batch, device))
    values = {f"{name} {k}": v for k, d in enumerate(detections) for name, v in d.items()}
    return {**values, **{name: torch.tensor(v) for name, v in recall.items()}}


def compare(name: str) -> dict[str, list]:
    """One detector on both devices, with the same weights and batch."""
    on_cpu, away, batch = small_model(name), small_model(name), random_batch(name=name)
    with AwayMode():
        away.to(AWAY)
    for model in (on_cpu, away):
        model.post_processor.score_thresh = 0.0
    report = {}
    for what, function, arguments in (("training", train, ()), ("evaluation", evaluate, (AWAY,))):
        expected = function(on_cpu, batch, *(torch.device("cpu") for _ in arguments))
        crossings.clear()
        with AwayMode():
            found = function(away, batch, *arguments)
        report[what] = {
            "values": len(found),
            "differing": differing(expected, found),
            "crossings": [[*key, times] for key, times in crossings.items()],
        }
    return report


STRAYS = {
    "operand": lambda x: x + torch.ones(3),
    "index": lambda x: x[torch.tensor([0, 2])],
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "list of indices": lambda x: x[[2, 0]],
}


def meet_strays() -> dict[str, str]:
    """The error of each operation in which a tensor of the CPU meets one of the device."""
    errors = {}
    for name, operation in STRAYS.items():
        try:
            with AwayMode():
                operation(torch.ones(3, device=AWAY))
            errors[name] = "none"
        except (RuntimeError, NotImplementedError) as error:
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return errors


def main(names: list[str]) -> None:
    os.environ["SPARSE_CONV"] = "torch"
    reports = {"strays": meet_strays(), **{name: compare(name) for name in names}}
    sys.stdout.write(json.dumps(reports))


if __name__ == "__main__":
    main(sys.argv[1:])
