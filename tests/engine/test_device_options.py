"""The choice of the type to compute in."""

from __future__ import annotations

import logging

import pytest
import torch

from pcdet.engine import device_options
from pcdet.engine.device_options import amp_type, cpu_has_bfloat16
from pcdet.utils.errors import ConfigError

CPU = torch.device("cpu")
LOGGER = logging.getLogger(__name__)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags : fpu avx2 amx_bf16", True),
        ("Features : fp asimd i8mm bf16", True),
        ("flags : fpu avx2 avx512f avx512vl", False),
    ],
)
def test_flags_of_the_cpu(tmp_path, line, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name : some CPU\n{line}\n")
    assert cpu_has_bfloat16(cpuinfo) is expected


def test_no_cpuinfo(tmp_path):
    assert not cpu_has_bfloat16(tmp_path / "none")


def test_bf16_on_a_cpu(monkeypatch, caplog):
    monkeypatch.setattr(device_options, "cpu_has_bfloat16", lambda: True)
    assert amp_type("bf16", CPU, LOGGER) == torch.bfloat16
    assert not caplog.records
    monkeypatch.setattr(device_options, "cpu_has_bfloat16", lambda: False)
    assert amp_type("bf16", CPU, LOGGER) is None
    assert "no instructions for bfloat16; computing in float32" in caplog.text


def test_no_amp():
    assert amp_type(None, CPU, LOGGER) is None


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match="--amp fp16 needs a GPU"):
        amp_type("fp16", CPU, LOGGER)
