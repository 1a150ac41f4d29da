"""Where data/ and output/ are, and the files that a command line names."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def repository() -> Path | None:
    """The repository, if the package runs from one."""
    root = PACKAGE.parent
    return root if (root / "setup.py").is_file() else None


def root_dir() -> Path:
    """Folder of data/ and output/: the repository if run from one, else the working folder."""
    return repository() or Path.cwd()


def resolve_path(path: str | os.PathLike, root: Path) -> Path:
    """`path` itself if absolute or existing from here, else below `root`."""
    path = Path(path)
    return path if path.is_absolute() or path.exists() else root / path
