"""What the command lines share: options, set-up of a run, and how errors reach the user."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pcdet.config import cfg, cfg_from_list, cfg_from_yaml_file, log_config_to_file
from pcdet.utils import common_utils
from pcdet.utils.errors import ConfigError, PcdetError, lookup
from run_lock import training_lock
from run_record import FINISHED, STOPPED, RunRecord
from train_utils.checkpoint_folder import list_checkpoints

T = TypeVar("T")
LAUNCHERS = {
    "pytorch": common_utils.init_dist_pytorch,
    "slurm": common_utils.init_dist_slurm,
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
        folder.mkdir(parents=True, exist_ok=True)
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        self.logger = common_utils.create_logger(folder / f"log_{name}_{time}.txt", self.rank)
        self.logger.info("**********************Start logging**********************")
        self.logger.info(common_utils.machine_line())
        self.logger.info("device %s, batch size of this process %d", self.device, self.batch_size)
        for key, value in vars(self.args).items():
            self.logger.info("%-20s %s", key, value)
        log_config_to_file(cfg, logger=self.logger)


@contextmanager
def training_session(run: Run) -> Iterator[RunRecord]:
    """Hold the lock of the run's folder, and keep its record, on rank 0; see run_lock, run_record.

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
            checkpoints = list_checkpoints(run.output_dir / "ckpt")
            record.end(outcome, checkpoints[-1][1] if checkpoints else None)


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
    add("--tcp_port", type=int, help="port where the processes meet, if the launcher sets none")
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


def start(args: argparse.Namespace) -> Run:
    """Read the configuration, join the process group if there is one, choose the device."""
    cfg_from_yaml_file(common_utils.resolve_path(args.cfg_file, cfg.ROOT_DIR), cfg)
    cfg_from_list(args.set_cfgs, cfg)
    logger = common_utils.create_logger()
    on_gpu = checked_device(args.device).type == "cuda"
    processes = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1)))
    distributed = args.launcher != "none"
    batch_size = args.batch_size or (4 if on_gpu else 2) * (processes if distributed else 1)
    if batch_size < 1 or args.workers < 0:
        raise ConfigError("--batch_size must be at least 1 and --workers at least 0")
    if distributed:
        join = lookup(LAUNCHERS, args.launcher, "--launcher")
        backend = "nccl" if on_gpu else "gloo"
        batch_size, cfg.LOCAL_RANK = join(batch_size, args.tcp_port, args.local_rank, backend)
    # Asked once more: joining the group chooses the GPU of this process.
    device = checked_device(args.device)
    if device.type == "cpu":
        common_utils.keep_freed_memory()
    output_dir = (args.output_dir or cfg.ROOT_DIR / "output") / cfg.TAG / args.extra_tag
    # Files below the yaml's DATA_DIR are then looked up there, see DatasetTemplate.resolve_path.
    data_dir = Path(args.data_dir or cfg.ROOT_DIR / cfg.DATA_CONFIG.DATA_DIR).resolve()
    return Run(args, data_dir, output_dir, device, batch_size, distributed, cfg.LOCAL_RANK, logger)


def checked_device(name: str | None) -> torch.device:
    """The device that --device names, or the best there is."""
    if name is None:
        return common_utils.default_device()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: not a device; use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch {torch.__version__} sees no usable GPU here")
    return device


def _own_words(error: PcdetError) -> str:
    """The message, without the traceback that torch puts before that of a loader's process."""
    message = str(error).strip()
    if "Original Traceback" not in message:
        return message
    return message.splitlines()[-1].partition(": ")[2]


def run_command(main: Callable[[list[str] | None], Any]) -> None:
    """Run a command line; the user's mistakes end it with one line, an interrupt with another."""
    try:
        main(None)
    except PcdetError as error:
        sys.exit(f"error: {_own_words(error)}")
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by the user\n")
        sys.exit(130)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
