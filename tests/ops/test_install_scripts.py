"""Which torch and compiler `make setup` installs, with nvidia-smi and pip faked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from pcdet.ops.common import cuda_toolkit

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A script of tools/scripts as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools/scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A Linux machine of x86-64, of which nvidia-smi prints `gpus`; None for no driver."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    def make(gpus: str | None) -> None:
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        if gpus is not None:
            command = tmp_path / "nvidia-smi"
            command.write_text(f"#!/bin/sh\ncat <<END\n{gpus}\nEND\n")
            command.chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("gpus", "requirement", "index"),
    [
        ("580.65.06, 9.0", "torch==2.13.0", "cu130"),
        ("595.10, 12.0", "torch==2.13.0", "cu130"),
        ("580.65.06, 7.5\n580.65.06, 8.6", "torch==2.13.0", "cu130"),
        ("560.35.03, 8.6", "torch==2.13.0+cu126", "cu126"),
        ("525.60.13, 9.0", "torch==2.13.0+cu126", "cu126"),
        ("580.65.06, 6.1", "torch==2.13.0+cu126", "cu126"),  # Pascal
        ("550.54, 7.0", "torch==2.13.0+cu126", "cu126"),  # Volta
        (
            "580.65.06, 3.5\n580.65.06, 8.9",
            "torch==2.13.0",
            "cu130",
        ),  # one that draws, one that works
        ("570.86, 12.0", "torch==2.13.0+cpu", "cpu"),  # Blackwell wants CUDA 12.8 or later
        ("470.82, 8.0", "torch==2.13.0+cpu", "cpu"),
        ("580.65.06, 3.5", "torch==2.13.0+cpu", "cpu"),
        ("No devices were found", "torch==2.13.0+cpu", "cpu"),
        (None, "torch==2.13.0+cpu", "cpu"),
    ],
)
def test_the_build_follows_driver_and_capability(machine, gpus, requirement, index):
    machine(gpus)
    script = load("install_torch")
    assert script.choose(script.find_gpus())[:2] == (requirement, index)


def test_other_systems(machine, monkeypatch):
    machine("580.65.06, 9.0")
    script = load("install_torch")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert script.choose(script.find_gpus())[:2] == ("torch==2.13.0+cu130", "cu130")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert script.choose([])[:2] == ("torch==2.13.0", "cpu")


def test_a_gpu_that_no_build_serves_is_told_what_it_lacks(machine):
    machine("470.82, 8.0")
    script = load("install_torch")
    reason = script.choose(script.find_gpus())[2]
    assert reason == (
        "driver 470 with capability 8.0 is of no use to torch 2.13.0, which wants driver 580 or "
        "later with capability 7.5 to 12.9 or driver 525 or later with capability 5.0 to 9.9; for "
        "the CPU now"
    )


@pytest.fixture
def pip(monkeypatch):
    """Calls of pip, of which those that hold `fails` fail."""
    calls, run = [], subprocess.run

    def fake(command, **options):
        if command[1:4] != ["-m", "pip", "install"]:
            return run(command, **options)
        calls.append([word for word in command[4:] if not word.startswith("--")])
        return SimpleNamespace(returncode=int(any(word in pip.fails for word in command)))

    pip = SimpleNamespace(calls=calls, fails=())
    monkeypatch.setattr(subprocess, "run", fake)
    return pip


def test_without_the_chosen_build_the_one_for_the_cpu_is_installed(machine, pip, capsys):
    machine("550.54, 8.6")
    pip.fails = ("torch==2.13.0+cu126",)
    assert load("install_torch").main([]) == 0
    index = "https://download.pytorch.org/whl/cu126"
    assert pip.calls == [
        ["torch==2.13.0+cu126"],
        [index, "torch==2.13.0+cu126"],
        ["torch==2.13.0+cpu"],
    ]
    said = capsys.readouterr().out
    assert "torch==2.13.0+cu126: cu126 for driver 550 with capability 8.6" in said
    assert "cannot be installed: torch for the CPU instead" in said


def test_a_named_torch_is_installed(pip):
    assert load("install_torch").main(["torch==2.12.0"]) == 0
    assert pip.calls == [["torch==2.12.0"]]
    pip.fails = ("torch==2.12.0",)
    assert load("install_torch").main(["torch==2.12.0"]) == 1
    assert pip.calls[-1][0] == "https://download.pytorch.org/whl/cpu"


def test_a_named_build_comes_from_its_own_index(pip):
    pip.fails = ("torch==2.12.0+cu126",)
    load("install_torch").main(["torch==2.12.0+cu126"])
    assert pip.calls[-1] == ["https://download.pytorch.org/whl/cu126", "torch==2.12.0+cu126"]


def make(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-C", ROOT, *words], capture_output=True, text=True)


def test_make_refuses_an_old_python_before_it_writes(tmp_path):
    python = tmp_path / "python3.9"
    code = "import sys; sys.version_info = (3, 9); exec(sys.argv[1])"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$2\"\n")
    python.chmod(0o755)
    done = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert done.returncode and "Python 3.9 is of no use here: choose 3.10 to" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "venv").exists()


def test_make_refuses_a_folder_with_a_space():
    done = make("--dry-run", "clean", "VENV=a b")
    assert (done.returncode, done.stdout.count("rm")) == (2, 0)
    assert 'VENV is "a b": give one path without spaces' in done.stderr


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A torch for CUDA 13.0 that sees a GPU, on a machine without a toolkit."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for variable in ("CUDA_HOME", "CUDA_PATH", "FORCE_CUDA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cuda_toolkit, "_folders", list)


def test_the_compiler_comes_as_a_wheel(gpu, pip, monkeypatch, capsys):
    script = load("install_nvcc")
    faults = iter(["no CUDA toolkit was found", None])
    monkeypatch.setattr(script, "fault", lambda: next(faults))
    script.main()
    assert pip.calls == [["cuda-toolkit[nvcc]==13.0.*"]]
    assert capsys.readouterr().out == "== the compiler of CUDA 13.0, as a wheel\n"
    faults = iter(["no CUDA toolkit was found", "it does not compile"])
    script.main()
    assert "built without CUDA code: it does not compile\n" in capsys.readouterr().out
    pip.fails = ("cuda-toolkit[nvcc]==13.0.*",)
    load("install_nvcc").main()
    said = capsys.readouterr().out
    assert "without CUDA code: cuda-toolkit[nvcc]==13.0.* cannot be installed" in said


def test_no_wheel_where_it_would_not_help(gpu, pip, monkeypatch, capsys):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    load("install_nvcc").main()
    assert "install the toolkit of CUDA 12.6 and set CUDA_HOME" in capsys.readouterr().out
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    load("install_nvcc").main()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    load("install_nvcc").main()
    assert pip.calls == []


def test_the_script_runs_by_itself():
    """Without a GPU it leaves the environment alone."""
    command = [sys.executable, str(ROOT / "tools/scripts/install_nvcc.py")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
