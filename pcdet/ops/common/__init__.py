"""What the native operators share: finding the compiled extension, and their C++ headers."""

from __future__ import annotations

import importlib.util

import torch


def load_extension(name: str) -> None:
    """Register the operators of a compiled extension with torch.

    Args:
        name: full module name, such as `pcdet.ops.iou3d_nms.iou3d_nms_ext`.

    Raises:
        ImportError: it has not been compiled, or for another torch.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"the extension {name} is not compiled; run `pip install --no-build-isolation -e .` "
            "or `python setup.py build_ext --inplace` in the repository"
        )
    try:
        torch.ops.load_library(spec.origin)
    except OSError as error:
        raise ImportError(
            f"{spec.origin} does not load with torch {torch.__version__}; compile it again: {error}"
        ) from error
