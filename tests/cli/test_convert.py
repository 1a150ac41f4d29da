"""pcdet-convert: both ways, in each format, compared entry by entry."""

from __future__ import annotations

import logging

import pytest
import torch

from models.model_fixture import narrow_config
from pcdet.cli import convert, converting
from pcdet.inference.network import build_from_config
from pcdet.run.resume import plain_config
from pcdet.utils.checkpoint_formats import format_of
from pcdet.utils.checkpoint_utils import load_checkpoint, load_weights, save_checkpoint
from pcdet.utils.errors import CheckpointError, CheckpointMismatch, ConfigError

LOGGER = logging.getLogger("test")


def trained(tmp_path, name="second", change=None):
    """A checkpoint of ours with random statistics, and its state."""
    cfg = narrow_config(name)
    if change is not None:
        change(cfg)
    torch.manual_seed(3)
    model = build_from_config(cfg).model
    for value in model.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    path = tmp_path / f"{name}.pth"
    save_checkpoint(
        {"epoch": 3, "it": 9, "model_state": model.state_dict(), "config": plain_config(cfg)}, path
    )
    return path, cfg, model.state_dict()


def run(*words) -> None:
    convert.main([str(word) for word in words])


def same(one, other, tolerance=0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", ["second", "pointpillar"])
def test_to_openpcdet_and_back(tmp_path, name):
    path, cfg, state = trained(tmp_path, name)
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    theirs = load_checkpoint(tmp_path / "theirs.pth")
    assert format_of(theirs["model_state"]).title == "OpenPCDet"
    assert theirs["epoch"] == 3 and "config" not in theirs and theirs["optimizer_state"] is None
    # Torch's old format, as OpenPCDet's own files.
    assert not (tmp_path / "theirs.pth").read_bytes().startswith(b"PK")
    model = build_from_config(cfg).model
    load_weights(model, theirs, "theirs.pth", LOGGER)
    same(model.state_dict(), state, 1e-6)


def test_rows_of_the_head_by_hand(tmp_path):
    """Anchor 1 of a cell here, ry 1.57, is anchor 0 there, heading 0; residuals w and l swap."""
    path, _, state = trained(tmp_path)
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    theirs = load_checkpoint(tmp_path / "theirs.pth")["model_state"]
    box, ours = theirs["dense_head.conv_box.weight"], state["rpn_head.conv_box.weight"]
    assert torch.equal(box[0], ours[7])  # x
    assert torch.equal(box[3], ours[7 + 4]) and torch.equal(box[4], ours[7 + 3])
    assert torch.equal(box[6], -ours[7 + 6]) and torch.equal(box[7 + 6], -ours[6])
    bias, own = theirs["dense_head.conv_box.bias"], state["rpn_head.conv_box.bias"]
    assert float(bias[6]) == pytest.approx(0.000796327 - float(own[13]), abs=1e-7)
    assert float(bias[2]) == float(own[9])
    cls, own_cls = theirs["dense_head.conv_cls.bias"], state["rpn_head.conv_cls.bias"]
    assert torch.equal(cls[:3], own_cls[3:6]) and torch.equal(cls[9:12], own_cls[6:9])
    direction = theirs["dense_head.conv_dir_cls.bias"]
    assert torch.equal(direction[:2], state["rpn_head.conv_dir_cls.bias"][2:4])
    assert tuple(theirs["backbone_3d.conv_input.0.weight"].shape) == (3, 3, 3, 4, 16)
    assert torch.equal(theirs["backbone_2d.blocks.0.1.weight"], state["rpn_head.blocks.0.1.weight"])


def test_the_first_stage_of_parta2_to_openpcdet(tmp_path, caplog):
    path, cfg, state = trained(tmp_path, "PartA2")
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    theirs = load_checkpoint(tmp_path / "theirs.pth")["model_state"]
    part, own = theirs["point_head.part_reg_layers.0.weight"], state["rpn_net.seg_reg_layer.weight"]
    assert torch.equal(part[0], -own[1]) and torch.equal(part[1], own[0])
    assert torch.equal(part[2], own[2])
    bias, ours = theirs["dense_head.conv_box.bias"], state["rpn_head.conv_box.bias"]
    assert float(bias[2]) == float(ours[9])  # the car's anchors stand alike
    assert float(bias[2 * 7 + 2]) == pytest.approx(float(ours[3 * 7 + 2]) + 0.682081, abs=1e-6)
    assert not any("rcnn" in name or "roi" in name for name in theirs)
    whole = build_from_config(cfg).model
    both = {**theirs, "roi_head.shared_fc_layer.0.weight": torch.zeros(1)}
    with pytest.raises(CheckpointMismatch, match=r"second stage .*--set MODEL.RCNN.ENABLED False"):
        load_weights(whole, {"model_state": both}, "theirs.pth", LOGGER)
    load_weights(whole, {"model_state": both}, "theirs.pth", LOGGER, strict=False)
    first = {k: v for k, v in whole.state_dict().items() if not k.startswith("rcnn_net.")}
    same(first, {k: state[k] for k in first}, 1e-6)
    cfg.MODEL.RCNN.ENABLED = False
    load_weights(build_from_config(cfg).model, {"model_state": both}, "theirs.pth", LOGGER)


def test_anchors_in_another_order_and_of_two_sizes_keep_their_class(tmp_path):
    def change(cfg):
        cfg.MODEL.RCNN.ENABLED = False
        cfg.CLASS_NAMES = ["Car", "Pedestrian", "Truck"]
        generators = cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR
        generators[2].update(class_name="Truck", sizes=[[2.6, 8.0, 3.2], [2.6, 16.0, 3.8]])
        generators.reverse()

    path, cfg, state = trained(tmp_path, "PartA2", change)
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    theirs = load_checkpoint(tmp_path / "theirs.pth")
    bias = theirs["model_state"]["dense_head.conv_box.bias"].view(8, 7)[:, 2]
    own = state["rpn_head.conv_box.bias"].view(8, 7)[:, 2]
    # Two anchors of each truck, then those of Pedestrian, which stand 1.18 m lower there, of Car.
    shift = torch.tensor([0, 0, 0, 0, 1.18 / 1.73, 1.18 / 1.73, 0, 0])
    torch.testing.assert_close(bias, own[[1, 0, 3, 2, 5, 4, 7, 6]] + shift, rtol=0, atol=1e-6)
    model = build_from_config(cfg).model
    load_weights(model, theirs, "theirs.pth", LOGGER)
    same(model.state_dict(), state, 1e-6)


@pytest.mark.parametrize("name", ["second", "PartA2"])
def test_to_pcdet_v0_1_and_back(tmp_path, name):
    path, cfg, state = trained(tmp_path, name)
    run(path, tmp_path / "old.pth", "--to", "pcdet_v0.1")
    old = load_checkpoint(tmp_path / "old.pth")["model_state"]
    assert list(old) == list(state)
    assert tuple(old["rpn_net.conv_input.0.weight"].shape) == (3, 3, 3, 4, 16)
    model = build_from_config(cfg).model
    model.load_params_from_file(tmp_path / "old.pth")
    same(model.state_dict(), state)


@pytest.mark.parametrize("target", ["openpcdet", "pcdet_v0.1"])
@pytest.mark.parametrize("name", ["second", "pointpillar"])
def test_scales_of_the_inputs_go_into_the_first_layer(tmp_path, name, target):
    def scaled(cfg):
        inputs = 4 if name == "second" else 10
        scales = {"input_scales": [0.5 + k for k in range(inputs)]}
        cfg.MODEL.VFE.ARGS = {**cfg.MODEL.VFE.get("ARGS", {}), **scales}

    path, cfg, state = trained(tmp_path, name, scaled)
    run(path, tmp_path / "theirs.pth", "--to", target)
    theirs = load_checkpoint(tmp_path / "theirs.pth")
    assert not any("input_scales" in entry for entry in theirs["model_state"])
    model = build_from_config(cfg).model
    model.load_state_dict(state)
    cfg.MODEL.VFE.ARGS.pop("input_scales")
    plain = build_from_config(cfg).model
    load_weights(plain, theirs, "theirs.pth", LOGGER)
    if name == "second":
        points, numbers = torch.rand(50, 5, 4), torch.randint(1, 6, (50,))
        where = torch.stack([torch.zeros(50), *torch.randint(0, 8, (3, 50))], dim=1).unique(dim=0)
        inputs = points[: len(where)], numbers[: len(where)]
        one, other = (m.eval().rpn_net(m.vfe(*inputs), where.int(), 1) for m in (model, plain))
    else:
        inputs = torch.rand(50, 32, 4), torch.randint(1, 33, (50,)), torch.rand(50, 3)
        one, other = (m.eval().vfe(*inputs) for m in (model, plain))
    largest = float(one.detach().abs().max())
    assert largest > 0.1
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * largest)


def test_safetensors_and_back(tmp_path):
    pytest.importorskip("safetensors", reason="an optional package")
    path, cfg, state = trained(tmp_path)
    run(path, tmp_path / "a.safetensors")
    run(tmp_path / "a.safetensors", tmp_path / "b.pth")
    back = load_checkpoint(tmp_path / "b.pth")
    same(back["model_state"], state)
    assert back["config"]["CLASS_NAMES"] == cfg.CLASS_NAMES and back["epoch"] == 3
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not a readable checkpoint"):
        load_checkpoint(tmp_path / "a.safetensors")


def shifted(cfg) -> None:
    """Anchors as PCDet v0.1's PointPillar has them, beyond the range of the points."""
    for generator in cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR:
        generator.anchor_range[3] += 1.28


def rotated(cfg) -> None:
    for generator in cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR:
        generator.rotations = [1.57, 0]


def resized(cfg) -> None:
    cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0].sizes = [[1.7, 4.0, 1.6]]


def turned(cfg) -> None:
    cfg.MODEL.RPN.RPN_HEAD.ARGS.dir_offset = 0.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (turned, r"have the dir_offset 0.78539, this yaml has 0.0 \(MODEL\.RPN\.RPN_HEAD\.ARGS"),
        (shifted, r"boxes would be shifted; use .*pointpillar_openpcdet\.yaml"),
        (rotated, r"rotations \[0, 1.57\]"),
        (resized, r"anchors of Car have w, l, h \(1.6, 3.9, 1.56\)"),
    ],
)
def test_anchors_and_directions_that_are_not_openpcdets_are_refused(tmp_path, change, told):
    path, _, _ = trained(tmp_path, "pointpillar")
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    cfg = narrow_config("pointpillar")
    change(cfg)
    model = build_from_config(cfg).model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for strict in (True, False):
        with pytest.raises(CheckpointMismatch, match=told):
            model.load_params_from_file(tmp_path / "theirs.pth", strict=strict)
    same(model.state_dict(), before)
    other, _, _ = trained(tmp_path, "pointpillar", change)
    with pytest.raises(CheckpointMismatch, match=told):
        run(other, tmp_path / "no.pth", "--to", "openpcdet")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("pfe.SA_rawpoints.mlps.0.0.weight", "PV-RCNN"),
        ("dense_head.heads_list.0.hm.0.0.weight", "a head that is not the anchor head"),
        ("point_head.box_layers.0.weight", "a point head other than Part-A2's"),
        ("roi_head.shared_fc_layer.0.weight", "a second stage that is not Part-A2's"),
    ],
)
def test_other_detectors_of_openpcdet_are_named(tmp_path, entry, told):
    path, cfg, _ = trained(tmp_path)
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    state = {**load_checkpoint(tmp_path / "theirs.pth")["model_state"], entry: torch.zeros(1)}
    model = build_from_config(cfg).model
    with pytest.raises(CheckpointMismatch, match=rf"{told} \({entry}\)"):
        load_weights(model, {"model_state": state}, "theirs.pth", LOGGER)


def test_a_training_cannot_go_on_from_openpcdets(tmp_path):
    path, cfg, _ = trained(tmp_path)
    run(path, tmp_path / "theirs.pth", "--to", "openpcdet")
    model = build_from_config(cfg).model
    with pytest.raises(CheckpointError, match=r"of OpenPCDet, .*train from it with --pretrained"):
        model.load_params_with_optimizer(tmp_path / "theirs.pth")


def test_a_file_that_is_there_stays_until_the_new_one_was_compared(tmp_path, monkeypatch):
    path, _, state = trained(tmp_path)
    out, there = tmp_path / "out.pth", tmp_path / "there.pth"
    there.write_bytes(b"there")
    out.symlink_to(there)
    with monkeypatch.context() as patch:
        patch.setattr(converting.torch, "allclose", lambda *_, **__: False)
        with pytest.raises(CheckpointError, match=r"^out\.pth: read again, its entry"):
            run(path, out)
    assert there.read_bytes() == b"there"
    run(path, out)
    assert out.is_symlink()
    same(load_checkpoint(there)["model_state"], state)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["out.pth", "second.pth", "there.pth"]


def test_options_that_do_not_fit(tmp_path):
    path, _, _ = trained(tmp_path)
    with pytest.raises(ConfigError, match=r"OUT: expected a name that ends in \.pth or"):
        run(path, tmp_path / "a.safetensor")
    with pytest.raises(ConfigError, match="for pcdet alone"):
        run(path, tmp_path / "a.safetensors", "--to", "openpcdet")
    with pytest.raises(ConfigError, match="name another one to write"):
        run(path, path)
    save_checkpoint({"model_state": {}}, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"holds no configuration.*give the yaml"):
        run(tmp_path / "bare.pth", tmp_path / "b.pth")
