"""Rules of the tree: who may import whom, which words stand where."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pcdet"
NATIVE_SUFFIXES = (".cpp", ".cu", ".h", ".cuh")

# layer -> what of pcdet it must not import
FORBIDDEN = {
    "ops": ("pcdet.utils", "pcdet.datasets", "pcdet.models", "pcdet.config"),
    "utils": ("pcdet.datasets", "pcdet.models", "pcdet.config"),
    "datasets": ("pcdet.models",),
    "models": ("pcdet.datasets",),
}
# Those that choose, describe or time the device of a process.
MAY_NAME_CUDA = {
    "pcdet/utils/common_utils.py",
    "pcdet/doctor/software.py",
    "tools/run_utils.py",
    "tools/scripts/install_nvcc.py",
    "tools/run_record.py",
    "tools/train_utils/device_options.py",
    "tools/benchmark_utils/networks.py",
    "tools/benchmark_utils/second.py",
}
# The doors where the configuration may be read.
CONFIG_READERS = {
    "pcdet/datasets/__init__.py",
    "pcdet/datasets/kitti/kitti_dataset.py",
    "pcdet/models/builder.py",
}
SOURCES = sorted(PACKAGE.rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
NATIVE = sorted(path for path in (PACKAGE / "ops").rglob("*.*") if path.suffix in NATIVE_SUFFIXES)


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return modules


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_layers(path):
    layer = path.relative_to(PACKAGE).parts[0]
    for module in imported_modules(path):
        for forbidden in FORBIDDEN.get(layer, ()):
            if module == "pcdet.config" and relative(path) in CONFIG_READERS:
                continue
            belongs = module == forbidden or module.startswith(f"{forbidden}.")
            assert not belongs, f"{relative(path)} imports {module}"
        assert layer == "doctor" or not module.startswith("pcdet.doctor"), relative(path)
        if module.split(".")[0] == "spconv":
            assert relative(path) == "pcdet/utils/spconv_utils.py"
        assert not module.endswith(".reference"), "reference implementations are for tests alone"


def test_the_configuration_is_read_at_the_doors_only():
    readers = {relative(p) for p in SOURCES if "pcdet.config" in imported_modules(p)}
    assert readers <= CONFIG_READERS, readers - CONFIG_READERS


def test_every_folder_with_modules_is_a_package():
    for folder in {path.parent for path in SOURCES}:
        assert (folder / "__init__.py").is_file(), f"{relative(folder)} would not be installed"


@pytest.mark.parametrize("path", [*SOURCES, *TOOLS], ids=relative)
def test_no_tensor_is_tied_to_a_device(path):
    text = path.read_text(encoding="utf-8")
    assert ".cuda(" not in text
    if relative(path) not in MAY_NAME_CUDA:
        assert "torch.cuda." not in text, "ask the tensor for its device instead"


@pytest.mark.parametrize("path", NATIVE, ids=relative)
def test_native_code_leaves_memory_streams_and_errors_to_torch(path):
    """Memory comes from torch's allocator, and nothing waits for the device."""
    text = path.read_text(encoding="utf-8")
    for name in ("cudaMalloc", "cudaFree", "cudaMemcpy", "DeviceSynchronize", "StreamSynchronize"):
        assert name not in text
    assert "<<<" not in text, "launch with cudaLaunchKernelEx, whose result is checked"
    assert not re.search(r"\b(exit|abort)\(", text)
