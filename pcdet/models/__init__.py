"""Networks: built from the configuration here, and fed with batches of the datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from pcdet.models.builder import build_network
from pcdet.models.detectors.detector3d import BATCH_ARRAYS

__all__ = [
    "ModelReturn",
    "build_network",
    "example_convert_to_torch",
    "model_fn_decorator",
    "unused_arrays",
]


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
    names: Sequence[str] = BATCH_ARRAYS,
) -> dict[str, Any]:
    """The crossing from NumPy to torch: arrays of a batch become tensors on `device`.

    Args:
        example: a batch of `collate_batch`; it is not changed. Tensors that a data loader has
            pinned are sent as they are.
        device: None for the CPU.
        dtype: of floating-point tensors; integers keep their type.
        names: of the arrays that are sent, such as a model's `inputs`.

    Returns:
        A new dict; all other entries are passed on.
    """
    device = torch.device(device or "cpu")
    converted = dict(example)
    for name in names:
        if name not in example:
            continue
        tensor = torch.as_tensor(example[name])
        if tensor.is_floating_point():
            # Before it is pinned: a copy that also changes the type is made through memory that is
            # not, and the host waits for it.
            tensor = tensor.to(dtype)
        if (tensor.device.type, device.type) == ("cpu", "cuda") and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        converted[name] = tensor.to(device, non_blocking=True)
    return converted


def unused_arrays(model: torch.nn.Module) -> frozenset[str]:
    """Arrays of a batch that a detector does not read, for `DatasetTemplate.unused`."""
    return frozenset(BATCH_ARRAYS) - frozenset(model.inputs)


def model_fn_decorator(
    amp: torch.dtype | None = None,
) -> Callable[[torch.nn.Module, dict[str, Any]], ModelReturn]:
    """The function that the training loop calls: one batch to the loss.

    Args:
        amp: compute convolutions and products in this type where torch's autocast does: bfloat16,
            or, on CUDA and with a GradScaler, float16. None for the type of the weights.
    """

    def model_func(model: torch.nn.Module, batch: dict[str, Any]) -> ModelReturn:
        parameter, detector = next(model.parameters()), getattr(model, "module", model)
        batch = example_convert_to_torch(
            batch, device=parameter.device, dtype=parameter.dtype, names=detector.inputs
        )
        with torch.autocast(parameter.device.type, dtype=amp, enabled=amp is not None):
            ret_dict, tb_dict, disp_dict = model(batch)
        detector.update_global_step()
        return ModelReturn(ret_dict["loss"], tb_dict, disp_dict)

    return model_func
