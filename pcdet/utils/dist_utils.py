"""Process groups: joining the one that torchrun or Slurm started."""

from __future__ import annotations

import os
import subprocess
import zlib
from datetime import timedelta

import torch
import torch.distributed as dist

from pcdet.utils.errors import ConfigError


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
        env["LOCAL_RANK"], nodes = env["SLURM_LOCALID"], env["SLURM_NODELIST"]
        job = f"{env['SLURM_JOB_ID']}.{env.get('SLURM_STEP_ID', '0')}"
    except KeyError as error:
        raise ConfigError(
            f"--launcher slurm: {error.args[0]} is not set; start this with srun"
        ) from error
    env["MASTER_ADDR"] = _first_host(nodes)
    env["MASTER_PORT"] = str(tcp_port or port_for(job))
    return _init_process_group(batch_size, backend, timeout)


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
    env.setdefault("LOCAL_RANK", str(local_rank or 0))
    return _init_process_group(batch_size, backend, timeout)


def number_of_processes(variable: str) -> int:
    """Read a number of processes that a launcher has set; 1 if it has not.

    Raises:
        ConfigError: it is no number above 0.
    """
    text = os.environ.get(variable, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{variable}: expected a number of processes, got {text!r}")
    return int(text)


def local_rank() -> int:
    """Number of this process among those on its machine; 0 before it has joined the others."""
    return int(os.environ.get("LOCAL_RANK", 0))


def port_for(job: str) -> int:
    """Choose a port, below those that Linux gives out, that all processes of a job agree on.

    Two jobs on one machine share a port once in ten thousand times; `--tcp_port` then helps.
    """
    return 20000 + zlib.crc32(job.encode()) % 10000


def _init_process_group(batch_size: int, backend: str, timeout: float) -> tuple[int, int]:
    world_size = number_of_processes("WORLD_SIZE")
    if batch_size % world_size:
        raise ConfigError(
            f"--batch_size {batch_size} is the total over all processes and must be divisible "
            f"by their number, {world_size}"
        )
    if backend == "nccl" and torch.cuda.is_available():
        _choose_gpu()
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


def _choose_gpu() -> None:
    """One GPU for each process; Slurm may show each process its own one only."""
    gpus, here = torch.cuda.device_count(), number_of_processes("LOCAL_WORLD_SIZE")
    if here > gpus:
        raise ConfigError(f"{here} processes on this machine, which has {gpus} GPUs: one for each")
    torch.cuda.set_device(local_rank() % gpus)
