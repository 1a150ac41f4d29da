"""The choice of the type to compute in."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from models.model_fixture import random_batch, small_model
from pcdet.engine import device_options
from pcdet.engine.device_options import (
    amp_type,
    checked_device,
    choose_algorithms,
    cpu_gains_by_bfloat16,
)
from pcdet.models import example_convert_to_torch
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.model_utils.first_convolution import FirstConvolution
from pcdet.utils.errors import ConfigError

CPU = torch.device("cpu")
LOGGER = logging.getLogger(__name__)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("vendor_id : GenuineIntel\nflags : fpu avx2 avx512f avx512_bf16 avx512_fp16", False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 avx512f avx512_bf16", True),
        ("Features : fp asimd i8mm bf16", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 avx512f avx512vl", False),
    ],
)
def test_flags_of_the_cpu(tmp_path, line, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name : some CPU\n{line}\n")
    assert cpu_gains_by_bfloat16(cpuinfo) is expected


def test_no_cpuinfo(tmp_path):
    assert not cpu_gains_by_bfloat16(tmp_path / "none")


def test_bf16_on_a_cpu(monkeypatch, caplog):
    monkeypatch.setattr(device_options, "cpu_gains_by_bfloat16", lambda: True)
    assert amp_type("bf16", CPU, LOGGER) == torch.bfloat16
    assert not caplog.records
    monkeypatch.setattr(device_options, "cpu_gains_by_bfloat16", lambda: False)
    assert amp_type("bf16", CPU, LOGGER) is None
    assert "this CPU computes in float32" in caplog.text


def test_no_amp():
    assert amp_type(None, CPU, LOGGER) is None
    assert amp_type("none", CPU, LOGGER) is None


def test_auto_follows_the_cpu_and_says_so(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(device_options, "cpu_gains_by_bfloat16", lambda: False)
    assert amp_type("auto", CPU, LOGGER) is None
    monkeypatch.setattr(device_options, "cpu_gains_by_bfloat16", lambda: True)
    assert amp_type("auto", torch.device("cuda"), LOGGER) is None
    assert not caplog.records
    assert amp_type("auto", CPU, LOGGER) == torch.bfloat16
    (record,) = caplog.records
    assert "computing in bfloat16" in record.message and "--amp none" in record.message


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match="--amp fp16 needs a GPU"):
        amp_type("fp16", CPU, LOGGER)


@pytest.fixture
def torch_for_gpus(monkeypatch):
    """A torch that is built for GPUs, on a machine without a driver."""

    def init():
        raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have one.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", init)
    device_options._warn_of_no_gpu.cache_clear()
    yield
    device_options._warn_of_no_gpu.cache_clear()


def test_a_torch_that_sees_no_gpu_says_why(torch_for_gpus, monkeypatch, caplog):
    assert checked_device("cpu") == CPU and not caplog.records
    for _ in range(2):
        assert checked_device(None) == CPU
    (record,) = caplog.records
    assert record.message.startswith("computing on the CPU: torch ")
    assert "sees none (Found no NVIDIA driver on your system); `python -m" in record.message
    with pytest.raises(ConfigError, match=r"no usable GPU here \(Found no NVIDIA driver on your"):
        checked_device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(ConfigError, match=r"no usable GPU here \(it is built for the CPU\)"):
        checked_device("cuda")
    device_options._warn_of_no_gpu.cache_clear()
    assert checked_device(None) == CPU and len(caplog.records) == 1


def test_network_and_loss_are_compiled(monkeypatch):
    model, called = small_model("second").train(), []

    def compile_nothing(function, **options):
        def compiled(*args):
            called.append(function)
            return function(*args)

        return compiled

    batch = example_convert_to_torch(random_batch(name="second"))
    state = copy.deepcopy(model.state_dict())
    expected = model(batch)[0]["loss"]
    model.load_state_dict(state)
    monkeypatch.setattr(torch, "compile", compile_nothing)
    device_options.compile_dense_network(model, CPU)
    called.clear()  # the trial whether torch can compile at all
    assert model(batch)[0]["loss"] == expected
    assert FirstConvolution._around._torchdynamo_disable
    network, loss = called
    assert isinstance(network.__self__, BEVNetwork) and loss == RPNV2.get_loss.__get__(
        model.rpn_head
    )
    assert model.state_dict().keys() == state.keys()


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_looks_for_the_fastest_unless_results_must_repeat(monkeypatch, deterministic):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    asked = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda on, warn_only: asked.append(on)
    )
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    choose_algorithms(deterministic)
    assert torch.backends.cudnn.benchmark is not deterministic
    assert asked == ([True] if deterministic else [])
