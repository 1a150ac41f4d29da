"""Samples of one's own data: points of any form, boxes in text files, no camera."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcdet.config import cfg as global_cfg
from pcdet.config.schema import read_data_config, read_test
from pcdet.datasets.custom.folder import CustomFolder, usual_columns
from pcdet.datasets.custom.infos import (
    check_files_unchanged,
    lidar_as_camera,
    load_infos,
)
from pcdet.datasets.custom.label_file import Objects, write_objects
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.evaluation import EvalResult, rules
from pcdet.evaluation.by_distance import choose_overlaps, evaluate_by_distance, loose_overlap
from pcdet.evaluation.confusion import confusion_counts, confusion_table
from pcdet.evaluation.protocol import BY_DISTANCE
from pcdet.utils.array_utils import FinitePoints, as_numpy
from pcdet.utils.box_utils import CENTER, DIMS
from pcdet.utils.errors import ConfigError
from pcdet.utils.kitti_format.split import check_no_frame_twice, warn_of_other_frames
from pcdet.utils.preparing_commands import prepare_command

# Least probability of a detection in the table of confusions.
_COUNTED_SCORE = 0.3


class CustomDataset(DatasetTemplate):
    """Frames of a folder that `pcdet-custom prepare` has prepared; see `folder` for its layout.

    Attributes:
        split: its name.
        infos: of the frames, in the order of the samples, see `infos.build_infos`.
        overlaps: of each class, what the 3D IoU of a hit must exceed.
    """

    neighbours = BY_DISTANCE.neighbours

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
            root_path: the folder; a path of the yaml below DATA_DIR is looked up in it.
            class_names: classes to learn; label k is `class_names[k - 1]`.
            split: name of the split.
            training: augment, and use the section TRAIN of the config, else TEST.
            logger: where warnings go.
            cfg: the whole config; None for the global one.

        Raises:
            ConfigError: a key or value of the config does not fit.
            DataError: a file of infos is missing or damaged, a frame is there twice, or labels or
                scans are newer.
        """
        super().__init__()
        cfg = global_cfg if cfg is None else cfg
        rules.check_class_names(class_names, "CLASS_NAMES")
        self.root_path, self.split = Path(root_path), split
        self.configure(
            data_config=cfg.DATA_CONFIG,
            class_names=class_names,
            training=training,
            part_targets=cfg.MODEL.RPN.BACKBONE.get("TARGET_CONFIG"),
            logger=logger,
        )
        self._folder = CustomFolder(self.root_path, _columns(cfg.DATA_CONFIG))
        self._finite_points = FinitePoints(self._folder.columns)
        paths = list(map(self.resolve_path, cfg.DATA_CONFIG[self.mode].INFO_PATH))
        files = [(path, load_infos(path, has_label=training)) for path in paths]
        for path, infos in files:
            warn_of_other_frames(path, infos, prepare_command(path.parent), self.logger)
            self.infos += infos
        check_no_frame_twice(files)
        check_files_unchanged(self._folder, self.infos)
        self._by_name = {info["point_cloud"]["lidar_idx"]: info for info in self.infos}
        test = read_test(cfg.MODEL.get("TEST"))
        self._limit_range, self._scores_are_logits = test.BOX_FILTER.LIMIT_RANGE, test.USE_RAW_SCORE
        annos = [info["annos"] for info in self.infos if "annos" in info]
        self.overlaps = choose_overlaps(annos, self.class_names, test.EVAL_OVERLAPS)
        self.overlap_sets = (
            {name.lower(): value for name, value in self.overlaps.items()},
            {name.lower(): loose_overlap(value) for name, value in self.overlaps.items()},
        )

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
        name = info["point_cloud"]["lidar_idx"]
        frame = {"sample_idx": name, "points": self.get_lidar(name), "calib": lidar_as_camera()}
        if "annos" in info:
            frame["gt_names"] = info["annos"]["name"]
            frame["gt_boxes_lidar"] = info["annos"]["gt_boxes_lidar"]
        return self.prepare_data(frame, has_label="annos" in info, rng=self.sample_rng(index))

    def get_lidar(self, idx: str) -> np.ndarray:
        """Read the (N, C) float32 points of a frame; those with NaN are dropped."""
        return self.finite_points(self._folder.read_points(idx), idx)

    def get_road_plane(self, sample_idx: str) -> np.ndarray:
        """Return the ground plane (4,) of a frame, as seen by `lidar_as_camera`."""
        info = self._by_name[sample_idx]
        if "road_plane" not in info:  # no frame has an object: nothing is sampled, either
            info["road_plane"] = np.array([0.0, -1.0, 0.0, 0.0])
        return info["road_plane"]

    def generate_annotations(
        self,
        batch: Mapping[str, Any],
        pred_dicts: Sequence[Mapping[str, Any]],
        class_names: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Turn the predictions of a batch into annotations.

        Args:
            batch: sample_idx of B frames.
            pred_dicts: of each frame boxes (N, 7), scores (N,) and labels (N,), torch or NumPy.
            class_names: label k is `class_names[k - 1]`.

        Returns:
            B dicts of sample_idx and, over the K boxes with a size, within LIMIT_RANGE, name (K,),
            score (K,) and boxes_lidar (K, 7).
        """
        annos = []
        for name, found in zip(batch["sample_idx"], pred_dicts):
            boxes, scores, labels = (as_numpy(found[key]) for key in ("boxes", "scores", "labels"))
            kept = (boxes[:, DIMS] > 0).all(axis=1)
            if self._limit_range is not None:
                limit, center = np.array(self._limit_range), boxes[:, CENTER]
                kept &= ((center >= limit[:3]) & (center <= limit[3:])).all(axis=1)
            names = np.array(class_names)[labels[kept].astype(np.int64) - 1]
            annos.append(
                {
                    "sample_idx": str(name),
                    "name": names,
                    "score": scores[kept],
                    "boxes_lidar": boxes[kept],
                }
            )
        return annos

    def results(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[EvalResult, EvalResult]:
        """AP by distance, see `DatasetTemplate.results`; no number where there are no labels."""
        return evaluate_by_distance(self.truth(), det_annos, class_names, self.overlaps)

    def evaluation_report(
        self, det_annos: Sequence[Mapping[str, Any]], class_names: Sequence[str]
    ) -> tuple[str, dict[str, float | None], dict[str, Any]]:
        """Return table, AP by tag and curves; the table of confusions follows the one of AP."""
        table, numbers, figures = super().evaluation_report(det_annos, class_names)
        truth = self.truth()
        if truth is not None:
            counts = confusion_counts(
                truth, [self._counted(anno) for anno in det_annos], class_names, self.overlaps
            )
            title = f"\nobjects and detections with a score of {_COUNTED_SCORE} or more"
            table += f"{confusion_table(counts, class_names, title)}\n"
        return table, numbers, figures

    def _counted(self, anno: Mapping[str, Any]) -> dict[str, Any]:
        scores = np.asarray(anno["score"], np.float64)
        if self._scores_are_logits:
            scores = 1 / (1 + np.exp(-scores))
        kept = scores >= _COUNTED_SCORE
        return {key: anno[key][kept] for key in ("name", "score", "boxes_lidar")}

    def save_results(
        self, det_annos: Sequence[Mapping[str, Any]], output_dir: str | os.PathLike
    ) -> Path:
        """Write `output_dir`/data/<frame>.txt, the format of the labels with the score at the end.

        Returns:
            The folder of the files.
        """
        folder = Path(output_dir) / "data"
        for name, anno in zip(self.sample_ids, det_annos):
            objects = Objects(anno["name"], anno["boxes_lidar"])
            write_objects(folder / f"{name}.txt", objects, np.asarray(anno["score"]))
        return folder


def _columns(section: Mapping[str, Any]) -> Sequence[str]:
    """Names of the numbers of a point: those of the yaml, or as many as it says."""
    config = read_data_config(section)
    total = config.NUM_POINT_FEATURES.total
    columns = config.POINT_COLUMNS
    if columns is None:
        return usual_columns(total)
    if len(columns) != total:
        raise ConfigError(
            f"DATA_CONFIG.POINT_COLUMNS: expected {total} names, NUM_POINT_FEATURES.total, "
            f"got {list(columns)}"
        )
    return columns
