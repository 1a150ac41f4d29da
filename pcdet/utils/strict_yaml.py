"""Yaml that means one thing and is read in no time.

No aliases without end, no key given twice, no number that yaml reads as another.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from easydict import EasyDict

from pcdet.utils.errors import ConfigError

_MAX_YAML_NODES = 50_000
# 012 is ten to yaml, and 1:30 ninety.
_UNUSUAL_NUMBER = re.compile(r"[-+]?0[0_]*[1-9][0-9_]*|[-+]?[0-9][0-9_]*(:[0-9_.]+)+")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
DICT_ATTRIBUTES = frozenset(dir(EasyDict))


def load_yaml(text: str) -> Any:
    """Plain data of a yaml text; what PyYAML would take for any text is checked before.

    Raises:
        yaml.YAMLError: it is no yaml, or names a Python object.
        ConfigError: a key is given twice or cannot be one, a number is octal or to the base of
            60, or aliases make it endless.
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
        ConfigError: more than any configuration has, a key that cannot be one, or a number that
            yaml reads as another than it looks like.
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
    elif node.tag in _NUMBERS and _UNUSUAL_NUMBER.fullmatch(node.value):
        raise ConfigError(
            f"{_place(node)}: yaml may read {node.value} as another number, octal or to base 60: "
            "write it without leading zeros and colons, or in quotes if it is a name"
        )
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
        if not isinstance(name, str) or not name.isprintable() or name in DICT_ATTRIBUTES:
            raise ConfigError(f"{_place(key)}: {str(name)[:80]!r} cannot be a key")
        if key.tag == "tag:yaml.org,2002:str":
            if name in seen:
                raise ConfigError(f"{_place(key)}: the key {name!r} is given a second time")
            seen.add(name)
        elif key.tag != "tag:yaml.org,2002:merge":
            raise ConfigError(f"{_place(key)}: the key {name!r} is no text; put it in quotes")


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
