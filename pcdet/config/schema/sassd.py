"""The sections of MODEL that are SA-SSD's own."""

from dataclasses import dataclass
from typing import Union

from pcdet.config.schema.keys import Section, key
from pcdet.config.schema.model import (
    BACKBONES,
    DETECTORS,
    RPN_HEADS,
    AnchorTargets,
    Backbone,
    Detector,
    RPNHead,
    SparseLevels,
)

# NAME of a head that scores boxes -> its section.
EXTRA_HEADS: dict[str, type[Section]] = {}


@dataclass
class Auxiliary(Section):
    """What points learn in training alone: whether, and where, there are objects."""

    ENABLED: bool = key("whether they do")
    NUM_FEATURES: int = key("features of a point", 64, at_least=1)
    CENTER_TARGET_Z: str = key(
        "h: points learn the middle of a box; w: half a width above its bottom, as SA-SSD's "
        "published weights",
        "h",
        choices=("h", "w"),
    )


@dataclass
class SASSDEncoder(Backbone):
    """SA-SSD's sparse encoder."""

    ARGS: SparseLevels = key(default={})
    AUXILIARY: Auxiliary = key()


@dataclass
class MaskedAnchorTargets(AnchorTargets):
    """Where anchors stand, which take part, and what they learn."""

    MIN_VOXELS: int = key("anchors over fewer voxels take no part", at_least=0)


@dataclass
class SASSDRPNHead(RPNHead):
    """From the image from above to classes, boxes and directions, at anchors over voxels."""

    TARGET_CONFIG: MaskedAnchorTargets = key()


@dataclass
class ExtraHead(Section):
    """Scores of the boxes instead of those of the anchors."""

    ENABLED: bool = key("whether there are")
    NAME: str = key("class of the head", choices=EXTRA_HEADS)
    WINDOW: list[int] = key("parts along the width and the length", [4, 7], length=2, at_least=2)
    GUIDE_SCORE_THRESH: float = key(
        "class score of an anchor above which its box is scored", 0.1, at_least=0, at_most=1
    )
    MATCHED_THRESHOLD: Union[float, list[float]] = key(
        "3D overlap (IoU) from which on a box counts as found; or one for each class",
        0.7,
        at_least=0,
        at_most=1,
    )


@dataclass
class RescoringDetector(Detector):
    """A network that scores its boxes once more, its training and its test."""

    EXTRA_HEAD: ExtraHead = key(by_name=EXTRA_HEADS)


BACKBONES["SASSDBackbone"] = SASSDEncoder
RPN_HEADS["SASSDHead"] = SASSDRPNHead
EXTRA_HEADS["PSWarpHead"] = ExtraHead
DETECTORS["sassd_net"] = RescoringDetector
