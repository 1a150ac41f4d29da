"""From the configuration to a network: the only place of the models that reads yaml keys."""

from __future__ import annotations

import inspect
import math
from typing import Any

from easydict import EasyDict

from pcdet.config import cfg as global_cfg
from pcdet.models.bbox_heads import RPN_HEADS
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.bbox_heads.rpn_head import AnchorLossWeights, DirectionConfig
from pcdet.models.detectors import DETECTORS
from pcdet.models.model_utils.anchor_generator import AnchorGeneratorRange
from pcdet.models.model_utils.post_processing import NMS_TYPES, PostProcessor
from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer
from pcdet.models.model_utils.target_assigner import TargetAssigner
from pcdet.models.rcnn import RCNNS
from pcdet.models.rcnn.rcnn_head import RCNNLayers, RCNNLossWeights
from pcdet.models.rpn import BACKBONES
from pcdet.models.rpn.rpn_unet import TARGET_SOURCES, UNetV2
from pcdet.models.vfe import VFES
from pcdet.utils.box_coder_utils import BOX_CODERS
from pcdet.utils.errors import ConfigError, check_keys, lookup
from pcdet.utils.network_settings import network_settings

_REGION_SIMILARITIES = ("nearest_iou_similarity",)
# Keys of MODEL.TRAIN and MODEL.TEST that select proposals, and the arguments they are.
_PROPOSAL_KEYS = {
    "RPN_NMS_TYPE": "nms_type",
    "RPN_NMS_THRESH": "nms_thresh",
    "NMS_PRE_MAXSIZE": "nms_pre_maxsize_last",
    "NMS_POST_MAXSIZE": "nms_post_maxsize_last",
}


def build_network(dataset: Any, cfg: EasyDict | None = None) -> Any:
    """The detector that `cfg.MODEL` describes, for the classes and voxels of `dataset`.

    Args:
        dataset: has class_names, voxel_generator and num_point_features.
        cfg: the whole configuration; the global one by default.

    Returns:
        A `Detector3D` on the CPU.

    Raises:
        ConfigError: a key or value of the configuration is unknown or does not fit.
    """
    cfg = cfg or global_cfg
    model_cfg = cfg.MODEL
    sections = ("NAME", "VFE", "RPN", "LOSSES", "TRAIN", "TEST")
    check_keys(model_cfg, ("RCNN",), "the yaml's MODEL", required=sections)
    detector = lookup(DETECTORS, model_cfg.NAME, "MODEL.NAME")
    check_keys(model_cfg.TRAIN, _PROPOSAL_KEYS, "MODEL.TRAIN", required=("SPLIT", "OPTIMIZATION"))
    rpn_cfg = model_cfg.RPN
    check_keys(rpn_cfg, ("PARAMS_FIXED",), "MODEL.RPN", required=("BACKBONE", "RPN_HEAD"))

    vfe = _build_vfe(model_cfg.VFE, dataset)
    rpn_net = _build_backbone(rpn_cfg.BACKBONE, vfe.output_features, dataset)
    rpn_head = _build_rpn_head(rpn_cfg.RPN_HEAD, model_cfg.LOSSES, rpn_net, dataset)
    if rpn_cfg.get("PARAMS_FIXED", False):
        for module in (vfe, rpn_net, rpn_head):
            module.requires_grad_(False)
    model = detector(
        vfe=vfe,
        rpn_net=rpn_net,
        rpn_head=rpn_head,
        post_processor=_build_post_processor(model_cfg.TEST),
        recall_thresholds=tuple(model_cfg.TEST.get("RECALL_THRESH_LIST", ())),
        **_build_second_stage(detector, model_cfg, rpn_net),
    )
    model.settings = network_settings(cfg)
    return model


def _check_arguments(target: Any, where: str, arguments: dict[str, Any], own: tuple) -> None:
    """Compare keys of the yaml with the parameters of the class that they go to.

    Args:
        target: a class that takes keyword arguments.
        where: the yaml path of `arguments`.
        arguments: keys and values of the yaml.
        own: names of further arguments, which do not come from the yaml.
    """
    where = f"{where} ({target.__name__})"
    parameters = dict(inspect.signature(target).parameters)
    for name in own:
        parameters.pop(name)
    required = [name for name, p in parameters.items() if p.default is p.empty]
    check_keys(arguments, parameters, where, required)


def _construct(target: Any, where: str, arguments: dict[str, Any], **own: Any) -> Any:
    """Call `target` with `arguments` of the yaml at `where` and with arguments of our own."""
    _check_arguments(target, where, arguments, tuple(own))
    try:
        return target(**arguments, **own)
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ConfigError(f"{where} ({target.__name__}): {error}") from error


def _build_vfe(vfe_cfg: EasyDict, dataset: Any) -> Any:
    check_keys(vfe_cfg, ("ARGS",), "MODEL.VFE", required=("NAME",))
    vfe = lookup(VFES, vfe_cfg.NAME, "MODEL.VFE.NAME")
    arguments = vfe_cfg.get("ARGS", {})
    _at_least(1, arguments, "MODEL.VFE.ARGS", "num_filters")
    return _construct(
        vfe, "MODEL.VFE.ARGS", arguments, num_input_features=dataset.num_point_features
    )


def _build_backbone(backbone_cfg: EasyDict, input_channels: int, dataset: Any) -> Any:
    where = "MODEL.RPN.BACKBONE"
    backbone = lookup(BACKBONES, backbone_cfg.get("NAME"), f"{where}.NAME")
    arguments = dict(backbone_cfg.get("ARGS", {}))
    _at_least(1, arguments, f"{where}.ARGS", "num_filters", "num_output_features")
    further = ("SEG_MASK_SCORE_THRESH", "TARGET_CONFIG") if issubclass(backbone, UNetV2) else ()
    check_keys(backbone_cfg, ("NAME", "ARGS"), where, required=further)
    if further:
        arguments.update(_voxel_target_arguments(backbone_cfg.TARGET_CONFIG))
    grid_size = dataset.voxel_generator.grid_size
    return _construct(
        backbone, where, arguments, input_channels=input_channels, grid_size=grid_size
    )


def _voxel_target_arguments(target_cfg: EasyDict) -> dict[str, Any]:
    """Arguments of the backbone; MEAN_SIZE and GENERATE_BBOX_REG_LABELS are for the data set."""
    where = "MODEL.RPN.BACKBONE.TARGET_CONFIG"
    own = ("GENERATED_ON", "GT_EXTEND_WIDTH")
    check_keys(target_cfg, (*own, "MEAN_SIZE", "GENERATE_BBOX_REG_LABELS"), where)
    lookup(dict.fromkeys(TARGET_SOURCES), target_cfg.get("GENERATED_ON"), f"{where}.GENERATED_ON")
    return {key.lower(): target_cfg[key] for key in own if key in target_cfg}


def _build_rpn_head(head_cfg: EasyDict, losses_cfg: EasyDict, rpn_net: Any, dataset: Any) -> Any:
    where = "MODEL.RPN.RPN_HEAD"
    _only(losses_cfg, "RPN_REG_LOSS", "smooth-l1", "MODEL.LOSSES")
    check_keys(head_cfg, ("DOWNSAMPLE_FACTOR",), where, required=("NAME", "ARGS", "TARGET_CONFIG"))
    head = lookup(RPN_HEADS, head_cfg.NAME, f"{where}.NAME")
    arguments = dict(head_cfg.ARGS)
    _check_sizes(arguments, f"{where}.ARGS")
    direction = _pop_direction(arguments, f"{where}.ARGS")
    concat_input = arguments.pop("concat_input", False)
    if arguments.get("num_input_features") != rpn_net.num_bev_features:
        raise ConfigError(
            f"{where}.ARGS.num_input_features: {arguments.get('num_input_features')} does not fit; "
            f"the backbone gives {rpn_net.num_bev_features} channels with this voxel grid"
        )
    _check_arguments(BEVNetwork, f"{where}.ARGS", arguments, ())
    head = _construct(
        head,
        where,
        {},
        num_class=len(dataset.class_names),
        target_assigner=_build_assigner(head_cfg.TARGET_CONFIG, f"{where}.TARGET_CONFIG", dataset),
        network=arguments,
        direction=direction,
        loss_weights=_loss_weights(AnchorLossWeights, losses_cfg),
        concat_input=concat_input,
    )
    _check_voxel_grid(dataset, rpn_net.bev_stride * math.prod(arguments["layer_strides"]))
    image = tuple(int(size / head.feature_map_stride) for size in rpn_net.bev_shape)
    if image != head.target_assigner.feature_map_size:
        raise ConfigError(
            f"{where}.TARGET_CONFIG.DOWNSAMPLED_FACTOR: it gives anchors on a grid of "
            f"{head.target_assigner.feature_map_size}, the network an image of {image}"
        )
    return head


def _check_sizes(arguments: dict[str, Any], where: str) -> None:
    """Raise a ConfigError for layers of the head that cannot be."""
    _at_least(0, arguments, where, "layer_nums")
    strides = ("layer_strides", "upsample_strides")
    channels = ("num_filters", "num_upsample_filters", "num_direction_bins")
    _at_least(1, arguments, where, *strides, *channels)


def _check_voxel_grid(dataset: Any, multiple: int) -> None:
    """Raise a ConfigError unless the grid's sides are multiples of all strides together.

    A strided convolution rounds up: of another grid, levels of different sizes would come out.
    """
    sides = [int(size) for size in dataset.voxel_generator.grid_size[:2]]
    if any(side % multiple for side in sides):
        nearest = [max(round(side / multiple), 1) * multiple for side in sides]
        raise ConfigError(
            f"DATA_CONFIG.POINT_CLOUD_RANGE and VOXEL_GENERATOR.VOXEL_SIZE: they give {sides} "
            f"voxels along x and y, this network needs multiples of {multiple}, as {nearest}"
        )


def _pop_direction(arguments: dict[str, Any], where: str) -> DirectionConfig | None:
    """Take the direction classifier's keys out of the head's arguments."""
    fixed = {"use_binary_dir_classifier": False, "encode_background_as_zeros": True}
    for key, value in fixed.items():
        if arguments.pop(key, value) != value:
            raise ConfigError(f"{where}.{key}: only {value} is supported")
    enabled = arguments.pop("use_direction_classifier", True)
    keys = inspect.signature(DirectionConfig).parameters
    given = {key: arguments.pop(key) for key in keys if key in arguments}
    return DirectionConfig(**given) if enabled else None


def _build_assigner(target_cfg: EasyDict, where: str, dataset: Any) -> TargetAssigner:
    required = ("DOWNSAMPLED_FACTOR", "BOX_CODER", "ANCHOR_GENERATOR")
    optional = ("REGION_SIMILARITY_FN", "SAMPLE_POS_FRACTION", "SAMPLE_SIZE")
    check_keys(target_cfg, optional, where, required)
    _at_least(1, target_cfg, where, "DOWNSAMPLED_FACTOR")
    similarity = target_cfg.get("REGION_SIMILARITY_FN", _REGION_SIMILARITIES[0])
    lookup(dict.fromkeys(_REGION_SIMILARITIES), similarity, f"{where}.REGION_SIMILARITY_FN")
    if target_cfg.get("SAMPLE_POS_FRACTION", -1) >= 0:
        raise ConfigError(
            f"{where}.SAMPLE_POS_FRACTION: only -1 (use all anchors) is supported, focal loss "
            "needs no sampling"
        )
    coder = lookup(BOX_CODERS, target_cfg.BOX_CODER, f"{where}.BOX_CODER")
    generators = []
    for k, generator_cfg in enumerate(target_cfg.ANCHOR_GENERATOR):
        name = f"{where}.ANCHOR_GENERATOR[{k}]"
        generator = _construct(AnchorGeneratorRange, name, dict(generator_cfg))
        if generator.class_name in dataset.class_names:
            generators.append(generator)
    missing = set(dataset.class_names) - {g.class_name for g in generators}
    if missing:
        raise ConfigError(f"{where}.ANCHOR_GENERATOR: no anchors for {sorted(missing)}")
    grid = dataset.voxel_generator.grid_size
    factor = int(target_cfg.DOWNSAMPLED_FACTOR)
    feature_map_size = (int(grid[1]) // factor, int(grid[0]) // factor)
    if 0 in feature_map_size:
        raise ConfigError(f"{where}.DOWNSAMPLED_FACTOR: {factor} leaves none of the voxel grid")
    return _construct(
        TargetAssigner,
        where,
        {},
        generators=generators,
        class_names=list(dataset.class_names),
        feature_map_size=feature_map_size,
        box_coder=coder(),
    )


def _loss_weights(target: Any, losses_cfg: EasyDict) -> Any:
    """`target` with those of the yaml's weights that it has; each key must belong to some stage."""
    keys = (*("RPN_REG_LOSS", "RCNN_CLS_LOSS", "RCNN_REG_LOSS"), "CORNER_LOSS_REGULARIZATION")
    check_keys(losses_cfg, keys, "MODEL.LOSSES", required=("LOSS_WEIGHTS",))
    where = "MODEL.LOSSES.LOSS_WEIGHTS"
    stages = (AnchorLossWeights, RCNNLossWeights)
    known = {name for stage in stages for name in inspect.signature(stage).parameters}
    check_keys(losses_cfg.LOSS_WEIGHTS, known, where)
    own = inspect.signature(target).parameters
    return _construct(target, where, {k: v for k, v in losses_cfg.LOSS_WEIGHTS.items() if k in own})


def _only(config: EasyDict, key: str, value: Any, where: str) -> None:
    """Raise a ConfigError if `key` is there and asks for anything but `value`."""
    if config.get(key, value) != value:
        raise ConfigError(f"{where}.{key}: only {value!r} is supported, got {config[key]!r}")


def _at_least(least: int, config: dict[str, Any], where: str, *keys: str) -> None:
    """Raise a ConfigError if a key is there with a number, or a list with one, below `least`."""
    for key in keys:
        value = config.get(key, least)
        if min(value if isinstance(value, (list, tuple)) else [value], default=least) < least:
            raise ConfigError(f"{where}.{key}: {least} or more expected, got {value}")


def _capitals(target: Any) -> dict[str, str]:
    """Keys in the yaml of the parameters of `target`: key to name."""
    return {name.upper(): name for name in inspect.signature(target).parameters}


def _arguments(section: EasyDict, keys: dict[str, str]) -> dict[str, Any]:
    """Values of a section by the names that `keys` gives them; other keys are left out."""
    return {keys[key]: value for key, value in section.items() if key in keys}


def _build_post_processor(test_cfg: EasyDict) -> PostProcessor:
    own = _capitals(PostProcessor)
    arguments = _arguments(test_cfg, own)
    elsewhere = ("SPLIT", "RECALL_THRESH_LIST", "EVAL_METRIC", "BOX_FILTER")
    check_keys(test_cfg, (*own, *elsewhere, *_PROPOSAL_KEYS), "MODEL.TEST")
    _only(test_cfg, "EVAL_METRIC", "kitti", "MODEL.TEST")
    lookup(NMS_TYPES, arguments.get("nms_type", "nms_gpu"), "MODEL.TEST.NMS_TYPE")
    _at_least(1, test_cfg, "MODEL.TEST", "NMS_PRE_MAXSIZE_LAST", "NMS_POST_MAXSIZE_LAST")
    return _construct(PostProcessor, "MODEL.TEST", arguments)


def _build_second_stage(detector: Any, model_cfg: EasyDict, rpn_net: Any) -> dict[str, Any]:
    """Further arguments of a detector of two stages, none for one of a single stage."""
    enabled = model_cfg.get("RCNN", {}).get("ENABLED", False)
    if "rcnn_net" not in inspect.signature(detector).parameters:
        if enabled:
            raise ConfigError(f"MODEL.RCNN.ENABLED: {model_cfg.NAME} has no second stage")
        return {}
    if not isinstance(rpn_net, UNetV2):
        raise ConfigError(
            f"MODEL.RPN.BACKBONE.NAME: {model_cfg.NAME} needs a backbone that labels voxels, "
            f"got {type(rpn_net).__name__}"
        )
    if not enabled:
        return {"rcnn_net": None, "proposal_layers": {}}
    return {
        "rcnn_net": _build_rcnn(model_cfg, rpn_net),
        "proposal_layers": {
            mode.lower(): _build_proposal_layer(model_cfg[mode], f"MODEL.{mode}")
            for mode in ("TRAIN", "TEST")
        },
    }


def _build_proposal_layer(mode_cfg: EasyDict, where: str) -> PostProcessor:
    check_keys(mode_cfg, mode_cfg, where, required=_PROPOSAL_KEYS)
    lookup(NMS_TYPES, mode_cfg.RPN_NMS_TYPE, f"{where}.RPN_NMS_TYPE")
    _at_least(1, mode_cfg, where, "NMS_PRE_MAXSIZE", "NMS_POST_MAXSIZE")
    arguments = _arguments(mode_cfg, _PROPOSAL_KEYS)
    return _construct(PostProcessor, where, arguments, score_thresh=0.0)


def _build_rcnn(model_cfg: EasyDict, rpn_net: UNetV2) -> Any:
    where, rcnn_cfg = "MODEL.RCNN", model_cfg.RCNN
    rcnn = lookup(RCNNS, rcnn_cfg.get("NAME"), f"{where}.NAME")
    layer_keys = _capitals(RCNNLayers)
    own = {"NUM_POINT_FEATURES": "num_point_features", "ROI_AWARE_POOL_SIZE": "roi_aware_pool_size"}
    required = (*own, "NAME", "SHARED_FC", "CLS_FC", "REG_FC", "TARGET_CONFIG")
    check_keys(rcnn_cfg, ("ENABLED", *layer_keys), where, required)
    _at_least(1, rcnn_cfg, where, "ROI_AWARE_POOL_SIZE", "SHARED_FC", "CLS_FC", "REG_FC")
    if rpn_net.num_seg_features != rcnn_cfg.NUM_POINT_FEATURES:
        raise ConfigError(
            f"{where}.NUM_POINT_FEATURES: {rcnn_cfg.NUM_POINT_FEATURES} does not fit; the backbone "
            f"gives a voxel {rpn_net.num_seg_features} features"
        )
    target_cfg, target_keys = rcnn_cfg.TARGET_CONFIG, _capitals(ProposalTargetLayer)
    targets_where = f"{where}.TARGET_CONFIG"
    check_keys(target_cfg, (*target_keys, "BOX_CODER"), targets_where)
    _at_least(1, target_cfg, targets_where, "ROI_PER_IMAGE")
    coder = lookup(BOX_CODERS, target_cfg.get("BOX_CODER"), f"{targets_where}.BOX_CODER")
    targets = _arguments(target_cfg, target_keys)
    return _construct(
        rcnn,
        where,
        _arguments(rcnn_cfg, own),
        seg_mask_score_thresh=model_cfg.RPN.BACKBONE.SEG_MASK_SCORE_THRESH,
        layers=_construct(RCNNLayers, where, _arguments(rcnn_cfg, layer_keys)),
        target_layer=_construct(ProposalTargetLayer, targets_where, targets),
        loss_weights=_rcnn_loss_weights(model_cfg.LOSSES),
        box_coder=coder(),
    )


def _rcnn_loss_weights(losses_cfg: EasyDict) -> RCNNLossWeights:
    _only(losses_cfg, "RCNN_CLS_LOSS", "BinaryCrossEntropy", "MODEL.LOSSES")
    _only(losses_cfg, "RCNN_REG_LOSS", "smooth-l1", "MODEL.LOSSES")
    weights = _loss_weights(RCNNLossWeights, losses_cfg)
    if not losses_cfg.get("CORNER_LOSS_REGULARIZATION", True):
        weights.rcnn_corner_weight = 0.0
    return weights
