"""Python, torch, CUDA, the compiled operators, sparse layers and threads."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from pcdet.doctor.findings import Finding
from pcdet.doctor.libraries import requirements, version_numbers
from pcdet.ops.extension_file import EXTENSIONS

_REBUILD = "run `pip install --no-build-isolation -e .` in the repository"
_WITH_KERNELS = ("iou3d_nms", "roiaware_pool3d", "three_nn")  # for CUDA, if they were built for it
_OTHER_TORCH = "install the build that `python tools/scripts/install_torch.py` picks"
# Oldest driver of each CUDA on Linux, by NVIDIA's table.
_LEAST_DRIVER = {12: 525, 13: 580}
_SECONDS = 30  # for a command to answer


def run_quietly(*command: str) -> str | None:
    """What a command prints, or None if it is not there or fails."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def import_torch() -> Any | None:
    """The module, or None if it cannot be imported; `examine_torch` says why."""
    try:
        return importlib.import_module("torch")
    except Exception:
        return None


def examine_python() -> list[Finding]:
    """The interpreter, and the version of this package."""
    from pcdet import __version__

    return [
        Finding("pcdet", f"{__version__} in {Path(__file__).resolve().parents[1]}"),
        Finding("python", f"{platform.python_version()}, {sys.executable}"),
    ]


def gpus_of_driver() -> list[tuple[str, str, str]]:
    """Name, driver version and compute capability of each GPU that nvidia-smi lists."""
    query = "--query-gpu=name,driver_version,compute_cap"
    text = run_quietly("nvidia-smi", query, "--format=csv,noheader") or ""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    return [tuple(row) for row in rows if len(row) == 3]


def examine_torch() -> list[Finding]:
    """torch, its CUDA, and the GPUs that it and the driver see."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken torch raises OSError, too
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = f"torch cannot be imported ({reason}): install it, https://pytorch.org says how"
        return [Finding("torch", "cannot be imported", advice, broken=True)]
    cuda, gpus = torch.version.cuda, gpus_of_driver()
    others = f"ROCm {torch.version.hip}" if torch.version.hip else "CPU build"
    version = Finding("torch", f"{torch.__version__}, {f'CUDA {cuda}' if cuda else others}")
    least = requirements().get("torch", ())
    if version_numbers(torch.__version__) < least:
        oldest = ".".join(map(str, least))
        version.advice, version.broken = f"torch {oldest} or later is needed: upgrade it", True
    elif gpus and not cuda:
        version.advice = f"this torch cannot use the GPU: {_OTHER_TORCH}"
    findings = [version, _driver(gpus)]
    usable = torch.cuda.is_available()
    for k in range(torch.cuda.device_count() if usable else 0):
        properties = torch.cuda.get_device_properties(k)
        memory = properties.total_memory / 2**30
        capability = f"{properties.major}.{properties.minor}"
        gpu = Finding(f"GPU {k}", f"{properties.name}, capability {capability}, {memory:.0f} GiB")
        built = [_in_torch_notation(name) for name in torch.cuda.get_arch_list()]
        if not runs_on((properties.major, properties.minor), built):
            gpu.advice = (
                f"this torch has no kernels for capability {capability}, only for "
                f"{', '.join(built)}: {_OTHER_TORCH}"
            )
        findings.append(gpu)
    if not usable:
        findings.append(_no_gpu(torch, gpus))
    return findings


def _no_gpu(torch: Any, gpus: list[tuple[str, str, str]]) -> Finding:
    """That torch sees no GPU, and why if it is built for some."""
    from pcdet.utils.device_utils import why_no_gpu  # needs torch and NumPy

    cuda, reason = torch.version.cuda, why_no_gpu()
    told = "" if reason is None else f": {reason}"
    finding = Finding("GPUs", f"none that torch can use{told}")
    if cuda and gpus:
        finding.advice = (
            f"the driver has a GPU but torch cannot use it: {_driver_fault(gpus[0][1], cuda)}: "
            f"update the driver, or {_OTHER_TORCH}"
        )
    elif reason is not None:
        finding.advice = (
            "this torch is built for GPUs and sees none, so everything runs on the CPU: install "
            "the driver if there is a GPU; if there is none, the build for the CPU does the same "
            "and is some GB smaller"
        )
    return finding


def _driver_fault(driver: str, cuda: str) -> str:
    least = _LEAST_DRIVER.get(version_numbers(cuda)[0])
    if least is None or version_numbers(driver)[0] >= least:
        return f"driver {driver} may be too old for CUDA {cuda}, or the GPU is hidden or broken"
    return f"driver {driver} is too old for CUDA {cuda}, which wants {least} or later"


def _driver(gpus: list[tuple[str, str, str]]) -> Finding:
    if gpus:
        names = ", ".join(f"{name} ({capability})" for name, _, capability in gpus)
        return Finding("NVIDIA driver", f"{gpus[0][1]}: {names}")
    there = shutil.which("nvidia-smi") is not None
    state = "nvidia-smi is there and lists no GPU" if there else "none (no nvidia-smi)"
    return Finding("NVIDIA driver", state)


def examine_toolkit() -> list[Finding]:
    """The CUDA toolkit, which is needed only to build the operators for CUDA."""
    torch = import_torch()
    if torch is None:
        return [Finding("CUDA toolkit", "not examined: it needs torch")]
    if torch.version.cuda is None:
        kind = "ROCm" if torch.version.hip else "the CPU"
        return [Finding("CUDA toolkit", f"not needed: this torch is built for {kind}")]
    from pcdet.ops.common import cuda_toolkit  # needs torch

    try:
        toolkit = cuda_toolkit.find_toolkit()
    except cuda_toolkit.CudaUnusable as fault:
        return [Finding("CUDA toolkit", f"none to build the operators for CUDA with: {fault}")]
    return [Finding("CUDA toolkit", f"{toolkit.release}, {toolkit.nvcc}")]


def examine_sparse_conv() -> list[Finding]:
    """What computes the sparse layers, and why; spconv is optional."""
    name, torch = "sparse layers", import_torch()
    if torch is None:
        return [Finding(name, "not examined: they need torch")]
    backends = importlib.import_module("pcdet.ops.sparse_conv.backends")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backend, reason = backends.choose_backend(device)
    finding = Finding(name, f"{backend.name} on {device.type}: {reason}")
    versions = [f"{name} {version}" for name, version in installed("spconv").items()]
    if versions:
        finding.state += f"; {', '.join(versions)} is there for SPARSE_CONV=spconv"
    if len(versions) > 1:
        finding.advice = f"more than one spconv is installed ({', '.join(versions)}): keep one"
    return [finding]


def installed(prefix: str) -> dict[str, str]:
    """Name and version of the installed distributions whose names begin with `prefix`."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name.lower().startswith(prefix):
            found[name] = distribution.version
    return found


def examine_extensions() -> list[Finding]:
    """The compiled operators: whether they load, and what each was compiled for."""
    if import_torch() is None:
        return [Finding("operators", "not examined: they need torch")]
    for name in EXTENSIONS:
        try:
            importlib.import_module(f"pcdet.ops.{name}.{name}_utils")
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return [Finding("operators", f"{name} does not load", f"{reason}", broken=True)]
    return [_what_for(name) for name in EXTENSIONS]


def architectures_of(name: str) -> list[str]:
    """GPU architectures that a loaded extension's kernels were compiled for, if there are any."""
    from pcdet.ops.common import Operators  # needs torch

    return Operators(f"pcdet_{name}").cuda_architectures


def _what_for(name: str) -> Finding:
    """What one extension was compiled for, and whether the GPUs can use it."""
    if name not in _WITH_KERNELS:
        return Finding(name, "compiled for the CPU; what runs on CUDA does not need it")
    torch = import_torch()
    gpus = [torch.cuda.get_device_capability(k) for k in range(torch.cuda.device_count())]
    names = architectures_of(name)
    where = f"the CPU and CUDA: {', '.join(names)}" if names else "the CPU alone"
    finding = Finding(name, f"compiled for {where}")
    if gpus and not names:
        finding.advice = (
            f"{name} has no CUDA code, so it copies tensors to the CPU and back: {_build_advice()}"
        )
    for capability in gpus if names else ():
        if not runs_on(capability, names):
            wanted = ".".join(map(str, capability))
            finding.advice = (
                f"{name} lacks the GPU's architecture {wanted}: with "
                f'TORCH_CUDA_ARCH_LIST="{wanted}" set, {_REBUILD}'
            )
    return finding


def _build_advice() -> str:
    """How to build for CUDA here: what is missing first, if something is."""
    from pcdet.ops.common import cuda_toolkit  # needs torch

    try:
        cuda_toolkit.find_toolkit()
    except cuda_toolkit.CudaUnusable as fault:
        return f"{fault}; then {_REBUILD}"
    return _REBUILD


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a GPU can run kernels compiled for the architectures, in torch's notation.

    Binary code runs on later minor versions of its major version; PTX on all later ones.
    """
    for name in architectures:
        number = re.match(r"(\d+)\.(\d+)", name)
        if number is None:
            return True  # a name such as Hopper: torch knows what it means
        built = (int(number.group(1)), int(number.group(2)))
        same_major = built[0] == capability[0] and built <= capability
        if same_major or (name.endswith("+PTX") and built <= capability):
            return True
    return False


def _in_torch_notation(name: str) -> str:
    """8.6 of sm_86, and 9.0+PTX of compute_90; as it is if it has another form."""
    number = re.fullmatch(r"(sm|compute)_(\d+)(\d)", name)
    if number is None:
        return name
    kind, major, minor = number.groups()
    return f"{major}.{minor}{'+PTX' if kind == 'compute' else ''}"


def examine_threads() -> list[Finding]:
    """Threads that a process computes with, and the cores that there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = os.environ.get("OMP_NUM_THREADS")
    torch = import_torch()
    threads = torch.get_num_threads() if torch is not None else None
    setting = f"OMP_NUM_THREADS={wanted}" if wanted else "OMP_NUM_THREADS is not set"
    finding = Finding("OpenMP", f"{threads or '?'} threads on {cores} cores; {setting}")
    if threads is not None and threads > cores:
        finding.advice = (
            f"{threads} OpenMP threads on {cores} cores slow each other down: set "
            f"OMP_NUM_THREADS={cores}"
        )
    return [finding]
