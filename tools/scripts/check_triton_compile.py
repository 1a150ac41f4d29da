#!/usr/bin/env python3
"""Compiles every Triton kernel for all GPU architectures that it may meet, without a GPU.

    python tools/scripts/check_triton_compile.py [--quick] [ARCH...]

By default for all (sm_80, gfx942, ...), which takes a minute for each. Prints one line for each. In
float32 as TF32 (sm_75 and gfx942, which have none, as float32), float16 and bfloat16 (not sm_75),
down to machine code; --quick compiles one type and one configuration.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)  # these kernels are to be compiled
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pcdet.ops.sparse_conv.backends import triton_kernels as kernels

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")
POINTERS = ("features", "weight", "grad", "output")
# Odd channels, and the widest layers of the networks.
CHANNELS = ((5, 16), (128, 128))


def target_of(name: str) -> GPUTarget:
    """What Triton calls an architecture."""
    if name.startswith("sm_"):
        return GPUTarget("cuda", int(name[3:]), 32)
    return GPUTarget("hip", name, 64)


def types_of(name: str) -> list[tuple[str, str]]:
    """Type of the numbers and precision of the products on an architecture."""
    wide = ("fp32", "ieee" if name in ("sm_75", "gfx942") else "tf32")
    return [wide, ("fp16", "ieee")] + ([("bf16", "ieee")] if name != "sm_75" else [])


def compile_kernel(kernel, name: str, constants: dict, dtype: str, config) -> None:
    """Compile one configuration of a kernel for one architecture and type."""
    function = kernel.fn
    constants = {**constants, **config.kwargs}
    signature = {}
    for argument in function.arg_names:
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in POINTERS:
            signature[argument] = f"*{dtype}"
        else:
            signature[argument] = {"sources": "*i32", "partial": "*fp32"}.get(argument, "i32")
    source = ASTSource(fn=function, signature=signature, constexprs=constants)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    compiled = triton.compile(source, target=target_of(name), options=options)
    binary = "cubin" if name.startswith("sm_") else "hsaco"
    assert len(compiled.asm[binary]) > 0


def check(name: str, quick: bool) -> int:
    """Compile everything for an architecture; how many kernels that were."""
    count = 0
    cases = list(itertools.product(types_of(name), CHANNELS))
    for (dtype, precision), (c_in, c_out) in cases[-2:-1] if quick else cases:
        size = 4 if dtype == "fp32" else 2
        shared = {"C_IN": c_in, "C_OUT": c_out, "OFFSETS": 27, "PRECISION": precision}
        blocks = {"BLOCK_N": max(16, c_out), "BLOCK_K": min(128 // size, max(16, c_in + 11))}
        for config in kernels.gather_product.configs[: 1 if quick else None]:
            constants = {**shared, **blocks}
            compile_kernel(kernels.gather_product, name, constants, dtype, config)
            count += 1
        blocks = {"BLOCK_I": max(16, min(64, c_in + 11)), "BLOCK_O": min(64, c_out)}
        for config in kernels.weight_gradient.configs[: 1 if quick else None]:
            constants = {**shared, **blocks, "BLOCK_R": 128 // size}
            compile_kernel(kernels.weight_gradient, name, constants, dtype, config)
            count += 1
    return count


def main(arguments: list[str]) -> None:
    """Compile for the architectures of the command line, or for all that are known."""
    quick = "--quick" in arguments
    for name in [name for name in arguments if name != "--quick"] or ARCHITECTURES:
        count = check(name, quick)
        sys.stdout.write(f"check_triton_compile: {count} kernels compile for {name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
