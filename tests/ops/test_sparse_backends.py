"""Which backend computes, why, and what happens to one that cannot."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys

import pytest
import torch

from models.model_fixture import narrow_config, small_dataset
from pcdet.models import build_network
from pcdet.ops.sparse_conv import backends
from pcdet.ops.sparse_conv.backends import choose_backend, request_backend, self_test
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend
from pcdet.utils.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SELF_TEST = "pcdet.ops.sparse_conv.backends.self_test"


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch):
    monkeypatch.delenv("SPARSE_CONV", raising=False)
    monkeypatch.setattr(backends, "_requested", ["auto"])
    backends._choose.cache_clear()
    yield
    backends._choose.cache_clear()


@pytest.fixture
def triton_on_a_gpu(monkeypatch):
    """A GPU of capability 8.0 with a Triton whose test passes; a test changes one of these."""
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(self_test, "compare_with_torch", lambda backend, device: None)


def test_the_rule(triton_on_a_gpu):
    assert choose_backend(CPU)[0].name == "cpu"
    assert choose_backend(CUDA)[0].name == "triton"
    backend, reason = choose_backend(torch.device("meta"))
    assert backend.name == "torch" and reason.endswith("there is nothing else for meta")


def test_an_old_gpu(triton_on_a_gpu, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    backend, reason = choose_backend(CUDA)
    assert (backend.name, "capability 8.0 or later" in reason) == ("torch", True)
    assert "using plain torch" in caplog.text


def test_a_triton_that_fails(triton_on_a_gpu, monkeypatch):
    def fail(backend, device):
        raise OSError("no C compiler\nand a second line")

    monkeypatch.setattr(self_test, "compare_with_torch", fail)
    backend, reason = choose_backend(CUDA)
    assert backend.name == "torch"
    assert reason == "plain torch, for triton failed: OSError: no C compiler"


def test_without_triton(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backend, reason = choose_backend(CUDA)
    assert (backend.name, reason) == ("torch", "plain torch, for triton is not installed")


def test_the_environment_goes_before_the_yaml(monkeypatch):
    request_backend("torch")
    assert choose_backend(CPU)[0].name == "torch"
    monkeypatch.setenv("SPARSE_CONV", "cpu")
    assert choose_backend(CPU)[0].name == "cpu"
    monkeypatch.setenv("SPARSE_CONV", "")
    assert choose_backend(CPU)[0].name == "torch"


@pytest.mark.parametrize("name", ["cpu", "spconv", "triton"])
def test_one_that_cannot_be_had_is_replaced_with_a_warning(name, monkeypatch, caplog):
    monkeypatch.setenv("SPARSE_CONV", name)
    device = torch.device("meta")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            backend, reason = choose_backend(device)
    assert backend.name == "torch" and reason.startswith(f"{name} was asked for, but")
    assert len(caplog.records) == 1
    assert f"sparse layers on meta: {name} was asked for" in caplog.text


def test_the_yaml_key(monkeypatch):
    config = narrow_config("second")
    config.MODEL.SPARSE_CONV = "torch"
    build_network(small_dataset(config), config)
    assert choose_backend(CPU)[0].name == "torch"
    del config.MODEL["SPARSE_CONV"]
    build_network(small_dataset(config), config)
    assert choose_backend(CPU)[0].name == "cpu"
    config.MODEL.SPARSE_CONV = "cudnn"
    message = "MODEL.SPARSE_CONV: expected one of .*'triton'\\], got 'cudnn'"
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(config), config)
    del config.MODEL["SPARSE_CONV"]
    monkeypatch.setenv("SPARSE_CONV", "Torch")
    with pytest.raises(ConfigError, match=r"the variable SPARSE_CONV: one of auto, .* got 'Torch'"):
        build_network(small_dataset(config), config)


def test_the_comparison_finds_what_is_wrong():
    self_test.compare_with_torch(TorchBackend(), CPU)

    class Wrong(TorchBackend):
        def weight_grad(self, features, grad, neighbours):
            return 1.1 * super().weight_grad(features, grad, neighbours)

    with pytest.raises(RuntimeError, match=r"the weight's gradient of a submanifold .* by 0.1 of"):
        self_test.compare_with_torch(Wrong(), CPU)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("pass", None),
        ("raise RuntimeError('it differs')", "RuntimeError: it differs"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGFPE)", "it was killed by SIGFPE"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_library_may_die_in_a_process_of_its_own(script, answer, monkeypatch):
    run = subprocess.run
    commands = []

    def run_script(command, **options):
        commands.append(command)
        return run([sys.executable, "-c", script], **options)

    monkeypatch.setattr(subprocess, "run", run_script)
    self_test.run_in_a_process.cache_clear()
    for _ in range(2):
        assert self_test.run_in_a_process("spconv", CUDA) == answer
    assert commands == [[sys.executable, "-m", SELF_TEST, "spconv", "cuda:0"]]
    self_test.run_in_a_process.cache_clear()


def test_spconv_that_fails_its_test(triton_on_a_gpu, monkeypatch, caplog):
    monkeypatch.setenv("SPARSE_CONV", "spconv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(self_test, "run_in_a_process", lambda *arguments: "killed by SIGFPE")
    backend, reason = choose_backend(CUDA)
    assert backend.name == "triton"
    assert "spconv failed its test in a process of its own: killed by SIGFPE" in reason
    assert reason.endswith("; its kernels pass their test on this GPU")
    assert "killed by SIGFPE; using triton" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_the_program_refuses_without_a_gpu():
    """Whether or not spconv is there, and whatever it does to numpy 2."""
    failure = self_test.run_in_a_process("spconv", CUDA)
    assert "Error" in failure and ("CUDA" in failure or "NVIDIA" in failure)


def test_arrays_reach_spconv_by_way_of_torch():
    """Its own way kills the process with numpy 2 (cumm-cu120 0.4.11)."""
    pytest.importorskip("spconv.core", reason="spconv is optional")
    script = (
        "import numpy as np, torch\n"
        "from spconv import core\n"
        "if torch.version.cuda is None:  # see test_layers_equal_those_of_spconv\n"
        "    core.ALL_NATIVE_PARAMS.clear(), core.ALL_IMPGEMM_PARAMS.clear()\n"
        "from pcdet.ops.sparse_conv.backends import spconv_backend\n"
        "from spconv.pytorch import ops\n"
        "tensor = ops.tv.from_numpy(np.array([2**32 - 1, 5], np.uint32)).clone()\n"
        "assert tensor.numpy().tolist() == [2**32 - 1, 5]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
