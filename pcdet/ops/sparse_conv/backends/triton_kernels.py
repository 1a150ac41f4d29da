"""The two Triton kernels of a sparse convolution: gathered rows times weights, and their gradient.

Both leave out what is not there: an offset of the kernel at which no row of a tile has a neighbour.
A sum is made in the same order whichever configuration the tuner picks, so that results do not
depend on which was faster: BLOCK_K and BLOCK_R, over which is summed, are the caller's.

With TRITON_INTERPRET=1 they run on the CPU, slowly.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import triton
import triton.language as tl

# What triton.jit goes by; asked once, as the kernels are compiled for one or the other.
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")
_INTERPRETED = tl.constexpr(IS_INTERPRETED)


def _tuned(key: list[str], configurations: list[Any]) -> Any:
    """Times the configurations once for each key, and keeps the answer on the disk if it can."""
    known = inspect.signature(triton.autotune).parameters
    kept = {"cache_results": True} if "cache_results" in known else {}
    # The interpreter has no clock worth asking.
    return triton.autotune(configurations[:1] if IS_INTERPRETED else configurations, key, **kept)


@triton.jit
def _add_product(total, a, b, PRECISION: tl.constexpr):
    """Total + a @ b; the interpreter cannot multiply bfloat16, so it gets both in float32."""
    if _INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def _add_offset(
    total, features, weight, source, columns,
    stride_in, stride_out, C_IN: tl.constexpr, C_OUT: tl.constexpr,
    BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Total += features[source] @ weight for the columns of a tile."""
    there = (source >= 0)[:, None]
    rows = features + source.to(tl.int64)[:, None] * C_IN
    for begin in range(0, C_IN, BLOCK_K):
        channels = begin + tl.arange(0, BLOCK_K)
        a = tl.load(rows + channels[None, :], mask=there & (channels < C_IN)[None, :], other=0.0)
        b = tl.load(
            weight + channels[:, None] * stride_in + columns[None, :] * stride_out,
            mask=(channels < C_IN)[:, None] & (columns < C_OUT)[None, :],
            other=0.0,
        )
        total = _add_product(total, a, b, PRECISION)
    return total


@_tuned(
    key=["C_IN", "C_OUT", "OFFSETS"],
    configurations=[
        triton.Config({"BLOCK_M": 64, "SKIP": True}, num_warps=4, num_stages=2),
        triton.Config({"BLOCK_M": 128, "SKIP": True}, num_warps=8, num_stages=2),
        triton.Config({"BLOCK_M": 64, "SKIP": False}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 128, "SKIP": False}, num_warps=8, num_stages=3),
    ],
)
@triton.jit
def gather_product(
    features, weight, sources, output, num_outputs,
    stride_offset, stride_in, stride_out,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, OFFSETS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Output (M, C_OUT) = sum over k of features (N, C_IN) at sources (K, M), times weight[k].

    One program makes BLOCK_M rows and BLOCK_N columns. SKIP leaves out empty offsets, at the price
    of a branch around which loads are not pipelined.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = rows < num_outputs
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    list_of_offset = sources + rows
    for _ in range(OFFSETS):
        source = tl.load(list_of_offset, mask=inside, other=-1)
        if SKIP:
            if tl.max(source, axis=0) >= 0:
                total = _add_offset(
                    total, features, weight, source, columns,
                    stride_in, stride_out, C_IN, C_OUT, BLOCK_K, PRECISION,
                )  # fmt: skip
        else:
            total = _add_offset(
                total, features, weight, source, columns,
                stride_in, stride_out, C_IN, C_OUT, BLOCK_K, PRECISION,
            )  # fmt: skip
        list_of_offset += num_outputs
        weight += stride_offset
    place = output + rows.to(tl.int64)[:, None] * C_OUT + columns[None, :]
    tl.store(
        place,
        total.to(output.dtype.element_ty),
        mask=inside[:, None] & (columns < C_OUT)[None, :],
    )


@_tuned(
    key=["C_IN", "C_OUT", "OFFSETS"],
    configurations=[
        triton.Config({}, num_warps=4, num_stages=2),
        triton.Config({}, num_warps=8, num_stages=2),
        triton.Config({}, num_warps=4, num_stages=3),
    ],
)
@triton.jit
def weight_gradient(
    features, grad, sources, partial, num_outputs, rows_of_part,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, OFFSETS: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_R: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Partial (P, K, C_IN, C_OUT): features[sources[k]]^T @ grad (M, C_OUT), rows in P parts.

    One program makes BLOCK_I x BLOCK_O numbers of an offset from one part of the rows; the parts
    are added afterwards, in order.
    """
    tiles_out = tl.cdiv(C_OUT, BLOCK_O)
    channels = tl.program_id(0) // tiles_out * BLOCK_I + tl.arange(0, BLOCK_I)
    columns = tl.program_id(0) % tiles_out * BLOCK_O + tl.arange(0, BLOCK_O)
    offset, part = tl.program_id(1), tl.program_id(2)
    list_of_offset = sources + offset.to(tl.int64) * num_outputs
    end = tl.minimum((part + 1) * rows_of_part, num_outputs)
    total = tl.zeros((BLOCK_I, BLOCK_O), tl.float32)
    for begin in range(part * rows_of_part, end, BLOCK_R):
        rows = begin + tl.arange(0, BLOCK_R)
        source = tl.load(list_of_offset + rows, mask=rows < end, other=-1)
        if tl.max(source, axis=0) >= 0:
            there = source >= 0
            a = tl.load(
                features + source.to(tl.int64)[None, :] * C_IN + channels[:, None],
                mask=there[None, :] & (channels < C_IN)[:, None],
                other=0.0,
            )
            b = tl.load(
                grad + rows.to(tl.int64)[:, None] * C_OUT + columns[None, :],
                mask=there[:, None] & (columns < C_OUT)[None, :],
                other=0.0,
            )
            total = _add_product(total, a, b, PRECISION)
    matrix = partial + (part * OFFSETS + offset).to(tl.int64) * (C_IN * C_OUT)
    tl.store(
        matrix + channels[:, None] * C_OUT + columns[None, :],
        total,
        mask=(channels < C_IN)[:, None] & (columns < C_OUT)[None, :],
    )
