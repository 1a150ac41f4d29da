"""A configuration as yaml with comments that say where its numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_INDENT = "    "
_WIDTH = 100


def yaml_text(config: Mapping[str, Any], comments: Mapping[str, str], head: str = "") -> str:
    """Write a configuration in the form of the yaml files that come with the package.

    Args:
        config: sections, lists and plain values.
        comments: by path, such as `DATA_CONFIG.TRAIN.INFO_PATH`, what stands above a key.
        head: comment at the top.

    Returns:
        The text; loading it gives `config` again.
    """
    lines = _comment(head, "")
    for key, value in config.items():
        lines += [*_entry(key, value, key, "", comments), ""]
    return "\n".join(lines).rstrip() + "\n"


def _entry(key: str, value: Any, path: str, indent: str, comments: Mapping[str, str]) -> list[str]:
    lines = _comment(comments.get(path, ""), indent)
    if isinstance(value, Mapping) and value:
        lines.append(f"{indent}{_key(key)}:")
        for name, item in value.items():
            lines += _entry(name, item, f"{path}.{name}", indent + _INDENT, comments)
        return lines
    if _is_list_of_sections(value):
        lines.append(f"{indent}{_key(key)}:")
        for k, item in enumerate(value):
            lines += _item(item, f"{path}.{k}", indent + _INDENT, comments)
        return lines
    return [*lines, f"{indent}{_key(key)}: {_plain(value)}"]


def _item(
    item: Mapping[str, Any], path: str, indent: str, comments: Mapping[str, str]
) -> list[str]:
    """A section in a list: its first key stands behind a dash, comments above it."""
    lines = _comment(comments.get(path, ""), indent)
    inner = [
        line
        for name, value in item.items()
        for line in _entry(name, value, f"{path}.{name}", indent + "  ", comments)
    ]
    first = next(k for k, line in enumerate(inner) if not line.lstrip().startswith("#"))
    above = [f"{indent}{line.lstrip()}" for line in inner[:first]]
    return [*lines, *above, f"{indent}- {inner[first].lstrip()}", *inner[first + 1 :]]


def _comment(text: str, indent: str) -> list[str]:
    """Lines of a comment, broken at blanks."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}# {word}")
    return lines


def _is_list_of_sections(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def _key(name: str) -> str:
    """A key; in quotes if yaml would take it for a number or the like, as the class `1`."""
    is_text = name.isidentifier() and yaml.safe_load(name) == name
    return name if is_text else _plain(name)


def _plain(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return _decimal(value)
    return "null" if value is None else str(value)


def _decimal(value: float) -> str:
    """A number with a point: yaml takes 1e-07 for a text."""
    text = repr(value)
    return text if "e" not in text else f"{value:.12f}".rstrip("0")
