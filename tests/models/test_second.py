"""SECOND as a whole: PCDet's numbers, names of parameters, legal extremes, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.model_fixture import (
    fake_dataset,
    load_config,
    narrow_config,
    random_batch,
    small_dataset,
    small_model,
)
from models.pcdet_numbers import (
    FRAME,
    check_names_and_shapes,
    check_stages,
    load_ruled_weights,
    with_batch_index,
)
from pcdet.models import build_network, example_convert_to_torch, model_fn_decorator
from pcdet.utils.errors import ConfigError


@pytest.fixture(scope="module")
def ruled_second(reference):
    """SECOND with the weights that the reference numbers were made with."""
    cfg = load_config()
    model = build_network(fake_dataset(cfg), cfg).eval()
    load_ruled_weights(model, reference, "second")
    return model


def eval_batch(reference) -> dict:
    items = reference("eval_items_second.npz")
    return {
        "voxels": torch.from_numpy(items[f"{FRAME}/voxels"]),
        "num_points": torch.from_numpy(items[f"{FRAME}/num_points"]),
        "coordinates": with_batch_index(items[f"{FRAME}/coordinates"]),
        "batch_size": 1,
    }


def test_names_and_shapes_of_the_state_dict(ruled_second, reference):
    check_names_and_shapes(ruled_second, reference("state_dict_second.txt"))


@torch.inference_mode()
def test_outputs_equal_pcdet_on_a_real_frame(ruled_second, reference):
    expected = reference("forward_eval_second.npz")
    model, batch = ruled_second, eval_batch(reference)
    features = model.vfe(batch["voxels"], batch["num_points"])
    image = model.rpn_net(features, batch["coordinates"], 1)
    predictions = model.rpn_head(image)
    boxes = model.rpn_head.decode(predictions, 0, torch.arange(len(model.rpn_head.anchors)))
    stages = {
        "vfe_sorted": features,
        "head_spatial_features": image,
        **{f"rpn_{name}": value for name, value in predictions.items()},
        "decoded_boxes_all": boxes,
    }
    check_stages(expected, stages)
    best, label = predictions["cls_preds"].reshape(-1, 3).max(dim=1)
    top, _ = best.topk(50)
    np.testing.assert_allclose(top.numpy(), expected[f"{FRAME}/top50/raw_score"], atol=2e-4)
    index = torch.from_numpy(expected[f"{FRAME}/top50/anchor_idx"])
    np.testing.assert_array_equal(label[index].numpy() + 1, expected[f"{FRAME}/top50/label"])
    np.testing.assert_allclose(
        boxes[index].numpy(), expected[f"{FRAME}/top50/boxes"], atol=2e-4, rtol=0
    )
    # Exact ties from rank 22 on: which of them survive is not determined, so compare up to there.
    final = model(batch)[0][0]
    assert len(final["boxes"]) == 500
    np.testing.assert_allclose(
        final["boxes"][:15].numpy(), expected[f"{FRAME}/final_nms0/boxes"][:15], atol=2e-4, rtol=0
    )


def test_training_step_gives_finite_gradients_everywhere(device):
    model = small_model().to(device).train()
    result = model_fn_decorator()(model, random_batch())
    result.loss.backward()
    assert set(result.tb_dict) == {"rpn_loss_cls", "rpn_loss_loc", "rpn_loss_dir", "rpn_loss"}
    assert float(result.tb_dict["rpn_loss"]) == pytest.approx(result.loss.item())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert int(model.global_step) == 1


@pytest.mark.parametrize("counts", [(0, 0), (0, 150), (150, 0)])
def test_frames_without_voxels_are_legal(counts):
    model = small_model()
    batch = random_batch(counts)
    model.train()
    model_fn_decorator()(model, batch).loss.backward()
    model.eval()
    with torch.inference_mode():
        detections, _ = model(example_convert_to_torch(batch))
    assert len(detections) == 2


def test_frames_without_ground_truth_are_legal():
    model = small_model().train()
    result = model_fn_decorator()(model, random_batch(num_gt=0))
    assert float(result.tb_dict["rpn_loss_loc"]) == 0
    result.loss.backward()


def test_a_frame_is_detected_alike_alone_and_in_a_batch():
    model = small_model().eval()
    batch = random_batch((200, 300))
    first = batch["coordinates"][:, 0] == 0
    alone = {k: batch[k][first] for k in ("voxels", "num_points", "coordinates")}
    alone.update(batch_size=1, gt_boxes=batch["gt_boxes"][:1])
    model.post_processor.score_thresh = 0.0
    with torch.inference_mode():
        together = model(example_convert_to_torch(batch))[0][0]
        single = model(example_convert_to_torch(alone))[0][0]
    torch.testing.assert_close(single["scores"], together["scores"])
    torch.testing.assert_close(single["boxes"], together["boxes"], atol=1e-4, rtol=1e-4)


def test_multi_class_nms_suppresses_within_classes():
    model = small_model().eval()
    model.post_processor.score_thresh = 0.0
    model.post_processor.multi_classes_nms = True
    with torch.inference_mode():
        detections, recall = model(example_convert_to_torch(random_batch()))
    assert set(detections[0]["labels"].tolist()) == {1, 2, 3}
    assert recall["gt"] == 6 and set(recall) == {"gt", "rcnn_0.5", "rcnn_0.7"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.MODEL.update(NAME="secnd_net"),
            "MODEL.NAME: expected one of .*'second_net'.*got 'secnd_net'",
        ),
        (lambda c: c.MODEL.VFE.update(NAME="Mean"), "MODEL.VFE.NAME"),
        (lambda c: c.MODEL.update(LOSES={}), "unknown key 'LOSES'"),
        (lambda c: c.MODEL.TEST.update(NMS_THRES=0.1), "unknown key 'NMS_THRES'"),
        (lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(layers=3), "unknown key 'layers'"),
        (lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.pop("layer_nums"), "key 'layer_nums' is missing"),
        (lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(layer_nums=[5]), "lists of one length"),
        (lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(num_input_features=128), "backbone gives 256"),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.update(DOWNSAMPLED_FACTOR=4),
            "DOWNSAMPLED_FACTOR",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[0].update(size=1),
            r"ANCHOR_GENERATOR\.0: unknown key 'size'.*did you mean 'sizes'",
        ),
        (lambda c: c.CLASS_NAMES.append("Van"), r"no anchors for \['Van'\]"),
        (
            lambda c: c.MODEL.LOSSES.update(RPN_REG_LOSS="l2"),
            "RPN_REG_LOSS: expected 'smooth-l1', the only choice, got 'l2'",
        ),
        (
            lambda c: c.MODEL.TEST.update(EVAL_METRIC="coco"),
            "TEST.EVAL_METRIC: expected 'kitti', the only choice, got 'coco'",
        ),
        (lambda c: c.MODEL.RCNN.update(ENABLED=True), "has no second stage"),
        (lambda c: c.MODEL.pop("RPN"), "MODEL: the key 'RPN' is missing"),
        (lambda c: c.MODEL.RPN.RPN_HEAD.pop("ARGS"), "RPN_HEAD: the key 'ARGS' is missing"),
        (lambda c: c.MODEL.TRAIN.update(SPILT="train"), "MODEL.TRAIN: unknown key 'SPILT'"),
        (
            lambda c: c.MODEL.LOSSES.LOSS_WEIGHTS.update(code_weights=[1.0] * 6),
            r"MODEL.LOSSES.LOSS_WEIGHTS.code_weights: expected 7 numbers.*\[1.0, 1.0, 1.0, 1",
        ),
        (lambda c: c.MODEL.LOSSES.LOSS_WEIGHTS.update(code_weights=[1.0]), r"7 numbers.*\[1.0\]"),
        (
            lambda c: c.MODEL.TEST.update(NMS_PRE_MAXSIZE_LAST=-1),
            "MODEL.TEST.NMS_PRE_MAXSIZE_LAST: expected a whole number of at least 1, got -1",
        ),
        (
            lambda c: c.MODEL.TEST.update(NMS_POST_MAXSIZE_LAST=0),
            "T.NMS_POST_MAXSIZE_LAST: expected .*1, got 0",
        ),
        (
            lambda c: c.MODEL.RPN.RPN_HEAD.ARGS.update(concat_input=True, upsample_strides=[2, 4]),
            "concat_input needs",
        ),
    ],
)
def test_what_the_yaml_asks_and_the_code_does_not_know_is_named(change, message):
    cfg = narrow_config()
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "layer_nums",
            [-1, 1],
            r"RPN_HEAD.ARGS.layer_nums: expected a list of .* at least 0, got \[-1, 1\]",
        ),
        ("layer_strides", [0, 2], "ARGS.layer_strides: expected .*at least 1"),
        ("upsample_strides", [1, 0], "ARGS.upsample_strides: expected .*at least 1"),
        ("num_filters", [16, -1], "ARGS.num_filters: expected .*at least 1"),
        ("num_direction_bins", 0, "ARGS.num_direction_bins: expected .*at least 1"),
    ],
)
def test_sizes_of_the_head_that_cannot_be_are_named(key, value, message):
    cfg = narrow_config()
    cfg.MODEL.RPN.RPN_HEAD.ARGS[key] = value
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.ANCHOR_GENERATOR[1].update(anchor_range=[0, -40, 70.4, 40]),
            r"ANCHOR_GENERATOR.1.anchor_range: expected 6 numbers or null, got \[0, -40, 70",
        ),
        (lambda t: t.ANCHOR_GENERATOR[0].update(sizes=[[1.6, 3.9]]), r"sizes: .*\[\[1.6, 3.9\]\]"),
        (
            lambda t: t.ANCHOR_GENERATOR[0].update(sizes=[[1.6, 3.9, 0]]),
            "sizes: expected .*3 numbers above 0",
        ),
        (lambda t: t.ANCHOR_GENERATOR[0].update(sizes=[]), "sizes: expected a list of one or more"),
        (
            lambda t: t.ANCHOR_GENERATOR[0].update(rotations=[]),
            "rotations: expected a list of one or more",
        ),
        (
            lambda t: t.update(DOWNSAMPLED_FACTOR=0),
            "DOWNSAMPLED_FACTOR: expected .*at least 1, got 0",
        ),
        (lambda t: t.update(DOWNSAMPLED_FACTOR=9999), "DOWNSAMPLED_FACTOR: 9999 leaves none"),
    ],
)
def test_anchors_that_cannot_be_are_named(change, message):
    cfg = narrow_config()
    change(cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG)
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)


@pytest.mark.parametrize(
    ("name", "grid_size", "message"),
    [
        # 70 m at 0.05 m, say: half of an odd image is rounded up, and twice that does not fit it.
        ("second", (248, 256, 40), r"\[248, 256\] voxels .* multiples of 16, as \[256, 256\]"),
        ("second", (256, 260, 40), r"\[256, 260\] voxels .* multiples of 16, as \[256, 256\]"),
        ("pointpillar", (84, 4, 1), r"\[84, 4\] voxels .* multiples of 8, as \[80, 8\]"),
    ],
)
def test_a_voxel_grid_that_the_strides_do_not_divide_is_refused(name, grid_size, message):
    cfg = narrow_config(name)
    with pytest.raises(ConfigError, match=f"POINT_CLOUD_RANGE and .*VOXEL_SIZE: .*{message}"):
        build_network(fake_dataset(cfg, grid_size), cfg)


def test_params_fixed_freezes_the_network():
    cfg = narrow_config()
    cfg.MODEL.RPN.PARAMS_FIXED = True
    model = build_network(small_dataset(cfg), cfg)
    assert not any(p.requires_grad for p in model.parameters())
