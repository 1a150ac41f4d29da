"""What the native operators share: finding and calling the compiled ones, and C++ headers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch

from pcdet.ops.common import cuda_toolkit
from pcdet.ops.extension_file import extension_file


def load_extension(name: str) -> None:
    """Register the operators of a compiled extension with torch.

    Args:
        name: full module name, such as `pcdet.ops.iou3d_nms.iou3d_nms_ext`.

    Raises:
        ImportError: it has not been compiled, or for another torch.
    """
    path = extension_file(name)
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise ImportError(
            f"{path} does not load with torch {torch.__version__}; compile it again: {error}"
        ) from error


class Operators:
    """The operators of a loaded extension, for tensors of every device.

    Where they have no code for a device, the tensors are copied to the CPU and the results back,
    with one warning in a process. All tensors of a call must be on one device.

    Args:
        namespace: where the extension registers them, such as `pcdet_iou3d_nms`.

    Attributes:
        cuda_architectures: GPU architectures that the kernels were compiled for, such as
            ["7.5", "8.6+PTX"]; one that ends in +PTX serves later GPUs, too. Empty in a build for
            the CPU.
        devices: types of the devices that there is code for.
    """

    def __init__(self, namespace: str) -> None:
        self._operators = getattr(torch.ops, namespace)
        told = getattr(self._operators, "cuda_architectures", str)
        self.cuda_architectures = [name for name in told().split(",") if name]
        self.devices = {"cpu", "cuda"} if self.cuda_architectures else {"cpu"}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._call, getattr(self._operators, name))

    def _call(self, operator: Callable[..., Any], *arguments: Any) -> Any:
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        if all(tensor.device.type in self.devices for tensor in tensors):
            return operator(*arguments)  # which compares the devices and names the arguments
        devices = list(dict.fromkeys(str(tensor.device) for tensor in tensors))
        if len(devices) > 1:
            raise RuntimeError(f"{operator} got tensors of different devices: {', '.join(devices)}")
        _warn_of_copies()
        device = tensors[0].device
        results = operator(*(a.cpu() if isinstance(a, torch.Tensor) else a for a in arguments))
        if isinstance(results, torch.Tensor):
            return results.to(device)
        return tuple(result.to(device) for result in results)


@functools.cache
def _warn_of_copies() -> None:
    warnings.warn(
        "pcdet's native operators (overlaps, NMS, points in boxes, RoI pooling, nearest sites) "
        "were built without code for this device, so they copy tensors to the CPU and back. For "
        f"CUDA {cuda_toolkit.remedy()}; then {cuda_toolkit.BUILD}",
        stacklevel=4,
    )
