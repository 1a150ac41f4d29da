"""What convert.py does: read, fit, convert, write, and read again."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from easydict import EasyDict

import pcdet
from pcdet.inference.network import load_network
from pcdet.models.detectors.detector3d import Detector3D
from pcdet.models.vfe.input_scales import without_input_scales
from pcdet.run.resume import plain_config
from pcdet.utils import log_utils, openpcdet_weights
from pcdet.utils.checkpoint_formats import SPARSE_LAYOUTS
from pcdet.utils.checkpoint_utils import save_checkpoint
from pcdet.utils.errors import CheckpointError

# Of the largest number of an entry: one rounding on the way there and one on the way back.
_ROUNDING = 1e-6


def convert(args: argparse.Namespace) -> None:
    """Write the checkpoint that the command line asks for."""
    logger = log_utils.create_logger()
    network, checkpoint = load_network(args.source, args.cfg_file, args.set_cfgs, logger)
    write = {"pcdet": _write_ours, "openpcdet": _write_openpcdet, "pcdet_v0.1": _write_pcdet}
    kept = {key: checkpoint.get(key) for key in ("epoch", "it")}
    out = args.out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: a file of this name stays until the new one has been read again.
    with TemporaryDirectory(prefix=".convert_", dir=out.parent) as apart:
        written = Path(apart) / args.out.name
        write[args.to](network.model, network.config, written, kept, logger)
        written.replace(out)
    logger.info("wrote %s, read it again and compared it", args.out)


def _write_ours(
    model: Detector3D, config: EasyDict, out: Path, kept: Mapping[str, Any], logger: logging.Logger
) -> None:
    entries = {"config": plain_config(config), "version": {"pcdet": pcdet.__version__}}
    checkpoint = {**kept, "model_state": model.state_dict(), **entries}
    if out.suffix == ".safetensors":
        from pcdet.utils.safetensors_file import write_safetensors

        write_safetensors(checkpoint, out)
    else:
        save_checkpoint(checkpoint, out)
    _check(model.state_dict(), out, config, logger)


def _write_openpcdet(
    model: Detector3D, config: EasyDict, out: Path, kept: Mapping[str, Any], logger: logging.Logger
) -> None:
    state = _absorbed_scales(model, config, logger)
    if any(name.startswith("rcnn_net.") for name in state):
        logger.warning(
            "OpenPCDet's second stage of Part-A2 has other layers: the first stage alone is written"
        )
        config.MODEL.RCNN.ENABLED = False
        state = {name: value for name, value in state.items() if not name.startswith("rcnn_net.")}
    theirs = openpcdet_weights.from_ours(state, model, out.name)
    _write_old(theirs, out, kept)
    _check(state, out, config, logger)


def _write_pcdet(
    model: Detector3D, config: EasyDict, out: Path, kept: Mapping[str, Any], logger: logging.Logger
) -> None:
    state = _absorbed_scales(model, config, logger)
    _write_old(state, out, kept)
    _check(state, out, config, logger)


def _absorbed_scales(
    model: Detector3D, config: EasyDict, logger: logging.Logger
) -> dict[str, torch.Tensor]:
    """The weights for a code base without `input_scales`, which `config` then has no more."""
    if config.MODEL.VFE.get("ARGS", {}).pop("input_scales", None):
        logger.info("the first layer's weights are multiplied by MODEL.VFE.ARGS.input_scales")
    return without_input_scales(model.state_dict())


def _write_old(state: Mapping[str, torch.Tensor], out: Path, kept: Mapping[str, Any]) -> None:
    """As PCDet and OpenPCDet write: torch's old format, sparse weights as spconv 1 has them."""
    order = torch.argsort(torch.tensor(SPARSE_LAYOUTS["spconv 1"])).tolist()
    state = {k: v.permute(order).contiguous() if v.dim() == 5 else v for k, v in state.items()}
    checkpoint = {**kept, "model_state": state, "optimizer_state": None}
    checkpoint["version"] = f"pcdet-convert {pcdet.__version__}"
    save_checkpoint(checkpoint, out, old_format=True)


def _check(
    state: Mapping[str, torch.Tensor], out: Path, config: EasyDict, logger: logging.Logger
) -> None:
    """Raise a CheckpointError unless the file gives a network of its own the same weights."""
    network, _ = load_network(out, config, logger=logger)
    for name, value in network.model.state_dict().items():
        atol = _ROUNDING * max(float(state[name].abs().max()), 1.0) if value.numel() else 0.0
        if not torch.allclose(value, state[name], rtol=0, atol=atol):
            raise CheckpointError(f"{out.name}: read again, its entry {name} is not what it was")
