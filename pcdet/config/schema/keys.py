"""How a section of the yaml is declared: a dataclass, each key of it a field made by `key`.

    @dataclass
    class VoxelGenerator(Section):
        '''How points are grouped into voxels.'''

        VOXEL_SIZE: list[float] = key("metres along x, y, z", length=3, above=0)

From this come the check of the values, the words of its errors, and docs/configuration.md.
"""

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

REQUIRED = object()
_LARGEST_INT = 2**31
_NOUNS = {int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Limits:
    """What values of a key must fulfil; of a list or mapping, each number and text in it.

    Attributes:
        at_least: the least number.
        above: all numbers are greater.
        at_most: the greatest number.
        below: all numbers are less.
        length: numbers of the innermost list.
        least_length: entries of the outermost list.
        choices: all values that there are.
        pattern: a regular expression that matches texts as a whole.
        example: a text that `pattern` matches, for messages.
        because: why other values are refused, for messages.
    """

    at_least: Optional[float] = None
    above: Optional[float] = None
    at_most: Optional[float] = None
    below: Optional[float] = None
    length: Optional[int] = None
    least_length: int = 0
    choices: Optional[Collection[Any]] = None
    pattern: Optional[str] = None
    example: str = ""
    because: str = ""


@dataclass(frozen=True)
class Key:
    """A key of a section.

    Attributes:
        hint: type of its values.
        meaning: one line for the reader of a yaml.
        default: value of a key that is left out, or REQUIRED.
        needed_if: another key of the section, and the values of it that make this one required.
        by_name: of a section whose keys depend on its NAME, the sections by NAME.
        limits: of the values.
    """

    hint: Any
    meaning: str
    default: Any
    needed_if: Optional[tuple[str, tuple[Any, ...]]]
    by_name: Optional[Mapping[str, type]]
    limits: Limits


class Section:
    """Base of the sections: each is a dataclass that holds the values of one, defaults included."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Key path, from this section, and what is wrong with values that do not go together."""
        return iter(())


def key(
    meaning: str = "",
    default: Any = REQUIRED,
    needed_if: Optional[tuple[str, tuple[Any, ...]]] = None,
    by_name: Optional[Mapping[str, type]] = None,
    **limits: Any,
) -> Any:
    """A field of a section; its annotation is the type of its values.

    Types are bool, int, float, str, a section, list[...] and dict[str, ...] of them, Optional[...]
    for a key that may be null, and Union[...].

    Args:
        meaning: see `Key`; that of a section is told by its docstring.
        default: {} for a section all of whose keys have defaults.
        needed_if: see `Key`.
        by_name: see `Key`; the annotation is then what these sections have in common.
        **limits: see `Limits`.
    """
    declared = {"needed_if": needed_if, "by_name": by_name, "limits": Limits(**limits)}
    metadata = {"meaning": meaning, "default": default, **declared}
    return dataclasses.field(default=None, metadata=metadata)


@functools.cache
def keys_of(section: type[Section]) -> dict[str, Key]:
    """The keys of a section by name, in the order of their declaration."""
    hints = typing.get_type_hints(section)
    return {f.name: _declared(hints[f.name], f.metadata) for f in dataclasses.fields(section)}


def _declared(hint: Any, metadata: Mapping[str, Any]) -> Key:
    section = section_of(hint)
    told = metadata["meaning"] or (section.__doc__ if section else "")
    return Key(hint=hint, **{**metadata, "meaning": told})


def item_key(declared: Key) -> Key:
    """What is declared of each entry of a list or of a mapping."""
    hint = next(part for part in alternatives(declared.hint) if typing.get_args(part))
    limits = dataclasses.replace(declared.limits, least_length=0)
    return dataclasses.replace(declared, hint=typing.get_args(hint)[-1], limits=limits)


def is_section(hint: Any) -> bool:
    """Whether a type is a section."""
    return isinstance(hint, type) and issubclass(hint, Section)


def has_keys(declared: Key) -> bool:
    """Whether values are sections, or mappings with names of the user's choice."""
    hints = alternatives(declared.hint)
    return any(is_section(hint) or typing.get_origin(hint) is dict for hint in hints)


def section_of(hint: Any) -> Optional[type[Section]]:
    """The section that a type is, or is a list or an option of."""
    if is_section(hint):
        return hint
    inner = (section_of(part) for part in typing.get_args(hint))
    return next((section for section in inner if section is not None), None)


def is_optional(hint: Any) -> bool:
    """Whether null is a value of a type."""
    return type(None) in typing.get_args(hint)


def alternatives(hint: Any) -> list[Any]:
    """The types that a type is a union of, without that of null; a plain type alone."""
    if typing.get_origin(hint) is not Union:
        return [hint]
    return [part for part in typing.get_args(hint) if part is not type(None)]


def expectation(hint: Any, limits: Limits) -> str:
    """What values of a type are, in words: "3 numbers above 0"."""
    words = " or ".join(_singular(part, limits) for part in alternatives(hint))
    words += " or null" if is_optional(hint) else ""
    return f"{words}, as {limits.because}" if limits.because else words


def _singular(hint: Any, limits: Limits) -> str:
    if limits.choices is not None:
        choices = sorted(limits.choices, key=str)
        only = "" if limits.because else ", the only choice"
        return f"one of {choices}" if len(choices) > 1 else f"{choices[0]!r}{only}"
    if hint is bool:
        return "True or False"
    if is_section(hint):
        return f"a section with keys {sorted(keys_of(hint))}"
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        if limits.length and args[0] in _NOUNS:
            return f"{limits.length} {_plural(args[0], limits)}"
        return f"a list of {'one or more ' * bool(limits.least_length)}{_plural(args[0], limits)}"
    if origin is dict:
        return f"a section of names, each with {_singular(args[1], limits)}"
    return f"a {_NOUNS[hint]}{_range(limits)}"


def _plural(hint: Any, limits: Limits) -> str:
    if is_section(hint):
        return "sections"
    if typing.get_origin(hint) is list:
        count = f"{limits.length} " if limits.length else ""
        return f"lists of {count}{_plural(typing.get_args(hint)[0], limits)}"
    return f"{_NOUNS[hint]}s{_range(limits)}"


def _range(limits: Limits) -> str:
    """The limits of a number or text, in words with a blank before them."""
    if limits.example:
        return f" like {limits.example!r}"
    if limits.at_least is not None and limits.at_most is not None:
        return f" from {limits.at_least} to {limits.at_most}"
    bounds = (
        ("above", limits.above),
        ("of at least", limits.at_least),
        ("below", limits.below),
        ("of at most", limits.at_most),
    )
    told = " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)
    return f" {told}" if told else ""


def fits(hint: Any, limits: Limits, value: Any) -> bool:
    """Whether a value is of a type and within limits; sections are looked into elsewhere."""
    if value is None:
        return is_optional(hint)
    return any(_fits(part, limits, value) for part in alternatives(hint))


def _fits(hint: Any, limits: Limits, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if is_section(hint):
        return isinstance(value, Mapping)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            _is_text(name) and fits(args[1], limits, item) for name, item in value.items()
        )
    if origin is list:
        if not isinstance(value, (list, tuple)) or len(value) < limits.least_length:
            return False
        inner = dataclasses.replace(limits, least_length=0) if limits.least_length else limits
        return _has_length(args[0], limits, value) and all(
            fits(args[0], inner, item) for item in value
        )
    return _is_kind(hint, value) and _is_within(limits, value)


def _has_length(item_hint: Any, limits: Limits, value: Any) -> bool:
    """Whether a list has its fixed length, if it is an innermost one that has one."""
    return item_hint not in _NOUNS or limits.length in (None, len(value))


def _is_kind(hint: Any, value: Any) -> bool:
    if hint is str:
        return _is_text(value)
    if hint is bool:
        return isinstance(value, bool)
    whole = type(value) is int and abs(value) < _LARGEST_INT
    return whole or (hint is float and isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def _is_within(limits: Limits, value: Any) -> bool:
    if limits.choices is not None and value not in limits.choices:
        return False
    if limits.pattern is not None and not re.fullmatch(limits.pattern, value):
        return False
    return (
        (limits.at_least is None or value >= limits.at_least)
        and (limits.above is None or value > limits.above)
        and (limits.at_most is None or value <= limits.at_most)
        and (limits.below is None or value < limits.below)
    )
