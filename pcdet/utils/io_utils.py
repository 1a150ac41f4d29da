"""Files: atomic writes, and pickles that can hold nothing but plain data and arrays."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pcdet.utils.errors import DataError

# What NumPy's own reduce functions name in a pickle, under NumPy 1 and NumPy 2.
_NUMPY_GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (module, name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            (f"{core}.numeric", "_frombuffer"),
        )
    ),
}


@contextmanager
def atomic_write(path: str | os.PathLike, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; it takes the name `path` when complete.

    If the body raises, or the process dies, `path` is as it was before.

    Args:
        path: the file to write or replace; its folder is made if need be.
        durable: also survive a loss of power, at the cost of waiting for the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a data set is shared.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def save_pickle(obj: Any, path: str | os.PathLike) -> None:
    """Write `obj` to `path` atomically."""
    with atomic_write(path) as file:
        pickle.dump(obj, file, protocol=pickle.HIGHEST_PROTOCOL)


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, numbers, strings and NumPy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY_GLOBALS:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is not plain data")
        return super().find_class(module, name)


def load_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of plain data and NumPy arrays; nothing in the file can run code.

    Raises:
        DataError: the file is missing, damaged, or names any other class.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{path}: not a pickle of plain data and NumPy arrays: {error or type(error).__name__}"
        ) from error
