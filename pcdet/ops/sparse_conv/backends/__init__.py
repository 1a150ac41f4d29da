"""What computes the sparse layers: one class for each way, and the rule that picks one.

`auto`, the rule where nothing else is asked for:

1. on the CPU `cpu`, the native operators;
2. on CUDA and ROCm `triton`, if it is installed, the GPU is of capability 8.0 or later, and a small
   convolution computed by it equals that of `torch`;
3. everywhere else `torch`.

`MODEL.SPARSE_CONV` of the yaml asks for another one, and the environment variable SPARSE_CONV for
one instead of that. A backend that cannot be had on a device is replaced by the rule, with one
warning that says why.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os

import torch

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend

BACKENDS = ("auto", "cpu", "torch", "triton", "spconv")
ENVIRONMENT = "SPARSE_CONV"
_logger = logging.getLogger(__name__)
_requested = ["auto"]


class BackendUnusable(Exception):
    """Why a backend cannot be used on a device, in one clause."""


def request_backend(name: str, where: str = "SPARSE_CONV") -> None:
    """Ask for a backend in this process; the environment variable SPARSE_CONV goes before it.

    Args:
        name: one of BACKENDS.
        where: who asks, for the message.

    Raises:
        ValueError: there is no such backend, or the environment variable names none.
    """
    _requested[0] = _known(name, where)
    _asked_for()


def backend_for(device: torch.device) -> Backend:
    """The backend that computes on a device."""
    return choose_backend(device)[0]


def choose_backend(device: torch.device) -> tuple[Backend, str]:
    """The backend that computes on a device, and why it is that one.

    Raises:
        ValueError: the environment variable names none.
    """
    return _choose(_asked_for(), device)


def _asked_for() -> str:
    asked = os.environ.get(ENVIRONMENT)
    return _known(asked, f"the variable {ENVIRONMENT}") if asked else _requested[0]


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where}: one of {', '.join(BACKENDS)} expected, got {name!r}")
    return name


@functools.cache
def _choose(name: str, device: torch.device) -> tuple[Backend, str]:
    if name != "auto":
        try:
            return _MAKERS[name](device), "asked for"
        except BackendUnusable as reason:
            backend, rule = _choose("auto", device)
            reason = f"{name} was asked for, but {reason}"
            _logger.warning("sparse layers on %s: %s; using %s", device, reason, backend.name)
            return backend, f"{reason}; {rule}"
    if device.type == "cpu":
        return CpuBackend(), "the native operators of the CPU"
    if device.type != "cuda":
        return TorchBackend(), f"plain torch, for there is nothing else for {device.type}"
    try:
        return _make_triton(device), "its kernels pass their test on this GPU"
    except BackendUnusable as reason:
        _logger.warning("sparse layers on %s: %s; using plain torch", device, reason)
        return TorchBackend(), f"plain torch, for {reason}"


def _make_cpu(device: torch.device) -> Backend:
    if device.type != "cpu":
        raise BackendUnusable("it computes on the CPU alone")
    return CpuBackend()


def _make_triton(device: torch.device) -> Backend:
    from pcdet.ops.sparse_conv.backends.self_test import compare_with_torch

    if importlib.util.find_spec("triton") is None:
        raise BackendUnusable("triton is not installed")
    from pcdet.ops.sparse_conv.backends.triton_backend import TritonBackend, is_interpreted

    if device.type == "cpu" and is_interpreted():
        return TritonBackend()
    if device.type != "cuda":
        raise BackendUnusable("it computes on CUDA and ROCm alone")
    if torch.version.cuda and torch.cuda.get_device_capability(device) < (8, 0):
        raise BackendUnusable("triton wants a GPU of capability 8.0 or later")
    try:
        compare_with_torch(TritonBackend(), device)
    except Exception as error:  # its compiler, the driver and the comparison raise what they like
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise BackendUnusable(f"triton failed: {type(error).__name__}: {reason}") from error
    return TritonBackend()


def _make_spconv(device: torch.device) -> Backend:
    from pcdet.ops.sparse_conv.backends.self_test import run_in_a_process

    if device.type != "cuda":
        raise BackendUnusable("it computes on CUDA alone")
    if importlib.util.find_spec("spconv") is None:
        raise BackendUnusable("spconv is not installed")
    failure = run_in_a_process("spconv", device)
    if failure is not None:
        raise BackendUnusable(f"spconv failed its test in a process of its own: {failure}")
    from pcdet.ops.sparse_conv.backends.spconv_backend import SpconvBackend

    return SpconvBackend()


_MAKERS = {
    "cpu": _make_cpu,
    "torch": lambda device: TorchBackend(),
    "triton": _make_triton,
    "spconv": _make_spconv,
}
