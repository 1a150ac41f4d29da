"""The page docs/configuration.md, made from the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pcdet.config.schema import Config
from pcdet.config.schema.keys import (
    REQUIRED,
    Key,
    Section,
    alternatives,
    expectation,
    is_section,
    keys_of,
    section_of,
)

PAGE = Path("docs") / "configuration.md"
_HEAD = """# Configuration

All keys of a yaml file. The page is written by `python -m pcdet.config.schema` from the classes in
`pcdet/config/schema`, by which files are checked too.

- A key that the tables do not list is an error, as is a value that does not fit. The error names
  the file, the key with those above it, what is expected and what came.
- `--set KEY value KEY value ...`, as the last option of a command, overwrites settings: `--set
  MODEL.TEST.SCORE_THRESH 0.3 CLASS_NAMES Car,Cyclist`. It takes every key of this page, also one
  that the file leaves out. A number picks an entry of a list:
  `MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR.0.matched_threshold`. A comma separates the
  entries of a list of texts or numbers; `None` is yaml's null.
- Where a section has `ENABLED: False`, its other keys may be left out.
- Where a section has a `NAME`, its keys depend on it: there is a table for each.
"""


# Sections that a place in the yaml may hold, each with the NAMEs that choose it.
_Choices = tuple[tuple[type[Section], tuple[str, ...]], ...]


def render() -> str:
    """The page as markdown."""
    parts = [_HEAD]
    for place, section in _sections("", ((Config, ()),)):
        heading = f"\n## {place}\n" if place else ""
        parts.append(f"{heading}\n{section.__doc__}\n\n{_table(section)}")
    return "".join(parts)


def _sections(path: str, choices: _Choices, note: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Where sections stand, and what they are; each is followed by those below it."""
    below: dict[tuple[str, _Choices], list[str]] = {}
    for section, names in choices:
        yield path + (_with_name(names) if len(choices) > 1 else note), section
        for name, declared in keys_of(section).items():
            inner = section_of(declared.hint)
            if inner is not None:
                place = f"{path}.{name}" if path else name
                place += "" if is_section(alternatives(declared.hint)[0]) else ".0, 1, ..."
                below.setdefault((place, _choices(inner, declared.by_name)), []).extend(names)
    all_names = [name for _, names in choices for name in names]
    for (place, inner_choices), names in below.items():
        some = len(names) < len(all_names)
        yield from _sections(place, inner_choices, _with_name(names) if some else "")


def _with_name(names: Sequence[str]) -> str:
    return f" with NAME {' or '.join(sorted(names))}"


def _choices(section: type[Section], by_name: Mapping[str, type[Section]] | None) -> _Choices:
    names: dict[type[Section], list[str]] = {}
    for name, chosen in (by_name or {}).items():
        names.setdefault(chosen, []).append(name)
    return tuple((chosen, tuple(same)) for chosen, same in names.items()) or ((section, ()),)


def _table(section: type[Section]) -> str:
    rows = [
        f"| `{name}` | {_values(declared)} | {_default(declared)} | {_meaning(declared)} |\n"
        for name, declared in keys_of(section).items()
    ]
    return "".join(["| key | value | default | meaning |\n", "| --- | --- | --- | --- |\n", *rows])


def _values(declared: Key) -> str:
    if section_of(declared.hint) is None:
        return expectation(declared.hint, declared.limits)
    listed = not is_section(alternatives(declared.hint)[0])
    return "a list of sections, see below" if listed else "a section, see below"


def _default(declared: Key) -> str:
    if declared.needed_if is not None:
        other, cases = declared.needed_if
        return f"required with {other} {' or '.join(map(str, cases))}"
    if declared.default is REQUIRED:
        return "required"
    return "null" if declared.default is None else f"`{declared.default!r}`"


def _meaning(declared: Key) -> str:
    return declared.meaning.splitlines()[0]
