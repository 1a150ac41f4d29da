"""Installs the build of torch that the driver and the GPUs of this machine can use.

    .venv/bin/python tools/scripts/install_torch.py [REQUIREMENT]

into the environment of the Python that runs it. A requirement, such as torch==2.12.0, is what pip
installs instead. Needs nothing but Python and pip.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from typing import NamedTuple

VERSION = "2.13.0"
INDEX = "https://download.pytorch.org/whl/"


class Build(NamedTuple):
    """A build of torch for CUDA, and what it runs on.

    Attributes:
        name: the folder of PyTorch's index, and the local part of the version.
        least_driver: first number of the version of the oldest driver.
        capabilities: compute capabilities of GPUs, from and to.
        on_pypi: the build that PyPI has for x86-64.
    """

    name: str
    least_driver: int
    capabilities: tuple[float, float]
    on_pypi: bool = False


# Of torch 2.13, by PyTorch's support matrix (RELEASE.md) and NVIDIA's table of drivers. What is
# built for CUDA 12.6 runs on every driver of CUDA 12; torch 2.15 will not have that build.
BUILDS = (
    Build("cu130", least_driver=580, capabilities=(7.5, 12.9), on_pypi=True),
    Build("cu126", least_driver=525, capabilities=(5.0, 9.9)),
)


class Gpu(NamedTuple):
    """What nvidia-smi tells of a GPU: first number of the driver's version, and capability."""

    driver: int
    capability: float


def find_gpus() -> list[Gpu]:
    """All NVIDIA GPUs; none without a driver that works."""
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        text = subprocess.run(query, check=True, capture_output=True, text=True, timeout=60).stdout
        rows = [line.split(",") for line in text.splitlines()]
        return [Gpu(int(driver.split(".")[0]), float(capability)) for driver, capability in rows]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def count_served(build: Build, gpus: list[Gpu]) -> int:
    """How many of the GPUs a build can use."""
    first, last = build.capabilities
    return sum(g.driver >= build.least_driver and first <= g.capability <= last for g in gpus)


def choose(gpus: list[Gpu]) -> tuple[str, str, str]:
    """What pip installs, the name of its index, and the reason.

    The build that serves most GPUs; of equal ones the newest. The CPU build on a Linux machine
    where none does.
    """
    found = ", ".join(f"driver {g.driver} with capability {g.capability}" for g in gpus)
    build = max(BUILDS, key=lambda candidate: count_served(candidate, gpus))
    if count_served(build, gpus):
        plain = build.on_pypi and platform.machine() == "x86_64"
        local = "" if plain else f"+{build.name}"
        return f"torch=={VERSION}{local}", build.name, f"{build.name} for {found}"
    reason = "no NVIDIA GPU"
    if gpus:
        wanted = " or ".join(
            f"driver {b.least_driver} or later with capability {b.capabilities[0]} to "
            f"{b.capabilities[1]}"
            for b in BUILDS
        )
        reason = f"{found} is of no use to torch {VERSION}, which wants {wanted}; for the CPU now"
    if platform.system() != "Linux":
        return f"torch=={VERSION}", "cpu", reason
    # Only the CPU build has this version, so pip cannot fall back to a CUDA build.
    return f"torch=={VERSION}+cpu", "cpu", reason


def install(requirement: str, index: str) -> bool:
    """Let pip install it, from where it looks by default or else from PyTorch's index."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip.append("--no-compile")  # Python compiles what is imported; all of torch takes a minute
    if subprocess.run([*pip, requirement], stderr=subprocess.DEVNULL).returncode == 0:
        return True
    command = [*pip, "--extra-index-url", INDEX + index, requirement]
    return subprocess.run(command).returncode == 0


def main(arguments: list[str]) -> int:
    """Run the command line; return its exit code."""
    if arguments:
        build = re.search(r"\+([\w.]+)$", arguments[0])
        return int(not install(arguments[0], build[1] if build else "cpu"))
    requirement, index, reason = choose(find_gpus())
    sys.stdout.write(f"== {requirement}: {reason}\n")
    sys.stdout.flush()
    if install(requirement, index):
        return 0
    if index == "cpu":
        return 1
    sys.stdout.write(f"== {requirement} cannot be installed: torch for the CPU instead\n")
    sys.stdout.flush()
    return int(not install(f"torch=={VERSION}+cpu", "cpu"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
