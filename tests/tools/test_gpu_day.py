"""What tools/gpu_day.sh runs, and what its trace counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.autograd import DeviceType

from gpu_day.trace import on_gpu

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "gpu_day.sh"


@pytest.fixture
def call(tmp_path):
    """Runs steps with commands that end at once, for the summary alone runs."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" != - ] || exec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def run(*steps: str) -> subprocess.CompletedProcess:
        command = ["bash", SCRIPT, tmp_path / "out", *steps]
        environment = {"PYTHON": str(python), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_a_step_that_does_not_exist_is_refused(call, tmp_path):
    done = call("trace", "simulat")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert "no step is called simulat; there are: doctor build tests" in done.stderr


def test_results_of_an_earlier_call_are_not_those_of_this(call, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("trace", "parity"):
        (tmp_path / "out" / f"{name}.json").write_text("1")
    assert call("trace").returncode == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [step["step"] for step in summary["steps"]] == ["trace"]
    assert "trace" not in summary and summary["parity"] == 1


def test_the_time_of_a_kernel_is_counted_once():
    rows = [
        SimpleNamespace(key=key, device_type=device, is_user_annotation=annotation)
        for key, device, annotation in (
            ("aten::mm", DeviceType.CPU, False),  # names the time of its kernels, too
            ("gemm", DeviceType.CUDA, False),
            ("Optimizer.step", DeviceType.CUDA, True),
        )
    ]
    assert [row.key for row in rows if on_gpu(row)] == ["gemm"]
