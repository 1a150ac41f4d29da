"""Networks: built from the configuration here, and fed with batches of the datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from pcdet.models.builder import build_network

__all__ = ["ModelReturn", "build_network", "example_convert_to_torch", "model_fn_decorator"]

# What a model computes with; the rest of a batch (ids, calibrations) stays as it is.
_TENSOR_KEYS = (
    "voxels",
    "num_points",
    "coordinates",
    "voxel_centers",
    "points",
    "gt_boxes",
    "seg_labels",
    "part_labels",
    "bbox_reg_labels",
)


class ModelReturn(NamedTuple):
    """Result of one training step's forward pass.

    Attributes:
        loss: scalar with gradient.
        tb_dict: values for TensorBoard by name.
        disp_dict: values for the progress bar by name.
    """

    loss: torch.Tensor
    tb_dict: dict[str, Any]
    disp_dict: dict[str, Any]


def example_convert_to_torch(
    example: dict[str, Any],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """The crossing from NumPy to torch: arrays of a batch become tensors on `device`.

    Args:
        example: a batch of `collate_batch`; it is not changed.
        device: None for the CPU.
        dtype: of floating-point tensors; integers keep their type.

    Returns:
        A new dict; entries that a model does not compute with are passed on.
    """
    device = torch.device(device or "cpu")
    converted = dict(example)
    for name in _TENSOR_KEYS:
        if name not in example:
            continue
        tensor = torch.as_tensor(np.asarray(example[name]))
        if tensor.is_floating_point():
            # Before it is pinned: a copy that also changes the type is made through memory that is
            # not, and the host waits for it.
            tensor = tensor.to(dtype)
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        converted[name] = tensor.to(device, non_blocking=True)
    return converted


def model_fn_decorator(
    amp: torch.dtype | None = None,
) -> Callable[[torch.nn.Module, dict[str, Any]], ModelReturn]:
    """The function that the training loop calls: one batch to the loss.

    Args:
        amp: compute convolutions and products in this type where torch's autocast does: bfloat16,
            or, on CUDA and with a GradScaler, float16. None for the type of the weights.
    """

    def model_func(model: torch.nn.Module, batch: dict[str, Any]) -> ModelReturn:
        parameter = next(model.parameters())
        batch = example_convert_to_torch(batch, device=parameter.device, dtype=parameter.dtype)
        with torch.autocast(parameter.device.type, dtype=amp, enabled=amp is not None):
            ret_dict, tb_dict, disp_dict = model(batch)
        getattr(model, "module", model).update_global_step()
        return ModelReturn(ret_dict["loss"], tb_dict, disp_dict)

    return model_func
