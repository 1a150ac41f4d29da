"""Extensions that are plain C functions of NumPy arrays: they load at once, as torch does not."""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numpy as np


def load_functions(path: str, returned: dict[str, type | None]) -> ctypes.CDLL:
    """Load the functions of an extension.

    Args:
        path: its file, see `extension_file`.
        returned: by the name of each function the ctypes type that it returns, None for none.

    Raises:
        ImportError: the file does not load, or has another version's functions.
    """
    try:
        library = ctypes.CDLL(path)
        for name, result in returned.items():
            getattr(library, name).restype = result
    except (OSError, AttributeError) as error:
        raise ImportError(f"{path} does not load; compile it again: {error}") from error
    return library


def checked(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array without gaps.

    Raises:
        ValueError: it has another type or shape.
    """
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape} and type {np.dtype(dtype)}, got {array.shape} and "
            f"{array.dtype}"
        )
    return np.ascontiguousarray(array)


def call(function: Any, *arguments: np.ndarray | int) -> Any:
    """Call a function of pointers and int64; the arrays must have no gaps, as `checked` sees to."""
    return function(
        *(
            ctypes.c_void_p(value.ctypes.data)
            if isinstance(value, np.ndarray)
            else ctypes.c_int64(operator.index(value))
            for value in arguments
        )
    )
