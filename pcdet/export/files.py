"""Write networks as ONNX and torch.export files, with what belongs to them, and check them."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import pcdet
from pcdet.export import standalone
from pcdet.export.networks import Exportable, exportable, settings_of
from pcdet.inference.network import BuiltNetwork
from pcdet.utils.errors import ConfigError, PcdetError

OPSET = 18
# What a network computed by onnxruntime may differ by from torch: rounding in another order.
TOLERANCE = 1e-4
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LEAST_TORCH = (2, 5)  # the first whose ONNX exporter takes the graph of torch.export
_LOGGER = logging.getLogger(__name__)


def export(network: BuiltNetwork, folder: Path, name: str, batch_size: int) -> Path:
    """Write NAME.onnx, NAME.pt2 (torch.export), NAME.json and postprocess.py, and check the first.

    Args:
        network: with its weights.
        folder: where the files go; it is made if need be.
        name: of the files, without an ending.
        batch_size: frames of a batch, see `exportable`.

    Returns:
        The ONNX file.

    Raises:
        ConfigError: a package is missing or too old, or the network cannot be exported.
        PcdetError: onnxruntime computes something else than torch.
    """
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"export needs packages that are missing: pip install {' '.join(missing)}"
        )
    if torch.__version__ < _LEAST_TORCH:
        raise ConfigError(f"export needs torch 2.5 or later, and this is {torch.__version__}")
    part = exportable(network, batch_size)
    settings = {
        "network": network.config.MODEL.NAME,
        "part": part.note,
        "pcdet": pcdet.__version__,
        "opset": OPSET,
        "inputs": {name: list(value.shape) for name, value in part.example.items()},
        "outputs": list(part.outputs),
        **settings_of(network, batch_size),
    }
    folder.mkdir(parents=True, exist_ok=True)
    # In a folder of its own until it is checked: an export that serves may be there.
    with TemporaryDirectory(prefix=".export_", dir=folder) as apart:
        path = Path(apart) / f"{name}.onnx"
        program = exported_program(part)
        with _quiet_exporter():
            torch.export.save(program, path.with_suffix(".pt2"))
            _write_onnx(part, program, settings, path)
        path.with_suffix(".json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        shutil.copyfile(standalone.__file__, path.with_name("postprocess.py"))
        worst = check(part, path, settings)
        for written in sorted(Path(apart).iterdir()):
            written.replace(folder / written.name)
    _LOGGER.info("%s: onnxruntime differs from torch by at most %.1e", folder / path.name, worst)
    return folder / path.name


def exported_program(part: Exportable) -> torch.export.ExportedProgram:
    """The graph that torch.export makes."""
    dims = {name: torch.export.Dim(name, min=1) for name in ("pillars", "batch")}
    shapes = {
        name: {axis: dims[dim] for axis, dim in axes.items()} for name, axes in part.dynamic.items()
    }
    with torch.no_grad():
        return torch.export.export(part.module, tuple(part.example.values()), dynamic_shapes=shapes)


def _write_onnx(
    part: Exportable, program: torch.export.ExportedProgram, settings: dict[str, Any], path: Path
) -> None:
    onnx_program = torch.onnx.export(
        program,
        dynamo=True,
        input_names=list(part.example),
        output_names=list(part.outputs),
        opset_version=OPSET,
        verbose=False,
    )
    model = onnx_program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "pcdet", json.dumps(settings)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep warnings of torch's exporter about itself, and about torchvision, from the user."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check(part: Exportable, path: Path, settings: dict[str, Any]) -> float:
    """The largest difference of onnxruntime's outputs from torch's on made-up frames.

    Raises:
        PcdetError: it is more than TOLERANCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for inputs in _made_up_inputs(part, settings):
        with torch.no_grad():
            expected = part.module(*(torch.from_numpy(value) for value in inputs.values()))
        for name, one, other in zip(part.outputs, session.run(None, inputs), expected):
            difference = np.abs(one - other.numpy()) / np.maximum(1, np.abs(other.numpy()))
            largest = float(difference.max(initial=0.0))
            if not largest <= TOLERANCE:  # nor is it NaN
                raise PcdetError(f"{path}: {name} differs from torch's by {largest:.1e}")
            worst = max(worst, largest)
    return worst


def _made_up_inputs(part: Exportable, settings: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """Inputs of several sizes: scans that thin out with the distance, or images."""
    rng = np.random.default_rng(0)
    if "voxels" not in part.example:
        shape = part.example["spatial_features"].shape[1:]
        images = (rng.normal(size=(count, *shape)).clip(min=0) for count in (1, 4))
        return [{"spatial_features": image.astype(np.float32)} for image in images]
    low, high = np.array(settings["point_cloud_range"]).reshape(2, 3)
    batches = []
    for count in (20000, 500, 0):
        scans = [
            np.hstack((
                low + (high - low) * rng.random((count, 3)) ** [2, 1, 3],
                rng.random((count, settings["num_point_features"] - 3)),
            ))
            for _ in range(settings["batch_size"])
        ]  # fmt: skip
        batches.append(standalone.make_pillars(scans, settings))
    return batches
