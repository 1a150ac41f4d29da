"""Compiles functions with numba."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Decorate a function as numba.njit does, and keep its machine code for the next process.

    Where neither the folder of its file nor the user's cache can be written, each process compiles
    anew.
    """

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba's "no locator available"
            return numba.njit(**options)(function)

    return decorate


def is_kept(function: Callable) -> bool:
    """Tell whether the machine code of a `compiled` function is there from an earlier process."""
    folder = function.stats.cache_path
    code = function.py_func.__code__
    name = f"*.{code.co_name}-{code.co_firstlineno}.*nbi"
    return folder is not None and any(Path(folder).glob(name))
