"""OpenPCDet's checkpoints on our detectors: its own outputs and boxes on a real frame."""

from __future__ import annotations

import importlib.util
import logging
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from easydict import EasyDict

from models.model_fixture import GRIDS, fake_dataset, load_config
from models.pcdet_numbers import FRAME, check_stages
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos
from pcdet.models import build_network, example_convert_to_torch
from pcdet.utils.box_utils import boxes3d_lidar_to_openpcdet, limit_period

YAMLS = {"second": "second", "pointpillar": "pointpillar_openpcdet", "parta2": "PartA2"}
TOLERANCES = {"A": 1e-5, "B": 3e-5}  # of logits
# (kd, kh, kw, in, out) of spconv 1 to the layout that a file may have.
LAYOUTS = {"spconv 1": None, "spconv 2": (4, 0, 1, 2, 3), "spconv 2.0 Native": (0, 1, 2, 4, 3)}


@pytest.fixture(scope="module")
def numbers(reference_openpcdet):
    """Loads OpenPCDet's numbers of a detector."""
    return lambda name: reference_openpcdet(f"{name}_{FRAME}.npz")


@pytest.fixture(scope="module")
def batches(kitti_mini, tmp_path_factory):
    """Makes the frame as a batch of a configuration in test mode."""
    folder = tmp_path_factory.mktemp("infos")
    create_kitti_infos(kitti_mini, folder, workers=1)

    def make(cfg: EasyDict) -> dict:
        cfg.DATA_CONFIG.TEST.INFO_PATH = [str(folder / "kitti_infos_trainval.pkl")]
        dataset = KittiDataset(kitti_mini, cfg.CLASS_NAMES, "val", False, cfg=cfg)
        sample = dataset[dataset.sample_ids.index(FRAME)]
        order = np.lexsort(sample["coordinates"].T[::-1])
        for name in ("voxels", "num_points", "coordinates", "voxel_centers"):
            sample[name] = sample[name][order]
        return example_convert_to_torch(dataset.collate_batch([sample]))

    return make


def ruled_checkpoint(expected, variant: str, layout: str, reference) -> dict:
    """The checkpoint that the numbers were made with, as OpenPCDet writes it."""
    spec = importlib.util.spec_from_file_location("weights_rule", reference("weights_rule.py"))
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    row = expected["variants"]["AB".index(variant)]
    scale_cls, bias_cls, scale_box, scale_dir = (np.float32(value) for value in row)
    scales = {"conv_cls": scale_cls, "conv_box": scale_box, "conv_dir_cls": scale_dir}
    state = OrderedDict()
    listed = (expected[f"state_dict/{key}"] for key in ("name", "shape", "sparse"))
    for name, shape, sparse in zip(*listed):
        if name.startswith("roi_head."):
            state[name] = torch.zeros(1)  # nothing looks at what is in them
            continue
        shape = () if shape == "-" else tuple(int(n) for n in shape.split("x"))
        value = rule.weight(name, shape)
        if value is None:
            state[name] = torch.zeros(shape, dtype=torch.long)
            continue
        layer = name.split(".")[-2]
        if layer in scales:
            if layer == "conv_cls" and name.endswith("bias"):
                value = np.full_like(value, bias_cls)
            else:
                value = value * scales[layer]
        value = torch.from_numpy(value)
        axes = LAYOUTS[layout]
        state[name] = value.permute(axes).contiguous() if sparse and axes else value
    return {"epoch": 80, "it": 1, "model_state": state, "version": "pcdet+0.5.2+8caccce"}


def loaded(name: str, expected, variant: str, layout: str, reference, path: Path):
    """The detector with those weights, by a file in torch's old format."""
    cfg = load_config(YAMLS[name])
    if name == "parta2":
        cfg.MODEL.RCNN.ENABLED = False
        # The numbers are of the first stage with SECOND's settings.
        cfg.MODEL.TEST = load_config("second").MODEL.TEST
    checkpoint = ruled_checkpoint(expected, variant, layout, reference)
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    grid = GRIDS.get(name, GRIDS["second"])
    model = build_network(fake_dataset(cfg, grid), cfg).eval()
    model.load_params_from_file(filename=path, to_cpu=True, logger=logging.getLogger("test"))
    return cfg, model


def theirs(head_outputs: torch.Tensor, width: int) -> torch.Tensor:
    """(B, H, W, A, width) of our anchors in the order of OpenPCDet's."""
    rows = head_outputs.unflatten(-1, (6, width))
    return rows[..., [1, 0, 3, 2, 5, 4], :]


def check_boxes(boxes: np.ndarray, wanted: np.ndarray) -> None:
    difference = np.abs(boxes - wanted)
    difference[:, 6] = np.abs(limit_period(boxes[:, 6] - wanted[:, 6], 0.5, 2 * np.pi))
    assert (difference <= 2e-5 + 2e-6 * np.abs(wanted)).all(), difference.max(axis=0)


@pytest.mark.parametrize(
    ("name", "variant", "layout"),
    [
        ("second", "A", "spconv 1"),
        ("second", "B", "spconv 2.0 Native"),
        ("pointpillar", "A", "spconv 1"),
        ("pointpillar", "B", "spconv 1"),
        ("parta2", "A", "spconv 2"),
        ("parta2", "B", "spconv 1"),
    ],
)
@torch.inference_mode()
def test_outputs_and_boxes_are_those_of_openpcdet(
    name, variant, layout, numbers, reference, batches, tmp_path
):
    expected = numbers(name)
    cfg, model = loaded(name, expected, variant, layout, reference, tmp_path / "theirs.pth")
    batch = batches(cfg)
    assert len(batch["voxels"]) == expected[f"{FRAME}/num_voxels"]
    outputs = model.rpn_net(
        model.encode_voxels(batch)
        if name != "parta2"
        else model.vfe(batch["voxels"], batch["num_points"]),
        batch["coordinates"],
        1,
    )
    image = outputs.spatial_features if name == "parta2" else outputs
    predictions = model.rpn_head(image)
    check_stages(expected, {"spatial_features": image}, atol=1e-5)
    raw = {k: theirs(predictions[k], w) for k, w in (("cls_preds", 3), ("dir_cls_preds", 2))}
    atol = TOLERANCES[variant]
    check_stages(expected, {f"{variant}/{k}": v.flatten(3) for k, v in raw.items()}, atol=atol)
    top = {k: expected[f"{FRAME}/{variant}/top300/{k}"] for k in ("anchor_flat", "boxes", "logits")}
    own = torch.from_numpy(top["anchor_flat"].astype(np.int64) ^ 1)
    logits = predictions["cls_preds"].view(-1, 3)[own]
    np.testing.assert_allclose(logits.numpy(), top["logits"], atol=atol, rtol=0)
    check_boxes(
        boxes3d_lidar_to_openpcdet(model.rpn_head.decode(predictions, 0, own)).numpy(), top["boxes"]
    )
    if name == "parta2":
        for key, value in (("cls", outputs.seg_preds[:, None]), ("part", from_ours(outputs))):
            check_stages(expected, {f"point_{key}_preds_sorted": value}, atol=1e-5)
    model.post_processor.use_raw_score = False
    check_final(model.predict_from_rpn(predictions, 1)[0], expected, variant, name)


def from_ours(outputs) -> torch.Tensor:
    """Logits of the places in an object with OpenPCDet's axes."""
    first, second, third = outputs.part_preds.unbind(dim=1)
    return torch.stack((-second, first, third), dim=1)


def check_final(found, expected, variant: str, name: str) -> None:
    """All detections, but for those that ties of empty cells decide."""
    wanted = {k: expected[f"{FRAME}/{variant}/final/{k}"] for k in ("boxes", "scores", "labels")}
    sure = expected[f"{FRAME}/{variant}/final/survived_of_10"] == 10
    boxes = boxes3d_lidar_to_openpcdet(found["boxes"]).numpy()
    if name == "pointpillar":
        assert sure.all() and len(boxes) == len(sure)
    places = [np.abs(boxes[:, :3] - box[:3]).sum(axis=1).argmin() for box in wanted["boxes"][sure]]
    check_boxes(boxes[places], wanted["boxes"][sure])
    np.testing.assert_allclose(found["scores"].numpy()[places], wanted["scores"][sure], atol=1e-5)
    np.testing.assert_array_equal(found["labels"].numpy()[places], wanted["labels"][sure])
