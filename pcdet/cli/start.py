"""What train.py and test.py begin with: the configuration, the process group, the device."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pcdet.config import cfg, cfg_from_list, cfg_from_yaml_file, find_yaml
from pcdet.engine.device_options import checked_device
from pcdet.run.session import Run
from pcdet.utils import dist_utils, log_utils
from pcdet.utils.errors import ConfigError, lookup
from pcdet.utils.memory_utils import keep_freed_memory

LAUNCHERS = {
    "pytorch": dist_utils.init_dist_pytorch,
    "slurm": dist_utils.init_dist_slurm,
}


def read_config(args: argparse.Namespace) -> None:
    """Fill the global `cfg` from the yaml and from --set."""
    cfg_from_yaml_file(find_yaml(args.cfg_file), cfg)
    cfg_from_list(args.set_cfgs, cfg)


def choose_split(split: str) -> None:
    """Test on another split: its name, and the infos of that split in the same folder.

    Raises:
        ConfigError: it cannot be part of a file's name.
    """
    if not split or split in (".", "..") or "/" in split or "\0" in split:
        raise ConfigError(f"--split: expected the name of a split, such as val, got {split!r}")
    cfg.MODEL.TEST.SPLIT = split
    paths = [Path(path) for path in cfg.DATA_CONFIG.TEST.INFO_PATH]
    cfg.DATA_CONFIG.TEST.INFO_PATH = [str(p.with_name(_infos_of(p.name, split))) for p in paths]


def _infos_of(name: str, split: str) -> str:
    """The file of a split's infos beside another's, such as kitti_infos_val.pkl."""
    data_set = name.rpartition("_infos_")[0] or "kitti"
    return f"{data_set}_infos_{split}.pkl"


def start(args: argparse.Namespace, batch_size: int | None) -> Run:
    """Join the process group if there is one, and choose the device; after `read_config`.

    Args:
        args: the command line.
        batch_size: frames of a step, over all processes together; None for what suits the device.
    """
    logger = log_utils.create_logger()
    device = checked_device(args.device)
    distributed = args.launcher != "none"
    if batch_size is None:
        batch_size = (4 if device.type == "cuda" else 2) * _world_size(args.launcher)
    rank = 0
    if distributed:
        batch_size, rank = _join(args, batch_size, device)
        cfg.LOCAL_RANK = dist_utils.local_rank()
        if device.type == "cuda":
            device = torch.device("cuda", torch.cuda.current_device())
    if device.type == "cpu":
        keep_freed_memory()
    output_dir = (args.output_dir or cfg.ROOT_DIR / "output") / cfg.TAG / args.extra_tag
    # Files below the yaml's DATA_DIR are then looked up there, see DatasetTemplate.resolve_path.
    usual = cfg.ROOT_DIR / cfg.DATA_CONFIG.DATA_DIR
    data_dir = Path(args.data_dir or usual).resolve()
    return Run(args, data_dir, output_dir, device, batch_size, distributed, rank, logger)


def _join(args: argparse.Namespace, batch_size: int, device: torch.device) -> tuple[int, int]:
    """Join the process group; the batch size of this process and its rank."""
    if device.type == "cuda" and args.device not in (None, "cuda"):
        raise ConfigError(
            f"--device {args.device}: of several processes each takes a GPU of its own; "
            "use --device cuda"
        )
    join = lookup(LAUNCHERS, args.launcher, "--launcher")
    backend = "nccl" if device.type == "cuda" else "gloo"
    return join(batch_size, args.tcp_port, args.local_rank, backend, args.dist_timeout)


def _world_size(launcher: str) -> int:
    """Number of processes, as the launcher tells it; what it sets is checked by `LAUNCHERS`."""
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS"}.get(launcher, "")
    return dist_utils.number_of_processes(variable)
