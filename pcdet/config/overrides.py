"""Settings of a command line, `--set KEY value ...`, put in the place of those of the yaml."""

from __future__ import annotations

import typing
from ast import literal_eval
from collections.abc import Mapping, Sequence
from typing import Any

from easydict import EasyDict

from pcdet.config.schema import Config, read_config
from pcdet.config.schema.check import chosen_section, mismatch, unknown_key
from pcdet.config.schema.keys import (
    REQUIRED,
    Key,
    Limits,
    alternatives,
    fits,
    has_keys,
    is_optional,
    is_section,
    item_key,
    keys_of,
)
from pcdet.utils.errors import ConfigError

_NULL = ("None", "null", "~")
_WHOLE = Key(Config, "", REQUIRED, None, None, Limits())


def cfg_from_list(cfg_list: Sequence[str], config: EasyDict) -> None:
    """Overwrite settings: `["MODEL.TEST.SCORE_THRESH", "0.3", ...]`, as `--set` on a command line.

    A value becomes what the schema says of its key; entries of a list are separated by commas. A
    key that the yaml leaves out is added. Numbers in a key index into lists.

    Args:
        cfg_list: keys and values in turn.
        config: a whole configuration, changed in place.

    Raises:
        ConfigError: an odd number of words, an unknown key, or a value that does not fit.
    """
    if len(cfg_list) % 2:
        raise ConfigError(f"--set takes pairs of key and value, got {len(cfg_list)} words")
    for key, text in zip(cfg_list[::2], cfg_list[1::2]):
        parent, name, declared = _find(config, key)
        parent[name] = _convert(text, declared, key)
    if cfg_list:
        try:
            read_config(config)
        except ConfigError as error:
            raise ConfigError(f"--set: {error}") from error


def _find(config: EasyDict, key: str) -> tuple[Any, Any, Key]:
    """What holds the value of `key`, the value's name in it, and what the schema says of it.

    Sections on the way that the yaml leaves out are added.
    """
    declared, node, path = _WHOLE, config, key.split(".")
    for depth, name in enumerate(path):
        inner = _key_in(declared, node, name)
        if isinstance(inner, str):
            where = ".".join(path[:depth]) or "the configuration"
            raise ConfigError(f"--set {key}: in {where}: {inner}")
        declared, name = inner, int(name) if isinstance(node, list) else name
        if depth < len(path) - 1:
            if isinstance(node, dict) and node.get(name) is None and has_keys(declared):
                node[name] = EasyDict()
            node = node[name] if isinstance(node, list) else node.get(name)
    return node, name, declared


def _key_in(declared: Key, node: Any, name: str) -> Key | str:
    """What the schema says of an entry of a section or list, or why there is none."""
    if isinstance(node, list):
        if name.isdecimal() and int(name) < len(node):
            return item_key(declared)
        return f"no entry {name!r} in a list of {len(node)}"
    for part in alternatives(declared.hint) if isinstance(node, Mapping) else ():
        if is_section(part):
            keys = keys_of(chosen_section(part, node, declared.by_name))
            return keys[name] if name in keys else unknown_key(name, keys, node)
        if typing.get_origin(part) is dict:
            return item_key(declared)
    return f"it has no keys, got {name!r}"


def _convert(text: str, declared: Key, key: str) -> Any:
    """`text` as a value of the type that the schema declares."""
    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text  # literal_eval raises the last three for text such as "((((..."
    if text in _NULL and is_optional(declared.hint):
        return None
    if type(value) is int and declared.hint is float:
        value = float(value)
    if isinstance(value, tuple):
        value = list(value)
    entries = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
    for meant in (value, text, entries):
        if fits(declared.hint, declared.limits, meant):
            return meant
    raise ConfigError(f"--set {key}: {mismatch(declared, value)}")
