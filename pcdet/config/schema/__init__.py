"""What a configuration may hold: each section a dataclass, checked in one place.

`data.py`, `training.py`, `model.py` and `sassd.py` declare the keys; `keys.py` says how, `check.py`
reads.
`python -m pcdet.config.schema` writes docs/configuration.md from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pcdet.config.schema import sassd  # noqa: F401  fills the tables of model.py
from pcdet.config.schema.check import read_section
from pcdet.config.schema.data import DataConfig
from pcdet.config.schema.keys import Section, key
from pcdet.config.schema.model import DETECTORS, Detector
from pcdet.config.schema.training import Optimization, Test

__all__ = [
    "Config",
    "read_config",
    "read_data_config",
    "read_model",
    "read_optimization",
    "read_test",
]

# What cfg holds besides the yaml: where the repository is, the rank, the name of the yaml.
SET_BY_PROGRAM = ("ROOT_DIR", "LOCAL_RANK", "TAG")


@dataclass
class Config(Section):
    """A whole configuration."""

    CLASS_NAMES: list[str] = key("the classes; label k is the k-th of them", least_length=1)
    DATA_CONFIG: DataConfig = key()
    MODEL: Detector = key(by_name=DETECTORS)


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
