"""Options that several commands share, and checks of options. Imports no torch, for --help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pcdet.config.schema.training import AMP_NAMES
from pcdet.utils.errors import ConfigError

_LONGEST_TIMEOUT = 10**7  # seconds, four months
_LAST_PORT = 65535


class _LastOption(argparse.Action):
    """Takes all words after it, and refuses an option among them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        for word in values or ():
            if word.startswith("--") or word == "-h":
                raise ConfigError(
                    f"{word.partition('=')[0]} after {option_string}: {option_string} must come "
                    "last, as all words after it are taken for its KEY value pairs"
                )
        setattr(namespace, self.dest, values)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose --help keeps the lines of the description."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def name_of_run(text: str) -> str:
    """The type of --extra_tag: it names a folder below that of the yaml's runs."""
    if Path(text).is_absolute() or ".." in Path(text).parts or not Path(text).parts:
        raise argparse.ArgumentTypeError(
            f"expected a name, as of a folder in output/<yaml>, got {text!r}"
        )
    return text


def name_of_evaluation(text: str) -> str:
    """The type of --eval_tag: it names one folder."""
    if len(Path(name_of_run(text)).parts) > 1:
        raise argparse.ArgumentTypeError(f"expected a name without slashes, got {text!r}")
    return text


def add_extra_tag_option(add_argument: Callable[..., Any]) -> None:
    """--extra_tag, by the `add_argument` of a parser or a group."""
    add_argument(
        "--extra_tag",
        type=name_of_run,
        default="default",
        help="names the run: output/<yaml>/<extra_tag>",
    )


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """--device."""
    parser.add_argument(
        "--device", help="cpu, cuda or cuda:N (default: a GPU if one is usable, else the CPU)"
    )


def add_detection_options(parser: argparse._ActionsContainer) -> None:
    """--amp and --compile of the commands that detect."""
    parser.add_argument(
        "--amp",
        nargs="?",
        const="bf16",
        default="none",
        choices=(*AMP_NAMES, "auto", "none"),
        help="compute in 16 bits where that is safe: bf16 (what --amp alone means), or, on GPUs "
        "that lack it, fp16; auto for bf16 on CPUs that multiply it faster, else float32; it may "
        "cost pedestrians a point of AP (default: none, float32)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the dense network in bird's-eye view (torch.compile); takes a minute at the "
        "start",
    )


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """--set, which takes all that follows it."""
    parser.add_argument_group("settings of the yaml, as the last option").add_argument(
        "--set",
        dest="set_cfgs",
        action=_LastOption,
        nargs=argparse.REMAINDER,
        default=[],
        help="--set KEY value KEY value overwrites settings of the yaml, as in --set "
        "MODEL.TEST.SCORE_THRESH 0.3 MODEL.TEST.NMS_THRESH 0.1; must come last, after all other "
        "options",
    )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of both train.py and test.py."""
    files = parser.add_argument_group("files").add_argument
    files("--cfg_file", required=True, help="yaml of the model, such as tools/cfgs/second.yaml")
    files(
        "--data_dir",
        help="folder of the data set (default: the yaml's DATA_CONFIG.DATA_DIR, in the repository "
        "if pcdet runs from one, else in the working folder)",
    )
    add_extra_tag_option(files)
    files(
        "--output_dir",
        type=Path,
        help="folder of all runs (default: output/ in the repository if pcdet runs from one, else "
        "in the working folder)",
    )
    _add_process_options(parser.add_argument_group("device and processes"))
    add_set_option(parser)


def _add_process_options(group: argparse._ArgumentGroup) -> None:
    add_device_option(group)
    group.add_argument(
        "--batch_size",
        type=int,
        help="frames of a step, over all processes together (default: in a training the yaml's, "
        "else 4 for each GPU, 2 for each process on a CPU)",
    )
    group.add_argument(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="processes that load data, on each rank (default: %(default)s)",
    )
    group.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm"],
        default="none",
        help="how several processes were started: torchrun (pytorch) or srun (slurm)",
    )
    group.add_argument(
        "--tcp_port",
        type=int,
        help="port where the processes meet, if the launcher sets none (default: found by itself)",
    )
    group.add_argument(
        "--dist_timeout",
        type=float,
        default=600,
        metavar="SECONDS",
        help="a process that waits for another one for so long ends with an error "
        "(default: %(default)s)",
    )
    group.add_argument(
        *("--local_rank", "--local-rank"),
        type=int,
        help="set by old launchers; usually not needed",
    )


def check_at_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """Raise a ConfigError for the first of these options that is below `least`, or NaN."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ConfigError(f"--{name} must be at least {least}, got {value}")


def _is_given(args: argparse.Namespace, name: str) -> bool:
    """Whether an option whose default is None, or False for a flag, is on the command line."""
    return getattr(args, name) is not None and getattr(args, name) is not False


def check_goes_with(args: argparse.Namespace, leader: str, *names: str) -> None:
    """Raise a ConfigError for the first of these options that is given without the one it serves.

    Args:
        args: the command line.
        leader: the option that the others serve; like them None or False if it is not given.
        *names: of the others.
    """
    for name in names:
        if _is_given(args, name) and not _is_given(args, leader):
            raise ConfigError(f"--{name} goes with --{leader} alone")


def check_exclusive(args: argparse.Namespace, *pairs: tuple[str, str]) -> None:
    """Raise a ConfigError for the first pair of options, None or False if not given, that are."""
    for one, other in pairs:
        if _is_given(args, one) and _is_given(args, other):
            raise ConfigError(f"--{one} and --{other} exclude each other")


def check_common_options(args: argparse.Namespace) -> None:
    """Raise a ConfigError for the first option of `add_common_options` that does not fit."""
    check_at_least(args, 1, "batch_size", "tcp_port")
    check_at_least(args, 0, "workers")
    if not args.dist_timeout > 0:
        raise ConfigError(f"--dist_timeout must be above 0, got {args.dist_timeout}")
    for name, most in (("dist_timeout", _LONGEST_TIMEOUT), ("tcp_port", _LAST_PORT)):
        if (getattr(args, name) or 0) > most:
            raise ConfigError(f"--{name} must be at most {most}, got {getattr(args, name)}")
    processes = os.environ.get("WORLD_SIZE", "1")
    if args.launcher == "none" and "TORCHELASTIC_RUN_ID" in os.environ and processes != "1":
        raise ConfigError(
            f"--launcher: torchrun started {processes} processes, and each would do all of the "
            "work; give --launcher pytorch"
        )
