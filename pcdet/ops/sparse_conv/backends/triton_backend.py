"""Triton's kernels: neighbours are gathered, multiplied and added without being stored between."""

from __future__ import annotations

import contextlib

import torch

from pcdet.ops.sparse_conv.backends import triton_kernels as kernels
from pcdet.ops.sparse_conv.backends.base import Backend
from pcdet.ops.sparse_conv.backends.torch_backend import TorchBackend
from pcdet.ops.sparse_conv.plan import Tables

_ROWS_OF_PART = 1024  # outputs whose part of the weight's gradient one program adds, at least
_MOST_PARTS = 32  # so that the parts stay small: 32 * K * Cin * Cout floats


def is_interpreted() -> bool:
    """Whether TRITON_INTERPRET=1 was set when the kernels were loaded: they then run on the CPU."""
    return bool(kernels.IS_INTERPRETED)


class TritonBackend(Backend):
    """float32 (TF32 where torch's convolutions may use it), bfloat16 and float16, added in float32.

    float64, which tensor cores do not have in this form, is left to plain torch.
    """

    name = "triton"

    def __init__(self) -> None:
        self._plain = TorchBackend()

    def convolve(
        self, features: torch.Tensor, weight: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`."""
        if features.dtype == torch.float64:
            return self._plain.convolve(features, weight, neighbours)
        features, sources = features.contiguous(), neighbours.sources.contiguous()
        (offsets, c_in, c_out), outputs = weight.shape, sources.shape[1]
        if not features.numel() or not outputs * c_out:
            return features.new_zeros(outputs, c_out)
        output = features.new_empty(outputs, c_out)
        block_n = _block(c_out, 128)

        def grid(chosen: dict) -> tuple[int, int]:
            return _tiles(outputs, chosen["BLOCK_M"]), _tiles(c_out, block_n)

        with _current(features.device):
            kernels.gather_product[grid](
                features, weight, sources, output, outputs, *weight.stride(),
                C_IN=c_in, C_OUT=c_out, OFFSETS=offsets, BLOCK_N=block_n,
                BLOCK_K=_block(c_in, 128 // features.element_size()),
                PRECISION=_precision(features.dtype),
            )  # fmt: skip
        return output

    def weight_grad(
        self, features: torch.Tensor, grad: torch.Tensor, neighbours: Tables
    ) -> torch.Tensor:
        """See `Backend`."""
        if features.dtype == torch.float64:
            return self._plain.weight_grad(features, grad, neighbours)
        features, sources = features.contiguous(), neighbours.sources.contiguous()
        offsets, outputs = sources.shape
        c_in, c_out = features.shape[1], grad.shape[1]
        if not features.numel() or not grad.numel():
            return grad.new_zeros(offsets, c_in, c_out)
        parts = min(_tiles(outputs, _ROWS_OF_PART), _MOST_PARTS)
        block_r = 128 // features.element_size()
        partial = grad.new_empty(parts, offsets, c_in, c_out, dtype=torch.float32)
        block_i, block_o = _block(c_in, 64), _block(c_out, 64)
        with _current(features.device):
            kernels.weight_gradient[_tiles(c_in, block_i) * _tiles(c_out, block_o), offsets, parts](
                features, grad, sources, partial, outputs,
                _tiles(outputs, parts * block_r) * block_r,
                C_IN=c_in, C_OUT=c_out, OFFSETS=offsets, BLOCK_I=block_i, BLOCK_O=block_o,
                BLOCK_R=block_r, PRECISION=_precision(features.dtype),
            )  # fmt: skip
        return partial.sum(0).to(grad.dtype)


def _tiles(size: int, block: int) -> int:
    """How many blocks cover a size."""
    return -(-size // block)


def _block(channels: int, most: int) -> int:
    """The power of two from 16, the least that tensor cores multiply, that covers the channels."""
    return min(most, max(16, 1 << (channels - 1).bit_length()))


def _precision(dtype: torch.dtype) -> str:
    """How factors are rounded: TF32 wherever torch's own convolutions of float32 may be."""
    if dtype != torch.float32 or torch.version.hip is not None:
        return "ieee"
    # From torch 2.9 on, where the older flag raises once this setting has been used.
    conv = getattr(torch.backends.cudnn, "conv", None)
    tf32 = torch.backends.cudnn.allow_tf32 if conv is None else conv.fp32_precision == "tf32"
    return "tf32" if tf32 else "ieee"


def _current(device: torch.device) -> contextlib.AbstractContextManager:
    """Kernels are launched on the current GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
