"""What a configuration may hold: each section a dataclass, checked in one place.

`data.py`, `training.py`, `model.py` and `sassd.py` declare the keys; `keys.py` says how, `check.py`
reads.
`python -m pcdet.config.schema` writes docs/configuration.md from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pcdet.config.schema import sassd  # noqa: F401  fills the tables of model.py
from pcdet.config.schema.check import read_section
from pcdet.config.schema.data import DataConfig
from pcdet.config.schema.keys import Section, key
from pcdet.config.schema.model import DETECTORS, Detector
from pcdet.config.schema.training import Optimization, Test
from pcdet.utils.kitti_format.split import is_of_another_split

__all__ = [
    "Config",
    "read_config",
    "read_data_config",
    "read_model",
    "read_optimization",
    "read_test",
    "unlike_classes",
]

# Share of a side by which ranges may differ: PointPillar's anchors reach 1.3 m beyond its points.
_TOLERANCE = 0.02
# What sets both the split and its infos.
_SPLIT_OPTION = {"TRAIN": "", "TEST": "; `tools/test.py --split` sets both"}
# What cfg holds besides the yaml: where the repository is, the rank, the name of the yaml.
SET_BY_PROGRAM = ("ROOT_DIR", "LOCAL_RANK", "TAG")


@dataclass
class Config(Section):
    """A whole configuration."""

    CLASS_NAMES: list[str] = key("the classes; label k is the k-th of them", least_length=1)
    DATA_CONFIG: DataConfig = key()
    MODEL: Detector = key(by_name=DETECTORS)

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is stated twice, and not the same, or for another number of classes."""
        if len(set(self.CLASS_NAMES)) < len(self.CLASS_NAMES):
            yield "CLASS_NAMES", f"expected each class once, got {self.CLASS_NAMES}"
        generators = self.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR
        head = "MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR"
        ranges = {f"{head}.{k}.anchor_range": g.anchor_range for k, g in enumerate(generators)}
        limit = "MODEL.TEST.BOX_FILTER.LIMIT_RANGE"
        ranges[limit] = self.MODEL.TEST.BOX_FILTER.LIMIT_RANGE
        whole = self.DATA_CONFIG.POINT_CLOUD_RANGE
        for name, own in ranges.items():
            if own is not None and not _is_same_area(own, whole, or_larger=name == limit):
                told = f"DATA_CONFIG.POINT_CLOUD_RANGE, {whole}, got {own}"
                yield name, f"expected x and y of {told}: change one of them"
            if own is not None and own[2] > own[5]:
                yield name, f"expected the lower z first, got {own}"
        yield from _anchors_beside_cells(self.MODEL, self.DATA_CONFIG)
        yield from unlike_classes(self.MODEL, self.CLASS_NAMES)
        data, model = self.DATA_CONFIG, self.MODEL
        for mode, of_data, of_model in (
            ("TRAIN", data.TRAIN, model.TRAIN),
            ("TEST", data.TEST, model.TEST),
        ):
            split, paths = of_model.SPLIT, of_data.INFO_PATH
            if is_of_another_split(paths, split):
                told = f"DATA_CONFIG.{mode}.INFO_PATH, {paths}, got {split!r}: change one of them"
                yield f"MODEL.{mode}.SPLIT", f"expected the split of {told}{_SPLIT_OPTION[mode]}"


def unlike_classes(model: Detector, class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find what is stated for each class, but for more or fewer of them; as `Section.problems`."""
    for name, numbers in (
        ("MODEL.TEST.SCORE_THRESH", model.TEST.SCORE_THRESH),
        ("MODEL.LOSSES.LOSS_WEIGHTS.rpn_dir_weight", model.LOSSES.LOSS_WEIGHTS.rpn_dir_weight),
    ):
        if isinstance(numbers, list) and len(numbers) != len(class_names):
            told = f"of the {len(class_names)} of CLASS_NAMES, got {numbers}"
            remedy = f"give it, too, as in `--set CLASS_NAMES ... {name} {(numbers or [0.2])[0]:g}`"
            yield name, f"expected a number, or one for each {told}: {remedy}"


def _anchors_beside_cells(model: Detector, data: DataConfig) -> Iterator[tuple[str, str]]:
    """Find strides whose first or last anchor is not in the first or last cell of the image."""
    target = model.RPN.RPN_HEAD.TARGET_CONFIG
    whole, factor = data.POINT_CLOUD_RANGE, target.DOWNSAMPLED_FACTOR
    sizes = [size * factor for size in data.VOXEL_GENERATOR.VOXEL_SIZE[:2]]
    for k, generator in enumerate(target.ANCHOR_GENERATOR):
        if generator.anchor_strides is None or generator.anchor_offsets is None:
            continue
        firsts, steps = generator.anchor_offsets[:2], generator.anchor_strides
        for low, high, size, first, step in zip(whole, whole[3:], sizes, firsts, steps):
            last = first + (round((high - low) / size) - 1) * step
            inwards = ((first - low) / size, (high - last) / size)  # in cells
            if min(inwards) < -_TOLERANCE or max(inwards) > 1 + _TOLERANCE:
                cells = [round(size, 4) for size in sizes]
                middle = [round(low + size / 2, 4) for low, size in zip(whole, sizes)]
                yield (
                    f"MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR.{k}.anchor_strides",
                    f"expected the cells of the image, {cells} (VOXEL_SIZE times "
                    f"DOWNSAMPLED_FACTOR), and anchor_offsets within the first, as {middle} and a "
                    f"z, got {steps} and {generator.anchor_offsets}",
                )
                break


def _is_same_area(own: Sequence[float], whole: Sequence[float], or_larger: bool) -> bool:
    """Whether ranges have the same x and y, but for what those of PCDet's PointPillar differ."""
    for k in (0, 1):
        most = (whole[k + 3] - whole[k]) * _TOLERANCE
        inwards = (own[k] - whole[k], whole[k + 3] - own[k + 3])
        if max(inwards) > most or (min(inwards) < -most and not or_larger):
            return False
    return True


def read_config(config: Mapping[str, Any]) -> Config:
    """Check a whole configuration, as `read_section` does."""
    own = {name: value for name, value in config.items() if name not in SET_BY_PROGRAM}
    return read_section(Config, own, "")


def read_data_config(section: Any) -> DataConfig:
    """Check the section DATA_CONFIG."""
    return read_section(DataConfig, section, "DATA_CONFIG")


def read_model(section: Any) -> Detector:
    """Check the section MODEL."""
    return read_section(Detector, section, "MODEL", DETECTORS)


def read_test(section: Any) -> Test:
    """Check the section MODEL.TEST."""
    return read_section(Test, section, "MODEL.TEST")


def read_optimization(section: Any) -> Optimization:
    """Check the section MODEL.TRAIN.OPTIMIZATION."""
    return read_section(Optimization, section, "MODEL.TRAIN.OPTIMIZATION")
