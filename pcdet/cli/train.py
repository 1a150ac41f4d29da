"""Train a detector.

    python tools/train.py --cfg_file tools/cfgs/second.yaml
    torchrun --nproc_per_node=8 tools/train.py --launcher pytorch --cfg_file ... --batch_size 32

Writes output/<yaml>/<extra_tag>/: ckpt/checkpoint_epoch_N.pth, tensorboard/, log_train_<time>.txt.
Started again with the same command it resumes from the newest checkpoint, as if it had never
stopped; with --ckpt, from the newest that came of the same --ckpt. Ctrl-C and SIGTERM save a
checkpoint first; at the second time they do not.
"""

from __future__ import annotations

import argparse

from pcdet.cli.options import add_common_options, check_at_least, check_common_options, make_parser
from pcdet.config.schema.training import AMP_NAMES
from pcdet.run.leaving import run_command
from pcdet.utils.errors import ConfigError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the options; raise a ConfigError for one that does not fit."""
    parser = make_parser(__doc__)
    _add_recipe_options(parser.add_argument_group("recipe"))
    _add_start_options(parser.add_argument_group("where to begin"))
    _add_speed_options(parser.add_argument_group("speed"))
    _add_saving_options(parser.add_argument_group("checkpoints and curves"))
    add_common_options(parser)
    args = parser.parse_args(argv)
    check_common_options(args)
    check_at_least(args, 1, "epochs", "ckpt_save_interval", "max_ckpt_save_num", "log_interval")
    check_at_least(args, 0, "precise_bn", "freeze_bn", "seed", "ckpt_save_time_interval")
    if args.ckpt is not None and args.pretrained_model is not None:
        raise ConfigError(
            "--ckpt and --pretrained_model exclude each other: the one goes on with a training, "
            "the other begins one with weights alone"
        )
    if args.seed is not None and args.seed >= 2**32:
        raise ConfigError(f"--seed must be below 2^32, got {args.seed}")
    return args


def _add_recipe_options(group: argparse._ArgumentGroup) -> None:
    """Options that stand in for those of the yaml; None if not given (`cli.recipe`)."""
    group.add_argument(
        "--epochs", type=int, help="epochs of the whole training (default: the yaml's, else 80)"
    )
    group.add_argument(
        "--amp",
        nargs="?",
        const="bf16",
        choices=[*AMP_NAMES, "none"],
        help="compute in 16 bits where that is safe: bf16 (what --amp alone means), or, on GPUs "
        "that lack it, fp16 with a scaled loss (default: the yaml's, else none)",
    )
    group.add_argument(
        "--precise_bn",
        type=int,
        metavar="BATCHES",
        help="measure the statistics of normalisation layers anew at the end, on so many batches "
        "of each process; for trainings of less than some thousand iterations (default: the "
        "yaml's, else 0: PCDet's averages)",
    )
    group.add_argument(
        "--freeze_bn",
        type=int,
        metavar="EPOCHS",
        help="in so many last epochs let normalisation layers use their averages, as in a test, "
        "not each batch's own statistics; for batches of one or two frames; --precise_bn then "
        "measures before these epochs (default: the yaml's, else 0)",
    )
    group.add_argument(
        "--sync_bn",
        action=argparse.BooleanOptionalAction,
        help="normalise by the statistics of all processes' frames together, not by each one's own "
        "(default: the yaml's, else each one's own, as PCDet)",
    )


def _add_start_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ckpt",
        help="checkpoint to resume from, until there is a newer one that the same option has led "
        "to (default: the newest of this run, if any)",
    )
    group.add_argument(
        "--allow_empty_classes",
        action="store_true",
        help="train even where a class of CLASS_NAMES has no object to learn from",
    )
    group.add_argument(
        "--pretrained_model",
        help="checkpoint whose weights to start with, of other classes or another code base too; "
        "what does not fit is left out and listed",
    )
    group.add_argument("--fix_random_seed", action="store_true", help="the same as --seed 666")
    group.add_argument(
        "--seed",
        type=int,
        help="decides initial weights, shuffling and augmentation (default: another one each time)",
    )


def _add_speed_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the dense network in bird's-eye view and its loss (torch.compile); takes a "
        "minute at the start; checkpoints stay the same",
    )
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="torch's deterministic algorithms, where there are any: the same results from run to "
        "run on a GPU, more slowly (on the CPU they are the same anyway)",
    )


def _add_saving_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ckpt_save_interval", type=int, default=2, help="epochs between checkpoints (default: 2)"
    )
    group.add_argument(
        "--ckpt_save_time_interval",
        type=float,
        default=300,
        help="seconds between checkpoints within an epoch, each in the place of the last, "
        "ckpt/latest_model.pth (default: 300)",
    )
    group.add_argument(
        "--max_ckpt_save_num", type=int, default=30, help="newest checkpoints kept (default: 30)"
    )
    group.add_argument(
        "--log_interval",
        type=int,
        help="iterations between points of the curves; each waits for the GPU (default: 1 on a "
        "CPU, 10 on a GPU)",
    )


def main(argv: list[str] | None = None) -> None:
    """Train as the command line asks for."""
    args = parse_args(argv)
    from pcdet.cli.training import train  # imports torch, which --help does without

    train(args)


def run() -> None:
    """Run the command line."""
    run_command(main)


if __name__ == "__main__":
    run()
