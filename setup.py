"""Builds pcdet and its native operators: for the CPU always, for CUDA where it can be used.

    pip install --no-build-isolation -e .        (or `.`)
    python setup.py build_ext --inplace

FORCE_CUDA=1 builds the CUDA operators on a machine without a GPU, or stops and says what is
missing. TORCH_CUDA_ARCH_LIST and CUDA_HOME mean what they mean to torch.
"""

from __future__ import annotations

import copy
import functools
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup

try:
    import torch
    from torch.utils import cpp_extension
except ImportError:
    sys.exit(
        "torch is needed to build pcdet: install it first, then run "
        "`pip install --no-build-isolation .` (an isolated build cannot see torch)"
    )

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from pcdet.ops.common.cuda_toolkit import (  # noqa: E402
    CudaUnusable,
    Toolkit,
    find_toolkit,
    run_nvcc,
)
from pcdet.ops.extension_file import EXTENSIONS, WITHOUT_TORCH  # noqa: E402

# From Turing on, as far as the toolkit goes; the last entry carries PTX for later GPUs.
CUDA_ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")


# One command for each verb, as the scripts in tools/ are: each starts what it needs and no more.
COMMANDS = [
    "pcdet-train = pcdet.cli.train:run",
    "pcdet-test = pcdet.cli.test:run",
    "pcdet-demo = pcdet.cli.demo:run",
    "pcdet-replay = pcdet.cli.replay:run",
    "pcdet-view = pcdet.cli.view:run",
    "pcdet-convert = pcdet.cli.convert:run",
    "pcdet-release = pcdet.cli.release:run",
    "pcdet-export = pcdet.cli.export:run",
    "pcdet-custom = pcdet.cli.custom:run",
    "pcdet-doctor = pcdet.doctor.__main__:main",
    "pcdet-kitti-infos = pcdet.cli.kitti_infos:main",
    "pcdet-kitti-eval = pcdet.evaluation.__main__:main",
    "pcdet-simulate = pcdet.simulator.__main__:main",
]


# Packages that one command or kind of file needs.
EXTRAS = {
    "export": ["onnx", "onnxscript", "onnxruntime"],
    "rerun": ["rerun-sdk>=0.23"],
    "safetensors": ["safetensors"],
    # Another backend of the sparse layers on NVIDIA GPUs, where its authors have wheels.
    "spconv": [
        f"{name} and sys_platform == 'linux' and platform_machine == 'x86_64'"
        for name in (
            "spconv-cu120; python_version < '3.12'",
            "spconv-cu126; python_version >= '3.12' and python_version < '3.14'",
        )
    ],
}


def read_version() -> str:
    """The version that the package states, read without importing it."""
    text = (ROOT / "pcdet" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def read_requirements() -> list[str]:
    """The lines of requirements.txt without its comments."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def default_architectures(nvcc: Path) -> str:
    """CUDA_ARCHITECTURES as far as the toolkit knows them, in torch's notation."""
    known = run_nvcc(nvcc, "--list-gpu-arch").split()
    usable = [a for a in CUDA_ARCHITECTURES if f"compute_{a.replace('.', '')}" in known]
    return ";".join(usable) + "+PTX"


def prepare_cuda() -> Toolkit | None:
    """Decide whether to build for CUDA, set the architectures if so, and say what was decided."""
    forced = os.environ.get("FORCE_CUDA") == "1"
    try:
        toolkit = find_toolkit()
        if not (forced or torch.cuda.is_available()):
            raise CudaUnusable("torch sees no GPU: set FORCE_CUDA=1 to build for CUDA all the same")
    except CudaUnusable as reason:
        if forced:
            sys.exit(f"FORCE_CUDA=1, but {reason}")
        sys.stderr.write(f"pcdet: building the operators for the CPU alone; {reason}\n")
        return None
    cpp_extension.CUDA_HOME = str(toolkit.home)  # torch's own search knows no wheels
    given = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    architectures = given or default_architectures(toolkit.nvcc)
    os.environ["TORCH_CUDA_ARCH_LIST"] = architectures
    sys.stderr.write(f"pcdet: building for CUDA by {toolkit.home}, {architectures}\n")
    return toolkit


def link_folders(home: Path) -> list[str]:
    """Folders in which -lcudart finds the toolkit's runtime, besides those that torch names.

    The wheels have libcudart.so.13 alone; a link in the build folder gives it its plain name.
    """
    runtimes = sorted(home.glob("lib*/libcudart.so*"))
    if not runtimes or any(path.name == "libcudart.so" for path in runtimes):
        return []
    folder = ROOT / "build" / "cuda_link"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "libcudart.so"
    link.unlink(missing_ok=True)
    link.symlink_to(runtimes[0])
    return [str(folder)]


@functools.cache
def openmp_flags() -> list[str]:
    """Flags for several threads on the CPU, where the compiler's OpenMP is the one of torch.

    That is so for GCC. clang calls another runtime, which need not be there, and Apple's refuses
    the flag: built by them the operators compute in one thread.
    """
    command = shlex.split(os.environ.get("CXX") or "c++")
    macros = [*command, "-dM", "-E", "-x", "c++", os.devnull]
    try:
        result = subprocess.run(macros, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"pcdet is compiled by a C++ compiler: install g++ or set CXX ({error})")
    if result.returncode == 0 and "__clang__" not in result.stdout:
        return ["-fopenmp"]
    sys.stderr.write(f"pcdet: {command[0]} is not GCC, so the operators compute in one thread\n")
    return []


def make_extension(name: str, toolkit: Toolkit | None) -> Extension:
    """The extension of one operator, from all sources in its src folder."""
    ops = Path("pcdet") / "ops"
    sources = sorted((ops / name / "src").glob("*.cpp"))
    headers = [*(ops / "common").glob("*.*h"), *(ops / name / "src").glob("*.h")]
    kernels = sorted((ops / name / "src").glob("*.cu"))
    # -g0: Python's own flags ask for debug information, which takes longer than all else.
    flags = {"cxx": ["-O3", "-g0", *openmp_flags()]}
    libraries: list[str] = []
    if kernels or name in WITHOUT_TORCH:
        # All must round alike, so none may fuse a multiplication with an addition.
        flags["cxx"].append("-ffp-contract=off")
    with_cuda = toolkit is not None and bool(kernels)
    if with_cuda:
        sources += kernels
        libraries = link_folders(toolkit.home)
        architectures = ",".join(re.split("[; ]+", os.environ["TORCH_CUDA_ARCH_LIST"].strip()))
        flags["cxx"] += ["-DWITH_CUDA", f"-DPCDET_CUDA_ARCHITECTURES={architectures}"]
        flags["nvcc"] = ["-O3", "-fmad=false"]
    # Linked without -fopenmp: the threads are then those of the OpenMP that torch has loaded, and
    # torch.set_num_threads holds here too.
    extension = cpp_extension.CUDAExtension if with_cuda else cpp_extension.CppExtension
    if name in WITHOUT_TORCH:
        extension = Extension
    return extension(
        name=f"pcdet.ops.{name}.{name}_ext",
        sources=[str(source) for source in sources],
        depends=[str(header) for header in sorted(headers)],
        library_dirs=libraries,
        extra_compile_args=flags,
    )


class BuildExtension(cpp_extension.BuildExtension):
    """Builds the operators side by side, and keeps object files below build/.

    The next build then compiles what has changed alone; an editable installation would put the
    files into a folder that it deletes.
    """

    def finalize_options(self) -> None:
        """Place the object files where an installation that is not editable has them."""
        super().finalize_options()
        tag = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
        self.build_temp = str(Path("build") / f"temp.{tag}")
        self.parallel = os.cpu_count()

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one operator in a folder of its own, where ninja keeps its file, too."""
        command = copy.copy(self)
        command.build_temp = str(Path(self.build_temp) / ext.name)
        super(BuildExtension, command).build_extension(ext)


def main() -> None:
    """Run setuptools."""
    toolkit = prepare_cuda()
    setup(
        name="pcdet",
        version=read_version(),
        description="3D object detection from point clouds, on the CPU and on CUDA",
        python_requires=">=3.10",
        install_requires=read_requirements(),
        extras_require=EXTRAS,
        packages=find_packages(include=["pcdet", "pcdet.*"]),
        package_data={
            "pcdet": [f"**/*.{kind}" for kind in ("yaml", "json", "npz", "txt", "md")],
            "pcdet.viewer": ["assets/*"],
        },
        ext_modules=[make_extension(name, toolkit) for name in EXTENSIONS],
        cmdclass={"build_ext": BuildExtension},
        entry_points={"console_scripts": COMMANDS},
        zip_safe=False,
    )


if __name__ == "__main__":
    main()
