"""Installs the compiler of torch's CUDA as a wheel, where a build for CUDA lacks nothing else.

    .venv/bin/python tools/scripts/install_nvcc.py

Does nothing where torch sees no GPU, or where a toolkit is found. If there is no wheel, or it
cannot be installed, this says so: the operators are then built for the CPU, and work all the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pcdet.ops.common.cuda_toolkit import CudaUnusable, find_toolkit, nvcc_wheel


def fault() -> str | None:
    """Why the operators cannot be built for CUDA now; None if they can."""
    try:
        find_toolkit()
    except CudaUnusable as reason:
        return str(reason)
    return None


def main() -> None:
    """Run the command line."""
    if not (torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"):
        return
    reason, wheel = fault(), nvcc_wheel()
    if reason and wheel and not (os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")):
        sys.stdout.write(f"== the compiler of CUDA {torch.version.cuda}, as a wheel\n")
        sys.stdout.flush()
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        failed = subprocess.run([*pip, wheel]).returncode
        reason = f"{wheel} cannot be installed" if failed else fault()
    if reason:
        sys.stdout.write(f"== the operators are built without CUDA code: {reason}\n")


if __name__ == "__main__":
    main()
