"""The section MODEL: a network by its stages.

A stage is chosen by its NAME, and the tables here say which keys come with each NAME. A new class
needs one entry, with a section of its own if it has keys that no other has (docs/add_a_model.md):

    BACKBONES["HeightImage"] = Backbone
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional, Union

from pcdet.config.schema.keys import Section, key, keys_of
from pcdet.config.schema.training import Proposals, Test, Train

BOX_CODERS = ("ResidualCoder",)
TARGET_SOURCES = ("dataset", "head_gpu")
SCORE_TYPES = ("roi_iou", "cls")
SPARSE_BACKENDS = ("auto", "cpu", "torch", "triton", "spconv")

# NAME of a stage -> its section. Filled below each group of sections.
VFES: dict[str, type[Section]] = {}
BACKBONES: dict[str, type[Section]] = {}
RPN_HEADS: dict[str, type[Section]] = {}
RCNNS: dict[str, type[Section]] = {}
DETECTORS: dict[str, type[Section]] = {}


@dataclass
class NoArguments(Section):
    """There is no key."""


@dataclass
class Encoder(Section):
    """From the points of a voxel to its features."""

    NAME: str = key("class of the encoder", choices=VFES)
    ARGS: NoArguments = key(default={})


INPUT_SCALES = "what each input is multiplied by, so that all spread alike; [] for nothing"


@dataclass
class VoxelMeans(Section):
    """Means of the points of each voxel."""

    input_scales: list[float] = key(INPUT_SCALES, [], above=0)


@dataclass
class MeanEncoder(Encoder):
    """SECOND's encoder."""

    ARGS: VoxelMeans = key(default={})


@dataclass
class PillarLayers(Section):
    """Layers of an encoder of pillars."""

    use_norm: bool = key("batch normalisation, else a bias", True)
    num_filters: list[int] = key("channels of each layer", [64], least_length=1, at_least=1)
    with_distance: bool = key("add a point's distance to its features", False)
    input_scales: list[float] = key(INPUT_SCALES, [], above=0)


@dataclass
class PillarEncoder(Encoder):
    """PointPillars' encoder."""

    ARGS: PillarLayers = key(default={})


VFES.update(MeanVoxelFeatureExtractor=MeanEncoder, PillarFeatureNetOld2=PillarEncoder)


@dataclass
class Backbone(Section):
    """From the features of voxels to an image from above."""

    NAME: str = key("class of the backbone", choices=BACKBONES)
    ARGS: NoArguments = key(default={})


@dataclass
class SparseLevels(Section):
    """Levels of a sparse encoder."""

    num_filters: list[int] = key(
        "channels at 1, 1/2, 1/4 and 1/8 of the voxel grid",
        [16, 32, 64, 64],
        length=4,
        at_least=1,
    )


@dataclass
class SparseLayers(SparseLevels):
    """Layers of a sparse encoder."""

    num_output_features: int = key(
        "channels of the image, for each height that is left", 128, at_least=1
    )


@dataclass
class SparseBackbone(Backbone):
    """SECOND's sparse encoder."""

    ARGS: SparseLayers = key(default={})


@dataclass
class PartTargets(Section):
    """What voxels learn of the objects that they are in."""

    GENERATED_ON: str = key(
        "where targets are made: by the data set, or on the model's device, whichever it is",
        choices=TARGET_SOURCES,
    )
    GT_EXTEND_WIDTH: float = key(
        "metres around a box in which voxels are ignored",
        0.2,
        needed_if=("GENERATED_ON", ("dataset",)),
        at_least=0,
    )
    MEAN_SIZE: dict[str, list[float]] = key(
        "mean width, length and height of each class, metres", {}, length=3, above=0
    )
    GENERATE_BBOX_REG_LABELS: bool = key(
        "make the batch's bbox_reg_labels, by MEAN_SIZE; no loss reads them", False
    )


@dataclass
class UNet(SparseBackbone):
    """Part-A2's encoder and decoder."""

    SEG_MASK_SCORE_THRESH: float = key(
        "score below which the place of a voxel within an object counts as nothing",
        at_least=0,
        at_most=1,
    )
    TARGET_CONFIG: PartTargets = key()


BACKBONES.update(BackBone8x=SparseBackbone, PointPillarsScatter=Backbone, UNetV0=UNet, UNetV2=UNet)


@dataclass
class HeadArguments(Section):
    """The network on the image from above, and its outputs."""

    num_input_features: int = key("channels of the image", at_least=1)
    layer_nums: list[int] = key("convolutions of each level after its first", at_least=0)
    layer_strides: list[int] = key("stride of each level's first convolution", at_least=1)
    num_filters: list[int] = key("channels of each level", at_least=1)
    upsample_strides: list[int] = key("factors by which levels are enlarged", at_least=1)
    num_upsample_filters: list[int] = key("channels of the enlarged levels", at_least=1)
    use_norm: bool = key("batch normalisation, else a bias", True)
    concat_input: bool = key("stack the input onto the output", False)
    use_direction_classifier: bool = key("tell front from back", True)
    num_direction_bins: int = key("sectors of the circle", 2, at_least=1)
    dir_offset: float = key("angle at which the first sector begins, radians", 0.78539)
    dir_limit_offset: float = key("which of the angles that differ by a sector decoding uses", 0.0)
    use_binary_dir_classifier: bool = key("not supported", False, choices=(False,))
    encode_background_as_zeros: bool = key("background is no class", True, choices=(True,))

    def problems(self) -> Iterator[tuple[str, str]]:
        """Sectors that do not tell front from back."""
        if self.num_direction_bins % 2:
            told = f"opposite directions must be in two sectors, got {self.num_direction_bins}"
            yield "num_direction_bins", f"expected an even number, as {told}"


@dataclass
class Anchors(Section):
    """Anchors of a class."""

    class_name: str = key("its name in CLASS_NAMES; anchors of other classes are not used")
    anchor_range: Optional[list[float]] = key(
        "x, y, z of the first and of the last anchor, LiDAR frame, metres", None, length=6
    )
    anchor_strides: Optional[list[float]] = key(
        "instead: metres from an anchor to the next along x, y", None, length=2, above=0
    )
    anchor_offsets: Optional[list[float]] = key(
        "with these: x, y, z of the first anchor, LiDAR frame, metres", None, length=3
    )
    sizes: list[list[float]] = key(
        "width, length and height of each, metres", least_length=1, length=3, above=0
    )
    rotations: list[float] = key("angles of each, radians", least_length=1)
    matched_threshold: float = key(
        "overlap (IoU) from which on an anchor is an object", at_least=0, at_most=1
    )
    unmatched_threshold: float = key(
        "overlap (IoU) below which it is background", at_least=0, at_most=1
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Anchors stand nowhere, or in two ways."""
        if self.anchor_range is None and self.anchor_strides is None:
            yield "anchor_range", "expected 6 numbers, or anchor_strides and anchor_offsets instead"
        elif self.anchor_range is not None and self.anchor_strides is not None:
            yield "anchor_strides", "expected either this or anchor_range, got both"
        elif (self.anchor_strides is None) != (self.anchor_offsets is None):
            missing = "anchor_strides" if self.anchor_strides is None else "anchor_offsets"
            yield missing, "anchor_strides and anchor_offsets need each other, this one is missing"
        if self.unmatched_threshold > self.matched_threshold:
            told = f"matched_threshold, {self.matched_threshold}, got {self.unmatched_threshold}"
            yield "unmatched_threshold", f"expected at most {told}"

    @property
    def bottom(self) -> float:
        """The z of the anchors' bottoms."""
        return (self.anchor_range or self.anchor_offsets)[2]


@dataclass
class AnchorTargets(Section):
    """Where anchors stand and what they learn."""

    DOWNSAMPLED_FACTOR: int = key("voxels along a side of a cell of the anchors", at_least=1)
    BOX_CODER: str = key("how boxes are written as numbers", choices=BOX_CODERS)
    REGION_SIMILARITY_FN: str = key(
        "the overlap that is meant",
        "nearest_iou_similarity",
        choices=("nearest_iou_similarity",),
    )
    SAMPLE_POS_FRACTION: float = key(
        "below 0: all anchors are used", -1.0, below=0, because="focal loss needs no sampling"
    )
    SAMPLE_SIZE: int = key("not used; kept from PCDet", 512)
    ANCHOR_GENERATOR: list[Anchors] = key("anchors of each class", least_length=1)


@dataclass
class RPNHead(Section):
    """From the image from above to classes, boxes and directions."""

    NAME: str = key("class of the head", choices=RPN_HEADS)
    ARGS: HeadArguments = key()
    DOWNSAMPLE_FACTOR: Optional[int] = key("not used; kept from PCDet", None)
    TARGET_CONFIG: AnchorTargets = key()


RPN_HEADS.update(RPNV2=RPNHead)


@dataclass
class FirstStage(Section):
    """The first stage."""

    PARAMS_FIXED: bool = key(
        "keep its weights and statistics, and those of VFE, as they are", False
    )
    BACKBONE: Backbone = key(by_name=BACKBONES)
    RPN_HEAD: RPNHead = key(by_name=RPN_HEADS)


@dataclass
class RoITargets(Section):
    """Which regions of interest (RoIs) are learned, and what of them."""

    BOX_CODER: str = key("how boxes are written as numbers", choices=BOX_CODERS)
    ROI_PER_IMAGE: int = key("RoIs of a frame", 128, at_least=1)
    FG_RATIO: float = key("greatest share of objects among them", 0.5, at_least=0, at_most=1)
    HARD_BG_RATIO: float = key(
        "share of the background that overlaps an object a little", 0.8, at_least=0, at_most=1
    )
    CLS_SCORE_TYPE: str = key(
        "scores that grow with the overlap, or 0 and 1", "roi_iou", choices=SCORE_TYPES
    )
    CLS_FG_THRESH: float = key(
        "3D overlap (IoU) above which the score should be 1", 0.75, at_least=0, at_most=1
    )
    CLS_BG_THRESH: float = key("overlap below which it should be 0", 0.25, at_least=0, at_most=1)
    CLS_BG_THRESH_LO: float = key(
        "overlap from which on background is hard", 0.1, at_least=0, at_most=1
    )
    REG_FG_THRESH: float = key(
        "overlap above which the box is refined", 0.55, at_least=0, at_most=1
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """The thresholds leave no room for scores, or take one RoI for object and background."""
        if not self.CLS_BG_THRESH < self.CLS_FG_THRESH:
            bounds = f"CLS_FG_THRESH, {self.CLS_FG_THRESH}, got {self.CLS_BG_THRESH}"
            yield "CLS_BG_THRESH", f"expected a number below {bounds}"
        least = min(self.CLS_FG_THRESH, self.REG_FG_THRESH)
        if least < self.CLS_BG_THRESH_LO:
            told = f"of CLS_FG_THRESH and REG_FG_THRESH, {least}, got {self.CLS_BG_THRESH_LO}"
            yield "CLS_BG_THRESH_LO", f"expected at most the lower {told}"


@dataclass
class SecondStage(Section):
    """The second stage of a detector that has one."""

    ENABLED: bool = key("whether there is one", False)
    NAME: str = key("its class", choices=RCNNS)
    NUM_POINT_FEATURES: int = key("features of a voxel", at_least=1)
    ROI_AWARE_POOL_SIZE: int = key("cells along each side of an RoI", at_least=1)
    SHARED_FC: list[int] = key(
        "channels that are flattened, then of the layers", least_length=1, at_least=1
    )
    CLS_FC: list[int] = key("channels of the layers before the score", at_least=1)
    REG_FC: list[int] = key("channels of the layers before the box", at_least=1)
    DP_RATIO: float = key("share of the features that dropout drops", 0.0, at_least=0, below=1)
    TARGET_CONFIG: RoITargets = key()


@dataclass
class NoSecondStage(SecondStage):
    """The second stage of a detector that has none."""

    ENABLED: bool = key(
        "must be False", False, choices=(False,), because="this detector has no second stage"
    )


RCNNS.update(SpConvRCNN=SecondStage, FCRCNN=SecondStage)


@dataclass
class LossWeights(Section):
    """Weights of the terms of the loss."""

    rpn_cls_weight: float = key("classes of anchors", 1.0, at_least=0)
    rpn_loc_weight: float = key("boxes of anchors", 2.0, at_least=0)
    rpn_dir_weight: Union[float, list[float]] = key(
        "directions of anchors: a number, or one for each class", 0.2, at_least=0
    )
    rcnn_cls_weight: float = key("scores of RoIs", 1.0, at_least=0)
    rcnn_reg_weight: float = key("boxes of RoIs", 1.0, at_least=0)
    rcnn_corner_weight: float = key("corners of RoIs", 1.0, at_least=0)
    aux_cls_weight: float = key("points in objects", 1.0, at_least=0)
    aux_reg_weight: float = key("offsets of points from the centres of objects", 1.0, at_least=0)
    psw_cls_weight: float = key("scores of boxes", 1.0, at_least=0)
    code_weights: list[float] = key(
        "factors of the differences in x, y, z, w, l, h and angle, before smooth L1",
        [1.0] * 7,
        length=7,
        at_least=0,
    )


@dataclass
class Losses(Section):
    """The loss."""

    RPN_REG_LOSS: str = key("of anchors' boxes", "smooth-l1", choices=("smooth-l1",))
    RCNN_CLS_LOSS: str = key(
        "of RoIs' scores", "BinaryCrossEntropy", choices=("BinaryCrossEntropy",)
    )
    RCNN_REG_LOSS: str = key("of RoIs' boxes", "smooth-l1", choices=("smooth-l1",))
    CORNER_LOSS_REGULARIZATION: bool = key("whether corners of RoIs count", True)
    LOSS_WEIGHTS: LossWeights = key()


@dataclass
class Detector(Section):
    """A network of one stage, its training and its test."""

    NAME: str = key("class of the network", choices=DETECTORS)
    SPARSE_CONV: str = key(
        "what computes the sparse layers; the variable of this name goes first",
        "auto",
        choices=SPARSE_BACKENDS,
    )
    FREEZE: list[str] = key(
        "parts whose weights and statistics stay as they are, by their names in the network, such "
        "as rpn_net.conv1",
        [],
    )
    VFE: Encoder = key(by_name=VFES)
    RPN: FirstStage = key()
    RCNN: NoSecondStage = key(default={})
    LOSSES: Losses = key()
    TRAIN: Train = key()
    TEST: Test = key()


@dataclass
class TwoStageDetector(Detector):
    """A network that refines the boxes of its first stage, its training and its test."""

    RCNN: SecondStage = key(default={}, by_name=RCNNS)

    def problems(self) -> Iterator[tuple[str, str]]:
        """The second stage gets no proposals."""
        for mode in ("TRAIN", "TEST") if self.RCNN.ENABLED else ():
            for name in keys_of(Proposals):
                if getattr(getattr(self, mode), name) is None:
                    yield mode, f"the key {name!r} is missing, which MODEL.RCNN needs"


DETECTORS.update(second_net=Detector, PointPillar=Detector, PartA2_net=TwoStageDetector)
