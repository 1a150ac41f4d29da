"""What the doctor says of an installation and of a data folder, whole or broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pcdet.doctor import libraries, software
from pcdet.doctor.__main__ import examine, main, report
from pcdet.doctor.data_folder import examine_data
from pcdet.doctor.findings import Finding
from pcdet.ops.common import cuda_toolkit
from pcdet.ops.sparse_conv import backends
from pcdet.utils import device_utils, info_record
from pcdet.utils.io_utils import save_pickle
from tiny_kitti import SPLITS, make_tiny_kitti

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder in which all is well, its infos and database stand-ins of a few bytes."""
    root = make_tiny_kitti(tmp_path)
    for split, frames in SPLITS.items():
        path = root / f"kitti_infos_{split}.pkl"
        save_pickle([], path)
        info_record.write_record(path, len(frames))
    save_pickle({}, root / "kitti_dbinfos_train.pkl")
    return root


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


def advice(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.advice for finding in findings if finding.advice}


def test_a_whole_data_folder(data):
    (data / "training/velodyne/._000000.bin").touch()  # macOS adds such to what it copies
    findings = examine_data(data, given=True)
    assert advice(findings) == {}
    found = states(findings)
    assert found["ImageSets/train.txt"] == "4 frames"
    assert found["training/"] == "velodyne 6, image_2 6, calib 6, label_2 6"
    assert found["testing/"] == "velodyne 2, image_2 2, calib 2"
    assert found["training/planes"] == "6 files"
    assert found["kitti_infos_val.pkl"] == f"2 frames, format {info_record.INFO_FORMAT}"
    assert found["kitti_dbinfos_train.pkl"] == "there; lists 0 objects"


def change_format(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(info_record, "INFO_FORMAT", info_record.INFO_FORMAT + 1)


def add_frame(root: Path, monkeypatch) -> None:
    with (root / "ImageSets/val.txt").open("a") as file:
        file.write("000000\n")


def change_infos(root: Path, monkeypatch) -> None:
    (root / "kitti_infos_train.pkl").write_bytes(b"other infos")


def leave_pointers(root: Path, monkeypatch) -> None:
    """Scans that Git LFS did not fetch, before the preparation."""
    (root / "kitti_infos_train.pkl").unlink()
    for path in (root / "training/velodyne").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\n")


def test_a_list_for_test_without_its_frames_is_the_usual_download(data):
    shutil.rmtree(data / "testing")
    (data / "kitti_infos_test.pkl").unlink(missing_ok=True)
    assert advice(examine_data(data, given=True)) == {}


@pytest.mark.parametrize(
    ("change", "name", "sentence", "broken"),
    [
        (leave_pointers, "training/velodyne", "it looks like a Git LFS pointer: fetch", True),
        (change_format, "kitti_infos_train.pkl", "has format 1 and this version writes 2", True),
        (add_frame, "kitti_infos_val.pkl", "holds 2 frames and ImageSets/val.txt 3", True),
        (change_infos, "kitti_infos_train.pkl", "not made by this version (or was changed", False),
        (
            lambda root, _: (root / "kitti_infos_train.pkl").unlink(),
            "kitti_infos_train.pkl",
            "is missing: run `python -m pcdet.datasets.kitti.kitti_dataset create_kitti_infos",
            True,
        ),
        (
            lambda root, _: (root / "training/velodyne/000003.bin").unlink(),
            "training/",
            "files of listed frames are missing (1 in velodyne, such as 000003.bin)",
            True,
        ),
        (
            lambda root, _: (root / "ImageSets/train.txt").unlink(),
            "ImageSets/train.txt",
            "is missing: take the list of the standard split, or draw one",
            True,
        ),
        (
            lambda root, _: (root / "kitti_dbinfos_train.pkl").unlink(),
            "kitti_dbinfos_train.pkl",
            "is missing: run `python -m",
            False,
        ),
    ],
)
def test_what_is_amiss_in_the_data_is_one_line(data, monkeypatch, change, name, sentence, broken):
    change(data, monkeypatch)
    findings = examine_data(data, given=True)
    assert sentence in advice(findings)[name]
    assert all("\n" not in line for line in advice(findings).values())
    assert any(finding.broken for finding in findings) == broken


def test_commands_name_the_folder_as_a_shell_takes_it(data, monkeypatch):
    root = data.rename(data.parent / "my data")
    leave_pointers(root, monkeypatch)
    (root / "ImageSets/val.txt").unlink()
    told = advice(examine_data(root, given=True))
    assert f"--make_random_split SEED --data_path '{root}'`" in told["ImageSets/val.txt"]
    assert f"--num_point_features N --data_path '{root}'`" in told["training/velodyne"]
    assert f"create_kitti_infos --data_path '{root}'`" in told["kitti_infos_train.pkl"]


def test_a_missing_data_folder_is_a_fault_only_if_it_was_named(tmp_path):
    for given in (True, False):
        (finding,) = examine_data(tmp_path / "nowhere", given)
        assert finding.state.endswith("missing")
        assert "--data_path" in finding.advice
        assert finding.broken == given


def test_a_folder_that_may_not_be_read_is_a_finding(data, monkeypatch):
    assert advice(examine(data.parent / ("a" * 300)))["data folder"]  # too long a name for Linux

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    told = advice(examine(data))["data folder"]
    assert told.endswith("training/velodyne': give this user the permission to read it")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU of capability 8.6 and a CUDA 12.8 torch."""
    listing = "NVIDIA RTX A5000, 550.54, 8.6\n"
    monkeypatch.setattr(software, "run_quietly", lambda *command: listing)
    properties = SimpleNamespace(name="RTX A5000", major=8, minor=6, total_memory=24 * 2**30)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    for name, value in {
        "is_available": True,
        "device_count": 1,
        "get_device_properties": properties,
        "get_device_capability": (8, 6),
        "get_arch_list": ["sm_75", "sm_80", "sm_90a", "sm_120", "compute_120"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *args, value=value: value)


def test_a_gpu_that_all_can_use(gpu, monkeypatch):
    monkeypatch.setattr(software, "architectures_of", lambda name: ["8.0", "12.0+PTX"])
    findings = [*software.examine_torch(), *software.examine_extensions()]
    assert advice(findings) == {}
    found = states(findings)
    assert found["torch"].endswith("CUDA 12.8")
    assert found["NVIDIA driver"] == "550.54: NVIDIA RTX A5000 (8.6)"
    assert found["GPU 0"] == "RTX A5000, capability 8.6, 24 GiB"
    for name in ("iou3d_nms", "roiaware_pool3d", "three_nn"):
        assert found[name] == "compiled for the CPU and CUDA: 8.0, 12.0+PTX"
    for name in ("batch_norm", "sparse_conv"):
        assert found[name] == "compiled for the CPU; what runs on CUDA does not need it"


def test_operators_that_cannot_use_the_gpu(gpu, monkeypatch):
    """Each is told of on its own: one may have been built before the toolkit was there."""
    built = {"iou3d_nms": ["7.5", "9.0+PTX"], "roiaware_pool3d": [], "three_nn": []}
    monkeypatch.setattr(software, "architectures_of", built.get)
    monkeypatch.setattr(cuda_toolkit, "_folders", list)
    told = advice(software.examine_extensions())
    assert 'TORCH_CUDA_ARCH_LIST="8.6"' in told["iou3d_nms"]
    assert told["roiaware_pool3d"] == (
        "roiaware_pool3d has no CUDA code, so it copies tensors to the CPU and back: no CUDA "
        "toolkit was found: install the toolkit of CUDA 12.8 and set CUDA_HOME to its folder; then "
        "run `pip install --no-build-isolation -e .` in the repository"
    )
    monkeypatch.setattr(cuda_toolkit, "find_toolkit", lambda: None)
    told = advice(software.examine_extensions())
    assert told["roiaware_pool3d"].endswith("and back: " + cuda_toolkit.BUILD)


@pytest.mark.skipif(
    torch.version.cuda is not None, reason="a torch for CUDA has advice on its compiler"
)
def test_a_build_for_the_cpu():
    found = software.examine_extensions()
    assert advice(found) == {}
    assert states(found)["iou3d_nms"] == "compiled for the CPU alone"


@pytest.mark.parametrize(
    ("cuda", "sentence"),
    [
        ("13.0", "driver 550.54 is too old for CUDA 13.0, which wants 580 or later: update the"),
        ("12.8", "driver 550.54 may be too old for CUDA 12.8, or the GPU is hidden or broken: up"),
        ("14.0", "driver 550.54 may be too old for CUDA 14.0"),
    ],
)
def test_a_torch_that_cannot_use_the_gpu(gpu, monkeypatch, cuda, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert sentence in advice(software.examine_torch())["GPUs"]


def test_a_torch_for_gpus_where_there_is_none(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(software, "run_quietly", lambda *command: None)
    monkeypatch.setattr(device_utils, "why_no_gpu", lambda: "Found no NVIDIA driver")
    findings = software.examine_torch()
    assert states(findings)["GPUs"] == "none that torch can use: Found no NVIDIA driver"
    assert advice(findings)["GPUs"].startswith("this torch is built for GPUs and sees none, so")


def test_a_torch_of_another_kind_than_the_gpu(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90"])
    assert advice(software.examine_torch())["GPU 0"] == (
        "this torch has no kernels for capability 8.6, only for 7.5, 9.0: install the build that "
        "`python tools/scripts/install_torch.py` picks"
    )
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "this torch cannot use the GPU" in advice(software.examine_torch())["torch"]


def test_a_torch_for_rocm(gpu, monkeypatch):
    monkeypatch.setattr(software, "run_quietly", lambda *command: None)
    monkeypatch.setattr(software, "architectures_of", lambda name: [])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["gfx906"])
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.2")
    found = [*software.examine_torch(), *software.examine_toolkit()]
    assert states(found)["torch"].endswith("ROCm 6.2") and not advice(found)
    assert states(found)["CUDA toolkit"] == "not needed: this torch is built for ROCm"
    told = advice(software.examine_extensions())["three_nn"]
    assert "this torch is built for ROCm 6.2: install a CUDA build of torch, which needs a" in told


def test_a_toolkit_of_another_cuda(gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    for name in ("bin/nvcc", "include/cuda_runtime.h"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for release, state in (("12.4", f"12.4, {tmp_path}/bin/nvcc"), ("13.0", "none to build the")):
        text = f"Cuda compilation tools, release {release}, V0"
        monkeypatch.setattr(cuda_toolkit, "run_nvcc", lambda *command, text=text: text)
        assert software.examine_toolkit()[0].state.startswith(state)


@pytest.mark.parametrize(
    ("architectures", "runs"),
    [
        (["8.6"], True),
        (["8.0"], True),
        (["8.9"], False),
        (["7.5"], False),
        (["7.5+PTX"], True),
        (["9.0+PTX"], False),
        (["Ampere"], True),
        ([], False),
    ],
)
def test_which_architectures_a_gpu_runs(architectures, runs):
    assert software.runs_on((8, 6), architectures) == runs


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    assert "slow each other down" in advice(software.examine_threads())["OpenMP"]


def test_a_part_that_fails_is_reported(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such thing\nand a second line")

    monkeypatch.setattr(backends, "choose_backend", fail)
    findings = examine(ROOT / "data" / "kitti")
    (finding,) = [finding for finding in findings if finding.name == "sparse layers"]
    assert finding.broken
    assert finding.advice == "sparse layers: RuntimeError: no such thing"


def test_what_computes_the_sparse_layers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(software, "installed", lambda prefix: {})
    (finding,) = software.examine_sparse_conv()
    assert finding.state == "cpu on cpu: the native operators of the CPU" and not finding.advice
    monkeypatch.setenv("SPARSE_CONV", "torch")
    two = {"spconv-cu120": "2.3.6", "spconv-cu126": "2.3.8"}
    monkeypatch.setattr(software, "installed", lambda prefix: two)
    (finding,) = software.examine_sparse_conv()
    there = "spconv-cu120 2.3.6, spconv-cu126 2.3.8"
    assert finding.state == f"torch on cpu: asked for; {there} is there for SPARSE_CONV=spconv"
    assert finding.advice == f"more than one spconv is installed ({there}): keep one"


def test_without_a_compiled_extension(monkeypatch):
    monkeypatch.setitem(sys.modules, "pcdet.ops.roiaware_pool3d.roiaware_pool3d_utils", None)
    (finding,) = software.examine_extensions()
    assert finding.broken
    assert finding.state == "roiaware_pool3d does not load"


def test_the_report_and_the_exit_code(data, capsys):
    assert main(["--data_path", str(data)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("  pcdet ")
    (data / "ImageSets/val.txt").unlink()
    assert main(["--data_path", str(data)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("! ImageSets/val.txt") for line in lines)
    missing = f"- {data / 'ImageSets/val.txt'} is missing"
    assert any(line.startswith(missing) for line in lines[lines.index("advice:") :])
    assert main(["--data_path", str(data), "--cfg_file", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err
    assert report([Finding("all", "well")]) == "  all  well\n\nnothing is amiss"


def test_each_requirement_is_looked_at():
    """All that requirements.txt lists, and as new as it asks for."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {re.split("[>; ]", line)[0] for line in lines if not line.startswith("#")}
    findings = [*libraries.examine_libraries(), *software.examine_torch()]
    assert wanted <= states(findings).keys()
    assert not [finding for finding in findings if finding.broken]


def test_versions_that_are_too_old(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.3.1+cpu")
    assert advice(software.examine_torch())["torch"] == "torch 2.4 or later is needed: upgrade it"
    monkeypatch.setattr(libraries.metadata, "version", lambda name: "9.5.0")
    assert "pillow 10.1 or later is needed" in advice(libraries.examine_libraries())["pillow"]


def test_requirements_of_an_installation(monkeypatch):
    """Those of the metadata, without the repository; nothing is known without both."""
    monkeypatch.setattr(libraries, "repository", lambda: None)
    lines = ["torch>=2.1", "numpy", "scikit-image", 'spconv-cu120; python_version < "3.12"']
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: lines)
    assert libraries.requirements() == {"torch": (2, 1), "numpy": (), "scikit-image": ()}

    def not_installed(name):
        raise libraries.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.metadata, "requires", not_installed)
    (finding,) = libraries.examine_libraries()
    assert finding.state == "not examined" and finding.advice and not finding.broken
    assert not any(finding.broken for finding in software.examine_torch())


def test_it_survives_a_broken_installation(tmp_path):
    """Each that is broken is a line, and the data folder is looked at too."""
    names = ("torch", "spconv", "numpy", "numba", "tensorboard", "PIL", "yaml")
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise OSError('libnothing.so: cannot open')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "pcdet.doctor", "--data_path", str(tmp_path / "data")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == ""
    for line in (
        "- torch cannot be imported (libnothing.so: cannot open): install it",
        "not examined: they need torch",
        *(
            f"- {name} cannot be imported (libnothing.so: cannot open)"
            for name in ("numpy", "numba", "tensorboard", "pillow", "pyyaml")
        ),
        "data is not there: put KITTI",
        "or one of your own points/ and labels/ (docs/own_data.md)",
    ):
        assert line in result.stdout
