"""No tensor stays behind on the CPU: the detectors run on another device (away_device.py)."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pcdet
from models.model_fixture import small_model
from pcdet.models import example_convert_to_torch, unused_arrays

TESTS = Path(__file__).resolve().parents[1]
DETECTORS = ("second", "pointpillar", "PartA2", "sassd")
STRIDED_LAYERS = {"second": 4, "pointpillar": 0, "PartA2": 5, "sassd": 3}
backends = pytest.mark.skipif(
    not hasattr(torch._C, "_acc")
    or not hasattr(torch._C._acc, "register_python_privateuseone_device_guard"),
    reason="needs a torch that takes devices written in Python",
)


@pytest.fixture(scope="module")
def reports() -> dict:
    """What run_away.py prints; a process of its own, for the device stays once it is there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, str(TESTS / "models/run_away.py"), *DETECTORS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@backends
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_gives_the_same_numbers_on_another_device(reports, name):
    for what in ("training", "evaluation"):
        assert reports[name][what]["values"] > 5
        assert reports[name][what]["differing"] == []


def crossings_beside_plans(reports, name, mode):
    """What crosses to the host, without the number of outputs of each strided layer, once each."""
    crossings = reports[name][mode]["crossings"]
    plan = [crossing for crossing in crossings if crossing[1].startswith("ops/sparse_conv/plan.py")]
    assert sum(times for _, _, times in plan) == STRIDED_LAYERS[name], plan
    return [crossing for crossing in crossings if crossing not in plan]


@backends
@pytest.mark.parametrize("name", DETECTORS)
def test_a_training_step_brings_nothing_to_the_host(reports, name):
    """Neither `.item()` nor `.cpu()`; what it waits for are numbers of objects, a few."""
    crossings = crossings_beside_plans(reports, name, "training")
    assert {kind for kind, _, _ in crossings} <= {"wait"}, crossings
    waits = sum(times for _, _, times in crossings)
    # Two stages choose proposals, RoIs and voxels for each of the two frames; SA-SSD guided boxes.
    assert waits <= {"PartA2": 24, "sassd": 8}.get(name, 4), crossings


@backends
@pytest.mark.parametrize("name", DETECTORS)
def test_a_test_brings_its_numbers_to_the_host_at_once(reports, name):
    crossings = crossings_beside_plans(reports, name, "evaluation")
    transfers = sum(times for kind, _, times in crossings if kind != "wait")
    # The counts of recall, once for each stage.
    assert transfers == (2 if name == "PartA2" else 1), crossings


@backends
def test_the_other_device_refuses_tensors_of_the_cpu(reports):
    strays = reports["strays"]
    assert strays["operand"] == "RuntimeError: add got a tensor (3,) of the CPU"
    assert strays["index"] == "RuntimeError: index got a tensor (2,) of the CPU"
    for name in ("new_tensor", "list of indices"):
        assert strays[name].startswith("NotImplementedError"), strays[name]


class Pinned(Exception):
    pass


def test_arrays_have_their_final_type_before_they_are_pinned(monkeypatch):
    """Else the copy to the GPU converts through memory that is not, and the host waits."""

    def pin(tensor):
        raise Pinned(tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    with pytest.raises(Pinned, match=r"torch\.float32"):
        example_convert_to_torch({"voxel_centers": np.zeros((3, 3))}, "cuda")


def test_no_module_holds_a_tensor():
    """A tensor made on import would stay on the CPU."""
    for module in pkgutil.walk_packages(pcdet.__path__, "pcdet."):
        if module.name.endswith(("_ext", "__main__")):
            continue
        if module.name.endswith(("triton_backend", "triton_kernels", "spconv_backend")):
            continue  # they import what need not be there
        names = vars(importlib.import_module(module.name))
        held = [name for name, value in names.items() if isinstance(value, torch.Tensor)]
        assert held == [], module.name


def test_what_a_detector_does_not_read_is_unused():
    assert {"points", "voxel_centers", "seg_labels"} <= unused_arrays(small_model("second"))
    assert "voxel_centers" not in unused_arrays(small_model("pointpillar"))
    assert not {"voxel_centers", "seg_labels"} & unused_arrays(small_model("PartA2"))
