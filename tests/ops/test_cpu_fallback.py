"""A device that the operators have no code for: they copy to the CPU and back, and say so once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pcdet.ops import common
from pcdet.utils import common_utils

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def report() -> dict:
    """What run_fallback.py prints; a process of its own, for the device stays once it is there."""
    if not hasattr(torch._C, "_acc"):
        pytest.skip("needs a torch that takes devices written in Python")
    paths = os.pathsep.join(map(str, (TESTS, TESTS / "ops", TESTS.parent)))
    command = [sys.executable, str(TESTS / "ops/run_fallback.py")]
    environment = {**os.environ, "PYTHONPATH": paths}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_every_operator_gives_the_numbers_of_the_cpu_on_the_device(report):
    outcomes = {name: right for name, right in report.items() if isinstance(right, bool)}
    assert len(outcomes) == 14
    assert [name for name, right in outcomes.items() if not right] == []


def test_one_warning_names_the_remedy(report):
    ((message, filename),) = report["warnings"]
    assert "copy tensors to the CPU and back" in message
    assert "run `pip install --no-build-isolation -e .` in the repository" in message
    assert filename.endswith("run_fallback.py")  # who called the operator


def test_tensors_of_two_devices_are_refused(report):
    assert report["strays"] == (
        "pcdet_iou3d_nms.iou3d got tensors of different devices: away:0, cpu"
    )


@pytest.fixture
def namespace(monkeypatch):
    """An extension with one operator, that was compiled for `architectures`."""

    def make(architectures: str) -> common.Operators:
        fake = SimpleNamespace(cuda_architectures=lambda: architectures, double=lambda x: 2 * x)
        monkeypatch.setattr(torch.ops, "pcdet_fake", fake, raising=False)
        return common.Operators("pcdet_fake")

    return make


def test_a_build_for_cuda_copies_nothing(namespace):
    operators = namespace("7.5,12.0+PTX")
    assert operators.cuda_architectures == ["7.5", "12.0+PTX"]
    assert operators.devices == {"cpu", "cuda"}
    assert namespace("").devices == {"cpu"}


def test_cuda_is_used_whenever_torch_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert common_utils.default_device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert common_utils.default_device() == torch.device("cpu")
