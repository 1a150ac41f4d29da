"""Part-A2 as a whole: PCDet's numbers, both sources of voxel targets, legal extremes, gradients."""

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
    voxel_labels,
)
from models.pcdet_numbers import (
    FRAME,
    Recorder,
    check_names_and_shapes,
    check_stages,
    load_ruled_weights,
    sorted_features,
    with_batch_index,
)
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos
from pcdet.models import build_network, example_convert_to_torch, model_fn_decorator
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.rpn import UNetV0
from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.utils import box_utils
from pcdet.utils.errors import ConfigError

NAMES = ["PartA2", "PartA2_fc", "PartA2_car"]
SPARSE_STAGES = (
    *("conv_input", "conv1", "conv2", "conv3", "conv4", "conv_out", "conv_up_t4"),
    *("inv_conv4", "inv_conv3", "inv_conv2", "conv5"),
)


@pytest.fixture(scope="module")
def ruled_parta2(reference):
    """Part-A2 with the weights that the reference numbers were made with."""
    cfg = load_config("PartA2")
    model = build_network(fake_dataset(cfg), cfg).eval()
    load_ruled_weights(model, reference, "parta2")
    return model


def test_names_and_shapes_of_the_state_dict(ruled_parta2, reference):
    check_names_and_shapes(ruled_parta2, reference("state_dict_parta2.txt"))


@torch.inference_mode()
def test_first_stage_equals_pcdet_on_a_real_frame(ruled_parta2, reference):
    expected, items = reference("forward_eval_parta2.npz"), reference("eval_items_second.npz")
    model, net, head = ruled_parta2, ruled_parta2.rpn_net, ruled_parta2.rpn_head
    sparse = Recorder({name: getattr(net, name) for name in SPARSE_STAGES})
    dense = Recorder(
        {f"head_spatial_features_{k}": block for k, block in zip(("1x", "2x"), head.blocks)}
    )
    voxels, num_points = (
        torch.from_numpy(items[f"{FRAME}/{name}"]) for name in ("voxels", "num_points")
    )
    features = model.vfe(voxels, num_points)
    outputs = net(features, with_batch_index(items[f"{FRAME}/coordinates"]), 1)
    predictions = head(outputs.spatial_features)
    stages = {
        "vfe_sorted": features,
        "u_cls_preds_sorted": outputs.seg_preds,
        "u_reg_preds_sorted": outputs.part_preds,
        "rpn_seg_features_sorted": outputs.seg_features,
        "rpn_bev_features": outputs.spatial_features,
        "head_spatial_features": outputs.spatial_features,
        "head_spatial_features_last": BEVNetwork.forward(head, outputs.spatial_features),
        "decoded_boxes_all": head.decode(predictions, 0, torch.arange(len(head.anchors))),
        **{f"rpn_{name}": value for name, value in predictions.items()},
        **{f"sparse/{name}": sorted_features(value) for name, value in sparse.outputs.items()},
        **dense.outputs,
    }
    check_stages(expected, stages)


@pytest.fixture(scope="module")
def training_batch(kitti_mini, tmp_path_factory) -> dict:
    """Two real frames in training mode, not augmented."""
    folder = tmp_path_factory.mktemp("infos")
    create_kitti_infos(kitti_mini, folder, workers=1)
    cfg = load_config("PartA2")
    cfg.DATA_CONFIG.TRAIN.update(
        INFO_PATH=[str(folder / "kitti_infos_trainval.pkl")], SHUFFLE_POINTS=False
    )
    for part in cfg.DATA_CONFIG.AUGMENTATION.values():
        part.ENABLED = False
    dataset = KittiDataset(kitti_mini, cfg.CLASS_NAMES, "train", True, cfg=cfg)
    index = [dataset.sample_ids.index(name) for name in ("000001", FRAME)]
    return dataset.collate_batch([dataset[k] for k in index])


@torch.no_grad()
def test_losses_of_voxels_equal_pcdet(ruled_parta2, training_batch):
    """13.9195 is the loss of the segmentation, 14.7318 its sum with the parts."""
    cfg = load_config("PartA2")
    model = build_network(fake_dataset(cfg), cfg)
    model.load_state_dict(ruled_parta2.state_dict())
    model.train().double()  # batch statistics of random weights are ill-conditioned in float32
    batch = example_convert_to_torch(training_batch, dtype=torch.float64)
    features = model.vfe(batch["voxels"], batch["num_points"])
    outputs = model.rpn_net(features, batch["coordinates"], 2)
    _, terms = model.rpn_net.get_loss(outputs, model.rpn_net.assign_targets(batch))
    assert terms["rpn_loss_u_cls"].item() == pytest.approx(13.9195, abs=1e-4)
    assert terms["rpn_loss_unet"].item() == pytest.approx(14.7318, abs=1e-4)


def test_targets_of_data_set_and_device_agree_on_real_frames(training_batch, device):
    net = small_model("PartA2").rpn_net
    batch = example_convert_to_torch(training_batch, device=device)
    net.generated_on = "head_gpu"
    targets = net.assign_targets(batch)
    assert (targets["seg_labels"] > 0).sum() == 579
    assert torch.equal(targets["seg_labels"], batch["seg_labels"])
    torch.testing.assert_close(targets["part_labels"], batch["part_labels"], rtol=0, atol=1e-5)


def test_targets_of_data_set_and_device_agree_on_made_up_frames(device):
    """Float32 on the device, float64 in the data set; an empty frame, and padding."""
    raw = random_batch((300, 0, 400), num_gt=5)
    raw["gt_boxes"][2, 3:] = 0
    batch = example_convert_to_torch(raw, device=device)
    net = small_model("PartA2").rpn_net
    net.generated_on = "head_gpu"
    targets = net.assign_targets(batch)
    expected = voxel_labels(raw["voxel_centers"], raw["coordinates"], raw["gt_boxes"])
    np.testing.assert_array_equal(targets["seg_labels"].cpu(), expected["seg_labels"])
    np.testing.assert_allclose(targets["part_labels"].cpu(), expected["part_labels"], atol=1e-5)


@pytest.mark.parametrize("source", ["dataset", "head_gpu"])
@pytest.mark.parametrize("name", NAMES)
def test_training_step_gives_finite_gradients_everywhere(name, source, device):
    cfg = narrow_config(name)
    cfg.MODEL.RPN.BACKBONE.TARGET_CONFIG.GENERATED_ON = source
    torch.manual_seed(0)
    model = build_network(small_dataset(cfg), cfg).to(device).train()
    result = model_fn_decorator()(model, random_batch())
    result.loss.backward()
    parts = ("rpn_loss_unet", "rpn_loss", "rcnn_loss")
    assert sum(result.tb_dict[k] for k in parts).item() == pytest.approx(
        result.loss.item(), rel=1e-5
    )
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", ["second", "pointpillar", "PartA2", "PartA2_fc"])
def test_half_precision_changes_losses_little(name):
    terms = []
    for amp in (None, torch.bfloat16):
        model = small_model(name).train()
        result = model_fn_decorator(amp=amp)(model, random_batch(name=name))
        result.loss.backward()
        assert result.loss.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in model.parameters())
        # Dropout is drawn in another type, so the second stage's terms differ by chance.
        terms.append({k: v.item() for k, v in result.tb_dict.items() if not k.startswith("rcnn")})
    assert terms[0] == pytest.approx(terms[1], rel=0.01, abs=1e-3)


def test_first_form_of_the_unet_trains():
    """PCDet v0.1's fails on any input; the names of its parameters are those of UNetV2."""
    cfg = narrow_config("PartA2")
    later = build_network(small_dataset(cfg), cfg).state_dict()
    cfg.MODEL.RPN.BACKBONE.NAME = "UNetV0"
    model = build_network(small_dataset(cfg), cfg).train()
    assert isinstance(model.rpn_net, UNetV0)
    assert model.state_dict().keys() == later.keys()
    assert model.rpn_net.conv_out[0].weight.shape == (128, 3, 1, 1, 128)
    model_fn_decorator()(model, random_batch()).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", NAMES[:2])
@pytest.mark.parametrize("counts", [(0, 0), (0, 150), (150, 0)])
def test_frames_without_voxels_are_legal(name, counts):
    model = small_model(name)
    batch = random_batch(counts)
    model_fn_decorator()(model.train(), batch).loss.backward()
    with torch.inference_mode():
        detections, _ = model.eval()(example_convert_to_torch(batch))
    assert len(detections) == 2


def test_frames_without_ground_truth_are_legal():
    model = small_model("PartA2").train()
    result = model_fn_decorator()(model, random_batch(num_gt=0))
    for name in ("rpn_loss_loc", "rpn_u_loss_reg", "rcnn_loss_reg", "rcnn_loss_corner"):
        assert result.tb_dict[name].item() == 0
    result.loss.backward()


def test_a_frame_is_detected_alike_alone_and_in_a_batch():
    model = small_model("PartA2").eval()
    model.post_processor.score_thresh = 0.0
    batch = random_batch((200, 300))
    names = ("voxels", "num_points", "coordinates", "voxel_centers")
    alone = {k: batch[k][batch["coordinates"][:, 0] == 0] for k in names}
    alone["batch_size"] = 1
    with torch.inference_mode():
        together = model(example_convert_to_torch(batch))[0][0]
        single, recall = model(example_convert_to_torch(alone))
    assert recall == {}
    for name in ("boxes", "scores"):
        torch.testing.assert_close(single[0][name], together[name], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_proposals_and_detections():
    model = small_model("PartA2").eval()
    model.post_processor.score_thresh = 0.0
    batch = example_convert_to_torch(random_batch())
    voxels = model.rpn_net(model.vfe(batch["voxels"], batch["num_points"]), batch["coordinates"], 2)
    predictions = model.rpn_head(voxels.spatial_features)
    for frame in model.propose(predictions, 2):
        assert 1 <= len(frame["boxes"]) <= 20
        assert (frame["scores"].diff() <= 0).all()
        bev = box_utils.boxes3d_to_bevboxes_lidar(frame["boxes"])
        assert iou3d_nms_utils.boxes_iou_bev(bev, bev).fill_diagonal_(0).max() <= 0.7
    detections, recall = model(batch)
    assert set(recall) == {"gt", "roi_0.5", "roi_0.7", "rcnn_0.5", "rcnn_0.7"}
    assert recall["gt"] == 6
    for frame in detections:
        assert set(frame["labels"].tolist()) <= {1, 2, 3}
        assert len(frame["boxes"]) == len(frame["scores"]) == len(frame["labels"])


@torch.inference_mode()
def test_a_box_keeps_the_class_of_its_proposal():
    model = small_model("PartA2").eval()
    boxes = torch.zeros(3, 7)
    boxes[:, 0] = torch.tensor([0.0, 10.0, 10.1])
    boxes[:, 3:6] = 2
    proposals = [{"boxes": boxes, "labels": torch.tensor([2, 3, 1])}]
    scores = torch.tensor([1.0, 3.0, 2.0])
    model.post_processor.score_thresh = 0.0
    (found,) = model.predict_from_rcnn(scores, [boxes], proposals)
    assert found["labels"].tolist() == [3, 2] and found["scores"].tolist() == [3, 1]
    model.post_processor.multi_classes_nms = True
    (found,) = model.predict_from_rcnn(scores, [boxes], proposals)
    assert found["labels"].tolist() == [3, 1, 2] and found["scores"].tolist() == [3, 2, 1]


def test_scores_that_are_not_finite_end_in_a_loss_that_is_not():
    """The training loop then names the samples."""
    model = small_model("PartA2").train()
    with torch.no_grad():
        model.rpn_head.conv_cls.bias.fill_(torch.nan)
    assert not model_fn_decorator()(model, random_batch()).loss.isfinite()
    with torch.inference_mode():
        detections, _ = model.eval()(example_convert_to_torch(random_batch()))
    assert len(detections) == 2


def test_without_the_second_stage():
    cfg = narrow_config("PartA2")
    cfg.MODEL.RCNN.ENABLED = False
    model = build_network(small_dataset(cfg), cfg)
    result = model_fn_decorator()(model.train(), random_batch())
    assert "rcnn_loss" not in result.tb_dict
    with torch.inference_mode():
        detections, recall = model.eval()(example_convert_to_torch(random_batch()))
    assert len(detections) == 2 and "roi_0.5" not in recall


def test_a_fixed_first_stage_leaves_the_second_to_learn():
    cfg = narrow_config("PartA2")
    cfg.MODEL.RPN.PARAMS_FIXED = True
    model = build_network(small_dataset(cfg), cfg).train()
    model_fn_decorator()(model, random_batch()).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("rcnn_net"), name


def test_the_same_seed_chooses_the_same_rois():
    model = small_model("PartA2").train()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model_fn_decorator()(model, random_batch()).tb_dict["rcnn_loss"].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.RCNN.update(NAME="RCNN"),
            "MODEL.RCNN.NAME: expected one of .*'FCRCNN'.*got 'RCNN'",
        ),
        (lambda m: m.RCNN.update(SHARED=1), "MODEL.RCNN: unknown key 'SHARED'"),
        (lambda m: m.RCNN.update(SHARED_FC=[]), "SHARED_FC: expected a list of one or more"),
        (
            lambda m: m.RCNN.update(REG_FC=[8, 0]),
            r"MODEL.RCNN.REG_FC: expected .*at least 1, got \[8, 0\]",
        ),
        (
            lambda m: m.RCNN.update(ROI_AWARE_POOL_SIZE=0),
            "ROI_AWARE_POOL_SIZE: expected .*at least 1",
        ),
        (lambda m: m.RCNN.update(ROI_AWARE_POOL_SIZE=1), "roi_aware_pool_size: 2 or more"),
        (
            lambda m: m.RCNN.TARGET_CONFIG.update(ROI_PER_IMAGE=0),
            "T_CONFIG.ROI_PER_IMAGE: expected .*1, got 0",
        ),
        (
            lambda m: m.TRAIN.update(NMS_PRE_MAXSIZE=-1),
            "TRAIN.NMS_PRE_MAXSIZE: expected .*at least 1",
        ),
        (
            lambda m: m.TEST.update(NMS_POST_MAXSIZE=0),
            "TEST.NMS_POST_MAXSIZE: expected .*at least 1",
        ),
        (
            lambda m: m.LOSSES.LOSS_WEIGHTS.update(code_weights=[1.0] * 8),
            "LOSS_WEIGHTS.code_weights: expected 7 numbers",
        ),
        (
            lambda m: m.RPN.BACKBONE.update(ARGS={"num_filters": [0] * 4}),
            "ARGS.num_filters: expected",
        ),
        (
            lambda m: m.RCNN.update(NAME="FCRCNN", SHARED_FC=[33, 32]),
            r"MODEL.RCNN \(FCRCNN\): shared_fc: an even first size expected, got 33",
        ),
        (lambda m: m.RCNN.pop("CLS_FC"), "MODEL.RCNN: the key 'CLS_FC' is missing"),
        (lambda m: m.RCNN.update(NUM_POINT_FEATURES=32), "gives a voxel 16 features"),
        (lambda m: m.RCNN.TARGET_CONFIG.update(FG=1), "unknown key 'FG'"),
        (
            lambda m: m.RCNN.TARGET_CONFIG.update(CLS_SCORE_TYPE="x"),
            "CLS_SCORE_TYPE: expected one of .*'cls'",
        ),
        (
            lambda m: m.RCNN.TARGET_CONFIG.update(BOX_CODER="x"),
            "BOX_CODER: expected 'ResidualCoder'.*got 'x'",
        ),
        (lambda m: m.RPN.BACKBONE.update(NAME="BackBone8x"), "unknown key 'SEG_MASK_SCORE"),
        (
            lambda m: m.RPN.BACKBONE.pop("SEG_MASK_SCORE_THRESH"),
            "BACKBONE: the key 'SEG_MASK_SCORE",
        ),
        (
            lambda m: m.RPN.BACKBONE.TARGET_CONFIG.update(GENERATED_ON="gpu"),
            "GENERATED_ON: expected one",
        ),
        (lambda m: m.RPN.BACKBONE.TARGET_CONFIG.update(WIDTH=1), "unknown key 'WIDTH'"),
        (lambda m: m.TRAIN.pop("NMS_PRE_MAXSIZE"), "MODEL.TRAIN: the key 'NMS_PRE_MAXSIZE'"),
        (lambda m: m.TEST.update(RPN_NMS_TYPE="nms"), "MODEL.TEST.RPN_NMS_TYPE"),
        (
            lambda m: m.LOSSES.update(RCNN_CLS_LOSS="x"),
            "RCNN_CLS_LOSS: expected 'BinaryCrossEntropy'",
        ),
        (lambda m: m.LOSSES.LOSS_WEIGHTS.update(rcnn_weight=1), "unknown key 'rcnn_weight'"),
    ],
)
def test_what_the_yaml_asks_and_the_code_does_not_know_is_named(change, message):
    cfg = narrow_config("PartA2")
    change(cfg.MODEL)
    with pytest.raises(ConfigError, match=message):
        build_network(small_dataset(cfg), cfg)


def test_a_backbone_without_labels_for_voxels_is_refused():
    cfg = narrow_config("PartA2")
    cfg.MODEL.RPN.BACKBONE = load_config("second").MODEL.RPN.BACKBONE
    with pytest.raises(ConfigError, match="PartA2_net needs UNetV2, got BackBone8x"):
        build_network(small_dataset(cfg), cfg)
