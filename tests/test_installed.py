"""The package as a user has it: installed, not editable, and run from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = "data/synthetic"


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Path:
    """The folder of the commands of a fresh environment with pcdet installed in it."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    # torch and the other requirements are those of this environment. Its own .pth files are not
    # read from there, so that an editable installation of pcdet stays out.
    [site_packages] = environment.glob("lib/python*/site-packages")
    (site_packages / "requirements.pth").write_text(sysconfig.get_paths()["purelib"])
    # What `pip install .` does, in two steps: the wheel is built by this environment's Python,
    # which has compiled most of it before.
    pip, wheels = [sys.executable, "-m", "pip", "--quiet"], environment / "wheels"
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", wheels, ROOT]
    subprocess.run(build, check=True)
    [wheel] = wheels.glob("pcdet-*.whl")
    install = [*pip, "--python", python, "install", "--no-deps", "--ignore-installed", wheel]
    subprocess.run(install, check=True)
    return python.parent


@pytest.mark.slow
def test_every_command_works_from_an_empty_folder(commands, tmp_path):
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(name: str, *options: str) -> str:
        command = [commands / name, *options]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    where = run("python", "-c", "import pcdet; print(pcdet.__file__)")
    assert Path(where.strip()).is_relative_to(commands.parent)
    run("pcdet-simulate", "--out", DATA, "--train", "2", "--val", "1", "--test", "0")
    run("pcdet-kitti-infos", "--data_path", DATA)
    model = ("--cfg_file", "second_demo.yaml", "--device", "cpu")
    data = ("--data_dir", DATA, "--workers", "0", "--batch_size", "1")
    run("pcdet-train", *model, *data, "--epochs", "1", "--set", "MODEL.TEST.SCORE_THRESH", "0.0")
    # The path that people type in a clone finds the package's own file.
    model = ("--cfg_file", "tools/cfgs/second_demo.yaml", "--device", "cpu")
    assert "AP_R40" in run("pcdet-test", *model, *data, "--pictures", "1")
    # Below the folder in which the commands were given, as there is no repository.
    checkpoint = "output/second_demo/default/ckpt/checkpoint_epoch_1.pth"
    scan = f"{DATA}/training/velodyne/000000.bin"
    run("pcdet-demo", *model, "--ckpt", checkpoint, "--data", scan, "--out", "drawn")
    assert (tmp_path / "drawn" / "000000.png").is_file()
    assert re.search(r"infos_train.pkl +2 frames", run("pcdet-doctor", "--data_path", DATA))
