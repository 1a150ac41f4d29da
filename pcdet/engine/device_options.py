"""The options --device, --amp, --compile and --deterministic: what they need and do."""

from __future__ import annotations

import functools
import logging
import os
import re
from pathlib import Path

import torch
from torch import nn

from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.folding import folded
from pcdet.models.model_utils.first_convolution import leave_cells_uncompiled
from pcdet.utils.device_utils import default_device, why_no_gpu
from pcdet.utils.errors import ConfigError

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What Linux calls instructions that multiply bfloat16 faster than float32: Intel's tiles, Arm's,
# and dot products of vectors, but not Intel's: on a Xeon of the fifth generation these halve the
# speed (docs/architecture.md).
_BFLOAT16_FLAGS = re.compile(r"\b(amx_bf16|bf16)\b")
_DOT_PRODUCTS = re.compile(r"\bavx512_bf16\b")


def checked_device(name: str | None) -> torch.device:
    """Choose the device that --device names, or the best there is.

    Where a torch that is built for GPUs sees none, one warning says why the CPU computes.

    Raises:
        ConfigError: it is neither the CPU nor a GPU that is there.
    """
    if name is None:
        _warn_of_no_gpu()
        return default_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"--device {name}: not a device that this runs on; use cpu, cuda or cuda:N"
        )
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        reason = why_no_gpu() or "it is built for the CPU"
        raise ConfigError(
            f"--device {name}: torch {torch.__version__} sees no usable GPU here ({reason}); "
            "`python -m pcdet.doctor` tells more"
        )
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"--device {name}: the last of the GPUs here is cuda:{count - 1}")
    return device


@functools.cache
def _warn_of_no_gpu() -> None:
    reason = why_no_gpu()
    if reason is not None:
        logging.getLogger(__name__).warning(
            "computing on the CPU: torch %s is built for GPUs but sees none (%s); `python -m "
            "pcdet.doctor` tells more, --device cpu says that it is meant so",
            *(torch.__version__, reason),
        )


def amp_type(name: str | None, device: torch.device, logger: logging.Logger) -> torch.dtype | None:
    """Choose the type that --amp names; None for no mixed precision.

    "auto" is bfloat16 on a CPU that multiplies it faster, and none elsewhere, on GPUs too.
    Any other CPU computes in float32, whatever is asked for: without instructions for bfloat16 a
    training step would take five times as long.

    Raises:
        ConfigError: no such type, or fp16 on a CPU.
    """
    if name in (None, "none"):
        return None
    if name not in ("auto", *AMP_TYPES):
        raise ConfigError(f"amp: one of {['auto', 'none', *AMP_TYPES]} expected, got {name!r}")
    if name == "auto":
        if device.type != "cpu" or not cpu_gains_by_bfloat16():
            return None
        logger.info("computing in bfloat16, which this CPU multiplies faster (--amp none: not)")
        return torch.bfloat16
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("--amp fp16 needs a GPU; on the CPU use --amp bf16 or --amp alone")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        logger.warning("--amp: this GPU computes bfloat16 in software only; try --amp fp16")
    if name == "bf16" and device.type == "cpu" and not cpu_gains_by_bfloat16():
        logger.warning("--amp: not known to multiply bfloat16 faster, this CPU computes in float32")
        return None
    return AMP_TYPES[name]


def cpu_gains_by_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32, as far as `cpuinfo` tells.

    It is not timed: processes of one training, and one that resumes it, have to agree.
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    if _BFLOAT16_FLAGS.search(text):
        return True
    return _DOT_PRODUCTS.search(text) is not None and "GenuineIntel" not in text


def grad_scaler(dtype: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler | None:
    """Make the scaler that float16 needs; None for other types."""
    return torch.amp.GradScaler(device.type) if dtype == torch.float16 else None


def compile_dense_network(model: nn.Module, device: torch.device) -> None:
    """Compile the network in bird's-eye view and its loss in place; weights keep their names.

    Raises:
        ConfigError: torch cannot compile here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=device))
    except Exception as error:  # which compiler is missing decides what is raised
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        needed = "a C++ compiler" if device.type == "cpu" else "triton and a C compiler"
        raise ConfigError(
            f"--compile: torch needs {needed} to compile for {device}: {reason}"
        ) from error
    leave_cells_uncompiled()
    for module in model.modules():
        if isinstance(module, BEVNetwork):
            module.compile()
        if isinstance(module, RPNV2):
            # The number of positive anchors is another one in each step.
            module.get_loss = torch.compile(module.get_loss, dynamic=True)


def prepare_detector(model: nn.Module, device: torch.device, compile: bool) -> nn.Module:
    """Put a network on its device, and make of it the one that detects there (`folded`).

    Returns:
        Another network, which keeps the weights that `model` has now.

    Raises:
        ConfigError: it is to be compiled, and torch cannot compile here.
    """
    choose_algorithms()
    detector = folded(model.to(device))
    if compile:
        compile_dense_network(detector, device)
    return detector


def choose_algorithms(deterministic: bool = False) -> None:
    """Let cuDNN try which of its convolutions is the fastest, as images keep their size.

    Args:
        deterministic: ask torch for algorithms that give the same result each time instead; it
            warns where it has none.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
