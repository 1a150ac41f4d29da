"""All augmentations of a training frame, in the order of PCDet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pcdet.datasets.data_augmentation import augmentation_utils
from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler
from pcdet.utils import box_utils

_NUM_TRIES = 100  # moves tried for each object, PCDet's number


class SceneNoise(NamedTuple):
    """How a scene as a whole is changed, besides the flip.

    Attributes:
        rotation: range of the angle, radians.
        scaling: range of the factor.
        translation: standard deviations along x, y, z, metres; all 0 for none.
        slope: standard deviations of the rise along x and y, metres a metre; all 0 for none.
        dropout: range of the share of points that are dropped; all 0 for none.
    """

    rotation: Sequence[float]
    scaling: Sequence[float]
    translation: Sequence[float]
    slope: Sequence[float]
    dropout: Sequence[float]


class DataAugmentor:
    """Ground-truth sampling, noise per object, then flip and noise of the scene as a whole."""

    def __init__(
        self,
        class_names: Sequence[str],
        db_sampler: DataBaseSampler | None = None,
        object_noise: Mapping[str, Any] | None = None,
        scene_noise: SceneNoise | None = None,
    ) -> None:
        """Make an augmentor; a part that is None is skipped.

        Args:
            class_names: classes whose objects are kept.
            db_sampler: adds objects of other frames.
            object_noise: keywords of `noise_per_object_v3_`: rotation_perturb, center_noise_std,
                scaling.
            scene_noise: with the flip.
        """
        self.class_names = list(class_names)
        self.db_sampler = db_sampler
        self.object_noise = object_noise
        self.scene_noise = scene_noise

    @classmethod
    def from_config(
        cls,
        section: Any,
        class_names: Sequence[str],
        resolve_path: Callable[[str], Path],
        logger: logging.Logger | None = None,
    ) -> DataAugmentor:
        """Make an augmentor from DATA_CONFIG.AUGMENTATION, which the schema has read.

        Args:
            section: NOISE_PER_OBJECT, NOISE_GLOBAL_SCENE and DB_SAMPLER.
            class_names: classes of the model.
            resolve_path: where a path of the yaml lies.
            logger: where the sizes of the database go.

        Raises:
            DataError: the database infos cannot be read.
        """
        parts: dict[str, Any] = {}
        sampler, noise = section.DB_SAMPLER, section.NOISE_PER_OBJECT
        scene = section.NOISE_GLOBAL_SCENE
        if sampler.ENABLED:
            parts["db_sampler"] = DataBaseSampler(
                [resolve_path(path) for path in sampler.DB_INFO_PATH],
                class_names,
                prepare=vars(sampler.PREPARE),
                sample_groups=sampler.SAMPLE_GROUPS,
                rate=sampler.RATE,
                use_road_plane=sampler.USE_ROAD_PLANE,
                logger=logger,
            )
        if noise.ENABLED:
            parts["object_noise"] = {
                "rotation_perturb": noise.GT_ROT_UNIFORM_NOISE,
                "center_noise_std": noise.GT_LOC_NOISE_STD,
                "scaling": noise.GT_SCALING_UNIFORM_NOISE,
            }
        if scene.ENABLED:
            parts["scene_noise"] = SceneNoise(
                scene.GLOBAL_ROT_UNIFORM_NOISE,
                scene.GLOBAL_SCALING_UNIFORM_NOISE,
                scene.GLOBAL_TRANSLATION_NOISE_STD,
                scene.GLOBAL_SLOPE_NOISE_STD,
                scene.GLOBAL_DROPOUT_UNIFORM_NOISE,
            )
        return cls(class_names, **parts)

    @property
    def needs_road_plane(self) -> bool:
        """Whether a frame's ground plane must be given."""
        return self.db_sampler is not None and self.db_sampler.use_road_plane

    def __call__(
        self,
        gt_boxes: np.ndarray,
        gt_names: np.ndarray,
        points: np.ndarray,
        sampling: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Augment a frame. The arguments are not modified.

        Args:
            gt_boxes: (M, 7) LiDAR boxes.
            gt_names: (M,) names, of any class: objects of other classes stay where they are and
                take up room, and are then dropped.
            points: (N, 3 + C) float32, LiDAR frame, metres.
            sampling: the other arguments of `DataBaseSampler.sample_all`.
            rng: random numbers.

        Returns:
            (M', 7) boxes and (M',) names of the model's classes, and (N', 3 + C) points.
        """
        known = np.isin(gt_names, self.class_names)
        if self.db_sampler is not None:
            sampled = self.db_sampler.sample_all(
                gt_boxes=gt_boxes, gt_names=gt_names, rng=rng, **sampling
            )
            if sampled is not None:
                gt_names = np.concatenate((gt_names, sampled["gt_names"]))
                gt_boxes = np.concatenate((gt_boxes, sampled["gt_boxes"]))
                known = np.concatenate((known, sampled["gt_masks"]))
                scene = box_utils.remove_points_in_boxes3d(points, sampled["gt_boxes"])
                points = np.concatenate((sampled["points"], scene))
        if self.object_noise is not None:
            gt_boxes, points = augmentation_utils.noise_per_object_v3_(
                gt_boxes, points, known, **self.object_noise, num_try=_NUM_TRIES, rng=rng
            )
        gt_boxes, gt_names = gt_boxes[known], gt_names[known]
        if self.scene_noise is not None:
            gt_boxes, points = self._change_scene(gt_boxes, points, rng)
        return gt_boxes, gt_names, points

    def _change_scene(
        self, gt_boxes: np.ndarray, points: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (M, 7) and points (N, 3 + C) after the flip and the noise of the scene."""
        noise = self.scene_noise
        gt_boxes, points = augmentation_utils.random_flip(gt_boxes, points, rng=rng)
        gt_boxes, points = augmentation_utils.global_rotation(
            gt_boxes, points, noise.rotation, rng=rng
        )
        gt_boxes, points = augmentation_utils.global_scaling(
            gt_boxes, points, *noise.scaling, rng=rng
        )
        if any(noise.translation):
            gt_boxes, points = augmentation_utils.global_translation(
                gt_boxes, points, noise.translation, rng=rng
            )
        if any(noise.slope):
            gt_boxes, points = augmentation_utils.global_slope(
                gt_boxes, points, noise.slope, rng=rng
            )
        if any(noise.dropout):
            points = augmentation_utils.global_dropout(points, noise.dropout, rng=rng)
        return gt_boxes, points
