"""KITTI's 3D object data set: its files, its infos and ground-truth database, its samples.

    python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos

The data folder is laid out as KITTI's own: ImageSets/{train,val,test}.txt with a frame name on each
line, training/{calib,image_2,label_2,velodyne} and optionally training/planes, and testing/ alike
without labels.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from easydict import EasyDict

from pcdet.config import cfg as global_cfg
from pcdet.config import cfg_from_list, cfg_from_yaml_file, find_yaml
from pcdet.config.schema import read_data_config, read_test
from pcdet.datasets.kitti import splits
from pcdet.datasets.kitti.annotations import BoxFilter, annotate_batch, write_annotation
from pcdet.datasets.kitti.base_dataset import BaseKittiDataset
from pcdet.datasets.kitti.camera_view import points_in_view
from pcdet.datasets.kitti.command_line import parse_args
from pcdet.datasets.kitti.preparation import Settings, create_kitti_infos
from pcdet.evaluation import (
    EvalResult,
    check_frames,
    official_results,
    rules,
    write_submission,
)
from pcdet.utils.data_report.facts import INTENSITY
from pcdet.utils.errors import ConfigError, PcdetError
from pcdet.utils.info_record import read_record
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.folders import TRAINING, image_path
from pcdet.utils.kitti_format.frame_facts import changed_files, told_change, told_split
from pcdet.utils.kitti_format.infos import has_camera, load_info_files
from pcdet.utils.kitti_format.label import DONT_CARE
from pcdet.utils.log_utils import create_logger
from pcdet.utils.preparing_commands import create_infos_command

_LOGGER = logging.getLogger("pcdet.datasets.kitti")


class KittiDataset(BaseKittiDataset):
    """Samples of KITTI for training and testing.

    Attributes:
        infos: of the frames, in the order of the samples.
    """

    def __init__(
        self,
        root_path: str | os.PathLike,
        class_names: Sequence[str],
        split: str,
        training: bool,
        logger: logging.Logger | None = None,
        cfg: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the infos that the config lists.

        Args:
            root_path: the data folder; a path of the yaml below DATA_DIR is looked up in it.
            class_names: classes to learn; label k is `class_names[k - 1]`.
            split: train, val or test.
            training: augment, and use the section TRAIN of the config, else TEST.
            logger: where warnings go.
            cfg: the whole config; None for the global one.

        Raises:
            ConfigError: a key or value of the config does not fit.
            DataError: no info file exists, or one cannot be read.
        """
        super().__init__(root_path, split)
        cfg = global_cfg if cfg is None else cfg
        rules.check_class_names(class_names, "CLASS_NAMES")
        self.configure(
            data_config=cfg.DATA_CONFIG,
            class_names=class_names,
            training=training,
            part_targets=cfg.MODEL.RPN.BACKBONE.get("TARGET_CONFIG"),
            logger=logger,
        )
        self._fov_points_only = cfg.DATA_CONFIG.FOV_POINTS_ONLY
        test = read_test(cfg.MODEL.get("TEST"))
        kept, self._overlaps = test.BOX_FILTER, test.EVAL_OVERLAPS
        sets = rules.overlap_sets(self._overlaps, self.class_names)
        self.overlap_sets = tuple(overlaps for overlaps, _ in sets)
        self._box_filter = BoxFilter(kept.USE_IMAGE_AREA_FILTER, kept.LIMIT_RANGE)
        info_paths = [self.resolve_path(path) for path in cfg.DATA_CONFIG[self.mode].INFO_PATH]
        self.infos = load_info_files(info_paths, has_label=training, logger=self.logger)
        self._check_split()
        self._check_scans(", ".join(map(str, info_paths)))
        self._tell_of_changes(info_paths)
        self._road_planes = {
            info["point_cloud"]["lidar_idx"]: info["road_plane"]
            for info in self.infos
            if "road_plane" in info
        }
        if training and self.augmentor.needs_road_plane and not self.planes_path.is_dir():
            self.logger.info(
                "%s is missing: ground planes are estimated from the points", self.planes_path
            )

    def _check_split(self) -> None:
        """Raise a ConfigError if the infos are of frames that are not in the split's folder.

        KITTI numbers the frames of training/ and testing/ alike: nothing else would tell.
        """
        if self.split == "test":
            strange = [info for info in self.infos if "annos" in info]
            what = "has labels"
        else:
            listed = set(self.sample_id_list or ())
            unlabelled = [info for info in self.infos if "annos" not in info]
            strange = [i for i in unlabelled if i["point_cloud"]["lidar_idx"] not in listed]
            what = f"has no labels and is not listed in ImageSets/{self.split}.txt"
        if strange:
            raise ConfigError(
                f"MODEL.{self.mode}.SPLIT, DATA_CONFIG.{self.mode}.INFO_PATH: expected infos of "
                f"the split {self.split!r}, got another's: "
                f"frame {strange[0]['point_cloud']['lidar_idx']} {what}; "
                "`tools/test.py --split` sets both keys"
            )

    def _check_scans(self, files: str) -> None:
        """Raise a ConfigError if the infos were made of other scans than the config says."""
        for info in self.infos:
            name, columns = info["point_cloud"]["lidar_idx"], self.num_stored_features
            known = info["point_cloud"].get("num_features", columns)
            if known != columns:
                options = f"--num_point_features {columns}"
                command = create_infos_command(self.root_path, options)
                raise ConfigError(
                    f"DATA_CONFIG.NUM_POINT_FEATURES.total: {columns}, and {files} was made of "
                    f"scans with {known} numbers of each point (frame {name}): correct it, or make "
                    f"infos anew by `{command}`"
                )
            if self._fov_points_only and not has_camera(info):
                raise ConfigError(
                    f"DATA_CONFIG.FOV_POINTS_ONLY: True, and by {files} frame {name} has no image, "
                    "so that it is not known what a camera sees: set FOV_POINTS_ONLY: False, or "
                    "make infos with --image_shape HEIGHT WIDTH"
                )

    def _tell_of_changes(self, info_paths: Sequence[Path]) -> None:
        """Warn if labels were changed after infos were made of them."""
        for path in info_paths:
            facts = (read_record(path) or {}).get("facts") if path.exists() else None
            changed = changed_files(self.root_path / TRAINING, facts) if facts else []
            if changed:
                command = create_infos_command(self.root_path)
                self.logger.warning("%s: %s; run `%s`", path, told_change(changed), command)

    @property
    def sample_ids(self) -> list[str]:
        """Names of the frames, in the order of the samples."""
        return [info["point_cloud"]["lidar_idx"] for info in self.infos]

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample `index` of the current epoch, see `DatasetTemplate.prepare_data`."""
        index = range(len(self))[index]
        info = self.infos[index]
        sample_idx = info["point_cloud"]["lidar_idx"]
        image_shape = info["image"]["image_shape"]
        calib = Calibration.from_info(info["calib"])
        points = self.get_lidar(sample_idx)
        if self._fov_points_only:
            seen = points_in_view(points, image_shape, calib)
            points = points.compress(seen, axis=0)
        input_dict = {"sample_idx": sample_idx, "points": points, "calib": calib}
        if has_camera(info):
            input_dict["image_shape"] = image_shape
        if "annos" in info:
            names = info["annos"]["name"]
            input_dict["gt_names"] = names[names != DONT_CARE]
            input_dict["gt_boxes_lidar"] = info["annos"]["gt_boxes_lidar"]
        rng = self.sample_rng(index)
        return self.prepare_data(input_dict, has_label="annos" in info, rng=rng)

    def get_road_plane(self, idx: str) -> np.ndarray:
        """Return the ground plane (4,) of a frame; an estimated one comes from the infos."""
        if self.has_road_plane(idx):
            return super().get_road_plane(idx)
        if idx not in self._road_planes:
            self._road_planes[idx] = super().get_road_plane(idx)
        return self._road_planes[idx]

    def generate_annotations(
        self,
        batch: Mapping[str, Any],
        pred_dicts: Sequence[Mapping[str, Any]],
        class_names: Sequence[str],
        save_to_file: bool = False,
        output_dir: str | os.PathLike | None = None,
    ) -> list[dict[str, Any]]:
        """Turn the predictions of a batch into KITTI annotations.

        Args:
            batch: sample_idx, calib and image_shape of B frames.
            pred_dicts: of each frame boxes (N, 7), scores (N,) and labels (N,).
            class_names: label k is `class_names[k - 1]`.
            save_to_file: also write one result file a frame.
            output_dir: where they go.

        Returns:
            B annotations, see `annotations.predictions_to_annotation`.
        """
        annos = annotate_batch(batch, pred_dicts, class_names, self._box_filter)
        if save_to_file:
            if output_dir is None:
                raise ValueError("save_to_file needs an output_dir")
            for anno in annos:
                write_annotation(anno, output_dir)
        return annos

    def results(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[EvalResult, EvalResult]:
        """KITTI's AP, see `DatasetTemplate.results`; without a number where there are no labels."""
        overlaps = {name: value for name, value in self._overlaps.items() if name in class_names}
        return official_results(self.truth(), det_annos, class_names, overlaps)

    def remark(self) -> str:
        """Whether the split is KITTI's usual one, with which papers' AP can be compared."""
        return f"{told_split(self.split, self.sample_ids)}\n"

    def camera_view(self, info: Mapping[str, Any]) -> tuple[np.ndarray, Calibration] | None:
        """The image of a frame and its calibration, or None where the file is missing."""
        name = info["point_cloud"]["lidar_idx"]
        if not image_path(self.root_split_path, name).exists():
            return None
        return self.get_image(name), Calibration.from_info(info["calib"])

    def check_saving(self, output_dir: str | os.PathLike) -> None:
        """Raise a DataError if `save_results` would refuse the frames or the folder."""
        check_frames(self.sample_ids, output_dir)

    def save_results(
        self, det_annos: Sequence[Mapping[str, Any]], output_dir: str | os.PathLike
    ) -> Path:
        """Write one result file for each frame into `output_dir`/data, and their zip; return it."""
        shapes = [info["image"]["image_shape"] for info in self.infos]
        return write_submission(det_annos, self.sample_ids, shapes, output_dir)


def read_settings(args: argparse.Namespace) -> Settings:
    """What the yaml, --set and the options of a preparation say of the data."""
    settings = Settings()
    if args.cfg_file is not None:
        config = cfg_from_yaml_file(find_yaml(args.cfg_file), EasyDict())
        cfg_from_list(args.set_cfgs, config)
        data = read_data_config(config.DATA_CONFIG)
        settings = Settings(
            data.NUM_POINT_FEATURES.total,
            data.NUM_POINT_FEATURES.use > INTENSITY,
            data.FOV_POINTS_ONLY,
            data.IMAGE_SHAPE,
            data.POINT_CLOUD_RANGE,
            config.CLASS_NAMES,
            data.CLASS_MAP,
            data.DATA_DIR,
        )
    elif args.set_cfgs:
        raise ConfigError("--set changes settings of a yaml: give it by --cfg_file")
    if args.num_point_features is not None:
        settings = replace(settings, num_stored_features=args.num_point_features)
    if args.image_shape is not None:
        settings = replace(settings, image_shape=args.image_shape)
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    args = parse_args(argv, __doc__)
    create_logger()
    try:
        settings = read_settings(args)
        root = args.data_path or global_cfg.ROOT_DIR / settings.data_dir
        if args.make_random_split is not None:
            written = splits.write_random_split(root, args.make_random_split)
            _LOGGER.warning(
                "A random split of seed %d is written to %s (%s). It is not KITTI's standard "
                "split: results cannot be compared with published ones",
                args.make_random_split,
                root / "ImageSets",
                ", ".join(f"{name} {len(frames)}" for name, frames in written.items()),
            )
        create_kitti_infos(root, args.save_path or root, args.workers, settings)
    except (PcdetError, OSError) as error:  # OSError: no room, or no right to write
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the command again to make the files\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
