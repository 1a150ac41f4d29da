"""The compiled extensions, and where they are; without torch, for those that need none."""

from __future__ import annotations

import importlib.util

# The operators; each has a folder pcdet/ops/<name> and a module <name>_ext there.
EXTENSIONS = (
    "batch_norm",
    "iou3d_nms",
    "matching",
    "points",
    "roiaware_pool3d",
    "sparse_conv",
    "three_nn",
)
WITHOUT_TORCH = ("matching", "points")  # plain C functions: loading torch takes seconds


def extension_file(name: str) -> str:
    """Path of a compiled extension.

    Args:
        name: full module name, such as `pcdet.ops.iou3d_nms.iou3d_nms_ext`.

    Raises:
        ImportError: it has not been compiled.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"the extension {name} is not compiled; run `pip install --no-build-isolation -e .` "
            "or `python setup.py build_ext --inplace` in the repository"
        )
    return spec.origin
