"""The CUDA implementations, built from the unchanged sources and run on the CPU.

Everything that WITH_CUDA adds is compiled with g++: the kernels under AddressSanitizer and UBSan,
with a CUDA runtime that loops over grid and blocks. compare_devices.py then runs both
implementations of each operator on the same boxes and points, the nasty ones among them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHIM = HERE / "cuda_on_cpu"
TORCH = Path(torch.__file__).parent
OPERATORS = ("iou3d_nms", "roiaware_pool3d", "three_nn")
CHECKED = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
COMMON = ["g++", "-fPIC", "-ffp-contract=off", f"-I{SHIM}"]
KERNELS = [*COMMON, *CHECKED, "-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
KERNELS += ["-x", "c++", "-include", "cuda_runtime.h"]
HOST = [*COMMON, "-std=c++20", "-O0", "-DWITH_CUDA", "-isystem", str(TORCH / "include")]
HOST += ["-isystem", str(TORCH / "include/torch/csrc/api/include")]
HOST += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.skipif(sys.platform != "linux", reason="preloads a sanitizer's library"),
    pytest.mark.skipif(
        torch.version.cuda is not None,
        reason="this torch has CUDA's own headers, which the stand-in replaces",
    ),
]


def compiled(source: Path, folder: Path) -> Path:
    """The object file of one source."""
    target = folder / f"{source.parent.parent.name}_{source.name}.o"
    compiler = KERNELS if source.suffix == ".cu" else HOST
    result = subprocess.run(
        [*compiler, "-c", str(source), "-o", str(target)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("cuda_on_cpu")
    sources = [
        source
        for operator in OPERATORS
        for source in sorted((ROOT / "pcdet/ops" / operator / "src").glob("*.c*"))
    ]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda source: compiled(source, folder), sources))
    targets = []
    for operator in OPERATORS:
        parts = [str(path) for path in objects if path.name.startswith(operator)]
        targets.append(str(folder / f"{operator}.so"))
        link = ["g++", "-shared", *CHECKED, "-o", targets[-1], *parts, f"-L{TORCH / 'lib'}"]
        subprocess.run([*link, "-lc10", "-ltorch", "-ltorch_cpu"], check=True)
    return targets


def run_checked(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run compare_devices.py with the sanitizer's library in front.

    The C++ library comes with it, or the sanitizer does not find how exceptions are thrown.
    """
    queries = (["g++", f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so"))
    paths = [subprocess.check_output(query, text=True).strip() for query in queries]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter leaves some
        "PYTHONPATH": str(HERE),
        **variables,
    }
    command = [sys.executable, str(SHIM / "compare_devices.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_kernels_and_cpu_agree(libraries):
    result = run_checked(*libraries)
    assert result.returncode == 0, result.stderr
    differences = json.loads(result.stdout)
    assert len(differences) == 28
    for case, largest in differences.items():
        # The gradients are sums, and the CUDA threads add in another order than the CPU.
        rounding = {"float32": 4e-6, "float64": 1e-14}[case.split()[1]] if "backward" in case else 0
        assert largest <= rounding, case


def test_sanitizer_is_at_work(libraries):
    result = run_checked("--broken", *libraries)
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr


def test_a_launch_that_fails_is_told(libraries):
    """An error of CUDA's becomes one of torch's, for each kind of launch."""
    result = run_checked("--failing", *libraries, LAUNCHES_FAIL="1")
    assert result.returncode == 0, result.stderr
    errors = json.loads(result.stdout)
    assert len(errors) == 3
    assert all("a launch failed" in error for error in errors.values()), errors
