"""What the command lines share: options, set-up of a run, and how errors reach the user."""

from __future__ import annotations

import argparse
import datetime
import logging
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record as record_for_torchrun

from pcdet.config import cfg, cfg_from_list, cfg_from_yaml_file, find_yaml, log_config_to_file
from pcdet.datasets.sections import read_entry
from pcdet.run.checkpoint_folder import newest_file
from pcdet.run.lock import training_lock
from pcdet.run.record import FINISHED, STOPPED, RunRecord
from pcdet.utils import device_utils, dist_utils, log_utils
from pcdet.utils.errors import ConfigError, PcdetError, lookup

T = TypeVar("T")
LAUNCHERS = {
    "pytorch": dist_utils.init_dist_pytorch,
    "slurm": dist_utils.init_dist_slurm,
}


@dataclass
class Run:
    """One start of train.py or test.py.

    Attributes:
        args: the parsed command line.
        data_dir: folder of the data set.
        output_dir: output/<yaml name>/<extra_tag>.
        device: where the model lives.
        batch_size: frames of one step of this process.
        distributed: one of several processes.
        rank: number of this process; rank 0 writes files.
        logger: writes to the terminal and, once `start_log` was called, to a file.
    """

    args: argparse.Namespace
    data_dir: Path
    output_dir: Path
    device: torch.device
    batch_size: int
    distributed: bool
    rank: int
    logger: logging.Logger

    def from_rank0(self, work: Callable[[], T]) -> T:
        """Let rank 0 do something, and give its result to all ranks.

        All ranks must call this at the same point. A mistake of the user that rank 0 meets ends
        all of them, and rank 0 alone tells of it.
        """
        if not self.distributed:
            return work()
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = work()
            except PcdetError as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0)
        result, error = answer
        if error is not None:
            raise error if self.rank == 0 else SystemExit(1)
        return result

    def start_log(self, folder: Path, name: str) -> None:
        """Log to `folder`/log_<name>_<time>.txt too, beginning with the options and settings."""
        if self.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        self.logger = log_utils.create_logger(folder / f"log_{name}_{time}.txt", self.rank)
        self.logger.info("**********************Start logging**********************")
        self.logger.info(log_utils.machine_line())
        self.logger.info("device %s, batch size of this process %d", self.device, self.batch_size)
        for key, value in vars(self.args).items():
            self.logger.info("%-20s %s", key, value)
        log_config_to_file(cfg, logger=self.logger)


def data_parallel(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Wrap a model so that all ranks begin with the weights of rank 0 and average gradients."""
    # Buffers that no checkpoint holds, such as the anchors, are constants, which every rank has of
    # its own; torch would send them before each forward pass, as it does running statistics.
    saved = model.state_dict().keys()
    constants = [name for name, _ in model.named_buffers() if name not in saved]
    parallel = torch.nn.parallel.DistributedDataParallel
    parallel._set_params_and_buffers_to_ignore_for_model(model, constants)
    # A rank whose frames have no voxel runs no sparse layer: those then count as zero gradients,
    # where torch would else wait for them. The search costs one walk over the graph a step, and
    # torch warns once that it found nothing to do.
    device_ids = [device.index] if device.type == "cuda" else None
    return parallel(model, device_ids=device_ids, find_unused_parameters=True)


@contextmanager
def training_session(run: Run) -> Iterator[RunRecord]:
    """Hold the lock of the run's folder and keep its record, on rank 0 (`run.lock`, `run.record`).

    Yields:
        The record, for facts that are known later.

    Raises:
        ConfigError: another training holds the folder.
    """
    with ExitStack() as stack:
        lock = training_lock(run.output_dir, run.logger)
        run.from_rank0(lambda: stack.enter_context(lock))
        record = RunRecord(run.output_dir, run.logger, writes=run.rank == 0)
        record.start(cfg, processes=dist.get_world_size() if run.distributed else 1)
        outcome = FINISHED
        try:
            yield record
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            record.end(outcome, newest_file(run.output_dir / "ckpt"))


def _outcome(error: BaseException) -> str:
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return STOPPED
    message = _own_words(error) if isinstance(error, PcdetError) else str(error)
    return f"failed: {type(error).__name__}: {message}"


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of both train.py and test.py."""
    add = parser.add_argument
    add("--cfg_file", required=True, help="yaml of the model, such as tools/cfgs/second.yaml")
    add("--data_dir", help="folder of the data set, instead of the yaml's DATA_CONFIG.DATA_DIR")
    add(
        "--batch_size",
        type=int,
        help="frames of a step, over all processes together (default: 4 for each GPU, 2 on a CPU)",
    )
    add(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="processes that load data (default: %(default)s)",
    )
    add("--extra_tag", default="default", help="names the run: output/<yaml>/<extra_tag>")
    add("--output_dir", type=Path, help="folder of all runs (default: output/ in the repository)")
    add("--device", help="cpu, cuda or cuda:N (default: a GPU if one is usable, else the CPU)")
    add(
        "--launcher",
        choices=["none", *LAUNCHERS],
        default="none",
        help="how several processes were started: torchrun (pytorch) or srun (slurm)",
    )
    add(
        "--tcp_port",
        type=int,
        help="port where the processes meet, if the launcher sets none (default: found by itself)",
    )
    add(
        "--dist_timeout",
        type=float,
        default=600,
        metavar="SECONDS",
        help="a process that waits for another one for so long ends with an error "
        "(default: %(default)s)",
    )
    add("--local_rank", "--local-rank", type=int, help="set by old launchers; usually not needed")
    add(
        "--set",
        dest="set_cfgs",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overwrite settings of the yaml: --set MODEL.TEST.SCORE_THRESH 0.3 ...; "
        "must come last",
    )


def check_at_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """Raise a ConfigError for the first of these options that is below `least`, or NaN."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ConfigError(f"--{name} must be at least {least}, got {value}")


def start(args: argparse.Namespace) -> Run:
    """Read the configuration, join the process group if there is one, choose the device."""
    cfg_from_yaml_file(find_yaml(args.cfg_file), cfg)
    cfg_from_list(args.set_cfgs, cfg)
    logger = log_utils.create_logger()
    device = checked_device(args.device)
    distributed = args.launcher != "none"
    batch_size = args.batch_size
    if batch_size is None:
        batch_size = (4 if device.type == "cuda" else 2) * _world_size(args.launcher)
    if batch_size < 1 or args.workers < 0 or args.dist_timeout <= 0:
        raise ConfigError(
            "--batch_size must be at least 1, --workers at least 0, --dist_timeout positive"
        )
    if distributed:
        if device.type == "cuda" and args.device not in (None, "cuda"):
            raise ConfigError(
                f"--device {args.device}: of several processes each takes a GPU of its own; "
                "use --device cuda"
            )
        join = lookup(LAUNCHERS, args.launcher, "--launcher")
        backend = "nccl" if device.type == "cuda" else "gloo"
        batch_size, cfg.LOCAL_RANK = join(
            batch_size, args.tcp_port, args.local_rank, backend, args.dist_timeout
        )
        if device.type == "cuda":
            device = torch.device("cuda", torch.cuda.current_device())
    if device.type == "cpu":
        device_utils.keep_freed_memory()
    output_dir = (args.output_dir or cfg.ROOT_DIR / "output") / cfg.TAG / args.extra_tag
    # Files below the yaml's DATA_DIR are then looked up there, see DatasetTemplate.resolve_path.
    usual = cfg.ROOT_DIR / read_entry(cfg, "DATA_CONFIG.DATA_DIR")
    data_dir = Path(args.data_dir or usual).resolve()
    return Run(args, data_dir, output_dir, device, batch_size, distributed, cfg.LOCAL_RANK, logger)


def _world_size(launcher: str) -> int:
    """Number of processes, as the launcher tells it; what it sets is checked by `LAUNCHERS`."""
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS"}.get(launcher, "")
    return int(os.environ.get(variable, 1))


def checked_device(name: str | None) -> torch.device:
    """The device that --device names, or the best there is.

    Raises:
        ConfigError: it is neither the CPU nor a GPU that is there.
    """
    if name is None:
        return device_utils.default_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"--device {name}: not a device that this runs on; use cpu, cuda or cuda:N"
        )
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch {torch.__version__} sees no usable GPU here")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"--device {name}: the last of the GPUs here is cuda:{count - 1}")
    return device


def _own_words(error: PcdetError) -> str:
    """The message, without the traceback that torch puts before that of a loader's process."""
    message = str(error).strip()
    if "Original Traceback" not in message:
        return message
    return message.splitlines()[-1].partition(": ")[2]


def run_command(main: Callable[[list[str] | None], Any]) -> None:
    """Run a command line; the user's mistakes end it with one line, an interrupt with another.

    Under torchrun, its summary tells the traceback of the process that failed first.
    """
    try:
        record_for_torchrun(main)(None)
    except PcdetError as error:
        _leave(f"error{_rank_tag()}: {_own_words(error)}")
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by the user\n")
        _leave(130)
    except SystemExit as stop:
        _leave(stop.code)
    except BaseException:
        if not dist.is_initialized():
            raise
        _leave(f"error{_rank_tag()}: {_traceback()}")
    if dist.is_initialized():
        dist.destroy_process_group()


def _leave(code: int | str | None) -> NoReturn:
    """End the process with an exit code, or with a message.

    One of several ends at once and without taking leave of the group, where others may be waiting
    in a call that now never ends: their connections break, and they and the launcher know.
    """
    if not dist.is_initialized():
        sys.exit(code)
    try:
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        for loader_process in multiprocessing.active_children():
            loader_process.terminate()
    finally:  # the end of a loader's process may raise here, see _traceback
        os._exit(code if isinstance(code, int) else int(code is not None))


def _traceback() -> str:
    """That of the exception being handled.

    torch raises an error when the signal comes that a loader's process was killed, wherever the
    program is; also here, when its broken connection has been an error before.
    """
    try:
        return traceback.format_exc()
    except RuntimeError:
        return traceback.format_exc()


def _rank_tag() -> str:
    return f" on rank {dist.get_rank()}" if dist.is_initialized() else ""
