"""Reads a whole folder: its table, warnings and errors, and a page of pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import LABELS, CustomFolder
from pcdet.datasets.custom.infos import build_infos
from pcdet.own_data.columns import find_columns
from pcdet.own_data.facts import folder_warnings, frame_facts
from pcdet.own_data.turned import heading_warnings
from pcdet.utils.data_report import class_table, data_warnings
from pcdet.utils.errors import DataError

_LOGGER = logging.getLogger("pcdet.own_data")


@dataclass(frozen=True)
class Checked:
    """A folder that has been read as far as it can be.

    Attributes:
        folder: reads its files.
        infos: of the frames that can be used, see `datasets.custom.infos.build_infos`.
        table: a line for each class.
        warnings: what may be wrong.
        errors: what is wrong, a line for each file.
    """

    folder: CustomFolder
    infos: Sequence[Mapping[str, Any]]
    table: str
    warnings: list[str]
    errors: list[str]


def check_folder(root: Path, workers: int = 4) -> Checked:
    """Read all labelled frames of a folder.

    Args:
        root: the folder.
        workers: processes at most.

    Raises:
        DataError: there are no points or no labels.
        ConfigError: dataset.yaml is wrong.
    """
    columns, columns_from = find_columns(root)
    folder = CustomFolder(root, columns, columns_from)
    frames = folder.labelled_frames()
    if not frames:
        raise DataError(f"{root / LABELS}: expected a label file <frame>.txt for each frame")
    errors: list[str] = []
    infos = build_infos(folder, frames, _LOGGER, num_workers=workers, errors=errors)
    facts = frame_facts(infos)
    names = np.unique(np.concatenate([np.zeros(0, np.str_), *(fact.names for fact in facts)]))
    return Checked(
        folder,
        infos,
        f"columns of the points: {', '.join(columns)} (from {columns_from})\n{class_table(facts)}",
        [
            *folder_warnings(folder, names.tolist()),
            *data_warnings(facts),
            *heading_warnings(folder, infos),
        ],
        errors,
    )
