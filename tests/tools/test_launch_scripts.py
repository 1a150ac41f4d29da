"""The shell scripts that start several processes, with a torchrun and an srun that only tell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "tools" / "scripts"
TOOLS = SCRIPTS.parent


@pytest.fixture
def call(tmp_path):
    """Runs a script; returns its exit code, the command that it gave, and what it complained of."""
    for name in ("torchrun", "srun"):
        fake = tmp_path / name
        fake.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        fake.chmod(0o755)

    def run(script: str, *args: str, **variables: str) -> tuple[int, list[str], str]:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        command = ["bash", str(SCRIPTS / script), *args]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


@pytest.mark.parametrize("what", ["train", "test"])
def test_torchrun_is_called_with_all_words_as_they_are(call, what):
    code, words, _ = call(
        f"dist_{what}.sh", "2", "--extra_tag", "two words", "--set", "A", "[1, 2]"
    )
    assert code == 0
    assert words[:4] == [
        "torchrun",
        "--standalone",
        "--nproc_per_node=2",
        str(TOOLS / f"{what}.py"),
    ]
    assert words[4:] == [
        "--launcher",
        "pytorch",
        "--extra_tag",
        "two words",
        "--set",
        "A",
        "[1, 2]",
    ]


def test_torchrun_gets_other_arguments(call):
    machines = "--nnodes=2 --rdzv_endpoint=host:29400"
    _, words, _ = call("dist_train.sh", "4", "--cfg_file", "a.yaml", TORCHRUN_ARGS=machines)
    assert words[1:4] == ["--nnodes=2", "--rdzv_endpoint=host:29400", "--nproc_per_node=4"]


@pytest.mark.parametrize("what", ["train", "test"])
def test_srun_is_called_with_all_words_as_they_are(call, what):
    args = ("part", "my job", "16", "--cfg_file", "a b.yaml")
    code, words, _ = call(f"slurm_{what}.sh", *args, SRUN_ARGS="--time=1:00 --exclusive")
    assert code == 0
    assert words[:4] == ["srun", "-p", "part", "--job-name=my job"]
    assert words[4:9] == [
        *("--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=5"),
        "--kill-on-bad-exit=1",
    ]
    assert words[9:11] == ["--time=1:00", "--exclusive"]
    program = ["python", "-u", str(TOOLS / f"{what}.py")]
    assert words[11:] == [*program, "--launcher", "slurm", "--cfg_file", "a b.yaml"]


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("dist_train.sh", ()),
        ("dist_train.sh", ("2",)),
        ("dist_test.sh", ("--cfg_file", "a.yaml")),
        ("dist_test.sh", ("0", "--cfg_file", "a.yaml")),
        ("slurm_train.sh", ("--help",)),
        ("slurm_train.sh", ("part", "job", "--cfg_file", "a.yaml")),
        ("slurm_test.sh", ("part", "job", "8")),
    ],
)
def test_a_wrong_call_is_answered_with_the_right_one(call, script, args):
    code, words, complaint = call(script, *args)
    assert code == 2 and words == []
    assert complaint.startswith(f"usage: {script} P") and "--batch_size is the" in complaint


def test_gpus_that_cannot_be_shared_out_are_refused(call):
    code, words, complaint = call("slurm_train.sh", "part", "job", "12", "--cfg_file", "a.yaml")
    assert code == 2 and words == [] and "12 GPUS cannot be shared out" in complaint
