"""spconv's implicit GEMM for CUDA, given our own plans: the only module that imports spconv."""

from __future__ import annotations

import warnings
from weakref import WeakKeyDictionary

import numpy as np
import torch

with warnings.catch_warnings():
    # spconv still names torch's decorators by their old path.
    warnings.simplefilter("ignore", FutureWarning)
    from cumm import tensorview
    from spconv.pytorch import functional
    from spconv.pytorch.cppcore import torch_tensor_to_tv

from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend
from pcdet.ops.sparse_conv.plan import Tables

_MOST_OFFSETS = 32  # bits of its masks


def _from_numpy(array: np.ndarray) -> tensorview.Tensor:
    """An array as a tensor of cumm's own, by way of torch.

    What `cumm.tensorview.from_numpy` should do; that of cumm-cu120 0.4.11 kills the process
    (SIGFPE) with numpy 2, and spconv calls it in every forward and backward.
    """
    array = np.ascontiguousarray(array)
    if array.dtype == np.uint32:  # torch has it, spconv's table of types has not
        return torch_tensor_to_tv(torch.from_numpy(array.view(np.int32)), tensorview.uint32).clone()
    return torch_tensor_to_tv(torch.from_numpy(array)).clone()


tensorview.from_numpy = _from_numpy


class SpconvBackend(Backend):
    """float32 and float16; what spconv does not know, torch computes."""

    name = "spconv"

    def __init__(self) -> None:
        self._plain = TorchBackend()
        self._masks: WeakKeyDictionary[Tables, list] = WeakKeyDictionary()

    def convolve(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`."""
        return self.gather_conv(features, weight, neighbours)

    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`."""
        return self._plain.weight_grad(features, grad, neighbours)

    def gather_conv(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`; the gradients are spconv's own."""
        known = features.dtype in (torch.float32, torch.float16)
        empty = not (features.numel() and weight.numel() and neighbours.sources.numel())
        if empty or not known or len(neighbours.sources) > _MOST_OFFSETS:
            return self._plain.gather_conv(features, weight, neighbours)
        if neighbours not in self._masks:
            tables = (neighbours.sources, neighbours.targets)
            self._masks[neighbours] = [_masks_of(table) for table in tables]
        (forward, forward_order), (backward, backward_order) = self._masks[neighbours]
        return functional.implicit_gemm(
            features.contiguous(),
            weight.permute(2, 0, 1).contiguous(),  # (Cout, K, Cin)
            neighbours.sources,
            neighbours.targets,
            [forward],
            [backward],
            [forward_order],
            [backward_order],
            neighbours.sources.shape[1],
            [np.array([0xFFFFFFFF], np.uint32)],
            torch.is_grad_enabled(),
            False,
        )


def _masks_of(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, 1) int32 bits of the offsets that each row has, and (M,) int32 rows sorted by them."""
    bits = torch.arange(len(table), device=table.device)
    mask = ((table >= 0).long() << bits.view(-1, 1)).sum(0)
    order = mask.argsort(stable=True)
    # The highest of 32 bits is the sign of an int32.
    mask = torch.where(mask >= 2**31, mask - 2**32, mask)
    return mask.int().view(-1, 1), order.int()
