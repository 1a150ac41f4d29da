"""The project's own exceptions: a user's mistake or a broken file, told in one sentence.

Command lines print these without a traceback; everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class PcdetError(Exception):
    """Base of every error that is the fault of an input and not of the program."""


class DataError(PcdetError, ValueError):
    """A data file is missing, truncated or does not hold what its format asks for."""


class ConfigError(PcdetError, ValueError):
    """A yaml key or a command-line option is unknown or has a value that does not fit."""


class CheckpointError(PcdetError, RuntimeError):
    """A checkpoint cannot be read or used."""


class CheckpointMismatch(CheckpointError):
    """A checkpoint can be read, but belongs to another network."""


class NonFiniteLossError(PcdetError, FloatingPointError):
    """The training loss became NaN or infinite."""


def lookup(table: dict, name: object, what: str) -> object:
    """Return `table[name]`, or raise a ConfigError that lists the choices.

    Args:
        table: the choices.
        name: the key asked for, usually a value from the yaml.
        what: the yaml key or option that asked, for the message.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise ConfigError(f"{what}: unknown name {name!r}; choose one of {sorted(table)}")


def check_keys(
    given: Iterable[str], allowed: Iterable[str], where: str, required: Iterable[str] = ()
) -> None:
    """Raise a ConfigError that names the first key that is unknown or missing.

    Args:
        given: the keys of a section.
        allowed: those that the code knows, besides the required ones.
        where: the section, for the message.
        required: those that must be there.
    """
    given, required = list(given), list(required)
    known = sorted({*allowed, *required})
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; known keys are {known}")
    for key in required:
        if key not in given:
            raise ConfigError(f"{where}: the key {key!r} is missing")
