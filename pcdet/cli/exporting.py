"""What export.py does: read a checkpoint, and write its network for other programs."""

from __future__ import annotations

import argparse

from pcdet.config import cfg_from_list
from pcdet.export.files import export
from pcdet.inference.network import build_from_config, config_of
from pcdet.utils import log_utils
from pcdet.utils.checkpoint_utils import load_checkpoint, load_weights


def export_checkpoint(args: argparse.Namespace) -> None:
    """Write the files that the command line asks for."""
    logger = log_utils.create_logger()
    checkpoint = load_checkpoint(args.ckpt)
    config = config_of(checkpoint, args.ckpt, args.cfg_file)
    cfg_from_list(args.set_cfgs, config)
    network = build_from_config(config)
    load_weights(network.model, checkpoint, str(args.ckpt), logger)
    path = export(network, args.out, args.name or config.get("TAG") or "network", args.batch_size)
    logger.info("%s, and beside it the same as .pt2, settings as .json, and postprocess.py", path)
