"""Files: atomic writes, and readers that no file can block, crash, or trick into running code."""

from __future__ import annotations

import errno
import logging
import math
import os
import pickle
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pcdet.utils import plain_pickle
from pcdet.utils.errors import DataError, PcdetError

# The largest calibration, label, split or yaml file that is read, bytes; KITTI's have thousands.
MAX_TEXT_SIZE = 1 << 24
_TEMPORARY = ".tmp"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Metres, pixels or radians: what is larger is damage, and would overflow once it is squared.
LARGEST_NUMBER = 1e9


@contextmanager
def atomic_write(path: str | os.PathLike, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; it takes the name `path` when complete.

    If the body raises, or the process dies, `path` is as it was before. A link stays one, and leads
    to the new file; to a device or a pipe the bytes go as they come.

    Args:
        path: the file to write or replace; its folder is made if need be.
        durable: also survive a loss of power, at the cost of waiting for the disk.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    given, path = path, Path(os.path.realpath(path))
    try:
        with _opened_for(path, durable) as file:
            yield file
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(_TEMPORARY):
            error.filename = str(given)  # a name that the user knows
            del error.filename2  # were it None, the message would end in "-> None"
        raise


@contextmanager
def _opened_for(path: Path, durable: bool) -> Iterator[BinaryIO]:
    """The file of `atomic_write`, for a path without links."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files only their owner may read: a data set is shared.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _wait_for_names(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _wait_for_names(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk, where the file system can tell."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def save_pickle(obj: Any, path: str | os.PathLike) -> None:
    """Write `obj` to `path` atomically."""
    with atomic_write(path) as file:
        pickle.dump(obj, file, protocol=pickle.HIGHEST_PROTOCOL)


class LateErrors:
    """Lets all else be done where a file cannot be written; the command fails at its end.

    Args:
        logger: told at once of each file.

    Attributes:
        messages: one for each file.
        files: those that the disk did not take.
    """

    def __init__(self, logger: logging.Logger):
        self._logger = logger
        self.messages: list[str] = []
        self.files: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an OSError or PcdetError of the block, and go on after it."""
        try:
            yield
        except OSError as error:
            self.files.append(str(error.filename))
            self._note(f"{error.filename}: cannot be used: {error.strerror or error}")
        except PcdetError as error:
            self._note(str(error))

    def _note(self, message: str) -> None:
        self.messages.append(message)
        self._logger.error("%s; all else goes on", message)

    def raise_first(self) -> None:
        """Raise a DataError if there was an error."""
        if self.messages:
            raise DataError(
                f"{self.messages[0]} (not written: {len(self.messages)}, all else was done; mend "
                "this and test again)"
            )


def load_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of plain data and NumPy arrays; nothing in the file can run code.

    Raises:
        DataError: the file is missing, damaged, or holds anything else.
    """
    data = read_file(path)
    try:
        return plain_pickle.loads(data)
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{path}: not a pickle of plain data and NumPy arrays: {error or type(error).__name__}"
        ) from error


def regular_file_size(
    path: str | os.PathLike, what: str = "", error: type[PcdetError] = DataError
) -> int:
    """Return the size in bytes of a regular file: reading a pipe or a device may never end.

    Args:
        path: the file.
        what: what it holds, for the message, such as "points".
        error: raised with a message that names the file.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as reason:
        raise _unreadable(path, what, error, reason) from reason
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, what, error, "not a regular file")
    return status.st_size


def read_file(
    path: str | os.PathLike,
    what: str = "",
    error: type[PcdetError] = DataError,
    max_size: int | None = None,
) -> bytes:
    """Read a file; see `regular_file_size` for the arguments.

    Args:
        path: the file.
        what: what it holds.
        error: raised if it cannot be read, or is larger than `max_size` bytes.
        max_size: None for no limit.
    """
    try:
        # Without a look before: there may be thousands of files, far away. O_NONBLOCK, so that a
        # pipe is opened without waiting for its other end.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as reason:
        raise _unreadable(path, what, error, reason) from reason
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, what, error, "not a regular file")
        if max_size is not None and status.st_size > max_size:
            raise error(f"{path}: expected at most {max_size} bytes, got {status.st_size}")
        with open(handle, "rb", buffering=0, closefd=False) as file:
            return file.read()
    except OSError as reason:
        raise _unreadable(path, what, error, reason) from reason
    finally:
        os.close(handle)


def _unreadable(
    path: str | os.PathLike, what: str, error: type[PcdetError], reason: Exception | str
) -> PcdetError:
    """The error for a file that cannot be read; `reason` is a ValueError if the name is invalid."""
    subject = f"{what} " if what else ""
    return error(f"{path}: {subject}cannot be read: {getattr(reason, 'strerror', None) or reason}")


def read_text(path: str | os.PathLike, what: str = "") -> str:
    """Read a small text file.

    Raises:
        DataError: it cannot be read, is far too large or is not UTF-8.
    """
    content = read_file(path, what, max_size=MAX_TEXT_SIZE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: expected text in UTF-8: save it as such") from error


def read_number(word: str) -> float:
    """Read a number in decimal notation, at most LARGEST_NUMBER.

    Raises:
        ValueError: it is anything else, also what `float` would take, such as "nan" or "1_0".
    """
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"expected a number, got {word[:40]!r}")
    return value
