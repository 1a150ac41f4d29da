"""What the parts of the doctor report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: what was found.
        advice: what to do about it, one sentence; empty if all is well.
        broken: nothing will run, or the data cannot be used, before that is done.
    """

    name: str
    state: str
    advice: str = ""
    broken: bool = False


def ask(name: str, part: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a part, or one that says how it failed: a doctor must not fall ill."""
    try:
        return part()
    except Exception as error:  # whatever a broken installation raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = f"{name}: {reason}"
        if isinstance(error, PermissionError):
            advice += ": give this user the permission to read it"
        return [Finding(name, f"cannot be examined ({reason})", advice, broken=True)]
