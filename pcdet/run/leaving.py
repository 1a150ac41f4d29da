"""How a command ends: mistakes and interrupts with one line, one of several ranks without a hang.

Imports no torch: `--help` and mistakes in the options need none.
"""

from __future__ import annotations

import errno
import faulthandler
import io
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from pcdet.utils.errors import PcdetError

_UNUSABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
}

_MOMENT = 1.0  # seconds until a signal that comes with a broken connection is here


def run_command(main: Callable[[list[str] | None], Any]) -> None:
    """Run a command line; the user's mistakes end it with one line, an interrupt with another.

    A path that cannot be read or written is such a mistake, too.

    Under torchrun, its summary tells the traceback of the process that failed first.
    """
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a crash in native code then tells the Python line
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal cannot show stops nothing
            stream.reconfigure(errors="backslashreplace")
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import record

        main = record(main)
    try:
        main(None)
    except PcdetError as error:
        _leave(f"error{_rank_tag()}: {own_words(error)}")
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by the user\n")
        _leave(130)
    except SystemExit as stop:
        _leave(stop.code)
    except BaseException as error:
        if _is_of_a_path(error):
            path = error.filename2 or error.filename
            _leave(f"error{_rank_tag()}: {path}: cannot be used: {error.strerror}")
        told = _traceback(error)
        if not _in_group():
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # nor may further ends of workers raise
        _leave(f"error{_rank_tag()}: {told}")
    if _in_group():
        sys.modules["torch.distributed"].destroy_process_group()


def _is_of_a_path(error: BaseException) -> bool:
    """Whether it says that a path that was given does not serve."""
    return isinstance(error, OSError) and error.filename is not None and error.errno in _UNUSABLE


def own_words(error: PcdetError) -> str:
    """Give the message, without the traceback that torch puts before that of a worker."""
    message = str(error).strip()
    if "Original Traceback" not in message:
        return message
    return message.splitlines()[-1].partition(": ")[2]


def _leave(code: int | str | None) -> NoReturn:
    """End the process with an exit code, or with a message.

    One of several ends at once and without taking leave of the group, where others may be waiting
    in a call that now never ends: their connections break, and they and the launcher know.
    """
    if not _in_group():
        sys.exit(code)
    try:
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        for worker in multiprocessing.active_children():
            worker.terminate()
    finally:  # the end of a worker may raise here, see _traceback
        os._exit(code if isinstance(code, int) else int(code is not None))


def _traceback(error: BaseException) -> str:
    """Format the traceback of the exception being handled.

    torch raises an error when the signal comes that a worker was killed, wherever the program is;
    also here, when its broken connection has been an error before. That one is given a moment, as
    it alone says what has happened.
    """
    try:
        if isinstance(error, ConnectionError):
            time.sleep(_MOMENT)
        return traceback.format_exc()
    except RuntimeError:
        return traceback.format_exc()


def _in_group() -> bool:
    """Whether this process is one of several, which torch has joined."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


def _rank_tag() -> str:
    return f" on rank {sys.modules['torch.distributed'].get_rank()}" if _in_group() else ""
