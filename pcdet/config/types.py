"""What kind of value each key of a yaml takes, checked once where a yaml is read.

The builders check which keys there are, and what values mean; here only a text in place of a number
and the like is caught, with the key's whole path, before it fails somewhere inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pcdet.utils.errors import ConfigError

_LARGEST_INT = 2**31


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < _LARGEST_INT


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _list_of(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(is_one, value))


def _or_nothing(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_one(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


# Kind, its test, and the keys whose values it is, wherever they stand.
_KINDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "a section",
        lambda value: isinstance(value, Mapping),
        "ARGS AUGMENTATION AUXILIARY BACKBONE BOX_FILTER CLASS_MAP DATA_CONFIG DB_SAMPLER "
        "EXTRA_HEAD LOSSES LOSS_WEIGHTS MEAN_SIZE MODEL NOISE_GLOBAL_SCENE NOISE_PER_OBJECT "
        "OPTIMIZATION PREPARE RCNN RPN RPN_HEAD TARGET_CONFIG TEST TRAIN VFE VOXEL_GENERATOR",
    ),
    (
        "a list of sections",
        _list_of(lambda value: isinstance(value, Mapping)),
        "ANCHOR_GENERATOR",
    ),
    (
        "a text",
        _is_text,
        "BOX_CODER CENTER_TARGET_Z CLS_SCORE_TYPE DATASET DATA_DIR EVAL_METRIC GENERATED_ON NAME "
        "NMS_TYPE OPTIMIZER RCNN_CLS_LOSS RCNN_REG_LOSS REGION_SIMILARITY_FN RPN_NMS_TYPE "
        "RPN_REG_LOSS SPLIT class_name",
    ),
    (
        "a list of texts",
        _list_of(_is_text),
        "CLASS_NAMES DB_INFO_PATH INFO_PATH SAMPLE_GROUPS",
    ),
    ("a list of texts", _or_nothing(_list_of(_is_text)), "filter_by_min_points"),
    (
        "True or False",
        lambda value: isinstance(value, bool),
        "CORNER_LOSS_REGULARIZATION ENABLED FOV_POINTS_ONLY LR_WARMUP MASK_POINTS_BY_RANGE "
        "MULTI_CLASSES_NMS PARAMS_FIXED SHUFFLE_POINTS USE_IMAGE_AREA_FILTER USE_RAW_SCORE "
        "USE_ROAD_PLANE concat_input encode_background_as_zeros use_binary_dir_classifier "
        "use_direction_classifier use_norm with_distance",
    ),
    (
        "a whole number",
        _is_whole,
        "DOWNSAMPLED_FACTOR DOWNSAMPLE_FACTOR MIN_VOXELS NUM_FEATURES MAX_NUMBER_OF_VOXELS "
        "MAX_POINTS_PER_VOXEL NMS_POST_MAXSIZE NMS_POST_MAXSIZE_LAST NMS_PRE_MAXSIZE "
        "NMS_PRE_MAXSIZE_LAST ROI_AWARE_POOL_SIZE ROI_PER_IMAGE SAMPLE_SIZE WARMUP_EPOCH "
        "num_direction_bins num_input_features num_output_features total use",
    ),
    (
        "a number",
        _is_number,
        "CLS_BG_THRESH CLS_BG_THRESH_LO CLS_FG_THRESH DIV_FACTOR DP_RATIO FG_RATIO GRAD_NORM_CLIP "
        "GT_EXTEND_WIDTH GUIDE_SCORE_THRESH HARD_BG_RATIO LR LR_CLIP LR_DECAY MOMENTUM NMS_THRESH "
        "PCT_START RATE REG_FG_THRESH RPN_NMS_THRESH SAMPLE_POS_FRACTION SCORE_THRESH "
        "SEG_MASK_SCORE_THRESH WEIGHT_DECAY aux_cls_weight aux_reg_weight dir_limit_offset "
        "dir_offset matched_threshold rcnn_cls_weight rcnn_corner_weight rcnn_reg_weight "
        "rpn_cls_weight rpn_dir_weight rpn_loc_weight psw_cls_weight unmatched_threshold",
    ),
    (
        "a list of whole numbers",
        _list_of(_is_whole),
        "CLS_FC DECAY_STEP_LIST REG_FC SHARED_FC WINDOW layer_nums layer_strides num_filters "
        "num_upsample_filters upsample_strides",
    ),
    ("a list of whole numbers", _or_nothing(_list_of(_is_whole)), "filter_by_difficulty"),
    (
        "a list of numbers",
        _list_of(_is_number),
        "GLOBAL_ROT_UNIFORM_NOISE GLOBAL_SCALING_UNIFORM_NOISE GLOBAL_SLOPE_NOISE_STD "
        "GLOBAL_TRANSLATION_NOISE_STD GT_LOC_NOISE_STD GT_ROT_UNIFORM_NOISE MOMS POINT_CLOUD_RANGE "
        "RECALL_THRESH_LIST VOXEL_SIZE anchor_offsets anchor_range anchor_strides code_weights "
        "rotations",
    ),
    (
        "a number or a list of numbers",
        lambda value: _is_number(value) or _list_of(_is_number)(value),
        "MATCHED_THRESHOLD",
    ),
    ("a list of numbers", _or_nothing(_list_of(_is_number)), "LIMIT_RANGE"),
    ("a list of lists of numbers", _list_of(_list_of(_is_number)), "sizes"),
)
_BY_KEY = {key: (kind, test) for kind, test, keys in _KINDS for key in keys.split()}


def check_types(config: Mapping[str, Any], where: str) -> None:
    """Raise a ConfigError that names the first key whose value is of another kind.

    Args:
        config: the content of a yaml file; keys that this module does not know are left alone.
        where: the file, for the message.
    """
    for path, value in _entries(config, ""):
        kind, test = _BY_KEY.get(path.rpartition(".")[2], ("", None))
        if test is not None and not test(value):
            remedy = "; yaml takes 1e-3 for a text: write 1.0e-3" if _looks_a_number(value) else ""
            raise ConfigError(f"{where}: {path}: expected {kind}, got {_shown(value)}{remedy}")


def _entries(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Keys and values at all levels, the outer ones first."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            below = f"{path}.{key}" if path else str(key)
            yield below, value
            yield from _entries(value, below)
    elif isinstance(node, (list, tuple)):
        for k, value in enumerate(node):
            yield from _entries(value, f"{path}.{k}")


def _looks_a_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:76]} ..."
