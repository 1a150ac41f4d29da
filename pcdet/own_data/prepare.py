"""From a folder to what a training reads: splits, infos, database and yaml."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.datasets.custom.folder import LABELS, POINTS, CustomFolder, FiniteReader
from pcdet.datasets.custom.infos import build_infos, dbinfos_path, infos_path
from pcdet.datasets.ground_database import create_database, preparing
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.own_data.columns import find_columns
from pcdet.own_data.facts import frame_facts, pairs_by_capitals, unlisted_warnings
from pcdet.own_data.objects import ObjectTable, table_of_infos
from pcdet.own_data.recipe import FolderFacts, adapt, set_input_scales, set_voxels
from pcdet.own_data.splits import SEED, complete_splits, write_drawn
from pcdet.own_data.turned import heading_warnings
from pcdet.own_data.yaml_text import yaml_text
from pcdet.utils.data_report import class_table, data_warnings
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.file_checks import check_writable
from pcdet.utils.info_record import write_record
from pcdet.utils.io_utils import atomic_write, save_pickle
from pcdet.utils.kitti_format.split import split_path

_LOGGER = logging.getLogger("pcdet.own_data")
# Frames whose points are looked at.
_MEASURED_FRAMES = 50
# A class with fewer objects is learned only if it is asked for.
_LEAST_OBJECTS = 5


@dataclass(frozen=True)
class Prepared:
    """A folder that has been read.

    Attributes:
        folder: reads its files.
        columns_from: where the names of the columns were found.
        infos: of train and val, by split.
        warnings: what may be wrong.
    """

    folder: CustomFolder
    columns_from: str
    infos: Mapping[str, list[dict[str, Any]]]
    warnings: Sequence[str] = ()

    @property
    def labelled(self) -> list[dict[str, Any]]:
        """Infos of all labelled frames, train first."""
        return [*self.infos["train"], *self.infos["val"]]

    @property
    def objects(self) -> ObjectTable:
        """The objects of the labelled frames."""
        return table_of_infos(self.labelled)


def read_folder(root: Path, seed: int = SEED, workers: int = 4) -> Prepared:
    """Read points and labels of all listed frames; draw splits where there are none.

    Args:
        root: the folder.
        seed: of the splits.
        workers: processes at most.

    Raises:
        DataError: a file is missing or broken, or none can be written; it is named.
        ConfigError: dataset.yaml is wrong.
    """
    check_writable(root, f"copy it, or prepare a folder with links to its {POINTS}/ and {LABELS}/")
    columns, columns_from = find_columns(root)
    folder = CustomFolder(root, columns, columns_from)
    splits, note = complete_splits(folder, seed)
    infos = {
        split: build_infos(folder, frames, _LOGGER, num_workers=workers)
        for split, frames in splits.items()
    }
    # Not before: lists would go on naming a frame that cannot be used and is then taken away.
    write_drawn(folder, splits)
    if note:
        _LOGGER.warning(note)
    together = [info for of_split in infos.values() for info in of_split]
    facts = frame_facts(together)
    _LOGGER.info("%s", class_table(facts))
    warnings = [
        *unlisted_warnings(folder),
        *data_warnings(facts),
        *heading_warnings(folder, together),
    ]
    for line in warnings:
        _LOGGER.warning(line)
    return Prepared(folder, columns_from, infos, warnings)


def write_infos(prepared: Prepared, workers: int = 4) -> None:
    """Write the infos of all splits and the database of the training split.

    Args:
        prepared: the folder.
        workers: processes at most.

    Raises:
        DataError: another preparation is at work there, or a test frame cannot be read.
    """
    folder, root = prepared.folder, prepared.folder.root
    infos = dict(prepared.infos)
    if split_path(root, "test").exists():
        frames = folder.frames_of_split("test")
        bare = sorted(set(frames).difference(folder.labelled_frames()))
        infos["test"] = build_infos(folder, frames, _LOGGER, not bare, workers)
        if 0 < len(bare) < len(frames):
            _LOGGER.warning(
                "%s: %d of its %d frames have no labels, as %s: those of the others are not read, "
                "and a test on it has no AP; label them, or take them out of the list",
                *(split_path(root, "test"), len(bare), len(frames), bare[0]),
            )
    database = root / "gt_database"
    with preparing(database):
        # A run that is killed from here on must not leave older objects beside new infos.
        dbinfos_path(root).unlink(missing_ok=True)
        for split, of_split in infos.items():
            save_pickle(of_split, infos_path(root, split))
            write_record(infos_path(root, split), len(of_split))
            _LOGGER.info("%s: %d frames", infos_path(root, split), len(of_split))
        counts = create_database(
            dataset=FiniteReader(folder, _LOGGER),
            infos=infos["train"],
            folder=database,
            dbinfos_path=dbinfos_path(root),
            num_features=len(folder.columns),
            num_workers=workers,
        )
    for name, count in counts.items():
        _LOGGER.info("database %s: %d objects", name, count)


def choose_classes(prepared: Prepared, wanted: Sequence[str] | None) -> list[str]:
    """The classes to learn: those that were asked for, else those with some objects for training.

    Raises:
        ConfigError: a class that was asked for has no object in the training split, or two differ
            in capitals alone.
    """
    objects = table_of_infos(prepared.infos["train"], "frames for training")
    there = {name: int((objects.name == name).sum()) for name in objects.class_names}
    for name in wanted or ():
        if name not in there:
            raise ConfigError(
                f"--classes {name}: no such object in the training split: {list(there)}"
            )
    if wanted:
        return _distinct(wanted)
    enough = [name for name, count in there.items() if count >= _LEAST_OBJECTS] or list(there)
    for name in (name for name in there if name not in enough):
        _LOGGER.warning(
            "class %s: %d objects for training: left out; --classes can ask for it",
            *(name, there[name]),
        )
    for name in prepared.objects.class_names:
        if name not in there:
            _LOGGER.warning(
                "class %s: left out, as it is in frames for validation alone: list some frames "
                "with it in ImageSets/train.txt instead",
                name,
            )
    return _distinct(enough)


def _distinct(class_names: Sequence[str]) -> list[str]:
    """The names, or a ConfigError if AP would not tell two of them apart."""
    for other, name in pairs_by_capitals(class_names):
        raise ConfigError(
            f"classes {other} and {name} differ in capitals alone: rename one in the labels, "
            "or name one of them by --classes"
        )
    return list(dict.fromkeys(class_names))


def write_yaml(
    prepared: Prepared, template: Any, class_names: Sequence[str], path: Path, data_dir: str
) -> None:
    """Write the yaml of a network for a folder.

    Args:
        prepared: the folder.
        template: the configuration that is adapted.
        class_names: the classes to learn.
        path: of the yaml.
        data_dir: DATA_DIR.

    Raises:
        DataError: the scans hold no point.
    """
    facts = FolderFacts(
        data_dir=data_dir,
        columns=prepared.folder.columns,
        columns_from=prepared.columns_from,
        objects=prepared.objects,
        infos=prepared.labelled,
        num_train=len(prepared.infos["train"]),
    )
    config, comments = adapt(template, facts, class_names)
    counts, deviations = _measure_points(prepared, config)
    set_voxels(config, counts, comments)
    set_input_scales(config, deviations, comments)
    head = (
        f"{template.TAG}.yaml with the numbers of {data_dir}, as `pcdet-custom prepare` found. It "
        "writes this file anew: rename it if you change it."
    )
    with atomic_write(path) as file:
        file.write(yaml_text(config, comments, head).encode())


def _measure_points(prepared: Prepared, config: Any) -> tuple[list[int], np.ndarray]:
    """Measure frames that are spread over the folder.

    Returns:
        For each of them the number of voxels with points, and (C,) the standard deviation of each
        column of the points.

    Raises:
        DataError: none of them has a point.
    """
    data, infos = config.DATA_CONFIG, prepared.labelled
    number = min(_MEASURED_FRAMES, len(infos))
    chosen = np.unique(np.linspace(0, len(infos) - 1, number).astype(int))
    generator = VoxelGenerator(
        data.VOXEL_GENERATOR.VOXEL_SIZE, data.POINT_CLOUD_RANGE, max_num_points=1, max_voxels=2**31
    )
    reader, counts, parts = FiniteReader(prepared.folder, _LOGGER), [], []
    for k in chosen:
        points = reader.get_lidar(infos[k]["point_cloud"]["lidar_idx"])
        counts.append(len(generator.generate(points)[2]))
        parts.append(points[::8])  # as good as all
    if not any(map(len, parts)):
        raise DataError(
            f"{prepared.folder.root / POINTS}: no point in any of {len(parts)} scans, not counting "
            "those that are NaN or infinite: expected points in metres; write the scans anew"
        )
    return counts, np.concatenate(parts).std(axis=0, dtype=np.float64)
