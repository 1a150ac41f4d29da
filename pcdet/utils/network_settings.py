"""What of a configuration a network's weights depend on, and how two of them differ in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASSES = "CLASS_NAMES"
_COLUMNS = "DATA_CONFIG.POINT_COLUMNS"
# Sections and keys that the weights depend on, with all that is in them.
_SECTIONS = (
    CLASSES,
    "DATA_CONFIG.POINT_CLOUD_RANGE",
    *("DATA_CONFIG.NUM_POINT_FEATURES.use", _COLUMNS),
    "DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE",
    *("MODEL.NAME", "MODEL.VFE", "MODEL.RPN.BACKBONE", "MODEL.RPN.RPN_HEAD"),
    *("MODEL.EXTRA_HEAD", "MODEL.RCNN"),
)
# Keys in them that decide how a network is trained, not what it computes, and PCDet's unused ones.
_OF_TRAINING = {
    *("matched_threshold", "unmatched_threshold", "REGION_SIMILARITY_FN", "DOWNSAMPLE_FACTOR"),
    *("SAMPLE_POS_FRACTION", "SAMPLE_SIZE", "DP_RATIO", "GENERATED_ON", "GT_EXTEND_WIDTH"),
    *("MEAN_SIZE", "GENERATE_BBOX_REG_LABELS", "PARAMS_FIXED", "FREEZE"),
    *("MATCHED_THRESHOLD", "CENTER_TARGET_Z"),
}
_ANCHOR_PLACES = ("anchor_range", "anchor_strides", "anchor_offsets")
_TRAINING_SECTIONS = ("MODEL.RCNN.TARGET_CONFIG.", "MODEL.RPN.BACKBONE.TARGET_CONFIG.")


def network_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration that the weights of its network depend on, by dotted path."""
    settings: dict[str, Any] = {}
    for section in _SECTIONS:
        value: Any = config
        for key in section.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            _flatten_into(settings, section, value)
    if _COLUMNS in settings:  # the network reads the first ones
        used = settings.get("DATA_CONFIG.NUM_POINT_FEATURES.use")
        settings[_COLUMNS] = settings[_COLUMNS][:used]
    if not settings.get("MODEL.RCNN.ENABLED", False):
        settings = {k: v for k, v in settings.items() if not k.startswith("MODEL.RCNN.")}
        settings["MODEL.RCNN.ENABLED"] = False
    return settings


def _flatten_into(settings: dict[str, Any], path: str, value: Any) -> None:
    """Add the leaves below `path`; a list without sections in it is a leaf."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        items = list(enumerate(value))
    else:
        settings[path] = list(value) if isinstance(value, tuple) else value
        return
    for key, item in items:
        name = f"{path}.{key}"
        if key not in _OF_TRAINING and not name.startswith(_TRAINING_SECTIONS):
            _flatten_into(settings, name, item)


def differences(stored: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values of two `network_settings` that differ: (stored, own) by dotted path.

    A key that only one of them has is not known to differ, as versions have different keys, unless
    it is one of the ways to say where the anchors of a class stand.
    """
    return {
        key: (stored.get(key), own.get(key))
        for key in stored.keys() | own.keys()
        if ((key in stored and key in own) or _places_anchors(key, stored, own))
        and not _equal(stored.get(key), own.get(key))
    }


def _places_anchors(key: str, stored: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether it says where anchors stand that both have."""
    generator, _, last = key.rpartition(".")
    class_name = f"{generator}.class_name"
    return last in _ANCHOR_PLACES and class_name in stored and class_name in own


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other))
    return one == other
