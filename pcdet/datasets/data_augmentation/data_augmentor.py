"""All augmentations of a training frame, in the order of PCDet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pcdet.datasets.data_augmentation import augmentation_utils
from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler
from pcdet.datasets.sections import read_numbers, read_section
from pcdet.utils import box_utils
from pcdet.utils.errors import ConfigError

_WHERE = "DATA_CONFIG.AUGMENTATION"
_NUM_TRIES = 100  # moves tried for each object, PCDet's number
_SECTION_KEYS = {
    "DB_SAMPLER": (
        *("ENABLED", "DB_INFO_PATH", "PREPARE", "RATE", "SAMPLE_GROUPS", "USE_ROAD_PLANE"),
    ),
    "NOISE_PER_OBJECT": ("ENABLED", "GT_LOC_NOISE_STD", "GT_ROT_UNIFORM_NOISE"),
    "NOISE_GLOBAL_SCENE": ("ENABLED", "GLOBAL_ROT_UNIFORM_NOISE", "GLOBAL_SCALING_UNIFORM_NOISE"),
}
_OPTIONAL_KEYS = {
    "NOISE_GLOBAL_SCENE": ("GLOBAL_TRANSLATION_NOISE_STD", "GLOBAL_SLOPE_NOISE_STD"),
}


def read_augmentation(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the sections of AUGMENTATION after a check of all their keys.

    Raises:
        ConfigError: a section or a key is missing or unknown.
    """
    read_section(config, _WHERE, tuple(_SECTION_KEYS))
    return {
        name: read_section(config[name], f"{_WHERE}.{name}", keys, _OPTIONAL_KEYS.get(name, ()))
        for name, keys in _SECTION_KEYS.items()
    }


class SceneNoise(NamedTuple):
    """How a scene as a whole is changed, besides the flip.

    Attributes:
        rotation: range of the angle, radians.
        scaling: range of the factor.
        translation: standard deviations along x, y, z, metres; all 0 for none.
        slope: standard deviations of the rise along x and y, metres a metre; all 0 for none.
    """

    rotation: Sequence[float]
    scaling: Sequence[float]
    translation: Sequence[float]
    slope: Sequence[float]


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
            object_noise: keywords of `noise_per_object_v3_`: rotation_perturb, center_noise_std.
            scene_noise: with the flip.
        """
        self.class_names = list(class_names)
        self.db_sampler = db_sampler
        self.object_noise = object_noise
        self.scene_noise = scene_noise

    @classmethod
    def from_config(
        cls,
        sections: Mapping[str, Mapping[str, Any]],
        class_names: Sequence[str],
        resolve_path: Callable[[str], Path],
        logger: logging.Logger | None = None,
    ) -> DataAugmentor:
        """Make an augmentor from the sections that `read_augmentation` returns.

        Args:
            sections: NOISE_PER_OBJECT, NOISE_GLOBAL_SCENE and DB_SAMPLER.
            class_names: classes of the model.
            resolve_path: where a path of the yaml lies.
            logger: where the sizes of the database go.

        Raises:
            ConfigError: a value does not fit.
            DataError: the database infos cannot be read.
        """
        parts: dict[str, Any] = {}
        sampler, noise, scene = (sections[name] for name in _SECTION_KEYS)
        if sampler["ENABLED"]:
            parts["db_sampler"] = DataBaseSampler(
                [resolve_path(path) for path in sampler["DB_INFO_PATH"]],
                class_names,
                prepare=sampler["PREPARE"],
                sample_groups=sampler["SAMPLE_GROUPS"],
                rate=float(sampler["RATE"]),
                use_road_plane=bool(sampler["USE_ROAD_PLANE"]),
                logger=logger,
            )
        if noise["ENABLED"]:
            parts["object_noise"] = {
                "rotation_perturb": _numbers("NOISE_PER_OBJECT", noise, "GT_ROT_UNIFORM_NOISE", 2),
                "center_noise_std": _deviations("NOISE_PER_OBJECT", noise, "GT_LOC_NOISE_STD", 3),
            }
        if scene["ENABLED"]:
            where = "NOISE_GLOBAL_SCENE"
            parts["scene_noise"] = SceneNoise(
                _numbers(where, scene, "GLOBAL_ROT_UNIFORM_NOISE", 2),
                _numbers(where, scene, "GLOBAL_SCALING_UNIFORM_NOISE", 2),
                _deviations(where, scene, "GLOBAL_TRANSLATION_NOISE_STD", 3),
                _deviations(where, scene, "GLOBAL_SLOPE_NOISE_STD", 2),
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
        return gt_boxes, points


def _numbers(name: str, section: Mapping[str, Any], key: str, count: int) -> list[float]:
    return read_numbers(section[key], f"{_WHERE}.{name}.{key}", count)


def _deviations(name: str, section: Mapping[str, Any], key: str, count: int) -> list[float]:
    """Standard deviations; zeros for an optional key that is left out."""
    numbers = _numbers(name, section, key, count) if key in section else [0.0] * count
    if not all(0 <= number < float("inf") for number in numbers):
        raise ConfigError(f"{_WHERE}.{name}.{key}: expected numbers of 0 or more, got {numbers}")
    return numbers
