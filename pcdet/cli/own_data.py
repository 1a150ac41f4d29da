"""What custom.py does: check, prepare and import a folder of one's own data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from easydict import EasyDict

from pcdet.config import CFG_DIR, cfg, cfg_from_yaml_file, find_yaml
from pcdet.datasets import build_dataloader
from pcdet.datasets.custom.folder import POINTS
from pcdet.engine.device_options import checked_device
from pcdet.models import build_network
from pcdet.own_data.check import check_folder
from pcdet.own_data.importers import import_folder
from pcdet.own_data.prepare import choose_classes, read_folder, write_infos, write_yaml
from pcdet.own_data.sheet import write_sheet
from pcdet.utils import log_utils
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.frame_pool import available_cores
from pcdet.utils.io_utils import LateErrors
from pcdet.utils.kitti_format.folders import TRAINING
from pcdet.utils.preparing_commands import create_infos_command, prepare_command

_MOST_ERRORS = 20  # that are told one by one


def check(args: argparse.Namespace) -> None:
    """Read everything, print table, warnings and errors, and write the page of pictures.

    Raises:
        DataError: files are wrong, and the page is there all the same; or it cannot be written.
    """
    logger = log_utils.create_logger()
    root = _checked(args.folder)
    checked = check_folder(root, args.workers)
    logger.info("%d frames\n%s", len(checked.infos), checked.table)
    for line in checked.warnings:
        logger.warning(line)
    path = args.out or root / "check.html"
    late = LateErrors(logger)
    with late.noted():
        write_sheet(checked, path, args.frames)
        logger.info("%s: open it in a browser", path)
    if checked.errors:
        told = "\n".join(checked.errors[:_MOST_ERRORS])
        raise DataError(f"{len(checked.errors)} frames cannot be used:\n{told}")
    if late.messages:
        raise DataError(f"{late.messages[0]}; give a place for the page to --out")
    if not checked.warnings:
        logger.info("nothing is amiss; next: %s", prepare_command(args.folder))


def prepare(args: argparse.Namespace) -> None:
    """Write splits, infos, database and yaml."""
    logger = log_utils.create_logger()
    root = _checked(args.folder)
    size = args.size or ("full" if checked_device(None).type == "cuda" else "small")
    names = [name.removesuffix(".yaml") for name in args.model]
    paths = {name: root / f"{name.removesuffix('_demo')}_custom.yaml" for name in names}
    if len(set(paths.values())) < len(paths):
        raise ConfigError(
            f"--model: expected settings whose yaml files have different names, got {args.model}: "
            f"{', '.join(path.name for path in paths.values())}"
        )
    templates = {name: _template(name, size) for name in names}
    prepared = read_folder(root, args.seed, args.workers)
    class_names = choose_classes(prepared, args.classes)
    write_infos(prepared, args.workers)
    data_dir = _data_dir(root)
    for name, template in templates.items():
        path = paths[name]
        write_yaml(prepared, template, class_names, path, data_dir)
        _check_yaml(path, root)
        logger.info("%s: adapted from %s.yaml", path, template.TAG)
    first = paths[names[0]]
    # Two processes keep two cores busy with a small network, whose sparse layers use one each.
    two = size == "small" and available_cores() > 1
    program = "bash tools/scripts/dist_train.sh 2" if two else "python tools/train.py"
    if prepared.warnings:
        logger.warning(
            "%d warnings above: look at them, and at the page that pcdet-custom check writes, "
            "before you train",
            len(prepared.warnings),
        )
    logger.info("next: %s --cfg_file %s", program, shlex.quote(str(first)))


def import_labels(args: argparse.Namespace) -> None:
    """Turn the files of another program into a folder."""
    logger = log_utils.create_logger()
    import_folder(args.format, args.source, args.folder, args.points)
    logger.info("next: pcdet-custom check %s", shlex.quote(str(args.folder)))


COMMANDS = {"check": check, "prepare": prepare, "import": import_labels}


def _checked(folder: Path) -> Path:
    """The folder, with symbolic links and relative parts resolved."""
    if not (folder / POINTS).is_dir():
        what = "no points/ in it" if folder.is_dir() else "no such folder"
        told = f"{folder}: {what}; expected one with points/ and labels/"
        if (folder / TRAINING / "velodyne").is_dir():
            told += (
                f". It is in KITTI's layout: `{create_infos_command(folder)}` prepares it as it "
                f"is, `pcdet-custom import kitti {shlex.quote(str(folder))} DST` makes points/ and "
                "labels/ of it"
            )
        raise DataError(told)
    return folder.resolve()


def _template(name: str, size: str) -> EasyDict:
    """The configuration of a network; of a small one, if there is one and it is asked for.

    Raises:
        ConfigError: there is no yaml of that name; those there are, are told.
    """
    small = find_yaml(f"{name}_demo.yaml")
    path = small if size == "small" and small.is_file() else find_yaml(f"{name}.yaml")
    if not path.is_file():
        there = sorted(file.stem for file in CFG_DIR.glob("*.yaml"))
        known = ", ".join(stem for stem in there if not stem.endswith("_demo"))
        raise ConfigError(f"--model {name}: no such yaml file; expected one of {known}")
    return cfg_from_yaml_file(path, EasyDict())


def _data_dir(root: Path) -> str:
    """A folder as the yaml names it: from the repository, if it lies there."""
    try:
        return root.relative_to(cfg.ROOT_DIR).as_posix()
    except ValueError:
        return root.as_posix()


def _check_yaml(path: Path, root: Path) -> None:
    """Read a yaml as the training will, and build its network."""
    config = cfg_from_yaml_file(path, EasyDict())
    dataset, _, _ = build_dataloader(root, 1, False, workers=0, training=False, cfg=config)
    build_network(dataset, config)
