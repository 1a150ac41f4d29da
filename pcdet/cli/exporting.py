"""What export.py does: read a checkpoint, and write its network for other programs."""

from __future__ import annotations

import argparse

from pcdet.export.files import export
from pcdet.inference.network import load_network
from pcdet.utils import log_utils
from pcdet.utils.errors import ConfigError
from pcdet.utils.file_checks import is_file_name


def export_checkpoint(args: argparse.Namespace) -> None:
    """Write the files that the command line asks for."""
    logger = log_utils.create_logger()
    network, _ = load_network(args.ckpt, args.cfg_file, args.set_cfgs, logger)
    name = args.name or network.config.get("TAG") or "network"
    if not is_file_name(name):
        raise ConfigError(f"--name: expected the name of a file in --out, got {name!r}")
    path = export(network, args.out, name, args.batch_size)
    logger.info("%s, and beside it the same as .pt2, settings as .json, and postprocess.py", path)
