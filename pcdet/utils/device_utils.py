"""The device of this process and its random numbers."""

from __future__ import annotations

import random

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party code may still use the global generator
    torch.manual_seed(seed)


def default_device() -> torch.device:
    """Return the CUDA device of this process if torch has one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def why_no_gpu() -> str | None:
    """Why a torch that is built for GPUs sees none, in torch's words; else None."""
    if torch.cuda.is_available() or not torch.backends.cuda.is_built():
        return None
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error).split(". ")[0].strip().removesuffix(".")
    return "no usable GPU"
