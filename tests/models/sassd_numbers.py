"""The original SA-SSD's numbers on a real frame, and its weights by a rule, by its own names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.model_fixture import fake_dataset, load_config
from models.pcdet_numbers import FRAME, listed_state, weights_rule, with_batch_index
from pcdet.models import build_network

# What the rule's weights are multiplied by, so that the thresholds divide the boxes.
SCALES = {
    "evaluation": {"rpn_head.conv_cls.weight": 10.0, "extra_head.convs.3.weight": -16.0},
    "training": {
        "rpn_head.conv_cls.weight": 0.1,
        "rpn_head.conv_box.weight": 0.02,
        "extra_head.convs.3.weight": -0.5,
    },
}


def original_state(reference, reference_sassd, mode: str) -> dict[str, torch.Tensor]:
    """Weights with the original names and layouts.

    Args:
        reference: the fixture that finds the rule.
        reference_sassd: the fixture that finds the list of names.
        mode: "evaluation" or "training".
    """
    rule, state = weights_rule(reference), {}
    for name, shape in listed_state(reference_sassd("state_dict_sassd.txt")).items():
        value = rule.weight(name, shape)
        if name == "rpn_head.conv_cls.bias":
            value = np.full(shape, -2, np.float32)
        if value is not None:
            state[name] = torch.from_numpy(value * np.float32(SCALES[mode].get(name, 1)))
    return state


def ruled_model(reference, reference_sassd, mode: str, path, **auxiliary: Any):
    """SA-SSD with those weights, by way of a file as the original writes it."""
    cfg = load_config("sassd")
    cfg.MODEL.RPN.BACKBONE.AUXILIARY.update(auxiliary)
    model = build_network(fake_dataset(cfg), cfg)
    state = original_state(reference, reference_sassd, mode)
    file = path / "original.pth"
    torch.save({"model_state": {f"module.{name}": value for name, value in state.items()}}, file)
    model.load_params_from_file(file)
    return model


def frame_batch(reference, numbers) -> dict[str, Any]:
    """The frame's voxels, not augmented, and its ground truth."""
    items = reference("eval_items_second.npz")
    boxes = np.pad(numbers["gt_boxes/0"], ((0, 0), (0, 1)), constant_values=1)
    return {
        "voxels": torch.from_numpy(items[f"{FRAME}/voxels"]),
        "num_points": torch.from_numpy(items[f"{FRAME}/num_points"]),
        "coordinates": with_batch_index(items[f"{FRAME}/coordinates"]),
        "gt_boxes": torch.from_numpy(boxes)[None],
        "batch_size": 1,
    }


def in_plain_layout(model: torch.nn.Module) -> None:
    """Run the convolutions in NCHW.

    In channels_last torch adds up the statistics of a batch in float32, which is too coarse for
    maps that are mostly constant.
    """
    model.rpn_head.memory_format = torch.contiguous_format
    model.to(memory_format=torch.contiguous_format)
