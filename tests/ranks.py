"""Runs functions on several ranks, each in a process of its own on this machine."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_ROOT = Path(__file__).resolve().parents[1]
# Imported once, by the process that all ranks are forked from; torch imports its compiler when the
# first optimiser or DistributedDataParallel is made.
_PRELOADED = ["rank_work", "pcdet.cli.training", "pcdet.cli.testing", "torch._dynamo"]
# Far above what any of them takes, below the timeouts of waiting ranks where it is not the point.
_TIMEOUT = 250.0
_server: list[Any] = []


@dataclass
class Rank:
    """What became of a rank.

    Attributes:
        code: its exit code; negative for a signal, None if it had to be killed.
        value: what its function returned.
        text: what it wrote to the terminal.
    """

    code: int | None
    value: Any
    text: str


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun_variables(rank: int, world_size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def run_ranks(
    folder: Path,
    work: Callable[..., Any],
    *args: Any,
    variables: list[Mapping[str, str]] | None = None,
    stop_at: int | None = None,
) -> list[Rank]:
    """Call `work(*args)` in two processes, or as many as there are `variables`.

    Args:
        folder: for what they write.
        work: a function of an importable module.
        args: its arguments.
        variables: environment of each rank; None for that of torchrun with two.
        stop_at: the rank at whose end those that still run are killed; None to wait for all,
            though not for ever.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if variables is None:
        port = free_port()
        variables = [torchrun_variables(rank, 2, port) for rank in range(2)]
    context, processes, begun = _context(), [], time.monotonic()
    for k, own in enumerate(variables):
        process = context.Process(target=_run, args=(folder / f"{k}", dict(own), work, args))
        process.start()
        processes.append(process)
    awaited = processes if stop_at is None else processes[stop_at : stop_at + 1]
    for process in awaited:
        process.join(max(0.0, begun + _TIMEOUT - time.monotonic()))
    results = []
    for k, process in enumerate(processes):
        code = process.exitcode
        if code is None:
            process.kill()
        process.join()
        value = (folder / f"{k}.pt").read_bytes() if (folder / f"{k}.pt").exists() else None
        results.append(
            Rank(
                code=code,
                value=torch.load(io.BytesIO(value), weights_only=False) if value else None,
                text=(folder / f"{k}.txt").read_text(errors="replace"),
            )
        )
    return results


def _context() -> Any:
    if not _server:
        # The server imports by PYTHONPATH alone.
        folders = [str(_ROOT / part) for part in ("", "tools", "tests")]
        os.environ["PYTHONPATH"] = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        _server.append(context)
        # Its imports are no part of what a rank takes.
        first = context.Process(target=int)
        first.start()
        first.join()
    return _server[0]


def _run(place: Path, variables: dict[str, str], work: Callable, args: tuple) -> None:
    out = os.open(f"{place}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(variables)
    torch.set_num_threads(1)
    value = work(*args)
    torch.save(value, f"{place}.pt")
    sys.stdout.flush()
