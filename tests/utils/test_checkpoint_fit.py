"""Whether a checkpoint fits a network: entries, sparse layouts, and the stored configuration."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from models.model_fixture import load_config, narrow_config, small_dataset, small_model
from pcdet.models import build_network
from pcdet.run.resume import plain_config
from pcdet.utils import checkpoint_utils
from pcdet.utils.checkpoint_formats import SPARSE_LAYOUTS
from pcdet.utils.errors import CheckpointError, CheckpointMismatch
from pcdet.utils.network_settings import differences, network_settings

LOGGER = logging.getLogger("test")


def stored(model, cfg) -> dict:
    """A checkpoint of `model` with its configuration."""
    return {"model_state": model.state_dict(), "config": plain_config(cfg)}


def network(cfg):
    return build_network(small_dataset(cfg), cfg)


def load(model, checkpoint, **options) -> None:
    checkpoint_utils.load_weights(model, checkpoint, "c.pth", LOGGER, **options)


def inverse(axes: tuple[int, ...]) -> list[int]:
    return [axes.index(k) for k in range(len(axes))]


@pytest.mark.parametrize("layout", sorted(SPARSE_LAYOUTS))
def test_every_sparse_layout_is_found_for_the_whole_file(layout):
    """Square layers too, whose shape does not tell the two that begin with the kernel apart."""
    model, other = small_model(seed=1), small_model(seed=2)
    order = inverse(SPARSE_LAYOUTS[layout])
    state = {
        name: value.permute(order).contiguous() if value.dim() == 5 else value
        for name, value in model.state_dict().items()
    }
    load(other, {"model_state": state})
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert (
        tuple(state["rpn_net.conv_input.0.weight"].shape)
        == {
            "spconv 2": (16, 3, 3, 3, 4),
            "spconv 1": (3, 3, 3, 4, 16),
            "spconv 2.0 Native": (3, 3, 3, 16, 4),
        }[layout]
    )


def test_layers_of_two_layouts_in_one_file():
    """The layers of spconv 2.0 lie in two ways: those of its own algorithm, and of Native."""
    model, other = small_model(seed=1), small_model(seed=2)
    order = inverse(SPARSE_LAYOUTS["spconv 2.0 Native"])
    state = model.state_dict()
    for name, value in state.items():
        if value.dim() == 5 and not name.startswith("rpn_net.conv2"):
            state[name] = value.permute(order).contiguous()
    load(other, {"model_state": state})
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_all_entries_must_fit_unless_a_part_is_enough(caplog):
    model = small_model()
    state = model.state_dict()
    state["rpn_head.conv_cls.bias"] = torch.zeros(7)
    state["extra"] = torch.zeros(1)
    del state["rpn_head.conv_box.bias"], state["global_step"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointMismatch) as error:
        load(model, {"model_state": state})
    told = str(error.value)
    assert told.startswith("c.pth: it does not fit this network: ") and "\n" not in told
    assert "rpn_head.conv_cls.bias: shape (7,) in the file, (18,) in the model" in told
    assert "extra: not in the model" in told
    assert "rpn_head.conv_box.bias: not in the file" in told and "--pretrained_model" in told
    assert "global_step" not in told
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    whole = {**model.state_dict(), "rpn_head.conv_cls.bias": torch.zeros(18, dtype=torch.int32)}
    with pytest.raises(
        CheckpointMismatch, match=r"conv_cls\.bias: expected floating-point numbers"
    ):
        load(model, {"model_state": whole})
    load(model, {"model_state": state}, strict=False)
    assert "extra: not in the model" in caplog.text


def test_a_long_list_is_cut():
    model = small_model()
    state = dict(list(model.state_dict().items())[:-30])
    with pytest.raises(CheckpointMismatch, match=r"; and \d+ more"):
        load(model, {"model_state": state})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.CLASS_NAMES.reverse(), r"its classes are \['Car', .*CLASS_NAMES is \['Cyc"),
        (
            lambda c: c.DATA_CONFIG.POINT_CLOUD_RANGE.__setitem__(2, -4),
            r"other settings of the network: DATA_CONFIG.POINT_CLOUD_RANGE was .* is ",
        ),
        (
            lambda c: c.DATA_CONFIG.VOXEL_GENERATOR.update(VOXEL_SIZE=[0.1, 0.1, 0.1]),
            r"DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE was \[0.05, 0.05, 0.1\], is \[0.1",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(dir_offset=0.5),
            r"MODEL.RPN.RPN_HEAD.ARGS.dir_offset was 0.78539, is 0.5",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[1].update(
                sizes=[[0.7, 0.8, 1.73]]
            ),
            r"ANCHOR_GENERATOR.1.sizes was \[\[0.6, 0.8, 1.73\]\], is \[\[0.7",
        ),
    ],
)
def test_a_network_of_another_configuration_is_refused(change, told, caplog):
    cfg = narrow_config()
    checkpoint = stored(network(cfg), cfg)
    load(network(narrow_config()), checkpoint)
    other_cfg = narrow_config()
    change(other_cfg)
    other = network(other_cfg)
    with pytest.raises(CheckpointMismatch, match=rf"^c\.pth: .*{told}"):
        load(other, checkpoint)
    with pytest.raises(CheckpointMismatch, match=told):
        checkpoint_utils.restore_training(other, None, checkpoint, "c.pth", LOGGER)
    caplog.clear()
    load(other, checkpoint, strict=False)
    assert " was " in caplog.text


def test_what_a_network_does_not_depend_on_may_differ():
    cfg = narrow_config()
    before = network_settings(cfg)
    cfg.MODEL.TEST.update(SCORE_THRESH=0.5, NMS_THRESH=0.2)
    cfg.MODEL.TRAIN.OPTIMIZATION.LR = 1
    cfg.DATA_CONFIG.update(DATA_DIR="elsewhere", FOV_POINTS_ONLY=False)
    cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.ENABLED = False
    cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0].matched_threshold = 0.7
    cfg.MODEL.RPN.PARAMS_FIXED = True
    assert differences(before, network_settings(cfg)) == {}
    assert differences(before, {"KEY.OF.A.LATER.VERSION": 1}) == {}


def test_the_columns_that_a_network_reads_are_its_own():
    cfg, found = narrow_config(), []
    for columns in (["x", "y", "z", "i", "t"], ["x", "y", "z", "i"], ["x", "y", "z", "ring"]):
        cfg.DATA_CONFIG.POINT_COLUMNS = columns
        found.append(network_settings(cfg))
    assert differences(found[0], found[1]) == {}
    assert list(differences(found[1], found[2])) == ["DATA_CONFIG.POINT_COLUMNS"]


@pytest.mark.parametrize("value", [torch.zeros(2), {"a": 1}, "text", [[]] * 3])
def test_a_stored_configuration_that_is_none_is_told(value):
    """Whatever a file holds there: an error that names the file."""
    cfg = narrow_config()
    model = network(cfg)
    checkpoint = stored(model, cfg)
    checkpoint["config"]["DATA_CONFIG"]["POINT_CLOUD_RANGE"] = value
    checkpoint["config"]["MODEL"]["RCNN"] = {"ENABLED": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"c\.pth: its entry 'config' is no configuration"):
        load(model, checkpoint)


def test_anchors_that_are_placed_in_another_way_differ():
    cfg = narrow_config()
    before = network_settings(cfg)
    generator = cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0]
    generator.anchor_strides, generator.anchor_offsets = [0.4, 0.4], [0.2, -6.2, -1.78]
    del generator["anchor_range"]
    changed = differences(before, network_settings(cfg))
    assert {key.rpartition(".")[2] for key in changed} == {
        *("anchor_range", "anchor_strides", "anchor_offsets")
    }
    del cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[1:]
    generators = [key for key in differences(before, network_settings(cfg)) if ".1." in key]
    assert not generators, "anchors of a class that is not there any more"


def test_other_classes_get_a_new_head_when_fine_tuning(caplog):
    """Of as many classes too: the shapes fit, but each row would be another class's."""
    cfg, other_cfg = narrow_config(), narrow_config()
    torch.manual_seed(0)
    trained = network(cfg)
    other_cfg.CLASS_NAMES = ["Cyclist", "Car", "Pedestrian"]
    model = network(other_cfg)
    head = {k: v.clone() for k, v in model.state_dict().items() if "rpn_head.conv_" in k}
    load(model, stored(trained, cfg), strict=False)
    now, source = model.state_dict(), trained.state_dict()
    assert len(head) == 6 and all(torch.equal(now[k], v) for k, v in head.items())
    assert all(torch.equal(now[k], source[k]) for k in now.keys() - head.keys())
    assert "left out, as they are of other classes: ['rpn_head.conv_cls.weight'" in caplog.text


def test_another_number_of_classes_names_the_way_out():
    cfg, fewer = narrow_config(), narrow_config()
    checkpoint = stored(network(cfg), cfg)
    fewer.CLASS_NAMES = ["Pedestrian"]
    model = network(fewer)
    with pytest.raises(CheckpointMismatch, match="train from it with --pretrained_model"):
        load(model, checkpoint)
    del checkpoint["config"]
    with pytest.raises(CheckpointMismatch, match=r"conv_cls\.weight: shape .*--pretrained_model"):
        load(model, checkpoint)


def test_another_optimiser_names_the_way_out():
    model = small_model()
    state = checkpoint_utils.checkpoint_state(model, None, 1, 1)
    state["optimizer_state"] = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1).state_dict()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(CheckpointError, match="to train from its weights alone, give it to --pre"):
        checkpoint_utils.restore_training(model, optimizer, state, "c.pth", LOGGER)


@pytest.mark.parametrize(
    ("yaml", "told"),
    [("pointpillar_openpcdet", True), ("pointpillar", False), ("second", False)],
)
def test_anchors_of_pcdet_v0_1_are_told_of(yaml, told, caplog):
    """Its files do not tell where their anchors stand, and PointPillar's are those of its yaml."""
    cfg = load_config(yaml)
    model = torch.nn.Linear(2, 2)
    model.settings = network_settings(cfg)
    with caplog.at_level("INFO"):
        load(model, {"model_state": model.state_dict()})
    assert "c.pth: it stores no configuration" in caplog.text
    assert ("its boxes are shifted, use pointpillar.yaml" in caplog.text) == told


@pytest.mark.parametrize(
    ("classes", "anchors", "told"),
    [
        ("Car Pedestrian Cyclist", "Car Pedestrian Cyclist", None),
        ("Truck Car Cyclist", "Truck Car Cyclist", None),
        ("Cyclist Car", "Car Cyclist", r"; CLASS_NAMES is in the order \['Cyclist', 'Car'\], pub"),
        ("Car Cyclist", "Cyclist Car", r"; ANCHOR_GENERATOR is in the order \['Cyclist', 'Car'\]"),
    ],
)
def test_an_order_that_is_not_the_published_one_is_told_of(classes, anchors, told, caplog):
    """Files of OpenPCDet and SA-SSD do not tell which class their rows are of."""
    generators = [{"class_name": name} for name in anchors.split()]
    head = {"RPN_HEAD": {"TARGET_CONFIG": {"ANCHOR_GENERATOR": generators}}}
    config = {"CLASS_NAMES": classes.split(), "MODEL": {"RPN": head}}
    model = torch.nn.ModuleDict({"rpn_net": torch.nn.Linear(2, 2)})
    model.settings = network_settings(config)
    for prefix in ("backbone_3d.", "neck.backbone."):
        caplog.clear()
        state = {prefix + k: v for k, v in model["rpn_net"].state_dict().items()}
        load(model, {"model_state": state})
        if told is None:
            assert "no configuration" not in caplog.text
        else:
            assert re.search(rf"c\.pth: it stores no configuration: .*{told}", caplog.text)
