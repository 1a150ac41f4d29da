"""The CUDA toolkit that the operators are built with: where it is, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

import torch

_SYSTEM = Path("/usr/local/cuda")
BUILD = "run `pip install --no-build-isolation -e .` in the repository"


class CudaUnusable(Exception):
    """Why the CUDA operators cannot be built, and what to do about it, in one sentence."""


class Toolkit(NamedTuple):
    """A toolkit that is complete.

    Attributes:
        home: its folder, which holds bin/nvcc.
        release: such as "13.0".
    """

    home: Path
    release: str

    @property
    def nvcc(self) -> Path:
        """The compiler."""
        return self.home / "bin" / "nvcc"


def nvcc_wheel() -> str | None:
    """What pip installs as the compiler of torch's CUDA; None if there is no such wheel.

    The wheels of CUDA 12 hold its assembler alone.
    """
    cuda = torch.version.cuda
    return f"cuda-toolkit[nvcc]=={cuda}.*" if cuda and _major(cuda) >= 13 else None


def remedy() -> str:
    """How to come by a toolkit for this torch, as the beginning of a sentence."""
    if torch.version.cuda is None:
        needs = ", which needs a GPU of NVIDIA's" if torch.version.hip else ""
        return f"install a CUDA build of torch{needs}"
    wheel = nvcc_wheel()
    by_hand = f"install the toolkit of CUDA {torch.version.cuda} and set CUDA_HOME to its folder"
    return f'run `pip install "{wheel}"`, or {by_hand}' if wheel else by_hand


def run_nvcc(nvcc: Path, *arguments: str) -> str:
    """What nvcc prints."""
    return subprocess.run([nvcc, *arguments], check=True, capture_output=True, text=True).stdout


def find_toolkit() -> Toolkit:
    """The first toolkit that is complete, made for this torch, and compiles.

    CUDA_HOME decides if it is set. Else those of the PATH, of /usr/local/cuda and of the wheels
    (site-packages/nvidia/cu13) are tried in turn.

    Raises:
        CudaUnusable: this torch is not built for CUDA, or there is no such toolkit; with the fault
            of the last that was found, as wrappers of an nvcc lie on the PATH, before it.
    """
    if torch.version.cuda is None:
        kind = f"ROCm {torch.version.hip}" if torch.version.hip else "the CPU"
        raise CudaUnusable(f"this torch is built for {kind}: {remedy()}")
    faults = []
    for home in _folders():
        try:
            return _checked(home)
        except CudaUnusable as fault:
            faults.append(fault)
    raise faults[-1] if faults else CudaUnusable(f"no CUDA toolkit was found: {remedy()}")


def _folders() -> list[Path]:
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if named:
        return [Path(named)]
    on_path = shutil.which("nvcc")
    folders = [Path(on_path).resolve().parents[1]] if on_path else []
    folders.append(_SYSTEM)
    package = importlib.util.find_spec("nvidia")
    for location in package.submodule_search_locations or () if package else ():
        folders += sorted(Path(location).glob("cu*"))
    return [folder for folder in folders if (folder / "bin" / "nvcc").is_file()]


def _checked(home: Path) -> Toolkit:
    nvcc = home / "bin" / "nvcc"
    if not nvcc.is_file():
        raise CudaUnusable(f"{nvcc} is missing: set CUDA_HOME to the folder of a CUDA toolkit")
    if not (home / "include" / "cuda_runtime.h").is_file():
        raise CudaUnusable(
            f"{home} holds an nvcc but no include/cuda_runtime.h: it is a wrapper, so set "
            "CUDA_HOME to the folder of the toolkit itself"
        )
    try:
        release = re.search(r"release ([\d.]+)", run_nvcc(nvcc, "--version"))
    except (OSError, subprocess.SubprocessError) as error:
        raise CudaUnusable(f"{nvcc} does not run ({error}): {remedy()}") from error
    if release is None or _major(release.group(1)) != _major(torch.version.cuda):
        raise CudaUnusable(
            f"the toolkit in {home} is CUDA {release.group(1) if release else 'unknown'} but torch "
            f"was built for CUDA {torch.version.cuda}: {remedy()}"
        )
    _try(nvcc)
    return Toolkit(home, release.group(1))


def _try(nvcc: Path) -> None:
    """Compile a kernel: nvcc takes some versions of the C++ compiler and C library only."""
    host = ["-ccbin", os.environ["CC"]] if os.environ.get("CC") else []  # as torch's builds do
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.cu"
        source.write_text("__global__ void empty() {}\n")
        try:
            run_nvcc(nvcc, *host, "-c", str(source), "-o", str(source.with_suffix(".o")))
        except subprocess.CalledProcessError as error:
            said = re.search(r"(?:error\W+)+(.+)", error.stderr)
            reason = textwrap.shorten(said.group(1), 100) if said else error
            raise CudaUnusable(
                f"{nvcc} does not compile with the C++ compiler that is here ({reason}): install "
                "one that it takes, such as an older GCC, and set CC and CXX to it"
            ) from error


def _major(release: str) -> int:
    return int(release.split(".")[0])
