"""Weights of other classes: which rows of the head are kept."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from models.model_fixture import narrow_config, small_dataset
from pcdet.models import build_network
from pcdet.models.fine_tuning import layout_of_config, load_pretrained
from pcdet.utils.errors import CheckpointError


def build(classes, sizes, seed, scales=()):
    """A network and its configuration; `sizes` is the number of sizes of each class's anchors."""
    cfg = narrow_config("pointpillar")
    template = cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0]
    generators = []
    for name, count in zip(classes, sizes):
        generator = copy.deepcopy(template)
        generator.update(class_name=name, sizes=[[1.6, 4.0, 1.5 + 0.1 * k] for k in range(count)])
        generators.append(generator)
    cfg.CLASS_NAMES = list(classes)
    cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR = generators
    cfg.MODEL.VFE.ARGS.input_scales = list(scales)
    torch.manual_seed(seed)
    return build_network(small_dataset(cfg), cfg), cfg


def save(model, cfg, path, **changes):
    state = {
        "model_state": model.state_dict(),
        "epoch": 1,
        "it": 1,
        "config": plain(cfg),
        **changes,
    }
    torch.save(state, path)
    return path


def plain(cfg):
    import json

    return json.loads(json.dumps({key: cfg[key] for key in ("CLASS_NAMES", "MODEL")}))


def rows(model, name, anchor, count):
    conv = getattr(model.rpn_head, name)
    part = slice(anchor * count, (anchor + 1) * count)
    return torch.cat((conv.weight.data.flatten(1), conv.bias.data[:, None]), dim=1)[part]


@pytest.fixture
def old(tmp_path):
    model, cfg = build(("Car", "Pedestrian", "Cyclist"), (1, 1, 1), seed=1)
    for parameter in model.rpn_head.parameters():
        torch.nn.init.normal_(parameter)
    return model, save(model, cfg, tmp_path / "old.pth")


def test_rows_of_a_class_follow_its_name(old, caplog):
    old_model, path = old
    model, cfg = build(("Forklift", "Cyclist", "Car"), (1, 1, 1), seed=2)
    drawn = copy.deepcopy(model)
    with caplog.at_level(logging.INFO):
        load_pretrained(model, path, cfg, logging.getLogger())
    assert "head rows of ['Cyclist', 'Car'] kept, of ['Forklift'] drawn anew" in caplog.text
    # Two anchors, of two rotations, a class; the car's are the last two now, and were the first.
    for turn in range(2):
        assert torch.equal(
            rows(model, "conv_box", 4 + turn, 7), rows(old_model, "conv_box", turn, 7)
        )
        assert torch.equal(
            rows(model, "conv_dir_cls", 2 + turn, 2), rows(old_model, "conv_dir_cls", 4 + turn, 2)
        )
        assert torch.equal(rows(model, "conv_box", turn, 7), rows(drawn, "conv_box", turn, 7))
        own, before = rows(model, "conv_cls", 4 + turn, 3), rows(old_model, "conv_cls", turn, 3)
        # Logits of forklift (new), cyclist and car at an anchor of a car.
        assert torch.equal(own[1], before[2]) and torch.equal(own[2], before[0])
        assert torch.equal(own[0], rows(drawn, "conv_cls", 4 + turn, 3)[0])
    backbone = [n for n in model.state_dict() if not n.startswith("rpn_head.conv_")]
    assert all(torch.equal(model.state_dict()[n], old_model.state_dict()[n]) for n in backbone)


def test_more_sizes_of_a_class_begin_from_those_that_there_were(old):
    old_model, path = old
    model, cfg = build(("Car",), (2,), seed=2)
    load_pretrained(model, path, cfg, logging.getLogger())
    for anchor, before in ((0, 0), (1, 1), (2, 0), (3, 1)):
        assert torch.equal(
            rows(model, "conv_box", anchor, 7), rows(old_model, "conv_box", before, 7)
        )
        expected = rows(old_model, "conv_cls", before, 3)[0]
        assert torch.equal(rows(model, "conv_cls", anchor, 1)[0], expected)


def test_other_classes_keep_no_row_even_where_shapes_fit(old):
    _, path = old
    model, cfg = build(("Forklift", "Crane", "Cart"), (1, 1, 1), seed=2)
    drawn = copy.deepcopy(model)
    load_pretrained(model, path, cfg, logging.getLogger())
    for name in ("conv_cls", "conv_box", "conv_dir_cls"):
        assert torch.equal(
            getattr(model.rpn_head, name).weight, getattr(drawn.rpn_head, name).weight
        )


def test_the_same_classes_are_loaded_as_they_are(old):
    old_model, path = old
    model, cfg = build(("Car", "Pedestrian", "Cyclist"), (1, 1, 1), seed=2)
    load_pretrained(model, path, cfg, logging.getLogger())
    new, before = model.state_dict(), old_model.state_dict()
    assert all(torch.equal(new[name], before[name]) for name in before)


def test_a_configuration_without_a_head_has_no_layout():
    for config in ({}, {"CLASS_NAMES": ["Car"], "MODEL": None}, {"CLASS_NAMES": None}):
        assert layout_of_config(config) is None


def test_inputs_are_multiplied_as_the_weights_have_learnt(old, tmp_path, caplog):
    _, plain_path = old
    scales = [2.0] * 10
    scaled, cfg = build(("Car",), (1,), seed=3, scales=scales)
    path = save(scaled, cfg, tmp_path / "scaled.pth")
    own, own_cfg = build(("Car",), (1,), seed=4, scales=[*scales[:3], 0.01, *scales[4:]])
    load_pretrained(own, path, own_cfg, logging.getLogger())
    assert own.vfe.input_scales.scales[3].item() == pytest.approx(0.01)
    torch.testing.assert_close(own.vfe.pfn_layers.state_dict(), scaled.vfe.pfn_layers.state_dict())
    with caplog.at_level(logging.INFO):
        load_pretrained(own, plain_path, own_cfg, logging.getLogger())
    assert (own.vfe.input_scales.scales == 1).all()
    assert "it has learnt without input_scales, which are 1 now" in caplog.text
    without, cfg = build(("Car",), (1,), seed=5)
    with pytest.raises(CheckpointError, match=r"by \[2.0, .*ARGS.input_scales these numbers"):
        load_pretrained(without, path, cfg, logging.getLogger())
