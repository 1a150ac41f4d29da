"""Reading a configuration by its schema: each value is judged here and nowhere else."""

from __future__ import annotations

import copy
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pcdet.config.schema.keys import (
    REQUIRED,
    Key,
    Limits,
    Section,
    alternatives,
    expectation,
    fits,
    is_section,
    item_key,
    keys_of,
)
from pcdet.utils.errors import ConfigError

S = TypeVar("S", bound=Section)
_TOP = "the configuration"


def read_section(
    section: type[S], values: Any, path: str, by_name: Mapping[str, type[S]] | None = None
) -> S:
    """Check a section of a configuration, and hold its values and defaults by name.

    Args:
        section: what the section is declared as.
        values: a mapping, as a yaml has it.
        path: the section's keys from the top, joined by dots, for messages.
        by_name: if the keys depend on the section's NAME, the sections by NAME.

    Raises:
        ConfigError: a key is unknown or missing, or has a value that does not fit. The message
            names the key, what is expected of it, what it has, and a remedy where there is one.
    """
    if not isinstance(values, Mapping):
        expected = expectation(section, Limits())
        raise ConfigError(f"{path or _TOP}: expected {expected}, got {shown(values)}")
    section = chosen_section(section, values, by_name)
    keys, read = keys_of(section), {}
    _check_names(keys, values, path)
    for name, declared in keys.items():
        if name in values or isinstance(declared.default, Mapping):
            read[name] = _read(declared, values.get(name, declared.default), _below(path, name))
        elif declared.default is not REQUIRED:  # else a key that is not needed here: None
            read[name] = copy.copy(declared.default)
    result = section(**read)
    for name, problem in result.problems():
        raise ConfigError(f"{_below(path, name)}: {problem}")
    return result


def chosen_section(section: type[S], values: Any, by_name: Mapping[str, type[S]] | None) -> type[S]:
    """The section that the NAME in `values` selects, if there is a choice."""
    name = values.get("NAME") if by_name and isinstance(values, Mapping) else None
    return by_name.get(name, section) if isinstance(name, str) else section


def _check_names(keys: Mapping[str, Key], values: Mapping[str, Any], path: str) -> None:
    """Raise a ConfigError for a key that is unknown or missing.

    Keys that say which others there are come first: their values must be right.
    """
    for name in ("NAME", "ENABLED", *(k.needed_if[0] for k in keys.values() if k.needed_if)):
        if name in keys and name in values:
            _read(keys[name], values[name], _below(path, name))
    for name in values:
        if name not in keys:
            raise ConfigError(f"{path or _TOP}: {unknown_key(name, keys, values)}")
    for name, declared in keys.items():
        if name not in values and _is_needed(declared, keys, values):
            missing = f"the key {name!r} is missing{_reason(declared)}"
            raise ConfigError(f"{path or _TOP}: {missing}: {declared.meaning}")


def unknown_key(name: Any, known: Iterable[str], values: Mapping[str, Any]) -> str:
    """Words for a key that a section has not: those it has, and the one probably meant."""
    known = sorted(known)
    chosen = f" with NAME {values['NAME']}" if "NAME" in known and "NAME" in values else ""
    return f"unknown key {shown(name)}{chosen}; known keys are {known}{_nearest(name, known)}"


def mismatch(declared: Key, value: Any) -> str:
    """Words for a value that does not fit: what is expected, what it is, and a remedy."""
    expected = expectation(declared.hint, declared.limits)
    return f"expected {expected}, got {shown(value)}{_remedy(declared, value)}"


def _nearest(name: Any, known: Iterable[str]) -> str:
    by_capitals = {other.upper(): other for other in known}
    near = difflib.get_close_matches(str(name)[:80].upper(), by_capitals, n=1)
    return f"; did you mean {by_capitals[near[0]]!r}?" if near else ""


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_needed(declared: Key, keys: Mapping[str, Key], values: Mapping[str, Any]) -> bool:
    """Whether a key must be there; none must in a section that is switched off."""
    if "ENABLED" in keys and values.get("ENABLED", keys["ENABLED"].default) is False:
        return False
    if declared.needed_if is not None:
        other, cases = declared.needed_if
        return values.get(other, keys[other].default) in cases
    return declared.default is REQUIRED


def _reason(declared: Key) -> str:
    if declared.needed_if is None:
        return ""
    other, cases = declared.needed_if
    return f", which {other} {' or '.join(map(str, cases))} needs"


def _read(declared: Key, value: Any, path: str) -> Any:
    """A value as the schema has it, checked."""
    hint, limits = declared.hint, declared.limits
    if typing.get_origin(hint) is dict and _has_names(value):
        items = item_key(declared)
        return {name: _read(items, item, _below(path, name)) for name, item in value.items()}
    if not fits(hint, limits, value):
        raise ConfigError(f"{path}: {mismatch(declared, value)}")
    if value is None:
        return None
    for part in alternatives(hint):
        if is_section(part):
            return read_section(part, value, path, declared.by_name)
        if typing.get_origin(part) is list and is_section(typing.get_args(part)[0]):
            section = typing.get_args(part)[0]
            return [read_section(section, item, f"{path}.{k}") for k, item in enumerate(value)]
    return value


def _has_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _remedy(declared: Key, value: Any) -> str:
    if declared.limits.choices is not None:
        return _nearest(value, [name for name in declared.limits.choices if isinstance(name, str)])
    if str in alternatives(declared.hint) or not _looks_a_number(value):
        return ""
    return "; yaml takes 1e-3 for a text: write 1.0e-3"


def _looks_a_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def shown(value: Any) -> str:
    """A value in a message, of one line."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:76]} ..."
