"""Which CUDA toolkit a build takes, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pcdet.ops.common import cuda_toolkit
from pcdet.ops.common.cuda_toolkit import CudaUnusable, find_toolkit


def make_toolkit(home: Path, release: str) -> Path:
    """A folder with a header and a script that answers as nvcc does."""
    (home / "include").mkdir(parents=True)
    (home / "include/cuda_runtime.h").touch()
    (home / "bin").mkdir()
    nvcc = home / "bin/nvcc"
    nvcc.write_text(f"#!/bin/sh\necho Cuda compilation tools, release {release}, V{release}.88\n")
    nvcc.chmod(0o755)
    return home


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with a torch for CUDA 13.0 and without any toolkit; its folders."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    for folder in ("bin", "site-packages"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(cuda_toolkit, "_SYSTEM", tmp_path / "system")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    return tmp_path


def test_the_wheel_is_found(machine):
    with pytest.raises(CudaUnusable, match="no CUDA toolkit was found") as none:
        find_toolkit()
    assert 'pip install "cuda-toolkit[nvcc]==13.0.*"' in str(none.value)
    home = make_toolkit(machine / "site-packages/nvidia/cu13", "13.0")
    toolkit = find_toolkit()
    assert toolkit == (home, "13.0")
    assert toolkit.nvcc == home / "bin/nvcc"


def test_a_toolkit_of_another_cuda_is_passed_over(machine):
    make_toolkit(machine / "system", "12.4")
    with pytest.raises(CudaUnusable, match=r"is CUDA 12\.4 but torch was built for CUDA 13\.0"):
        find_toolkit()
    home = make_toolkit(machine / "site-packages/nvidia/cu13", "13.2")
    assert find_toolkit() == (home, "13.2")


def test_the_one_on_the_path_comes_first_and_cuda_home_before_all(machine, monkeypatch):
    make_toolkit(machine / "system", "13.0")
    on_path = make_toolkit(machine / "toolkit", "13.1")
    (machine / "bin/nvcc").symlink_to(on_path / "bin/nvcc")
    assert find_toolkit().home == on_path
    named = make_toolkit(machine / "named", "13.2")
    monkeypatch.setenv("CUDA_HOME", str(named))
    assert find_toolkit().home == named
    monkeypatch.setenv("CUDA_HOME", str(machine / "nowhere"))
    with pytest.raises(CudaUnusable, match="nowhere/bin/nvcc is missing"):
        find_toolkit()


def test_a_compiler_that_does_not_run_is_told(machine):
    home = make_toolkit(machine / "system", "13.0")
    (home / "bin/nvcc").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(CudaUnusable, match="bin/nvcc does not run"):
        find_toolkit()
    (home / "bin/nvcc").write_text("#!/bin/sh\necho nothing\n")
    with pytest.raises(CudaUnusable, match="is CUDA unknown but torch"):
        find_toolkit()


def test_a_cxx_compiler_that_nvcc_refuses_is_told(machine, monkeypatch):
    """As GCC 16 is by CUDA 13.0; the one of CC is asked, as in torch's builds."""
    home = make_toolkit(machine / "system", "13.0")
    wrapper = machine / "bin/nvcc"  # on the PATH; the toolkit's fault is what tells
    wrapper.touch(mode=0o755)
    with (home / "bin/nvcc").open("a") as script:
        script.write('[ "$1" = --version ] || [ "$2" = gcc-15 ] && exit 0\n')
        script.write("echo 'host_config.h:143: #error -- unsupported GNU version!' >&2; exit 1\n")
    monkeypatch.delenv("CC", raising=False)
    message = (
        r"with the C\+\+ compiler that is here \(host_config.h:143: .* GNU version!\): install"
    )
    with pytest.raises(CudaUnusable, match=message):
        find_toolkit()
    monkeypatch.setenv("CC", "gcc-15")
    assert find_toolkit() == (home, "13.0")


def test_a_wheel_is_named_where_there_is_one(monkeypatch):
    """Those of CUDA 12 do not hold nvcc."""
    for cuda, wheel in (("13.2", "cuda-toolkit[nvcc]==13.2.*"), ("12.6", None), (None, None)):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert cuda_toolkit.nvcc_wheel() == wheel
        assert ("pip install" in cuda_toolkit.remedy()) == (wheel is not None)
