"""The project's own exceptions: a user's mistake or a broken file, told in one sentence.

Command lines print these without a traceback; everything else is a bug and keeps its traceback.
"""

from __future__ import annotations


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
