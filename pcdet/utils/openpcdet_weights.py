"""Weights of OpenPCDet's detectors, to this project's conventions and back.

A box there is [x, y, z of the centre, dx, dy, dz, heading], heading counter-clockwise from x; here
[x, y, z of the bottom, w, l, h, ry] with w = dy, l = dx, h = dz and ry = -(heading + pi/2). So the
anchor of heading 0 is that of ry = 1.57 here and the other way round, sizes along and across change
places, and the residual of the angle changes its sign. Each of these is its own inverse.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pcdet.utils.box_utils import CENTER, DIMS, RZ
from pcdet.utils.errors import CheckpointMismatch

_LOGGER = logging.getLogger(__name__)
# w, l, h of the anchors in the yaml files of OpenPCDet's detectors, and their bottoms: those of
# Part-A2 are the car's for all classes.
_SIZES = {"Car": (1.6, 3.9, 1.56), "Pedestrian": (0.6, 0.8, 1.73), "Cyclist": (0.6, 1.76, 1.73)}
_BOTTOMS = {"Car": -1.78, "Pedestrian": -0.6, "Cyclist": -0.6}
_PARTA2_BOTTOM = -1.78
_ANGLES = (0.0, 1.57)
_DIRECTIONS = {"num_direction_bins": 2, "dir_offset": 0.78539, "dir_limit_offset": 0.0}
# 1.57 is not quite a quarter of a turn: what the residual of the angle is off for that.
_ANGLE_SHIFT = math.pi / 2 - _ANGLES[1]
_CODE = 7
_Z, _ANGLE = 2, 6
# Our residuals x, y, z, w, l, h, ry are these of theirs: w is across, l along the heading.
_RESIDUALS = (0, 1, 2, 4, 3, 5, 6)
_HEAD = {"rpn_head.conv_cls": None, "rpn_head.conv_box": _CODE, "rpn_head.conv_dir_cls": 2}
_PARTS = "rpn_net.seg_reg_layer"
_SECOND_STAGE = "roi_head."
# How names begin here and there; the first that fits holds.
_NAMES_THERE = {
    "rpn_head.conv_": "dense_head.conv_",
    "rpn_head.": "backbone_2d.",
    "rpn_net.seg_cls_layer.": "point_head.cls_layers.0.",
    f"{_PARTS}.": "point_head.part_reg_layers.0.",
    "rpn_net.": "backbone_3d.",
}
_CONVERTED = "SECOND, PointPillar and the first stage of Part-A2 can be converted"
# Entries of detectors that this project does not have.
_UNKNOWN = {
    "pfe.": "PV-RCNN",
    "dense_head.": "a head that is not the anchor head",
    "point_head.": "a point head other than Part-A2's",
}


def to_ours(
    state: Mapping[str, Any], model: nn.Module, source: str, strict: bool
) -> dict[str, Any]:
    """Convert what depends on conventions of boxes; names are ours already.

    Args:
        state: weights of an OpenPCDet detector in our names.
        model: that will take them.
        source: the file, for messages.
        strict: whether the model must be filled as a whole.

    Raises:
        CheckpointMismatch: it is of a detector that this project does not have, or the model's
            anchors stand elsewhere or have other sizes, or its directions other sectors: boxes
            would come out in wrong places, or turned round.
    """
    for name in state:
        for prefix, what in _UNKNOWN.items():
            if name.startswith(prefix):
                raise CheckpointMismatch(
                    f"{source}: an OpenPCDet checkpoint with {what} ({name[:80]}); {_CONVERTED}"
                )
    if model.settings is None:
        raise CheckpointMismatch(
            f"{source}: an OpenPCDet checkpoint is converted for networks of build_network alone, "
            "whose range and classes are known"
        )
    converted = _without_second_stage(state, model, source, strict)
    _check_directions(model, source)
    anchors = _checked_anchors(model, source)
    shift = _bottom_shift(anchors, _anchor_classes(model), _is_parta2(state))
    for name in converted:
        converted[name] = _converted(name, converted[name], len(anchors), shift, to_here=True)
    return converted


def from_ours(state: Mapping[str, Any], model: nn.Module, source: str) -> dict[str, torch.Tensor]:
    """The inverse of `to_ours`: weights of `model` in OpenPCDet's conventions and names.

    Sparse weights stay as they are; Part-A2's second stage is left out.

    Raises:
        CheckpointMismatch: the model's anchors or sectors of directions are not OpenPCDet's.
    """
    _check_directions(model, source)
    anchors = _checked_anchors(model, source)
    shift = _bottom_shift(anchors, _anchor_classes(model), _is_parta2(state))
    return {
        _name_there(name): _converted(name, value, len(anchors), shift, to_here=False)
        for name, value in state.items()
        if not name.startswith("rcnn_net.")
    }


def _name_there(name: str) -> str:
    """OpenPCDet's name of an entry."""
    for here, there in _NAMES_THERE.items():
        if name.startswith(here):
            return there + name[len(here) :]
    return name


def _is_parta2(state: Mapping[str, Any]) -> bool:
    return f"{_PARTS}.weight" in state


def _without_second_stage(
    state: Mapping[str, Any], model: nn.Module, source: str, strict: bool
) -> dict[str, Any]:
    """Leave out Part-A2's second stage, whose layers have no counterpart here."""
    names = [name for name in state if name.startswith(_SECOND_STAGE)]
    if names and not _is_parta2(state):
        raise CheckpointMismatch(
            f"{source}: an OpenPCDet checkpoint with a second stage that is not Part-A2's "
            f"({names[0][:80]}); {_CONVERTED}"
        )
    if names and strict and getattr(model, "rcnn_net", None) is not None:
        raise CheckpointMismatch(
            f"{source}: the second stage of OpenPCDet's Part-A2 has other layers, and counts "
            "places along an object from its other end, which no weights can make up for; detect "
            "with its first stage by --set MODEL.RCNN.ENABLED False, or fine-tune with "
            "--pretrained_model"
        )
    if names:
        _LOGGER.warning(
            "%s: the first stage alone is taken over: the %d entries of OpenPCDet's second stage "
            "(roi_head) have no counterpart",
            *(source, len(names)),
        )
    return {name: value for name, value in state.items() if name not in names}


def _check_directions(model: nn.Module, source: str) -> None:
    """Raise a CheckpointMismatch if the model's direction classifier has other sectors."""
    for key, theirs in _DIRECTIONS.items() if model.rpn_head.direction is not None else ():
        own = getattr(model.rpn_head.direction, key)
        if abs(own - theirs) > 1e-3:
            raise CheckpointMismatch(
                f"{source}: OpenPCDet's direction classifiers have the {key} {theirs}, this yaml "
                f"has {own} (MODEL.RPN.RPN_HEAD.ARGS.{key})"
            )


def _checked_anchors(model: nn.Module, source: str) -> torch.Tensor:
    """(A, 7) the model's anchors of a cell, once they are known to be OpenPCDet's but for z."""
    grid = model.rpn_head.target_assigner.anchors.cpu()  # (H, W, A, 7)
    low, high = grid[0, 0, 0, CENTER][:2], grid[-1, -1, 0, CENTER][:2]
    extent = torch.tensor(model.settings["DATA_CONFIG.POINT_CLOUD_RANGE"], dtype=grid.dtype)
    if not torch.allclose(torch.cat((low, high)), extent[[0, 1, 3, 4]], atol=1e-3):
        raise CheckpointMismatch(
            f"{source}: OpenPCDet spreads anchors over POINT_CLOUD_RANGE, x {extent[0]:g} to "
            f"{extent[3]:g}, y {extent[1]:g} to {extent[4]:g}; anchor_range in this yaml is x "
            f"{low[0]:g} to {high[0]:g}, y {low[1]:g} to {high[1]:g}, so boxes would be shifted; "
            "use a yaml whose anchors span the range, for PointPillar pointpillar_openpcdet.yaml"
        )
    anchors = grid[0, 0]
    if [round(float(a), 4) for a in anchors[:, RZ]] != list(_ANGLES) * (len(anchors) // 2):
        raise CheckpointMismatch(
            f"{source}: OpenPCDet's anchors have the rotations [0, 1.57], those of this yaml "
            f"{anchors[:, RZ].tolist()}"
        )
    for name, sizes in zip(_anchor_classes(model), anchors[:, DIMS]):
        if not torch.allclose(sizes, sizes.new_tensor(_SIZES.get(name, sizes.tolist()))):
            raise CheckpointMismatch(
                f"{source}: OpenPCDet's anchors of {name} have w, l, h {_SIZES[name]}, those of "
                f"this yaml {sizes.tolist()}"
            )
    unknown = [name for name in model.settings["CLASS_NAMES"] if name not in _SIZES]
    if unknown:
        _LOGGER.warning("%s: anchors of %s must be those of its training", source, unknown)
    return anchors


def _anchor_classes(model: nn.Module) -> list[str]:
    """The class of each of the A anchors of a cell."""
    labels = model.rpn_head.target_assigner.anchor_label.tolist()
    return [model.settings["CLASS_NAMES"][label - 1] for label in labels]


def _bottom_shift(
    anchors: torch.Tensor, anchor_classes: Sequence[str], is_parta2: bool
) -> list[float]:
    """What each anchor's residual of z grows by as OpenPCDet's anchor stands lower or higher."""
    shift = []
    for name, anchor in zip(anchor_classes, anchors):
        bottom = float(anchor[CENTER][2])
        theirs = _BOTTOMS.get(name, bottom)
        if is_parta2 and name in _BOTTOMS:
            theirs = _PARTA2_BOTTOM
        shift.append((theirs - bottom) / float(anchor[DIMS][2]))
    return shift


def _converted(
    name: str, value: Any, num_anchors: int, shift: Sequence[float], to_here: bool
) -> Any:
    """An entry in the other convention, in double precision until it is stored again."""
    layer, _, kind = name.rpartition(".")
    if layer not in (*_HEAD, _PARTS) or not _is_matrix(value):
        return value
    if layer == _PARTS:
        return _turned_parts(value, to_here) if len(value) == 3 else value
    width = _HEAD[layer] or len(value) // num_anchors
    if len(value) != num_anchors * width:
        return value  # of another number of classes: left out, as its shape does not fit
    rows = value.double().unflatten(0, (num_anchors, width))
    # The other rotation of the same class.
    rows = rows[[anchor ^ 1 for anchor in range(num_anchors)]]
    if layer == "rpn_head.conv_box":
        rows = rows[:, _RESIDUALS]
        rows[:, _ANGLE] *= -1
        if kind == "bias":
            rows[:, _ANGLE] += _ANGLE_SHIFT
            rows[:, _Z] += (1 if to_here else -1) * rows.new_tensor(shift)
    return rows.flatten(0, 1).to(value.dtype)


def _is_matrix(value: Any) -> bool:
    """Whether it is a dense tensor of real numbers with rows; what is not is refused later."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.is_floating_point()
        and value.dim() > 0
    )


def _turned_parts(value: torch.Tensor, to_here: bool) -> torch.Tensor:
    """Rows of the places in an object: x here is y there, y here runs against x there."""
    first, second, third = value
    return torch.stack((second, -first, third) if to_here else (-second, first, third))
