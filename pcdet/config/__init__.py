"""The configuration: a yaml file and `--set`, checked by the schema (`pcdet.config.schema`).

One global `cfg` is filled by the commands and read at the doors only: where data sets, networks and
optimisers are built.
"""

from __future__ import annotations

import logging
from pathlib import Path

import yaml
from easydict import EasyDict

from pcdet.config.overrides import cfg_from_list
from pcdet.config.schema import read_config
from pcdet.utils.errors import ConfigError
from pcdet.utils.io_utils import read_file
from pcdet.utils.paths import root_dir
from pcdet.utils.strict_yaml import load_yaml

__all__ = [
    "CFG_DIR",
    "cfg",
    "cfg_from_list",
    "cfg_from_yaml_file",
    "find_yaml",
    "log_config_to_file",
]

_MAX_YAML_SIZE = 1 << 18  # bytes; the largest of tools/cfgs has 7,000

# The yaml files that come with the package; tools/cfgs in the repository leads here.
CFG_DIR = Path(__file__).resolve().parent / "cfgs"

cfg = EasyDict()
cfg.ROOT_DIR = root_dir()
cfg.LOCAL_RANK = 0


def find_yaml(name: str | Path) -> Path:
    """The yaml file that a command line names.

    Args:
        name: a path from the working folder or from `root_dir()`. Below tools/cfgs, which an
            installed package does not have, and for a bare name such as `second.yaml`, the
            package's own files are looked up, too.

    Returns:
        The first of these that is there, else `name` itself.
    """
    path = Path(name)
    places = [path, root_dir() / path]
    if path.parent in (Path(), Path("tools/cfgs")):
        places.append(CFG_DIR / path.name)
    return next((place for place in places if place.is_file()), path)


def cfg_from_yaml_file(cfg_file: str | Path, config: EasyDict) -> EasyDict:
    """Read a yaml file into `config`, which is then complete.

    Sections of the file replace those of `config`. Besides, `config` gets TAG, the file's name,
    and, unless it has them, ROOT_DIR, the folder of data/ and output/, and LOCAL_RANK, 0.

    Raises:
        ConfigError: the file cannot be read, is not yaml, or holds a key or value that the schema
            (docs/configuration.md) has not.
    """
    path = Path(cfg_file)
    text = read_file(path, error=ConfigError, max_size=_MAX_YAML_SIZE)
    try:
        content = load_yaml(text.decode("utf-8"))
        if not isinstance(content, dict):
            raise ConfigError(f"expected keys and values, got {type(content).__name__}")
        read_config(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    # PyYAML raises a ValueError for a date that does not exist, and follows nesting recursively.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid yaml: {error}") from error
    config.update(EasyDict(content))
    config.TAG = path.stem
    config.setdefault("ROOT_DIR", root_dir())
    config.setdefault("LOCAL_RANK", 0)
    return config


def log_config_to_file(
    cfg: EasyDict, pre: str = "cfg", logger: logging.Logger | None = None
) -> None:
    """Write every setting as a line `cfg.A.B: value` to the log."""
    logger = logger or logging.getLogger(__name__)
    for key, value in cfg.items():
        if isinstance(value, EasyDict):
            logger.info("%s.%s = edict()", pre, key)
            log_config_to_file(value, pre=f"{pre}.{key}", logger=logger)
        else:
            logger.info("%s.%s: %s", pre, key, value)
