"""Logging, seeds, process groups and small helpers on arrays."""

from __future__ import annotations

import ctypes
import logging
import os
import random
import socket
import subprocess
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from pcdet.utils.errors import ConfigError


def create_logger(log_file: str | os.PathLike | None = None, rank: int = 0) -> logging.Logger:
    """A logger to the terminal and to `log_file`; ranks other than 0 report errors only."""
    logger = logging.getLogger("pcdet")
    logger.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None and rank == 0:
        handlers.append(logging.FileHandler(log_file))
    formatter = logging.Formatter("%(asctime)s  %(levelname)5s  %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - third-party code may still use the global generator
    torch.manual_seed(seed)


def default_device() -> torch.device:
    """The CUDA device of this process if torch has one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, if its C library is glibc.

    A training step on the CPU allocates tensors of tens of megabytes; glibc gives those back to the
    kernel when they are freed, and the next step pays a page fault for every 4 kB again.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


class FinitePoints:
    """Drops points that hold NaN or infinity.

    How many were dropped goes to the log, once for each file in each process: a training meets the
    same frame in every epoch.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def __call__(self, points: np.ndarray, name: str, logger: logging.Logger) -> np.ndarray:
        """Those of (N, C) points that are finite.

        Args:
            points: of a sample or an object.
            name: what they belong to, for the log.
            logger: where the count goes.
        """
        finite = np.isfinite(points)
        if finite.all():
            return points
        rows = finite.all(axis=1)
        if name not in self._reported:
            self._reported.add(name)
            logger.warning(
                "%s: dropped %d of %d points that hold NaN or infinity",
                *(name, len(points) - rows.sum(), len(points)),
            )
        return points.compress(rows, axis=0)


def keep_arrays_by_name(names: np.ndarray, used_names: Sequence[str]) -> np.ndarray:
    """Indices (K,) int64 of the names (N,) that are in `used_names`."""
    return np.flatnonzero(np.isin(names, used_names)) if len(names) else np.zeros(0, np.int64)


def drop_arrays_by_name(names: np.ndarray, unused_names: Sequence[str]) -> np.ndarray:
    """Indices (K,) int64 of the names (N,) that are not in `unused_names`."""
    if not len(names):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.isin(names, unused_names, invert=True))


def mask_points_by_range(points: np.ndarray, limit_range: Sequence[float]) -> np.ndarray:
    """Points (N, 3 + C) inside x_min, y_min, z_min, x_max, y_max, z_max, bounds included."""
    limit = np.asarray(limit_range, dtype=points.dtype)
    inside = np.ones(len(points), dtype=bool)
    for axis in range(3):  # one column at a time is several times as fast as all at once
        inside &= (points[:, axis] >= limit[axis]) & (points[:, axis] <= limit[axis + 3])
    return points.compress(inside, axis=0)


def init_dist_slurm(
    batch_size: int,
    tcp_port: int | None,
    local_rank: int | None,
    backend: str = "nccl",
    timeout: float = 600,
) -> tuple[int, int]:
    """Join the process group of a Slurm job; the first node of the job is the meeting point.

    Arguments, result and errors are those of `init_dist_pytorch`. Slurm sets `local_rank`; without
    a port, all processes derive the same one from the numbers of the job and of its step.
    """
    env = os.environ
    try:
        env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
        local_rank, nodes = int(env["SLURM_LOCALID"]), env["SLURM_NODELIST"]
        job = f"{env['SLURM_JOB_ID']}.{env.get('SLURM_STEP_ID', '0')}"
    except KeyError as error:
        raise ConfigError(
            f"--launcher slurm: {error.args[0]} is not set; start this with srun"
        ) from error
    env["MASTER_ADDR"] = _first_host(nodes)
    env["MASTER_PORT"] = str(tcp_port or port_for(job))
    return _init_process_group(batch_size, local_rank, backend, timeout)


def _first_host(nodes: str) -> str:
    """The first host of a Slurm node list such as `gpu[03-07,09],login1`."""
    if "[" not in nodes:
        return nodes.split(",")[0]
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        hosts = subprocess.run(command, capture_output=True, text=True, check=True)
        return hosts.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ConfigError(
            f"--launcher slurm: `{' '.join(command)}` does not tell the first host: {error}"
        ) from error


def init_dist_pytorch(
    batch_size: int,
    tcp_port: int | None,
    local_rank: int | None,
    backend: str = "nccl",
    timeout: float = 600,
) -> tuple[int, int]:
    """Join the process group that torchrun, or another launcher that sets RANK, started.

    Args:
        batch_size: frames of one step on all processes together.
        tcp_port: port of the meeting point, if the launcher did not set one. Without either,
            processes that one parent started on one machine find the same one.
        local_rank: number of this process on its machine, if the launcher did not set it.
        backend: "nccl" on CUDA devices; "gloo" is used where there are none.
        timeout: seconds after which a process that waits for another one gives up.

    Returns:
        The batch size of one process and the rank.

    Raises:
        ConfigError: not started by the launcher, the batch size is not divisible, there are more
            processes on this machine than GPUs, or the processes cannot meet.
    """
    env = os.environ
    if "RANK" not in env or "WORLD_SIZE" not in env:
        raise ConfigError(
            "--launcher pytorch: RANK and WORLD_SIZE are not set; start this with torchrun"
        )
    env.setdefault("MASTER_ADDR", "127.0.0.1")
    env.setdefault("MASTER_PORT", str(tcp_port or port_for(f"{os.getppid()}")))
    local_rank = int(env.get("LOCAL_RANK", local_rank or 0))
    return _init_process_group(batch_size, local_rank, backend, timeout)


def port_for(job: str) -> int:
    """A port that all processes of a job agree on without talking, below the ones Linux gives out.

    Two jobs on one machine share a port once in ten thousand times; `--tcp_port` then helps.
    """
    return 20000 + zlib.crc32(job.encode()) % 10000


def _init_process_group(
    batch_size: int, local_rank: int, backend: str, timeout: float
) -> tuple[int, int]:
    world_size = int(os.environ["WORLD_SIZE"])
    if batch_size % world_size:
        raise ConfigError(
            f"--batch_size {batch_size} is the total over all processes and must be divisible "
            f"by their number, {world_size}"
        )
    if backend == "nccl" and torch.cuda.is_available():
        _choose_gpu(local_rank)
    else:
        backend = "gloo"
    try:
        dist.init_process_group(backend=backend, timeout=timedelta(seconds=timeout))
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the processes cannot meet at {os.environ['MASTER_ADDR']}, port "
            f"{os.environ['MASTER_PORT']} (--tcp_port chooses another one): {reason}"
        ) from error
    return batch_size // world_size, dist.get_rank()


def _choose_gpu(local_rank: int) -> None:
    """One GPU for each process; Slurm may show each process its own one only."""
    gpus, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if here > gpus:
        raise ConfigError(f"{here} processes on this machine, which has {gpus} GPUs: one for each")
    torch.cuda.set_device(local_rank % gpus)


def machine_line() -> str:
    """One line on the machine, for logs and benchmarks."""
    devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return (
        f"{socket.gethostname()}: {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, GPUs: {', '.join(devices) or 'none'}"
    )


def resolve_path(path: str | os.PathLike, root: Path) -> Path:
    """`path` itself if absolute or existing from here, else below `root`."""
    path = Path(path)
    return path if path.is_absolute() or path.exists() else root / path
