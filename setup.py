"""Builds pcdet and its native operators: for the CPU always, for CUDA where it can be used.

    pip install --no-build-isolation -e .        (or `.`)
    python setup.py build_ext --inplace

FORCE_CUDA=1 builds the CUDA operators on a machine without a GPU, or stops and says what is
missing. TORCH_CUDA_ARCH_LIST and CUDA_HOME mean what they mean to torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup

try:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension
except ImportError:
    sys.exit(
        "torch is needed to build pcdet: install it first, then run "
        "`pip install --no-build-isolation .` (an isolated build cannot see torch)"
    )

ROOT = Path(__file__).resolve().parent
EXTENSIONS = ("batch_norm", "iou3d_nms", "roiaware_pool3d", "sparse_conv", "three_nn")
# From Turing on, as far as the toolkit goes; the last entry carries PTX for later GPUs.
CUDA_ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")


# One command for each verb, as the scripts in tools/ are: each starts what it needs and no more.
COMMANDS = [
    "pcdet-train = pcdet.cli.train:run",
    "pcdet-test = pcdet.cli.test:run",
    "pcdet-demo = pcdet.cli.demo:run",
    "pcdet-replay = pcdet.cli.replay:run",
    "pcdet-view = pcdet.cli.view:run",
    "pcdet-custom = pcdet.cli.custom:run",
    "pcdet-doctor = pcdet.doctor.__main__:main",
    "pcdet-kitti-infos = pcdet.cli.kitti_infos:main",
    "pcdet-kitti-eval = pcdet.evaluation.__main__:main",
    "pcdet-simulate = pcdet.simulator.__main__:main",
]


class CudaUnusable(Exception):
    """Why the CUDA operators cannot be built, and what to do about it, in one sentence."""


def read_version() -> str:
    """The version that the package states, read without importing it."""
    text = (ROOT / "pcdet" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def read_requirements() -> list[str]:
    """The lines of requirements.txt without its comments."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def run_nvcc(nvcc: Path, *arguments: str) -> str:
    """What nvcc prints."""
    return subprocess.run([nvcc, *arguments], check=True, capture_output=True, text=True).stdout


def find_nvcc() -> Path:
    """The compiler of a toolkit that is complete and made for this torch."""
    if CUDA_HOME is None:
        raise CudaUnusable(
            "no CUDA toolkit was found: install the toolkit of CUDA "
            f"{torch.version.cuda} and set CUDA_HOME to its folder"
        )
    nvcc = Path(CUDA_HOME) / "bin" / "nvcc"
    if not nvcc.is_file():
        raise CudaUnusable(f"{nvcc} is missing: set CUDA_HOME to the folder of a CUDA toolkit")
    if not (Path(CUDA_HOME) / "include" / "cuda_runtime.h").is_file():
        raise CudaUnusable(
            f"{CUDA_HOME} holds an nvcc but no include/cuda_runtime.h: it is a wrapper, so set "
            "CUDA_HOME to the folder of the toolkit itself"
        )
    release = re.search(r"release ([\d.]+)", run_nvcc(nvcc, "--version")).group(1)
    if release.split(".")[0] != torch.version.cuda.split(".")[0]:
        raise CudaUnusable(
            f"the toolkit in {CUDA_HOME} is CUDA {release} but torch was built for CUDA "
            f"{torch.version.cuda}: install that toolkit, or a torch for CUDA {release}"
        )
    return nvcc


def default_architectures(nvcc: Path) -> str:
    """CUDA_ARCHITECTURES as far as the toolkit knows them, in torch's notation."""
    known = run_nvcc(nvcc, "--list-gpu-arch").split()
    usable = [a for a in CUDA_ARCHITECTURES if f"compute_{a.replace('.', '')}" in known]
    return ";".join(usable) + "+PTX"


def prepare_cuda() -> bool:
    """Decide whether to build for CUDA, set the architectures if so, and say what was decided."""
    forced = os.environ.get("FORCE_CUDA") == "1"
    try:
        if torch.version.cuda is None:
            raise CudaUnusable("this torch is built for the CPU: install a CUDA build of torch")
        if not (forced or torch.cuda.is_available()):
            raise CudaUnusable("torch sees no GPU: set FORCE_CUDA=1 to build for CUDA all the same")
        nvcc = find_nvcc()
    except CudaUnusable as reason:
        if forced:
            sys.exit(f"FORCE_CUDA=1, but {reason}")
        sys.stderr.write(f"pcdet: building the operators for the CPU alone; {reason}\n")
        return False
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", default_architectures(nvcc))
    sys.stderr.write(f"pcdet: building for CUDA, {os.environ['TORCH_CUDA_ARCH_LIST']}\n")
    return True


def make_extension(name: str, with_cuda: bool):
    """The extension of one operator, from all sources in its src folder."""
    ops = Path("pcdet") / "ops"
    sources = sorted((ops / name / "src").glob("*.cpp"))
    headers = [*(ops / "common").glob("*.*h"), *(ops / name / "src").glob("*.h")]
    kernels = sorted((ops / name / "src").glob("*.cu"))
    # -g0: Python's own flags ask for debug information, which takes longer than all else.
    flags = {"cxx": ["-O3", "-g0", "-fopenmp"]}
    if kernels:
        # The devices must round alike, so neither may fuse a multiplication with an addition.
        flags["cxx"].append("-ffp-contract=off")
    with_cuda = with_cuda and bool(kernels)
    if with_cuda:
        sources += kernels
        architectures = ",".join(re.split("[; ]+", os.environ["TORCH_CUDA_ARCH_LIST"].strip()))
        flags["cxx"] += ["-DWITH_CUDA", f"-DPCDET_CUDA_ARCHITECTURES={architectures}"]
        flags["nvcc"] = ["-O3", "-fmad=false"]
    # Linked without -fopenmp: the threads are then those of the OpenMP that torch has loaded, and
    # torch.set_num_threads holds here too.
    extension = CUDAExtension if with_cuda else CppExtension
    return extension(
        name=f"pcdet.ops.{name}.{name}_ext",
        sources=[str(source) for source in sources],
        depends=[str(header) for header in sorted(headers)],
        extra_compile_args=flags,
    )


def main() -> None:
    """Run setuptools."""
    with_cuda = prepare_cuda()
    setup(
        name="pcdet",
        version=read_version(),
        description="3D object detection from point clouds, on the CPU and on CUDA",
        python_requires=">=3.9",
        install_requires=read_requirements(),
        extras_require={
            "rerun": ["rerun-sdk>=0.23"],
            # Another backend of the sparse layers on NVIDIA GPUs, where its authors have wheels.
            "spconv": [
                f"{name} and sys_platform == 'linux' and platform_machine == 'x86_64'"
                for name in (
                    "spconv-cu120; python_version < '3.12'",
                    "spconv-cu126; python_version >= '3.12' and python_version < '3.14'",
                )
            ],
        },
        packages=find_packages(include=["pcdet", "pcdet.*"]),
        package_data={
            "pcdet": [f"**/*.{kind}" for kind in ("yaml", "json", "npz", "txt", "md")],
            "pcdet.viewer": ["assets/*"],
        },
        ext_modules=[make_extension(name, with_cuda) for name in EXTENSIONS],
        cmdclass={"build_ext": BuildExtension},
        entry_points={"console_scripts": COMMANDS},
        zip_safe=False,
    )


if __name__ == "__main__":
    main()
