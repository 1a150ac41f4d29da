"""The commands that prepare a data folder, as messages tell them and a shell takes them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

CREATE_INFOS = "python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos"


def create_infos_command(root: str | os.PathLike, options: str = "") -> str:
    """Return the command for a folder in KITTI's layout, with further options."""
    return " ".join([CREATE_INFOS, *options.split(), "--data_path", shlex.quote(str(root))])


def command_for(path: str | os.PathLike) -> str:
    """Return the command that makes a file of infos or of a database, which its name tells."""
    own = Path(path).name.startswith("custom_")
    return (prepare_command if own else create_infos_command)(Path(path).parent)


def prepare_command(folder: str | os.PathLike) -> str:
    """Return the command for a folder of own data."""
    return f"pcdet-custom prepare {shlex.quote(str(folder))}"
