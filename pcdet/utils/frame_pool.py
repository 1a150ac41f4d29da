"""The same work on every frame: on all cores, with a progress bar, errors name the frame."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from pcdet.utils.errors import DataError

# Where a frame takes a few milliseconds, fewer cost more to share out than that saves.
_LEAST_ITEMS_FOR_A_POOL = 64
_CHUNK = 8

_work: Callable[[Any], Any]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_frames(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    names: Sequence[str],
    num_workers: int,
    description: str,
    slow: bool = False,
) -> Iterator[Any]:
    """Yield `function(item)` for every item, in order.

    The first is worked on in this process, so that what is compiled at its first call is compiled
    once, and a mistake shows before processes start.

    Args:
        function: picklable where processes are spawned and not forked.
        items: what it is called with.
        names: the frame that each item belongs to, for errors.
        num_workers: processes at most; few items, or one core, are worked on in this process.
        description: what the progress bar says.
        slow: an item takes a good part of a second, so that even two are worth sharing out.

    Raises:
        DataError: for a DataError or an OSError of `function`, with the frame's name before the
            message; or a process was killed.
    """
    workers = min(num_workers, available_cores())
    calls = list(zip(names, items))
    if len(calls) < (2 if slow else _LEAST_ITEMS_FOR_A_POOL):
        workers = 1
    chunk = 1 if slow else _CHUNK
    with tqdm(total=len(calls), desc=description, unit="frame") as bar:
        for result in _results(_NamedErrors(function), calls, workers, chunk):
            bar.update()
            yield result


def _results(
    work: Callable[[tuple[str, Any]], Any], calls: list[tuple[str, Any]], workers: int, chunk: int
) -> Iterator[Any]:
    here = len(calls) if workers <= 1 else 1
    with _one_thread():
        yield from map(work, calls[:here])
    if here >= len(calls):
        return
    # Forked workers have all modules loaded already. Elsewhere than on Linux fork is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    executor = ProcessPoolExecutor(workers, context, _start_worker, (work,))
    try:
        with _ctrl_c_waits():
            results = executor.map(_call, calls[here:], chunksize=chunk)
        yield from results
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes was killed, perhaps for lack of memory: try again with "
            "fewer --workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Deal with a Ctrl-C afterwards.

    In the middle of handing out work it can leave one of the executor's locks taken, for which
    shutting down would then wait forever.
    """
    # Other threads are never interrupted; None: the handler is not Python's.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    pressed = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from sharing out work that is too small for it: waking threads costs more."""
    torch = sys.modules.get("torch")  # simulating takes none
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _NamedErrors:
    """`function`, with the frame's name put before what it raises."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, call: tuple[str, Any]) -> Any:
        name, item = call
        try:
            return self.function(item)
        except (DataError, OSError) as error:  # OSError: no room, or no right to write
            raise DataError(f"frame {name}: {error}") from error
        except Exception as error:
            raise RuntimeError(f"frame {name}: {type(error).__name__}: {error}") from error


def _start_worker(work: Callable[[tuple[str, Any]], Any]) -> None:
    """Keep what every call of this process needs; one thread, for torch's do not survive a fork.

    Ctrl-C goes to all processes of a terminal, and the one that started this one deals with it.
    """
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _end_with_parent() -> None:
    """End this process, which would wait for work forever, when the one that started it is gone."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _call(call: tuple[str, Any]) -> Any:
    return _work(call)
