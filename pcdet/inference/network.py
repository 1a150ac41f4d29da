"""A network, and what turns scans into its batches, from a configuration alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from easydict import EasyDict

from pcdet.config import cfg_from_list, cfg_from_yaml_file, find_yaml
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.models import build_network
from pcdet.models.detectors.detector3d import Detector3D
from pcdet.utils.checkpoint_utils import load_checkpoint, load_weights
from pcdet.utils.errors import CheckpointError, ConfigError


class BuiltNetwork(NamedTuple):
    """A network with random weights, and how its input is made.

    Attributes:
        model: on the CPU.
        samples: makes samples and batches of scans; it has no frames of its own.
        config: the whole configuration.
    """

    model: Detector3D
    samples: DatasetTemplate
    config: EasyDict


def build_from_config(config: Mapping[str, Any]) -> BuiltNetwork:
    """Build the network of a configuration, such as a checkpoint stores.

    Raises:
        ConfigError: a key or value is unknown or does not fit.
    """
    missing = _missing_keys(config)
    if missing:
        raise ConfigError(
            f"the configuration lacks {missing}; give a whole one, or the name of a yaml"
        )
    config = EasyDict(config)
    samples = DatasetTemplate()
    samples.configure(config.DATA_CONFIG, config.CLASS_NAMES, training=False)
    return BuiltNetwork(build_network(samples, config), samples, config)


def load_network(
    path: str | os.PathLike,
    cfg: str | os.PathLike | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    logger: logging.Logger | None = None,
) -> tuple[BuiltNetwork, Mapping[str, Any]]:
    """Read a checkpoint, of whichever code base, and give its weights to its network.

    Args:
        path: of the checkpoint.
        cfg: yaml of its network, or a configuration; None for the one that it stores.
        overrides: KEY value KEY value ... as after --set.
        logger: where to report.

    Returns:
        The network with its weights, and the content of the checkpoint.

    Raises:
        CheckpointError: the file cannot be read or does not fit the configuration.
        ConfigError: the configuration or an override does not fit.
    """
    checkpoint = load_checkpoint(path)
    config = EasyDict(cfg) if isinstance(cfg, Mapping) else config_of(checkpoint, path, cfg)
    cfg_from_list(overrides, config)
    network = build_from_config(config)
    logger = logger or logging.getLogger(__name__)
    # In evaluation mode, which asks for no weights that only a training needs.
    load_weights(network.model.eval(), checkpoint, str(path), logger)
    return network, checkpoint


def config_of(
    checkpoint: Mapping[str, Any], source: str | os.PathLike, cfg_file: str | os.PathLike | None
) -> EasyDict:
    """The configuration of a yaml file, or else the one that a checkpoint stores.

    Args:
        checkpoint: its content.
        source: its file, for messages.
        cfg_file: a yaml file, or the name of one that comes with the package; None for the
            checkpoint's own.

    Raises:
        CheckpointError: no yaml is given, and the checkpoint stores none, or not a whole one.
    """
    if cfg_file is not None:
        return cfg_from_yaml_file(find_yaml(cfg_file), EasyDict())
    config = checkpoint.get("config")
    if not isinstance(config, Mapping):
        raise CheckpointError(
            f"{source}: it holds no configuration, as checkpoints of PCDet and OpenPCDet do not: "
            "give the yaml of its network with cfg (--cfg_file)"
        )
    missing = _missing_keys(config)
    if missing:
        raise CheckpointError(f"{source}: its configuration lacks {missing}; give a yaml with cfg")
    return EasyDict(config)


def _missing_keys(config: Mapping[str, Any]) -> list[str]:
    return [key for key in ("CLASS_NAMES", "DATA_CONFIG", "MODEL") if key not in config]
