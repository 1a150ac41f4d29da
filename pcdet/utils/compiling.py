"""Compiles functions with numba."""

from __future__ import annotations

from collections.abc import Callable
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
