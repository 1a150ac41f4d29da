"""How this program was started."""

from __future__ import annotations

import sys
from pathlib import Path


def program_name() -> str:
    """Return how this program was started, for --help: `python -m package`, or a command."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return Path(sys.argv[0]).name
    return f"python -m {spec.name.removesuffix('.__main__')}"
