"""From a data folder to its infos, its ground-truth database and a report of what it holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pcdet.datasets import ground_database
from pcdet.datasets.kitti.base_dataset import BaseKittiDataset, dbinfos_path, tell_database
from pcdet.datasets.kitti.frame_builder import BuiltFrame
from pcdet.datasets.kitti.image_boxes import USUAL_SHAPE
from pcdet.utils.data_report import count_objects, other_names
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import check_writable
from pcdet.utils.info_record import write_record
from pcdet.utils.io_utils import save_pickle
from pcdet.utils.kitti_format.folders import NUM_POINT_FEATURES, TESTING, TRAINING, has_images
from pcdet.utils.kitti_format.frame_facts import data_report, frame_of_info

_LOGGER = logging.getLogger("pcdet.datasets.kitti")
_SPLITS = ("train", "val", "test")
_LINKED = ("ImageSets", TRAINING, TESTING)


@dataclass(frozen=True)
class Settings:
    """What a yaml says of the data, as far as their preparation asks for it.

    Attributes:
        num_stored_features: NUM_POINT_FEATURES.total, numbers of each point in the files.
        uses_intensity: NUM_POINT_FEATURES.use is above 3.
        only_seen: FOV_POINTS_ONLY.
        image_shape: IMAGE_SHAPE, (height, width) of images that are not there.
        limit_range: POINT_CLOUD_RANGE; None if there is no yaml.
        class_names: CLASS_NAMES.
        class_map: CLASS_MAP.
        data_dir: DATA_DIR.
    """

    num_stored_features: int = NUM_POINT_FEATURES
    uses_intensity: bool = True
    only_seen: bool = True
    image_shape: Sequence[int] | None = None
    limit_range: Sequence[float] | None = None
    class_names: Sequence[str] = ()
    class_map: Mapping[str, str] = field(default_factory=dict)
    data_dir: str = "data/kitti"


def create_kitti_infos(
    data_path: str | os.PathLike,
    save_path: str | os.PathLike,
    workers: int = 4,
    settings: Settings | None = None,
) -> None:
    """Write the infos of all splits and the ground-truth database of the training split.

    A test split that ImageSets does not list, or whose folder is missing, is skipped. At the end
    the log tells what the labelled frames hold, and warns of what cannot be right.

    Args:
        data_path: the data folder.
        save_path: where kitti_infos_*.pkl, kitti_dbinfos_train.* and gt_database go.
        workers: processes at most.
        settings: of the yaml; those of KITTI if left out.

    Raises:
        DataError: a file is missing or broken; it and its frame are named. Or nothing can be
            written to `save_path`, it leads to another data set, or another preparation is at
            work there.
    """
    save_path, settings = Path(save_path), settings or Settings()
    train, val, test = (_open_split(data_path, split, settings) for split in _SPLITS)
    has_test = test.sample_id_list is not None and test.root_split_path.is_dir()
    for dataset in (train, val, *([test] if has_test else ())):
        dataset.check_listed()
    check_writable(
        save_path,
        "name another folder by --save_path, which then is the --data_dir of training and test",
    )
    links = _links(Path(data_path), save_path)
    if not train.planes_path.is_dir():
        _LOGGER.info(
            "%s is missing: ground planes are estimated from the points and kept in the infos",
            train.planes_path,
        )
    with ground_database.preparing(ground_database.database_dir(save_path, train.split)):
        frames = _write_labelled(train, val, save_path, workers)
        # The last, as nothing else needs it.
        if has_test:
            built = test.build_frames(num_workers=workers, has_label=False, count_inside_pts=False)
            _save_infos(built, save_path, "test")
        else:
            _LOGGER.info("No test split in %s: skipped", data_path)
    _make_links(links, save_path)
    _tell(frames, settings)
    _LOGGER.info("Data preparation done")


def _write_labelled(
    train: BaseKittiDataset, val: BaseKittiDataset, save_path: Path, workers: int
) -> dict[str, list[BuiltFrame]]:
    """Write infos and database of the labelled splits; return their frames."""
    folder = ground_database.database_dir(save_path, train.split)
    with ground_database.unfinished_folder(folder) as unfinished:
        frames = {
            train.split: train.build_frames(num_workers=workers, objects_folder=unfinished),
            val.split: val.build_frames(num_workers=workers),
        }
    # A run that is killed from here on must not leave older objects beside new infos.
    dbinfos = dbinfos_path(save_path, train.split)
    dbinfos.unlink(missing_ok=True)
    for split, built in frames.items():
        _save_infos(built, save_path, split)
    _save_infos(frames["train"] + frames["val"], save_path, "trainval")
    tell_database(
        ground_database.save_database(
            (cut for frame in frames[train.split] for cut in frame.objects),
            dbinfos,
            train.num_stored_features,
        )
    )
    return frames


def _open_split(data_path: str | os.PathLike, split: str, settings: Settings) -> BaseKittiDataset:
    """A split of the data folder, which may be without images."""
    dataset = BaseKittiDataset(data_path, split, settings.num_stored_features)
    dataset.image_shape = settings.image_shape
    part = dataset.root_split_path
    if settings.image_shape is None and part.is_dir() and not has_images(part):
        dataset.image_shape, dataset.has_camera = USUAL_SHAPE, False
        if split != "val":  # in the folder of train, which was told already
            _LOGGER.info(
                "%s has no images: all points count as seen, and training needs "
                "FOV_POINTS_ONLY: False; images only tell what the camera sees, and if their size "
                "is known, IMAGE_SHAPE or --image_shape can stand in for them",
                part / "image_2",
            )
    return dataset


def _links(data_path: Path, save_path: Path) -> dict[Path, Path]:
    """Links by which the folder of the infos serves as a data folder, and where they lead.

    Raises:
        DataError: what is there leads to another data set, whose scans these infos are not of.
    """
    if save_path.resolve() == data_path.resolve():
        return {}
    links = {save_path / name: data_path.resolve() / name for name in _LINKED}
    for link, target in links.items():
        if os.path.lexists(link) and link.resolve() != target.resolve():
            raise DataError(
                f"{link}: expected a link to {target}, as of --data_path, got {link.resolve()}: "
                "remove it, or name another folder by --save_path"
            )
    return links


def _make_links(links: dict[Path, Path], save_path: Path) -> None:
    for link, target in links.items():
        if target.is_dir() and not link.exists():
            try:
                link.symlink_to(target, target_is_directory=True)
            except OSError as error:
                _LOGGER.warning("%s: no link to %s (%s)", link, target, error.strerror)
    if links:
        _LOGGER.info("%s holds infos and links to the data: give it as --data_dir", save_path)


def _save_infos(built: list[BuiltFrame], save_path: Path, split: str) -> None:
    path = save_path / f"kitti_infos_{split}.pkl"
    infos = [frame.info for frame in built]
    save_pickle(infos, path)
    facts = {frame.info["point_cloud"]["lidar_idx"]: frame.facts for frame in built if frame.facts}
    write_record(path, len(infos), facts)
    _LOGGER.info("Infos of %d frames of %s are saved to %s", len(infos), split, path)


def _tell(frames: dict[str, list[BuiltFrame]], settings: Settings) -> None:
    """Log the report of the labelled frames."""
    described = {
        split: [frame_of_info(frame.info, frame.facts, settings.only_seen) for frame in built]
        for split, built in frames.items()
    }
    lines, warnings = data_report(described, settings.limit_range, settings.uses_intensity)
    counts = count_objects(frame for of_split in described.values() for frame in of_split)
    learned = {settings.class_map.get(name, name) for name in counts}
    for name in settings.class_names:
        if name not in learned:
            warnings.append(f"CLASS_NAMES: no object of {name!r}; {other_names(name, counts)}")
    for line in lines:
        _LOGGER.info("%s", line)
    for line in warnings:
        _LOGGER.warning("%s", line)
    projected = sum(
        int((~frame.has_box2d).sum()) for of_split in described.values() for frame in of_split
    )
    if projected:
        _LOGGER.info(
            "%d objects have no 2D box: their difficulty follows from the projected 3D box",
            projected,
        )
