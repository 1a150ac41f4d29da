"""SA-SSD as a whole on made-up frames: gradients, extremes, the auxiliary network, wrong yaml."""

from __future__ import annotations

import logging

import pytest
import torch

from models.model_fixture import narrow_config, random_batch, small_dataset, small_model
from pcdet.models import build_network, example_convert_to_torch, model_fn_decorator
from pcdet.utils import checkpoint_utils
from pcdet.utils.errors import ConfigError

names = pytest.mark.parametrize("name", ["sassd", "sassd_multi"])


def built(change=lambda cfg: None, seed: int = 0):
    """A small SA-SSD whose yaml was changed."""
    torch.manual_seed(seed)
    cfg = narrow_config("sassd")
    change(cfg)
    return build_network(small_dataset(cfg), cfg)


def switched_off(*sections: str):
    """A change of the yaml that leaves out parts of the detector."""

    def change(cfg) -> None:
        switches = {"aux": cfg.MODEL.RPN.BACKBONE.AUXILIARY, "warp": cfg.MODEL.EXTRA_HEAD}
        for section in sections:
            switches[section].ENABLED = False

    return change


def all_guided(model):
    """The model, with boxes of all anchors over voxels scored and reported."""
    model.extra_head.guide_score_thresh = 0.0
    model.post_processor.score_thresh = 0.0
    return model


@names
def test_training_step_gives_finite_gradients_everywhere(name, device):
    model = small_model(name).to(device).train()
    result = model_fn_decorator()(model, random_batch())
    result.loss.backward()
    terms = {"rpn_loss_cls", "rpn_loss_loc", "rpn_loss_dir", "aux_loss_cls", "aux_loss_reg"}
    terms |= {"psw_loss_cls"}
    assert terms <= set(result.tb_dict)
    assert sum(float(result.tb_dict[k]) for k in terms) == pytest.approx(result.loss.item())
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("counts", [(0, 0), (0, 150), (1, 1)])
@pytest.mark.parametrize("num_gt", [0, 3])
def test_frames_without_voxels_or_ground_truth_are_legal(counts, num_gt):
    model = all_guided(small_model("sassd"))
    batch = random_batch(counts, num_gt)
    result = model_fn_decorator()(model.train(), batch)
    result.loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert result.loss.isfinite() and all(g.isfinite().all() for g in gradients)
    with torch.inference_mode():
        detections, _ = model.eval()(example_convert_to_torch(batch))
    assert len(detections) == 2
    if not sum(counts):
        assert not any(len(frame["boxes"]) for frame in detections)


def test_without_guided_boxes_the_warping_costs_nothing_and_stays_connected():
    """So that processes that train together all have its gradients."""
    model = small_model("sassd").train()
    model.extra_head.guide_score_thresh = 1.0
    result = model_fn_decorator()(model, random_batch(num_gt=0))
    result.loss.backward()
    assert result.tb_dict["psw_loss_cls"] == 0
    for parameter in model.extra_head.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_a_frame_is_detected_alike_alone_and_in_a_batch():
    model = all_guided(small_model("sassd")).eval()
    batch = random_batch((200, 300))
    first = batch["coordinates"][:, 0] == 0
    alone = {k: batch[k][first] for k in ("voxels", "num_points", "coordinates")}
    alone.update(batch_size=1, gt_boxes=batch["gt_boxes"][:1])
    with torch.inference_mode():
        together = model(example_convert_to_torch(batch))[0][0]
        single = model(example_convert_to_torch(alone))[0][0]
    assert len(single["boxes"]) > 10
    torch.testing.assert_close(single["scores"], together["scores"])
    torch.testing.assert_close(single["boxes"], together["boxes"], atol=1e-4, rtol=1e-4)


def test_anchors_over_fewer_voxels_are_neither_trained_nor_proposed():
    model = all_guided(small_model("sassd")).train()
    batch = example_convert_to_torch(random_batch((60, 80)))
    occupied = model.rpn_head.anchor_mask(batch["coordinates"], 2)
    assert 0 < occupied.sum() < occupied.numel() / 2
    targets = model.rpn_head.assign_targets(batch["gt_boxes"], occupied)
    assert (targets["box_cls_labels"][~occupied] == -1).all()
    assert (targets["box_cls_labels"] > 0).any()
    means = model.vfe(batch["voxels"], batch["num_points"])
    image = model.rpn_net(means, batch["coordinates"], 2).spatial_features
    predictions, _ = model.rpn_head(image)
    for mask, guided in zip(occupied, model.rpn_head.guide(predictions, occupied, 0.0)):
        assert torch.equal(guided["anchors"], torch.nonzero(mask).squeeze(1))
    masked = model.rpn_head.without_unoccupied(predictions, occupied)["cls_preds"]
    assert torch.equal(masked.reshape(2, -1).isfinite(), occupied)


def test_the_loss_of_the_scores_moves_the_boxes():
    """Guided boxes are not detached: the residuals learn from where their parts look."""
    model = all_guided(small_model("sassd")).train()
    weights = model.rpn_head.loss_weights
    weights.rpn_loc_weight = 0.0
    torch.nn.init.normal_(model.extra_head.convs[3].weight)
    model_fn_decorator()(model, random_batch()).loss.backward()
    assert model.rpn_head.conv_box.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("off", [("aux",), ("warp",), ("aux", "warp")], ids="+".join)
def test_parts_can_be_left_out(off):
    model = built(switched_off(*off)).train()
    result = model_fn_decorator()(model, random_batch())
    result.loss.backward()
    assert ("aux_loss_cls" in result.tb_dict) == ("aux" not in off)
    assert ("psw_loss_cls" in result.tb_dict) == ("warp" not in off)
    assert all(p.grad is not None for p in model.parameters())
    model.eval().post_processor.score_thresh = 0.0
    with torch.inference_mode():
        detections, _ = model(example_convert_to_torch(random_batch()))
    if "warp" in off:  # anchors' own scores, of those over voxels
        assert all(0 < len(d["boxes"]) < 200 and d["scores"].isfinite().all() for d in detections)


def test_the_auxiliary_network_is_known_in_training_alone(tmp_path, caplog):
    model, without = small_model("sassd"), built(switched_off("aux"), seed=1)
    of_training = {f"rpn_net.aux.{k}.weight" for k in ("point_fc", "point_cls", "point_reg")}
    assert set(model.train().state_dict()) - set(without.state_dict()) == of_training
    assert set(model.eval().state_dict()) == set(without.state_dict())
    # Weights without it load strictly for testing, and are refused for training.
    model.load_state_dict(without.state_dict(), strict=True)
    for name, value in without.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    with pytest.raises(RuntimeError, match=r"Missing key.*rpn_net.aux.point_fc.weight"):
        model.train().load_state_dict(without.state_dict(), strict=True)
    # Those of a training load for testing, without a word.
    path = tmp_path / "checkpoint_epoch_1.pth"
    state = checkpoint_utils.checkpoint_state(model.train(), None, 1, 1)
    assert of_training <= set(state["model_state"])
    checkpoint_utils.save_checkpoint(state, path)
    other = small_model("sassd", seed=2).eval()
    with caplog.at_level(logging.WARNING):
        other.load_params_from_file(path)
    assert caplog.text == ""
    assert torch.equal(other.rpn_head.conv_box.weight, model.rpn_head.conv_box.weight)


def test_detections_do_not_depend_on_the_auxiliary_weights():
    model = all_guided(small_model("sassd")).eval()
    batch = example_convert_to_torch(random_batch())
    with torch.inference_mode():
        before = model(batch)[0][0]
        for parameter in model.rpn_net.aux.parameters():
            parameter.fill_(torch.nan)
        after = model(batch)[0][0]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_boxes_partly_and_wholly_beyond_the_maps():
    """Parts beyond the maps count as zero; a map of ones shows how many there are."""
    head = small_model("sassd").extra_head
    maps = torch.ones(1, 28, 32, 32)
    boxes = torch.zeros(3, 7)
    boxes[:, 3:6] = torch.tensor([1.6, 3.9, 1.5])
    boxes[:, 0] = torch.tensor([6.0, 0.0, -50.0])  # within, half beyond the lower edge, away
    scores = head.scores(maps, [boxes])
    assert scores[0] == 1 and scores[2] == 0
    assert 0.4 < scores[1] < 0.6
    assert not head.scores(maps, [boxes[:0]]).numel()


def test_labels_are_those_of_the_anchors():
    model = all_guided(small_model("sassd_multi")).eval()
    with torch.inference_mode():
        detections, _ = model(example_convert_to_torch(random_batch()))
    assert set(torch.cat([d["labels"] for d in detections]).tolist()) <= {1, 2, 3}
    assert all(((d["scores"] >= 0) & (d["scores"] <= 1)).all() for d in detections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.MODEL.EXTRA_HEAD.update(NAME="Warp"), "NAME: expected 'PSWarpHead', .*'Warp'"),
        (lambda c: c.MODEL.EXTRA_HEAD.update(WINDOWS=[1]), r"EXTRA_HEAD.*unknown key 'WINDOWS'"),
        (lambda c: c.MODEL.EXTRA_HEAD.update(WINDOW=[4]), r"WINDOW: expected 2 whole .*\[4\]"),
        (lambda c: c.MODEL.EXTRA_HEAD.update(WINDOW=[1, 7]), r"at least 2, got \[1, 7\]"),
        (
            lambda c: c.MODEL.EXTRA_HEAD.update(MATCHED_THRESHOLD=[0.7, 0.5]),
            r"one for each of 1 classes expected, got \[0.7, 0.5\]",
        ),
        (lambda c: c.MODEL.EXTRA_HEAD.pop("ENABLED"), "EXTRA_HEAD: the key 'ENABLED' is missing"),
        (
            lambda c: c.MODEL.RPN.BACKBONE.AUXILIARY.update(CENTER_TARGET_Z="l"),
            r"AUXILIARY.CENTER_TARGET_Z: expected one of \['h', 'w'\], got 'l'",
        ),
        (
            lambda c: c.MODEL.RPN.BACKBONE.AUXILIARY.update(num_features=3),
            r"BACKBONE.AUXILIARY: unknown key 'num_features'",
        ),
        (lambda c: c.MODEL.RPN.BACKBONE.pop("AUXILIARY"), "key 'AUXILIARY' is missing"),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.pop("MIN_VOXELS"),
            "TARGET_CONFIG: the key 'MIN_VOXELS' is missing",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(num_direction_bins=4),
            "num_direction_bins: 2 expected, got 4",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.pop("dir_offset"),
            "dir_offset: -3.14159265 expected, .* got 0.78539",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(layer_strides=[2], upsample_strides=[2]),
            "layer_strides: MODEL.EXTRA_HEAD needs .* the anchors' stride, 8, got one of 16",
        ),
        (
            lambda c: (c.MODEL.RPN.RPN_HEAD.update(NAME="RPNV2"),
                       c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.pop("MIN_VOXELS")),
            "sassd_net needs SASSDHead, got RPNV2",
        ),
        (
            lambda c: (c.MODEL.RPN.BACKBONE.update(NAME="BackBone8x", ARGS={}),
                       c.MODEL.RPN.BACKBONE.pop("AUXILIARY"),
                       c.MODEL.RPN.RPN_HEAD.ARGS.update(num_input_features=256)),
            "sassd_net needs SASSDBackbone, got BackBone8x",
        ),
        (lambda c: c.MODEL.LOSSES.LOSS_WEIGHTS.update(aux_weight=1), "unknown key 'aux_weight'"),
    ],
)  # fmt: skip
def test_what_the_yaml_asks_and_the_code_does_not_know_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        built(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.MODEL.VFE.update(NAME="PillarFeatureNetOld2", ARGS={"num_filters": [4]}),
            "VFE.NAME: second_net needs an encoder of voxels, got PillarFeatureNetOld2",
        ),
        (
            lambda c: c.MODEL.RPN.update(BACKBONE=narrow_config("PartA2").MODEL.RPN.BACKBONE),
            "BACKBONE.NAME: second_net has no use for UNetV2",
        ),
        (
            lambda c: c.MODEL.LOSSES.LOSS_WEIGHTS.update(rpn_dir_weight=[0.2, 0.2]),
            "rpn_dir_weight: expected a number, or one for each of the [13] of CLASS_NAMES",
        ),
        (lambda c: c.MODEL.update(EXTRA_HEAD={"ENABLED": True}), "unknown key 'EXTRA_HEAD'"),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.update(MIN_VOXELS=2),
            "TARGET_CONFIG: unknown key 'MIN_VOXELS'",
        ),
        (lambda c: c.MODEL.RPN.BACKBONE.update(AUXILIARY={}), "unknown key 'AUXILIARY'"),
        (
            lambda c: (c.MODEL.RPN.RPN_HEAD.update(NAME="SASSDHead"),
                       c.MODEL.RPN.RPN_HEAD.ARGS.update(dir_offset=-3.14159265),
                       c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.update(MIN_VOXELS=2)),
            "RPN_HEAD.NAME: second_net has no use for SASSDHead",
        ),
    ],
)  # fmt: skip
def test_what_other_detectors_do_not_have_is_named(change, message):
    cfg = narrow_config("second")
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)


def test_weights_of_a_training_with_a_fixed_backbone_serve_further_ones_and_tests(tmp_path):
    def fixed(cfg) -> None:
        cfg.MODEL.RPN.PARAMS_FIXED = True

    trained = built(fixed).train()
    checkpoint_utils.save_checkpoint({"model_state": trained.state_dict()}, tmp_path / "c.pth")
    for model in (built(fixed, seed=1), built(seed=1).eval()):
        logger = logging.getLogger("pcdet")
        model.load_params_from_file(filename=tmp_path / "c.pth", to_cpu=True, logger=logger)
        weight = "rpn_head.conv_cls.weight"
        assert torch.equal(model.state_dict()[weight], trained.state_dict()[weight])


def test_a_level_that_is_halved_and_enlarged_is_computed_as_a_whole():
    def halved(cfg) -> None:
        cfg.MODEL.RPN.RPN_HEAD.ARGS.update(layer_strides=[2], upsample_strides=[2])
        cfg.MODEL.EXTRA_HEAD.ENABLED = False

    with torch.inference_mode():
        detections, _ = built(halved).eval()(example_convert_to_torch(random_batch()))
    assert len(detections) == 2
