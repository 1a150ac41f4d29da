"""Test a checkpoint, or all checkpoints of a run as they appear.

    python tools/test.py --cfg_file tools/cfgs/second.yaml --ckpt output/.../checkpoint_epoch_80.pth
    python tools/test.py --cfg_file tools/cfgs/second.yaml --eval_all

Prints KITTI's AP (no GPU needed) and writes output/<yaml>/<extra_tag>/eval/.
"""

from __future__ import annotations

import argparse
import re
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from tensorboardX import SummaryWriter
from torch.utils.data import DataLoader

from eval_utils.eval_utils import eval_one_epoch
from pcdet.config import cfg
from pcdet.datasets import build_dataloader
from pcdet.models import build_network
from pcdet.utils.errors import CheckpointError, ConfigError
from run_utils import Run, add_common_arguments, run_command, start
from train_utils.checkpoint_folder import list_checkpoints


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--ckpt", help="checkpoint to test (default: the newest of this run)")
    add("--eval_all", action="store_true", help="test every checkpoint, waiting for new ones")
    add("--eval_tag", default="default", help="names this evaluation among those of the run")
    add("--start_epoch", type=int, default=0, help="with --eval_all: skip earlier epochs")
    add(
        "--max_waiting_mins",
        type=float,
        default=30,
        help="with --eval_all: give up when no new checkpoint came for so long (default: 30)",
    )
    add("--ckpt_dir", type=Path, help="with --eval_all: where the checkpoints are")
    add(
        "--save_to_file",
        action="store_true",
        help="write the detections as KITTI txt files; on "
        "the test split also the zip for KITTI's server",
    )
    add("--pictures", type=int, default=0, help="draw so many frames (default: 0)")
    add("--split", help="split to test on, instead of the yaml's MODEL.TEST.SPLIT")
    add_common_arguments(parser)
    return parser.parse_args(argv)


def choose_split(split: str) -> None:
    """Test on another split: its name, and the infos of that split in the same folder."""
    cfg.MODEL.TEST.SPLIT = split
    paths = [Path(path) for path in cfg.DATA_CONFIG.TEST.INFO_PATH]
    cfg.DATA_CONFIG.TEST.INFO_PATH = [str(p.with_name(f"kitti_infos_{split}.pkl")) for p in paths]


def epoch_of(ckpt: Path) -> str:
    """The number at the end of a checkpoint's name."""
    match = re.search(r"(\d+)$", ckpt.stem)
    return match.group(1) if match else "no_number"


def eval_single_ckpt(run: Run, model: torch.nn.Module, test_loader: DataLoader, ckpt: Path) -> None:
    """Load and test one checkpoint; its results go to eval/epoch_N/<split>/<eval_tag>."""
    model.load_params_from_file(filename=ckpt, to_cpu=True, logger=run.logger)
    epoch = epoch_of(ckpt)
    result_dir = run.output_dir / "eval" / f"epoch_{epoch}" / cfg.MODEL.TEST.SPLIT
    writer = SummaryWriter(log_dir=str(run.output_dir / "tensorboard")) if run.rank == 0 else None
    with writer or nullcontext() as tb_log:
        eval_one_epoch(
            cfg,
            model,
            test_loader,
            epoch,
            run.logger,
            dist_test=run.distributed,
            save_to_file=run.args.save_to_file,
            result_dir=result_dir / run.args.eval_tag,
            tb_log=tb_log,
            num_pictures=run.args.pictures,
        )


def repeat_eval_ckpt(
    run: Run, model: torch.nn.Module, test_loader: DataLoader, ckpt_dir: Path
) -> None:
    """Test checkpoints in the order of their epochs until none comes for a while."""
    done: set[int] = set()
    last_news = time.monotonic()
    while True:
        new = [
            (e, p)
            for e, p in list_checkpoints(ckpt_dir)
            if e not in done and e >= run.args.start_epoch
        ]
        for epoch, path in new:
            done.add(epoch)
            eval_single_ckpt(run, model, test_loader, path)
            last_news = time.monotonic()
        waited = (time.monotonic() - last_news) / 60
        if waited >= run.args.max_waiting_mins:
            run.logger.info("no new checkpoint in %s for %.1f minutes", ckpt_dir, waited)
            return
        time.sleep(min(10, 60 * run.args.max_waiting_mins))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    run = start(args)
    if args.split is not None:
        choose_split(args.split)
    run.start_log(run.output_dir / "eval", "eval")
    test_set, test_loader, _ = build_dataloader(
        run.data_dir,
        run.batch_size,
        run.distributed,
        workers=args.workers,
        logger=run.logger,
        training=False,
    )
    model = build_network(test_set).to(run.device)
    ckpt_dir = args.ckpt_dir or run.output_dir / "ckpt"
    if args.eval_all:
        if args.ckpt is not None:
            raise ConfigError("--ckpt and --eval_all exclude each other")
        repeat_eval_ckpt(run, model, test_loader, ckpt_dir)
        return
    found = list_checkpoints(ckpt_dir)
    if args.ckpt is None and not found:
        raise CheckpointError(
            f"{ckpt_dir}: no checkpoint_epoch_N.pth there; train first or give --ckpt"
        )
    ckpt = Path(args.ckpt) if args.ckpt is not None else found[-1][1]
    eval_single_ckpt(run, model, test_loader, ckpt)


if __name__ == "__main__":
    run_command(main)
