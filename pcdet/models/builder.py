"""From the configuration to a network: the only place of the models that reads yaml keys.

The schema (`pcdet.config.schema`) checks the keys and values of each section. What is checked here
needs the built parts: whether they fit together, and fit the voxel grid.
"""

from __future__ import annotations

import inspect
from typing import Any

from easydict import EasyDict

from pcdet.config import cfg as global_cfg
from pcdet.config.schema import read_model, unlike_classes
from pcdet.config.schema.model import TwoStageDetector
from pcdet.config.schema.sassd import RescoringDetector
from pcdet.models.bbox_heads import EXTRA_HEADS, RPN_HEADS
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.bbox_heads.pswarp_head import PSWarpLossWeights
from pcdet.models.bbox_heads.rpn_head import AnchorLossWeights, DirectionConfig
from pcdet.models.bbox_heads.sassd_head import SASSDHead
from pcdet.models.detectors import DETECTORS, PointPillar
from pcdet.models.model_utils.anchor_generator import AnchorGeneratorRange, AnchorGeneratorStride
from pcdet.models.model_utils.anchor_mask import AnchorMask
from pcdet.models.model_utils.post_processing import PostProcessor
from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer
from pcdet.models.model_utils.target_assigner import TargetAssigner
from pcdet.models.model_utils.voxel_grid import VoxelGrid
from pcdet.models.rcnn import RCNNS
from pcdet.models.rcnn.rcnn_head import RCNNLayers, RCNNLossWeights
from pcdet.models.rpn import BACKBONES
from pcdet.models.rpn.rpn_unet import UNetV2
from pcdet.models.rpn.sassd_auxiliary import AuxiliaryLossWeights, AuxiliaryNetwork
from pcdet.models.rpn.sassd_backbone import SASSDBackbone
from pcdet.models.vfe import VFES, MeanVoxelFeatureExtractor, PillarFeatureNetOld2
from pcdet.ops.sparse_conv.backends import request_backend
from pcdet.utils.box_coder_utils import BOX_CODERS
from pcdet.utils.errors import ConfigError, lookup
from pcdet.utils.network_settings import network_settings


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
    config = global_cfg if cfg is None else cfg
    model = read_model(config.get("MODEL"))
    for name, problem in unlike_classes(model, dataset.class_names):
        raise ConfigError(f"{name}: {problem}")
    try:
        request_backend(model.SPARSE_CONV, "MODEL.SPARSE_CONV")
    except ValueError as error:  # of the environment variable
        raise ConfigError(str(error)) from error
    vfe = build_vfe(model.VFE, dataset)
    rpn_net = build_backbone(model.RPN.BACKBONE, model.LOSSES, vfe.output_features, dataset)
    rpn_head = build_rpn_head(model.RPN.RPN_HEAD, model.LOSSES, rpn_net, dataset)
    _check_parts(model, vfe, rpn_net, rpn_head)
    detector = lookup(DETECTORS, model.NAME, "MODEL.NAME")(
        vfe=vfe,
        rpn_net=rpn_net,
        rpn_head=rpn_head,
        post_processor=construct(PostProcessor, "MODEL.TEST", model.TEST),
        recall_thresholds=tuple(model.TEST.RECALL_THRESH_LIST),
        **second_stage(model, rpn_net) if isinstance(model, TwoStageDetector) else {},
        **extra_head(model, rpn_net, rpn_head, dataset)
        if isinstance(model, RescoringDetector)
        else {},
    )
    detector.settings = network_settings(config)
    _fix_parts(detector, model)
    return detector


def _fix_parts(detector: Any, model: Any) -> None:
    """Freeze what MODEL.RPN.PARAMS_FIXED and MODEL.FREEZE say."""
    first_stage = ("vfe", "rpn_net", "rpn_head") if model.RPN.PARAMS_FIXED else ()
    for name in (*first_stage, *model.FREEZE):
        try:
            detector.fix(name)
        except AttributeError:
            parts = [part for part, _ in detector.named_children()]
            inner = next(part for part, _ in detector.named_modules() if "." in part)
            raise ConfigError(
                f"MODEL.FREEZE: the network has no part {name!r}; it has {parts}, and these have "
                f"parts such as {inner}"
            ) from None


def construct(target: Any, where: str, section: Any = None, **further: Any) -> Any:
    """Call `target` with the values of a section that it has parameters for.

    Args:
        target: a class; its parameters are named as keys of the yaml, in lower case.
        where: the yaml path, for messages.
        section: of the schema; its other keys are for others.
        **further: arguments that do not come from this section.

    Raises:
        ConfigError: values that the class does not take together.
    """
    try:
        return target(**{**_arguments(target, section), **further})
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ConfigError(f"{where} ({target.__name__}): {error}") from error


def _arguments(target: Any, section: Any) -> dict[str, Any]:
    values = {key.lower(): value for key, value in vars(section).items()} if section else {}
    return {name: values[name] for name in inspect.signature(target).parameters if name in values}


def build_vfe(section: Any, dataset: Any) -> Any:
    """The encoder of MODEL.VFE."""
    vfe = lookup(VFES, section.NAME, "MODEL.VFE.NAME")
    features = dataset.num_point_features
    return construct(vfe, "MODEL.VFE.ARGS", num_input_features=features, **vars(section.ARGS))


def build_backbone(section: Any, losses: Any, input_channels: int, dataset: Any) -> Any:
    """The backbone of MODEL.RPN.BACKBONE, for so many channels of a voxel."""
    where = "MODEL.RPN.BACKBONE"
    backbone = lookup(BACKBONES, section.NAME, f"{where}.NAME")
    rpn_net = construct(
        backbone,
        where,
        input_channels=input_channels,
        grid_size=dataset.voxel_generator.grid_size,
        **vars(section.ARGS),
        **_arguments(backbone, getattr(section, "TARGET_CONFIG", None)),
    )
    auxiliary = getattr(section, "AUXILIARY", None)
    if auxiliary is not None and auxiliary.ENABLED:
        rpn_net.aux = construct(
            AuxiliaryNetwork,
            f"{where}.AUXILIARY",
            auxiliary,
            level_channels=rpn_net.level_channels,
            grid=voxel_grid(dataset),
            loss_weights=loss_weights(AuxiliaryLossWeights, losses),
        )
    return rpn_net


def voxel_grid(dataset: Any) -> VoxelGrid:
    """Where the voxels of the data set are."""
    generator = dataset.voxel_generator
    return VoxelGrid(
        [float(value) for value in generator.point_cloud_range[:3]],
        [float(value) for value in generator.voxel_size],
        [int(value) for value in generator.grid_size],
    )


def build_rpn_head(section: Any, losses: Any, rpn_net: Any, dataset: Any) -> Any:
    """The anchor head of MODEL.RPN.RPN_HEAD, on the image of `rpn_net`."""
    where, args = "MODEL.RPN.RPN_HEAD", section.ARGS
    if args.num_input_features != rpn_net.num_bev_features:
        raise ConfigError(
            f"{where}.ARGS.num_input_features: {args.num_input_features} does not fit; "
            f"the backbone gives {rpn_net.num_bev_features} channels with this voxel grid"
        )
    direction = construct(DirectionConfig, f"{where}.ARGS", args)
    targets = section.TARGET_CONFIG
    assigner = build_assigner(targets, f"{where}.TARGET_CONFIG", dataset)
    mask = {}
    if hasattr(targets, "MIN_VOXELS"):
        anchors = assigner.anchors.view(-1, assigner.anchors.shape[-1])
        mask["anchor_mask"] = AnchorMask(anchors, voxel_grid(dataset), targets.MIN_VOXELS)
    head = construct(
        lookup(RPN_HEADS, section.NAME, f"{where}.NAME"),
        where,
        args,
        num_class=len(dataset.class_names),
        target_assigner=assigner,
        network=_arguments(BEVNetwork, args),
        direction=direction if args.use_direction_classifier else None,
        loss_weights=loss_weights(AnchorLossWeights, losses),
        **mask,
    )
    _check_voxel_grid(dataset, rpn_net.bev_stride * head.level_stride)
    image = tuple(int(size / head.feature_map_stride) for size in rpn_net.bev_shape)
    if image != head.target_assigner.feature_map_size:
        raise ConfigError(
            f"{where}.TARGET_CONFIG.DOWNSAMPLED_FACTOR: it gives anchors on a grid of "
            f"{head.target_assigner.feature_map_size}, the network an image of {image}"
        )
    return head


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


def build_assigner(section: Any, where: str, dataset: Any) -> TargetAssigner:
    """Anchors of the data set's classes on the cells of the head's image, and their targets."""
    generators = [
        construct(
            AnchorGeneratorStride if generator.anchor_range is None else AnchorGeneratorRange,
            f"{where}.ANCHOR_GENERATOR.{k}",
            generator,
        )
        for k, generator in enumerate(section.ANCHOR_GENERATOR)
        if generator.class_name in dataset.class_names
    ]
    missing = set(dataset.class_names) - {g.class_name for g in generators}
    if missing:
        raise ConfigError(f"{where}.ANCHOR_GENERATOR: no anchors for {sorted(missing)}")
    factor = section.DOWNSAMPLED_FACTOR
    columns, rows = (int(size) // factor for size in dataset.voxel_generator.grid_size[:2])
    if not columns or not rows:
        raise ConfigError(f"{where}.DOWNSAMPLED_FACTOR: {factor} leaves none of the voxel grid")
    return construct(
        TargetAssigner,
        where,
        generators=generators,
        class_names=list(dataset.class_names),
        feature_map_size=(rows, columns),
        box_coder=lookup(BOX_CODERS, section.BOX_CODER, f"{where}.BOX_CODER")(),
    )


def loss_weights(target: Any, losses: Any) -> Any:
    """Those of the yaml's weights that `target` has."""
    return construct(target, "MODEL.LOSSES.LOSS_WEIGHTS", losses.LOSS_WEIGHTS)


def _check_parts(model: Any, vfe: Any, rpn_net: Any, rpn_head: Any) -> None:
    """Raise a ConfigError if the detector and its first stage give and take other things."""
    of_pillars = issubclass(DETECTORS[model.NAME], PointPillar)
    if isinstance(vfe, MeanVoxelFeatureExtractor if of_pillars else PillarFeatureNetOld2):
        kind = "pillars" if of_pillars else "voxels"
        raise ConfigError(
            f"MODEL.VFE.NAME: {model.NAME} needs an encoder of {kind}, got {type(vfe).__name__}"
        )
    rescores = isinstance(model, RescoringDetector)
    for key, part, kind, wanted in (
        ("BACKBONE", rpn_net, UNetV2, isinstance(model, TwoStageDetector)),
        ("BACKBONE", rpn_net, SASSDBackbone, rescores),
        ("RPN_HEAD", rpn_head, SASSDHead, rescores),
    ):
        if isinstance(part, kind) != wanted:
            verb = "needs" if wanted else "has no use for"
            raise ConfigError(
                f"MODEL.RPN.{key}.NAME: {model.NAME} {verb} {kind.__name__}, "
                f"got {type(part).__name__}"
            )
    if rescores and vars(model.VFE.ARGS).get("input_scales"):
        raise ConfigError(
            f"MODEL.VFE.ARGS.input_scales: {model.NAME} reads places in metres from its inputs; "
            "leave the key out"
        )


def extra_head(model: Any, rpn_net: Any, rpn_head: Any, dataset: Any) -> dict[str, Any]:
    """Further argument of a detector that scores its boxes once more."""
    where, section = "MODEL.EXTRA_HEAD", model.EXTRA_HEAD
    if not section.ENABLED:
        return {"extra_head": None}
    factor = model.RPN.RPN_HEAD.TARGET_CONFIG.DOWNSAMPLED_FACTOR
    stride = rpn_net.bev_stride * rpn_head.level_stride
    if stride != factor:
        raise ConfigError(
            f"MODEL.RPN.RPN_HEAD.ARGS.layer_strides: {where} needs a last level of the anchors' "
            f"stride, {factor}, got one of {stride}"
        )
    head = construct(
        lookup(EXTRA_HEADS, section.NAME, f"{where}.NAME"),
        where,
        section,
        num_input_features=model.RPN.RPN_HEAD.ARGS.num_filters[-1],
        num_class=rpn_head.num_class,
        cells=voxel_grid(dataset).coarser(factor),
        loss_weights=loss_weights(PSWarpLossWeights, model.LOSSES),
    )
    return {"extra_head": head}


def second_stage(model: Any, rpn_net: Any) -> dict[str, Any]:
    """Further arguments of a detector of two stages."""
    if not model.RCNN.ENABLED:
        return {"rcnn_net": None, "proposal_layers": {}}
    return {
        "rcnn_net": build_rcnn(model, rpn_net),
        "proposal_layers": {
            "train": proposal_layer(model.TRAIN, "MODEL.TRAIN"),
            "test": proposal_layer(model.TEST, "MODEL.TEST"),
        },
    }


def proposal_layer(section: Any, where: str) -> PostProcessor:
    """What selects the boxes of the first stage that the second one sees."""
    return construct(
        PostProcessor,
        where,
        nms_type=section.RPN_NMS_TYPE,
        nms_thresh=section.RPN_NMS_THRESH,
        nms_pre_maxsize_last=section.NMS_PRE_MAXSIZE,
        nms_post_maxsize_last=section.NMS_POST_MAXSIZE,
        score_thresh=0.0,
    )


def build_rcnn(model: Any, rpn_net: UNetV2) -> Any:
    """The second stage of MODEL.RCNN."""
    where, section = "MODEL.RCNN", model.RCNN
    if rpn_net.num_seg_features != section.NUM_POINT_FEATURES:
        raise ConfigError(
            f"{where}.NUM_POINT_FEATURES: {section.NUM_POINT_FEATURES} does not fit; the backbone "
            f"gives a voxel {rpn_net.num_seg_features} features"
        )
    targets_where, targets = f"{where}.TARGET_CONFIG", section.TARGET_CONFIG
    weights = loss_weights(RCNNLossWeights, model.LOSSES)
    if not model.LOSSES.CORNER_LOSS_REGULARIZATION:
        weights.rcnn_corner_weight = 0.0
    return construct(
        lookup(RCNNS, section.NAME, f"{where}.NAME"),
        where,
        section,
        seg_mask_score_thresh=model.RPN.BACKBONE.SEG_MASK_SCORE_THRESH,
        layers=construct(RCNNLayers, where, section),
        target_layer=construct(ProposalTargetLayer, targets_where, targets),
        loss_weights=weights,
        box_coder=lookup(BOX_CODERS, targets.BOX_CODER, f"{targets_where}.BOX_CODER")(),
    )
