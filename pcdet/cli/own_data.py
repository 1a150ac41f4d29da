"""What custom.py does: check, prepare and import a folder of one's own data."""

from __future__ import annotations

import argparse
from pathlib import Path

from easydict import EasyDict

from pcdet.config import cfg, cfg_from_yaml_file, find_yaml
from pcdet.datasets import build_dataloader
from pcdet.engine.device_options import checked_device
from pcdet.models import build_network
from pcdet.own_data.prepare import choose_classes, read_folder, write_infos, write_yaml
from pcdet.utils import log_utils
from pcdet.utils.errors import DataError


def prepare(args: argparse.Namespace) -> None:
    """Write splits, infos, database and yaml."""
    logger = log_utils.create_logger()
    root = _checked(args.folder)
    size = args.size or ("full" if checked_device(None).type == "cuda" else "small")
    templates = {name: _template(name, size) for name in args.model}
    prepared = read_folder(root, args.seed, args.workers)
    class_names = choose_classes(prepared, args.classes)
    write_infos(prepared, args.workers)
    data_dir = _data_dir(root)
    for name, template in templates.items():
        path = root / f"{name.removesuffix('_demo')}_custom.yaml"
        write_yaml(prepared, template, class_names, path, data_dir)
        _check_yaml(path, root)
        logger.info("%s: adapted from %s.yaml", path, template.TAG)
    first = root / f"{args.model[0].removesuffix('_demo')}_custom.yaml"
    logger.info("next: python tools/train.py --cfg_file %s", first)


def _checked(folder: Path) -> Path:
    """The folder, with symbolic links and relative parts resolved."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with points/ and labels/")
    return folder.resolve()


def _template(name: str, size: str) -> EasyDict:
    """The configuration of a network; of a small one, if there is one and it is asked for."""
    small = find_yaml(f"{name}_demo.yaml")
    path = small if size == "small" and small.is_file() else find_yaml(f"{name}.yaml")
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
