"""The yaml configuration: one global `cfg`, filled by the tools and read only by builders."""

from __future__ import annotations

import logging
from ast import literal_eval
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from pcdet.config.types import check_types
from pcdet.utils.errors import ConfigError, check_keys
from pcdet.utils.io_utils import read_file
from pcdet.utils.paths import root_dir

_TOP_LEVEL_KEYS = ("CLASS_NAMES", "DATA_CONFIG", "MODEL")
_MAX_YAML_SIZE = 1 << 18  # bytes; the largest of tools/cfgs has 7,000
_MAX_YAML_NODES = 50_000
_DICT_ATTRIBUTES = frozenset(dir(EasyDict))


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
    """Read a yaml file into `config` and set config.TAG to the file's name.

    Keys of the file replace those of `config`; what it does not mention stays.

    Raises:
        ConfigError: the file cannot be read, is not yaml, has an unknown top-level key, or a key
            that is given twice or has a value of another kind.
    """
    path = Path(cfg_file)
    text = read_file(path, error=ConfigError, max_size=_MAX_YAML_SIZE)
    try:
        content = _load_yaml(text.decode("utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    # PyYAML raises a ValueError for a date that does not exist, and follows nesting recursively.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid yaml: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(content).__name__}")
    check_keys(content, _TOP_LEVEL_KEYS, str(path))
    for key in _TOP_LEVEL_KEYS:
        if key not in content:
            raise ConfigError(f"{path}: the key {key!r} is missing")
    check_types(content, str(path))
    config.update(EasyDict(content))
    config.TAG = path.stem
    return config


def _load_yaml(text: str) -> Any:
    """Plain data of a yaml text; what PyYAML would take for any text is checked before.

    Raises:
        yaml.YAMLError: it is no yaml, or names a Python object.
        ConfigError: a key is given twice or cannot be one, or aliases make it endless.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _count_nodes(root, {})
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _count_nodes(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many nodes there are at and below a node, each alias counted as what it stands for.

    Raises:
        ConfigError: more than any configuration has, or a key that cannot be one.
    """
    if id(node) in counts:
        if not counts[id(node)]:
            raise ConfigError(f"{_place(node)}: an alias that contains itself")
        return counts[id(node)]
    counts[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_yaml_keys(node)
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    counts[id(node)] = 1 + sum(_count_nodes(child, counts) for child in children)
    if counts[id(node)] > _MAX_YAML_NODES:
        raise ConfigError(f"{_place(node)}: more than {_MAX_YAML_NODES} values, through aliases")
    return counts[id(node)]


def _check_yaml_keys(node: yaml.MappingNode) -> None:
    """Raise a ConfigError for a key that is no name, or is given twice in one section."""
    seen: set[str] = set()
    for key, _ in node.value:
        name = key.value
        # An EasyDict has its keys as attributes: a key `items` would hide its method.
        if not isinstance(name, str) or not name.isprintable() or name in _DICT_ATTRIBUTES:
            raise ConfigError(f"{_place(key)}: {str(name)[:80]!r} cannot be a key")
        if key.tag == "tag:yaml.org,2002:str":
            if name in seen:
                raise ConfigError(f"{_place(key)}: the key {name!r} is given a second time")
            seen.add(name)
        elif key.tag != "tag:yaml.org,2002:merge":
            raise ConfigError(f"{_place(key)}: the key {name!r} is no text; put it in quotes")


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def cfg_from_list(cfg_list: list[str], config: EasyDict) -> None:
    """Overwrite settings: `["MODEL.TEST.SCORE_THRESH", "0.3", ...]`, as `--set` on a command line.

    Raises:
        ConfigError: an odd number of words, a key that does not exist, or a value of another type.
    """
    if len(cfg_list) % 2:
        raise ConfigError(f"--set takes pairs of key and value, got {len(cfg_list)} words")
    for key, text in zip(cfg_list[::2], cfg_list[1::2]):
        parent, name = _find(config, key)
        parent[name] = _convert(text, parent[name], key)
    if cfg_list:
        check_types(config, "--set")


def _find(config: EasyDict, key: str) -> tuple[Any, Any]:
    """The container that holds `key` and its last name; numbers index into lists."""
    node, path = config, key.split(".")
    for depth, name in enumerate(path):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            name = int(name)
        elif not isinstance(node, dict) or name not in node:
            where = ".".join(path[:depth]) or "the configuration"
            known = sorted(node) if isinstance(node, dict) else f"a {type(node).__name__}"
            raise ConfigError(f"--set {key}: no {name!r} in {where}; there is {known}")
        if depth < len(path) - 1:
            node = node[name]
    return node, name


def _convert(text: str, old: Any, key: str) -> Any:
    """`text` as a value of the type of `old`."""
    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text  # literal_eval raises the last three for text such as "((((..."
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, list) and not isinstance(value, (list, tuple)):
        value = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
    if isinstance(old, list):
        return list(value)
    if old is not None and type(value) is not type(old):
        raise ConfigError(
            f"--set {key}: expected a {type(old).__name__} as {old!r} is, got {text!r}"
        )
    return value


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
