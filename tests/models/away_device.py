"""A second device for machines without one: it keeps its numbers on the CPU and will not mix.

Tensors of the device `away` refuse to meet a tensor of the CPU in one operation, as CUDA's do, and
more: CUDA takes indices of the CPU, at the price of a copy. A list of Python numbers that becomes a
tensor on the way (`new_tensor([1, 2])`, `x[:, [2, 0]]`) is such a copy, too, and raises
a NotImplementedError. What crosses to the host is counted in `crossings`. The native operators are
taken for a build with code for the device.

Importing this module registers the device in the process, for good: tests run it in one of its own.
"""

from __future__ import annotations

import traceback
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from pcdet.ops.iou3d_nms import iou3d_nms_utils
from pcdet.ops.roiaware_pool3d import roiaware_pool3d_utils
from pcdet.ops.three_nn import three_nn_utils

_AMP_DTYPES = [torch.bfloat16, torch.float16]


class _Backend:
    """What torch asks the module of a device."""

    def __getattr__(self, name: str):
        answers = {"is_initialized": True, "is_available": True, "device_count": 1}
        answers |= {"current_device": 0, "_is_in_bad_fork": False, "is_built": True}
        answers |= {"get_amp_supported_dtype": _AMP_DTYPES, "manual_seed_all": None}
        if name not in answers:
            raise AttributeError(name)
        return lambda *args: answers[name]


_setup_privateuseone_for_python_backend("away", _Backend())
AWAY = torch.device("away", 0)
NATIVE = (iou3d_nms_utils._ops, roiaware_pool3d_utils._ops, three_nn_utils._ops)
for _operators in NATIVE:
    _operators.devices.add("away")

# Operations that wait for a number of the device: how many elements, or what they are.
_WAITS = {"nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "equal"}
_READS = {"_local_scalar_dense", "is_nonzero"}
crossings: Counter[tuple[str, str]] = Counter()  # (kind, "file: line of code") -> times


class AwayTensor(torch.Tensor):
    """A tensor of the device `away`; `home` holds its numbers."""

    @staticmethod
    def __new__(cls, home: torch.Tensor) -> AwayTensor:
        layout = {"strides": home.stride(), "storage_offset": home.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, home.shape, dtype=home.dtype, device=AWAY, requires_grad=False, **layout
        )

    def __init__(self, home: torch.Tensor) -> None:
        self.home = home

    def __repr__(self) -> str:
        return f"away({self.home})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class AwayMode(TorchDispatchMode):
    """Sees the operations that make tensors, which have no argument to be dispatched by."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def count(kind: str) -> None:
    """Add a crossing, at the innermost line of the package that is running."""
    lines = [f for f in traceback.extract_stack() if "/pcdet/" in f.filename]
    where = "outside"
    if lines:
        where = f"{lines[-1].filename.rpartition('/pcdet/')[2]}: {lines[-1].line}"
    crossings[kind, where] += 1


def run(func: Any, args: tuple, kwargs: dict) -> Any:
    """The operation on the numbers, and its result on the device where it belongs."""
    name = func.overloadpacket.__name__
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    away = any(isinstance(t, AwayTensor) for t in tensors)
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    transfer = name in ("_to_copy", "copy_")
    if away and not transfer:
        check_alike(name, tensors)
        count_waits(name, args)
    home_args, home_kwargs = tree_map_only(AwayTensor, lambda t: t.home, (args, kwargs))
    result = func(*home_args, **home_kwargs)
    if name == "copy_":
        away = isinstance(args[0], AwayTensor)
        to_host = not away and isinstance(args[1], AwayTensor)
    else:
        to_host = away and target is not None and target.type == "cpu"
        away = away if target is None else target.type == "away"
    if to_host:
        count("copy to the host")
    if not away:
        return result
    result = tree_map(lambda t: AwayTensor(t) if isinstance(t, torch.Tensor) else t, result)
    return return_and_correct_aliasing(func, args, kwargs, result)


def check_alike(name: str, tensors: list[torch.Tensor]) -> None:
    """No tensor of the CPU among those of the device, but for single numbers."""
    for tensor in tensors:
        if not isinstance(tensor, AwayTensor) and tensor.dim():
            raise RuntimeError(f"{name} got a tensor {tuple(tensor.shape)} of the CPU")


def count_waits(name: str, args: tuple) -> None:
    """Count an operation that makes the host wait."""
    if name in _READS:
        count("read")
    indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
    if name in _WAITS or any(i is not None and i.dtype == torch.bool for i in indices):
        count("wait")
