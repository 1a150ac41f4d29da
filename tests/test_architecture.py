"""Rules of the tree: who may import whom, which words stand where."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pcdet"
NATIVE_SUFFIXES = (".cpp", ".cu", ".h", ".cuh")

# room -> the rooms that it may import; the commands may import all
ALLOWED = {
    "ops": set(),
    "utils": {"ops"},
    "config": {"utils"},
    "evaluation": {"ops", "utils"},
    "datasets": {"ops", "utils", "evaluation"},
    "simulator": {"utils"},
    "models": {"ops", "utils"},
    "engine": {"ops", "utils", "models", "evaluation", "viewer"},
    "own_data": {"ops", "utils", "datasets", "evaluation", "viewer"},
    "run": {"ops", "utils", "engine"},
    "doctor": {"ops", "utils", "config", "datasets", "own_data"},
    "export": {"utils", "models", "inference"},
    "inference": {"ops", "utils", "config", "datasets", "models", "engine", "viewer"},
    "viewer": {"ops", "utils", "evaluation"},
}
# Names of PCDet and former places: files that pass on what has its home elsewhere.
FORMER_PLACES = {
    "pcdet/datasets/custom/__main__.py",
    "pcdet/datasets/kitti/kitti_eval.py",
    "pcdet/datasets/kitti/synthetic.py",
    "pcdet/utils/calibration.py",
    "pcdet/utils/common_utils.py",
    "pcdet/utils/object3d_utils.py",
}
# Those that choose, describe or time the device of a process.
MAY_NAME_CUDA = {
    "pcdet/utils/device_utils.py",
    "pcdet/utils/dist_utils.py",
    "pcdet/utils/log_utils.py",
    "pcdet/doctor/software.py",
    "pcdet/cli/start.py",
    "pcdet/run/record.py",
    "pcdet/engine/device_options.py",
    "pcdet/ops/sparse_conv/backends/__init__.py",
    "pcdet/ops/sparse_conv/backends/triton_backend.py",
    "tools/scripts/install_nvcc.py",
    "tools/benchmark_utils/memory.py",
    "tools/benchmark_utils/networks.py",
    "tools/gpu_day/loader.py",
    "tools/gpu_day/trace.py",
}
# The doors where the configuration may be read.
CONFIG_READERS = {
    "pcdet/datasets/__init__.py",
    "pcdet/datasets/dataset.py",
    "pcdet/datasets/custom/custom_dataset.py",
    "pcdet/datasets/kitti/kitti_dataset.py",
    "pcdet/models/builder.py",
    "pcdet/engine/optimization/__init__.py",
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


def room_of(module: str) -> str | None:
    """The room of pcdet that a module belongs to."""
    name = module.removeprefix("pcdet.").split(".")[0]
    return name if module.startswith("pcdet.") and (PACKAGE / name).is_dir() else None


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(PACKAGE).parts[0]
    for module in imported_modules(path):
        if room in ALLOWED and relative(path) not in FORMER_PLACES:
            doors = {"config"} if relative(path) in CONFIG_READERS else set()
            allowed = ALLOWED[room] | {room, None} | doors
            assert room_of(module) in allowed, f"{relative(path)} imports {module}"
        if module.split(".")[0] == "spconv":
            assert relative(path) == "pcdet/ops/sparse_conv/backends/spconv_backend.py"
        assert not module.startswith("torch.utils.tensorboard"), "tensorboardX writes the curves"
        assert not module.endswith(".reference"), "reference implementations are for tests alone"


def test_the_training_loop_is_read_at_one_go():
    path = PACKAGE / "engine" / "train_loop.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.parametrize("name", sorted(FORMER_PLACES))
def test_a_former_place_passes_on_and_is_not_used_here(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if hasattr(node, "decorator_list")]
    module = name.removesuffix(".py").replace("/", ".")
    users = [path for path in [*SOURCES, *TOOLS] if module in imported_modules(path)]
    assert not users


def test_every_room_has_its_rule():
    rooms = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms - ALLOWED.keys() == {"cli"}


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
