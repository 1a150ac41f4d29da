"""What setup.py decides about CUDA, and what it says when it cannot build for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

import pcdet
from pcdet.ops.common import cuda_toolkit

ROOT = Path(__file__).resolve().parents[2]
NVCC_VERSION = "Cuda compilation tools, release 12.6, V12.6.85"
NVCC_ARCHITECTURES = "\n".join(f"compute_{n}" for n in (50, 60, 70, 75, 80, 86, 87, 89, 90))


@pytest.fixture
def toolkit(tmp_path) -> Path:
    """A folder that looks like a CUDA toolkit."""
    for name in ("bin/nvcc", "include/cuda_runtime.h"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def script(monkeypatch, toolkit):
    """setup.py on a machine with a CUDA 12.8 torch, a GPU and a CUDA 12.6 toolkit."""
    spec = importlib.util.spec_from_file_location("pcdet_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    answers = {"--version": NVCC_VERSION, "--list-gpu-arch": NVCC_ARCHITECTURES}
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    for user in (module, cuda_toolkit):
        monkeypatch.setattr(
            user, "run_nvcc", lambda nvcc, *arguments: answers.get(arguments[0], "")
        )
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "")
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    monkeypatch.delenv("FORCE_CUDA", raising=False)
    return module


@pytest.mark.parametrize("given", [None, "", " "])
def test_builds_for_what_the_toolkit_knows(script, monkeypatch, capsys, given):
    if given is not None:
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", given)
    assert script.prepare_cuda()
    assert os.environ["TORCH_CUDA_ARCH_LIST"] == "7.5;8.0;8.6;8.9;9.0+PTX"
    assert capsys.readouterr().err.endswith(", 7.5;8.0;8.6;8.9;9.0+PTX\n")


def test_a_given_list_of_architectures_stays(script, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6")
    assert script.prepare_cuda()
    assert os.environ["TORCH_CUDA_ARCH_LIST"] == "8.6"


def test_force_builds_without_a_gpu(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not script.prepare_cuda()
    assert "torch sees no GPU: set FORCE_CUDA=1" in capsys.readouterr().err
    monkeypatch.setenv("FORCE_CUDA", "1")
    assert script.prepare_cuda()


def test_the_extension_is_told_its_architectures(script, monkeypatch, toolkit):
    made = []
    monkeypatch.setattr(
        script.cpp_extension, "CUDAExtension", lambda **options: made.append(options)
    )
    for given, told in (("7.5;8.0;12.0+PTX", "7.5,8.0,12.0+PTX"), ("8.6 9.0 ", "8.6,9.0")):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", given)
        script.make_extension("iou3d_nms", cuda_toolkit.Toolkit(toolkit, "12.6"))
        assert f"-DPCDET_CUDA_ARCHITECTURES={told}" in made[-1]["extra_compile_args"]["cxx"]
    assert "pcdet/ops/iou3d_nms/src/iou3d_nms_cuda.cu" in made[-1]["sources"]


def break_torch(script, monkeypatch, toolkit):
    monkeypatch.setattr(torch.version, "cuda", None)


def break_home(script, monkeypatch, toolkit):
    monkeypatch.setattr(cuda_toolkit, "_folders", list)


def break_nvcc(script, monkeypatch, toolkit):
    (toolkit / "bin/nvcc").unlink()


def break_headers(script, monkeypatch, toolkit):
    (toolkit / "include/cuda_runtime.h").unlink()


def break_version(script, monkeypatch, toolkit):
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (break_torch, "this torch is built for the CPU: install a CUDA build of torch"),
        (
            break_home,
            "no CUDA toolkit was found: install the toolkit of CUDA 12.8 and set CUDA_HOME",
        ),
        (break_nvcc, "bin/nvcc is missing: set CUDA_HOME to the folder of a CUDA toolkit"),
        (break_headers, "holds an nvcc but no include/cuda_runtime.h: it is a wrapper"),
        (break_version, "is CUDA 12.6 but torch was built for CUDA 13.0: run `pip install"),
    ],
)
def test_a_mismatch_is_one_sentence(script, monkeypatch, capsys, toolkit, fault, sentence):
    fault(script, monkeypatch, toolkit)
    assert not script.prepare_cuda()
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    monkeypatch.setenv("FORCE_CUDA", "1")
    with pytest.raises(SystemExit, match="FORCE_CUDA=1, but ") as stopped:
        script.prepare_cuda()
    assert sentence in str(stopped.value)


def test_the_runtime_of_a_wheel_is_given_its_plain_name(script, monkeypatch, toolkit, tmp_path):
    monkeypatch.setattr(script, "ROOT", tmp_path / "repository")
    assert script.link_folders(toolkit) == []
    runtime = toolkit / "lib" / "libcudart.so.13"
    runtime.parent.mkdir()
    runtime.touch()
    for _ in range(2):  # a second build finds the link of the first
        (folder,) = script.link_folders(toolkit)
        assert (Path(folder) / "libcudart.so").resolve() == runtime.resolve()
    (toolkit / "lib" / "libcudart.so").touch()
    assert script.link_folders(toolkit) == []


@pytest.mark.parametrize(
    ("macros", "flags"),
    [("#define __GNUC__ 12", ["-fopenmp"]), ("#define __GNUC__ 4\n#define __clang__ 1", [])],
)
def test_threads_where_the_compiler_has_the_openmp_of_torch(
    script, monkeypatch, capsys, tmp_path, macros, flags
):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho '{macros}'\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} -pipe")
    assert script.openmp_flags() == flags
    assert ("compute in one thread" in capsys.readouterr().err) == (not flags)


def test_without_a_compiler_one_line_says_what_is_needed(script, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match=r"a C\+\+ compiler: install g\+\+ or set CXX .*none"):
        script.openmp_flags()


def test_the_source_archive_has_what_a_build_reads(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "pcdet", source / "pcdet", ignore=shutil.ignore_patterns("*.so"))
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "setup.py", "--quiet", "sdist"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [archive] = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    kinds = (".py", ".cpp", ".cu", ".h", ".cuh")
    wanted = {p for p in (source / "pcdet").rglob("*") if p.suffix in kinds}
    assert {str(path.relative_to(source)) for path in wanted} <= names
    assert "requirements.txt" in names


def test_the_compile_check_is_skipped_without_nvcc(tmp_path):
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    command = [tmp_path / "bash", ROOT / "tools/scripts/check_cuda_compile.sh"]
    result = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "check_cuda_compile: skipped, nvcc is not on the PATH\n"


def test_version_and_requirements(script):
    assert script.read_version() == pcdet.__version__
    requirements = script.read_requirements()
    assert "torch>=2.4" in requirements
    assert not any(line.startswith("#") for line in requirements)


def test_every_folder_with_code_is_a_package():
    folders = {source.parent for source in (ROOT / "pcdet").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_all_operators_are_built(script):
    assert set(script.EXTENSIONS) == {p.parent.name for p in (ROOT / "pcdet/ops").glob("*/src")}
