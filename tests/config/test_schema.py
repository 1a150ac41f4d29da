"""The schema: its words, its rules, its page, and that it agrees with the classes it describes."""

import dataclasses
import inspect
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Optional, Union

import pytest
from easydict import EasyDict

from config.test_config import YAMLS, make_config
from pcdet.config.schema import data, model, read_config, training
from pcdet.config.schema.check import read_section
from pcdet.config.schema.keys import REQUIRED, Limits, Section, expectation, fits, key, keys_of
from pcdet.config.schema.page import PAGE, render
from pcdet.datasets import _DATASETS
from pcdet.models import bbox_heads, builder, detectors, rcnn, rpn, vfe
from pcdet.models.model_utils import post_processing, proposal_target_layer
from pcdet.models.rpn import rpn_unet
from pcdet.ops.sparse_conv import backends
from pcdet.utils.box_coder_utils import BOX_CODERS
from pcdet.utils.errors import ConfigError
from pcdet.utils.kitti_format.split import is_of_another_split

ROOT = YAMLS[0].parents[2]
SAMPLER = "DATA_CONFIG.AUGMENTATION.DB_SAMPLER"
HEAD = "MODEL.RPN.RPN_HEAD"


def test_the_page_is_that_of_the_schema():
    """After a change of the schema: python -m pcdet.config.schema."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render()


@pytest.mark.parametrize(
    ("declared", "classes"),
    [
        (model.VFES, vfe.VFES),
        (model.BACKBONES, rpn.BACKBONES),
        (model.RPN_HEADS, bbox_heads.RPN_HEADS),
        (model.RCNNS, rcnn.RCNNS),
        (model.DETECTORS, detectors.DETECTORS),
        (model.BOX_CODERS, BOX_CODERS),
        (model.TARGET_SOURCES, rpn_unet.TARGET_SOURCES),
        (model.SPARSE_BACKENDS, backends.BACKENDS),
        (model.SCORE_TYPES, proposal_target_layer.CLS_SCORE_TYPES),
        (training.NMS_TYPES, post_processing.NMS_TYPES),
        (data.DATASETS, _DATASETS),
    ],
)
def test_each_name_has_its_class(declared, classes):
    assert set(declared) == set(classes)


def described_classes() -> list[tuple[type, type]]:
    """Sections, and the classes whose parameters all of their keys are."""
    pairs = [
        (keys_of(section)["ARGS"].hint, table[name])
        for sections, table in ((model.VFES, vfe.VFES), (model.BACKBONES, rpn.BACKBONES))
        for name, section in sections.items()
    ]
    return [
        *pairs,
        (model.Anchors, builder.AnchorGeneratorRange),
        *((section, builder.BEVNetwork) for section in (model.HeadArguments,)),
        (model.HeadArguments, builder.DirectionConfig),
        (model.PartTargets, rpn_unet.UNetV2),
        (model.RoITargets, builder.ProposalTargetLayer),
        (model.SecondStage, builder.RCNNLayers),
        (model.LossWeights, builder.AnchorLossWeights),
        (model.LossWeights, builder.RCNNLossWeights),
        (training.Test, builder.PostProcessor),
    ]


@pytest.mark.parametrize(("section", "described"), described_classes())
def test_defaults_of_the_schema_are_those_of_the_classes(section, described):
    parameters = inspect.signature(described).parameters
    common = {name: k for name, k in keys_of(section).items() if name.lower() in parameters}
    assert common or section is model.NoArguments
    for name, declared in common.items():
        default = parameters[name.lower()].default
        if default is not inspect.Parameter.empty and declared.default is not REQUIRED:
            same = list(default) if isinstance(default, tuple) else default
            assert declared.default == same, name


@pytest.mark.parametrize(("section", "described"), described_classes()[:6])
def test_the_keys_of_args_are_parameters(section, described):
    assert set(keys_of(section)) <= set(inspect.signature(described).parameters)


@pytest.mark.parametrize("name", list(model.DETECTORS))
def test_detectors_with_a_second_stage_are_declared_so(name):
    has_one = "rcnn_net" in inspect.signature(detectors.DETECTORS[name]).parameters
    assert issubclass(model.DETECTORS[name], model.TwoStageDetector) == has_one


def changed_config(path: str, value, name: str = "second") -> EasyDict:
    config = make_config(name)
    *parents, last = path.split(".")
    node = config
    for parent in parents:
        node = node[int(parent) if isinstance(node, list) else parent]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{SAMPLER}.SAMPLE_GROUPS", ["Car"], r"texts like 'Car:5', got \['Car'\]"),
        (f"{SAMPLER}.SAMPLE_GROUPS", ["Car:3", "Car :4"], "each class once, got Car 2 times"),
        (f"{SAMPLER}.PREPARE.filter_by_min_points", ["Car:3"] * 3, "each class once, got Car 3 "),
        (f"{SAMPLER}.PREPARE.filter_by_min_pts", [], "unknown key 'filter_by_min_pts'.*_points'"),
        (f"{SAMPLER}.PREPARE.filter_by_min_points", ["Car:x"], r"'Car:5' or null, got \['Car:x'\]"),
        (f"{SAMPLER}.PREPARE.filter_by_difficulty", -1, "a list of whole numbers or null, got -1"),
        (
            "MODEL.TEST.BOX_FILTER",
            {"USE_AREA": True},
            "MODEL.TEST.BOX_FILTER: unknown key 'USE_AREA'",
        ),
        ("MODEL.TEST.BOX_FILTER.LIMIT_RANGE", [1, 2], r"expected 6 numbers or null, got \[1, 2\]"),
        ("DATA_CONFIG.POINT_CLOUD_RANGE", [0, 1, 0, 1, 1, 1], r"expected minima below maxima"),
        (
            "DATA_CONFIG.AUGMENTATION.NOISE_GLOBAL_SCENE.GLOBAL_ROT_UNIFORM_NOISE",
            [0.4, -0.4],
            r"expected \[lowest, highest\], got \[0.4, -0.4\]",
        ),
        (
            "DATA_CONFIG.AUGMENTATION.NOISE_GLOBAL_SCENE.GLOBAL_ROT_UNIFORM_NOISE",
            [-45, 45],
            r"2 numbers from -6.2832 to 6.2832, as angles are radians, got \[-45, 45\]",
        ),
        (
            "DATA_CONFIG.AUGMENTATION.NOISE_PER_OBJECT.GT_ROT_UNIFORM_NOISE",
            [-45, 45],
            r"as angles are radians, got \[-45, 45\]",
        ),
        (
            "DATA_CONFIG.AUGMENTATION.NOISE_PER_OBJECT.GT_LOC_NOISE_STD",
            [100, 100, 100],
            r"expected 3 numbers from 0 to 10, got \[100, 100, 100\]",
        ),
        ("DATA_CONFIG.NUM_POINT_FEATURES.use", 5, "expected 3 <= use <= total, got use 5, total 4"),
        ("MODEL.TRAIN.OPTIMIZATION.EPOCHS", 0, "expected a whole number of at least 1, got 0"),
        ("MODEL.TRAIN.OPTIMIZATION.AMP", "fp8", r"\['bf16', 'fp16', 'none'\] or null, got 'fp8'"),
        ("MODEL.TRAIN.OPTIMIZATION.FREEZE_BN", -1, "expected a whole number of at least 0, got -1"),
        ("CLASS_NAMES", [], r"CLASS_NAMES: expected a list of one or more texts, got \[\]"),
        ("model", {}, "the configuration: unknown key 'model'.*did you mean 'MODEL'"),
        (f"{HEAD}.ARGS.num_direction_bins", 3, "expected an even number, .*two sectors, got 3"),
        (f"{HEAD}.TARGET_CONFIG.ANCHOR_GENERATOR.0.matched_threshold", 60, "from 0 to 1, got 60"),
        (f"{HEAD}.TARGET_CONFIG.ANCHOR_GENERATOR.0.unmatched_threshold", 0.9, "at most matched_t"),
        ("MODEL.TEST.NMS_THRESH", 1.5, "expected a number from 0 to 1, got 1.5"),
        ("MODEL.TEST.SCORE_THRESH", -0.1, "expected a number from 0 to 1 or a list .*got -0.1"),
        ("MODEL.TEST.SPLIT", "train", r"split of DATA_CONFIG\.TEST\.INFO_PATH, .*'train': .*--spl"),
        (
            "MODEL.TRAIN.SPLIT",
            "trainval",
            r"expected the split of .*infos_train\.pkl'\], got 'train",
        ),
        ("MODEL.TRAIN.SPLIT", "other", "got 'other': change one of them"),
        ("CLASS_NAMES", ["Car", "Car", "Cyclist"], r"CLASS_NAMES: expected each class once, got"),
        ("MODEL.TEST.SCORE_THRESH", [0.1, 0.2], "or one for each of the 3 of CLASS_NAMES, got"),
        ("MODEL.TEST.SCORE_THRESH", [], "or one for each of the 3 of CLASS_NAMES, got"),
        (
            "MODEL.LOSSES.LOSS_WEIGHTS.rpn_dir_weight",
            [0.2] * 2,
            r"or one for each of the 3 of CLASS_NAMES, got .*`--set .*\.rpn_dir_weight 0\.2`",
        ),
        ("MODEL.TEST.RECALL_THRESH_LIST", [50], r"numbers from 0 to 1, got \[50\]"),
        (
            f"{HEAD}.TARGET_CONFIG.ANCHOR_GENERATOR.0.anchor_range",
            [0, -40, -1.8, 48, 40, -1.8],
            r"x and y of DATA_CONFIG.POINT_CLOUD_RANGE, \[0, -40, -3, 70.4, 40, 1\], got \[0, -40",
        ),
        (
            f"{HEAD}.TARGET_CONFIG.ANCHOR_GENERATOR.0.anchor_range",
            [0, -40, -0.6, 70.4, 40, -1.8],
            r"expected the lower z first, got \[0, -40, -0.6",
        ),
        (
            "MODEL.TEST.BOX_FILTER.LIMIT_RANGE",
            [0, -30, -3, 70.4, 30, 1],
            "expected x and y of DATA_CONFIG.POINT_CLOUD_RANGE",
        ),
        (f"{HEAD}.ARGS.encode_background_as_zeros", False, "expected True, the only choice, got F"),
        (
            f"{HEAD}.TARGET_CONFIG.SAMPLE_POS_FRACTION",
            0.5,
            "expected a number below 0, as focal loss .*got 0.5",
        ),
    ],
)
def test_what_is_wrong_is_named(path, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        read_config(changed_config(path, value))
    if "unknown" not in message:
        assert path in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("MODEL.RPN.BACKBONE.TARGET_CONFIG.GT_EXTENT_WIDTH", 1, "unknown key 'GT_EXTENT_WIDTH'"),
        (
            "MODEL.RPN.BACKBONE.TARGET_CONFIG.MEAN_SIZE.Car",
            [1],
            "MEAN_SIZE.Car: expected 3 numbers",
        ),
        ("MODEL.RPN.BACKBONE.NAME", "BackBone8x", "unknown key .* with NAME BackBone8x"),
        ("MODEL.RCNN.TARGET_CONFIG.CLS_BG_THRESH", 0.8, "below CLS_FG_THRESH, 0.75, got 0.8"),
        ("MODEL.RCNN.TARGET_CONFIG.CLS_BG_THRESH_LO", 0.6, "REG_FG_THRESH, 0.55, got 0.6"),
    ],
)
def test_what_is_wrong_with_a_second_stage_is_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        read_config(changed_config(path, value, "PartA2"))


@pytest.mark.parametrize(
    ("strides", "offsets", "fits"),
    [
        ([0.4, 0.4], [0.2, -39.8, -1.78], True),
        ([0.4, 0.4], [0.0, -40.0, -1.78], True),  # the corner of each cell
        ([0.8, 0.8], [0.4, -39.6, -1.78], False),
        ([0.4, 0.39], [0.2, -39.8, -1.78], False),
        ([0.4, 0.4], [0.2, 0.2, -1.78], False),
    ],
)
def test_anchors_stand_in_the_cells_of_the_image(strides, offsets, fits):
    generator = "MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR.0"
    config = changed_config(f"{generator}.anchor_strides", strides, "sassd")
    config.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0].anchor_offsets = offsets
    told = r"anchor_strides: expected the cells of the image, \[0.4, 0.4\] .* as \[0.2, -39.8\]"
    with nullcontext() if fits else pytest.raises(ConfigError, match=told):
        read_config(config)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DIV_FACTOR", 0.1, "expected at least 1, so that the rate rises, got 0.1"),
        ("LR_DECAY", 10.0, "expected at most 1, so that the rate falls, got 10.0"),
        ("LR_CLIP", 1.0, "expected at most LR, 0.003, got 1.0"),
    ],
)
def test_a_rate_that_would_go_the_wrong_way_is_named(name, value, told):
    config = make_config()
    optimization = config.MODEL.TRAIN.OPTIMIZATION
    optimization.update({"OPTIMIZER": "adam", "LR": 0.003, "LR_WARMUP": True, name: value})
    with pytest.raises(ConfigError, match=f"{name}: {told}"):
        read_config(config)


def test_keys_that_depend_on_another_one():
    config = make_config()
    optimization = config.MODEL.TRAIN.OPTIMIZATION
    for name in ("MOMENTUM", "DECAY_STEP_LIST"):
        optimization.pop(name)
    read_config(config)  # adam_onecycle needs neither
    optimization.OPTIMIZER = "sgd"
    with pytest.raises(
        ConfigError, match="'MOMENTUM' is missing, which OPTIMIZER adam or sgd needs"
    ):
        read_config(config)


def test_a_section_that_is_switched_off_needs_no_other_key():
    config = changed_config(SAMPLER, {"ENABLED": False})
    assert read_config(config).DATA_CONFIG.AUGMENTATION.DB_SAMPLER.RATE is None
    with pytest.raises(ConfigError, match=r"DB_SAMPLER: unknown key 'RATES'.*did you mean 'RATE'"):
        read_config(changed_config(SAMPLER, {"ENABLED": False, "RATES": 1.0}))
    with pytest.raises(ConfigError, match="DB_SAMPLER: the key 'DB_INFO_PATH' is missing"):
        read_config(changed_config(SAMPLER, {"ENABLED": True}))


@pytest.mark.parametrize("name", ["second", "PartA2"])
def test_without_a_section_of_the_second_stage_there_is_none(name):
    config = make_config(name)
    config.MODEL.pop("RCNN")
    assert read_config(config).MODEL.RCNN.ENABLED is False
    config.MODEL.RCNN = {"NUM_POINT_FEATURES": 16}  # not ENABLED
    assert read_config(config).MODEL.RCNN.NAME is None


def test_defaults_are_filled_in_and_the_configuration_stays_as_it_is():
    config = make_config()
    before = str(config)
    read = read_config(config)
    assert read.MODEL.RPN.BACKBONE.ARGS.num_filters == [16, 32, 64, 64]
    assert read.MODEL.TRAIN.OPTIMIZATION.EPOCHS == 80
    assert read.DATA_CONFIG.AUGMENTATION.NOISE_GLOBAL_SCENE.GLOBAL_SLOPE_NOISE_STD == [0.0, 0.0]
    read.MODEL.RPN.BACKBONE.ARGS.num_filters.append(1)  # a list of its own each time
    assert read_config(config).MODEL.RPN.BACKBONE.ARGS.num_filters == [16, 32, 64, 64]
    assert str(config) == before


@dataclass
class HeightArguments(Section):
    """Layers."""

    heights: int = key("how many", 4, at_least=1)


@dataclass
class Height(model.Backbone):
    """A backbone of a user."""

    ARGS: HeightArguments = key(default={})


def test_one_line_declares_a_new_backbone(monkeypatch):
    with pytest.raises(ConfigError, match=r"BACKBONE\.NAME: expected one of .*got 'Height'"):
        read_config(changed_config("MODEL.RPN.BACKBONE.NAME", "Height"))
    monkeypatch.setitem(model.BACKBONES, "Height", Height)
    config = changed_config("MODEL.RPN.BACKBONE.NAME", "Height")
    assert read_config(config).MODEL.RPN.BACKBONE.ARGS.heights == 4
    config.MODEL.RPN.BACKBONE.ARGS = {"heights": 0}
    with pytest.raises(
        ConfigError, match=r"BACKBONE\.ARGS\.heights: expected a whole number of at le"
    ):
        read_config(config)
    assert "`heights` | a whole number of at least 1" in render()


@pytest.mark.parametrize(
    ("hint", "limits", "words", "good", "bad"),
    [
        (bool, {}, "True or False", [True], [1, "True", None]),
        (int, {}, "a whole number", [3, -1], [True, 1.0, 2**31]),
        (float, {"above": 0}, "a number above 0", [1, 0.5], [0, float("inf"), True, 10**400]),
        (str, {}, "a text", ["a b"], ["", "a\nb", 1]),
        (list[float], {"length": 2}, "2 numbers", [[1, 2], (0.5, 1)], [[1], [1, 2, 3], "ab"]),
        (list[list[float]], {"length": 2}, "a list of lists of 2 numbers", [[], [[1, 2]]], [[[1]]]),
        (list[str], {"least_length": 1}, "a list of one or more texts", [["a"]], [[], "a", [1]]),
        (Optional[float], {}, "a number or null", [None, 1.5], ["x"]),
        (Union[float, list[float]], {}, "a number or a list of numbers", [1, [2.5]], ["1", [None]]),
        (int, {"at_least": 0, "at_most": 1}, "a whole number from 0 to 1", [0, 1], [-1, 2]),
        (dict[str, int], {}, "a section of names, each with a whole number", [{"a": 1}], [{1: 1}]),
    ],
)
def test_types_in_words_and_values(hint, limits, words, good, bad):
    limits = Limits(**limits)
    assert expectation(hint, limits) == words
    assert all(fits(hint, limits, value) for value in good)
    assert not any(fits(hint, limits, value) for value in bad)


def test_every_key_tells_its_meaning():
    sections = [
        member
        for module in (data, training, model)
        for member in vars(module).values()
        if dataclasses.is_dataclass(member) and issubclass(member, Section)
    ]
    assert len(sections) > 25
    for section in sections:
        assert all(declared.meaning for declared in keys_of(section).values()), section


@pytest.mark.parametrize("values", [None, [], "text", 3])
def test_a_section_that_is_none(values):
    with pytest.raises(ConfigError, match=r"^here: expected a section with keys .*'use'.*, got "):
        read_section(data.NumPointFeatures, values, "here")


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("val", ["trainval"]),
        ("trainval", ["train", "val"]),
        ("val", ["val_half"]),
        ("val", ["val"]),
    ],
)
def test_infos_that_may_be_of_a_split(split, names):
    assert not is_of_another_split([f"data/kitti_infos_{name}.pkl" for name in names], split)
