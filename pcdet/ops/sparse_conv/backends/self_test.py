"""A small convolution by a backend next to the same by plain torch, before anything relies on it.

    python -m pcdet.ops.sparse_conv.backends.self_test spconv cuda:0

A library that fails on a GPU may take the process with it. Run as a program, it takes that one.
"""

from __future__ import annotations

import functools
import logging
import math
import signal
import subprocess
import sys

import torch

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend
from pcdet.ops.sparse_conv.plan import Geometry, LayerPlan, make_plan
from pcdet.ops.sparse_conv.sites import Sites
from pcdet.ops.sparse_conv.sparse_conv_utils import has_matrix_units

_logger = logging.getLogger(__name__)
_SECONDS = 300  # to import torch and a library, and to compile kernels
_TOLERANCE = 2e-2  # of the largest number; factors may be rounded to bfloat16's eight bits
_GRID = (8, 9, 10)


@torch.inference_mode(False)  # gradients are compared, too, where a test comes first
def compare_with_torch(
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    channels: tuple[int, int] = (16, 32),
) -> None:
    """Compute submanifold, strided and inverse convolutions with their gradients in both ways.

    Args:
        backend: the way to test.
        device: where.
        dtype: of its numbers; torch computes in float32.
        channels: in and out.

    Raises:
        RuntimeError: they differ.
        Exception: whatever the backend raises.
    """
    generator = torch.Generator().manual_seed(0)
    cells = (torch.rand(2, *_GRID, generator=generator) < 0.3).nonzero().int()
    sites = Sites(cells.to(device), _GRID, 2)
    reference = TorchBackend()
    plans, reference_plans = (_plans(sites, each.takes_pairs) for each in (backend, reference))
    for name, plan in plans.items():
        features = torch.randn(len(plan.inputs), channels[0], generator=generator).to(device)
        offsets = math.prod(plan.geometry.kernel_size)
        weight = torch.randn(channels[1], offsets, channels[0], generator=generator).to(device)
        grad = torch.randn(len(plan.outputs), channels[1], generator=generator).to(device)
        tensors = (features, weight, grad)
        expected = _results(reference, *tensors, reference_plans[name].neighbours)
        found = _results(backend, *(tensor.to(dtype) for tensor in tensors), plan.neighbours)
        for what, ours, theirs in zip(("output", "gradient", "weight's gradient"), found, expected):
            difference = (ours.float() - theirs).abs().max() / theirs.abs().max()
            if not difference < _TOLERANCE:
                raise RuntimeError(
                    f"the {what} of a {name} convolution differs from torch's by {difference:.2g} "
                    "of its largest number"
                )


def _plans(sites: Sites, as_pairs: bool) -> dict[str, LayerPlan]:
    strided = make_plan(sites, Geometry((3, 3, 3), (2, 2, 2), (1, 1, 1)), as_pairs)
    return {
        "submanifold": make_plan(sites, Geometry((3, 3, 3), submanifold=True), as_pairs),
        "strided": strided,
        "inverse": strided.inverse,
        "flat": make_plan(sites, Geometry((3, 1, 1), (2, 1, 1)), as_pairs),
    }


def _results(backend, features, weight, grad, neighbours) -> tuple[torch.Tensor, ...]:
    with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
        leaves = features.clone().requires_grad_(), weight.clone().requires_grad_()
        output = backend.gather_conv(leaves[0], leaves[1].permute(1, 2, 0), neighbours)
        # Of a sum, as torch would import sympy to look at a gradient that it is given.
        return (output.detach(), *torch.autograd.grad((output * grad).sum(), leaves))


@functools.cache
def matrix_units_work() -> bool:
    """Whether there are matrix units for bfloat16, and the native operators are right by them."""
    if not has_matrix_units():
        return False
    from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend

    try:
        for channels in ((16, 32), (48, 64)):
            compare_with_torch(CpuBackend(), torch.device("cpu"), torch.bfloat16, channels)
    except Exception as error:  # whatever the library that multiplies makes of this processor
        _logger.warning("sparse layers in float32, as bfloat16 fails in matrix units: %s", error)
        return False
    return True


@functools.cache
def run_in_a_process(name: str, device: torch.device) -> str | None:
    """The comparison in a process of its own, once: None if all is well, else what went wrong."""
    command = [sys.executable, "-m", __spec__.name, name, str(device)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"
    if result.returncode == 0:
        return None
    if result.returncode < 0:
        return f"it was killed by {signal.Signals(-result.returncode).name}"
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {result.returncode}"


def main(name: str, device: str) -> None:
    """Compare one backend; an exception is the answer that something is wrong."""
    torch.empty(1, device=device)  # before a library is loaded for a device that is not there
    if name == "spconv":
        from pcdet.ops.sparse_conv.backends.spconv_backend import SpconvBackend as Chosen
    else:
        from pcdet.ops.sparse_conv.backends.triton_backend import TritonBackend as Chosen
    compare_with_torch(Chosen(), torch.device(device))


if __name__ == "__main__":
    main(*sys.argv[1:])
