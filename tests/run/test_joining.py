"""Ranks that find each other, and ranks that die: no hang, and a traceback of each."""

from __future__ import annotations

import os
import stat
import time

import pytest

import rank_work
from command_line import arguments
from pcdet.run import leaving
from pcdet.utils import dist_utils
from pcdet.utils.errors import ConfigError
from ranks import free_port, run_ranks, torchrun_variables


@pytest.mark.parametrize(
    ("how", "message"),
    [("kill", None), ("raise", "a bug on one rank"), ("loader", "is killed by signal: Killed")],
)
def test_a_rank_that_dies_ends_the_others(tmp_path, how, message):
    ranks = run_ranks(tmp_path, rank_work.fail, how, 120.0, tmp_path)
    assert ranks[1].code == (-9 if how == "kill" else 1)
    assert ranks[0].code == 1, ranks[0].text
    assert "error on rank 0: Traceback" in ranks[0].text
    # It saw the connection break, long before its timeout.
    assert "by peer" in ranks[0].text and "Timed out" not in ranks[0].text, ranks[0].text
    if message is not None:
        assert "error on rank 1: Traceback" in ranks[1].text and message in ranks[1].text


def test_a_rank_that_stalls_is_not_waited_for_longer_than_the_timeout(tmp_path):
    ranks = run_ranks(tmp_path, rank_work.fail, "stall", 4.0, tmp_path, stop_at=0)
    assert ranks[0].code == 1 and ranks[1].code is None, ranks[0].text + ranks[1].text
    assert "error on rank 0: Traceback" in ranks[0].text
    assert "Timed out waiting 4000ms" in ranks[0].text


def test_a_worker_that_dies_during_the_report_of_an_error_adds_to_it(monkeypatch):
    """As torch's handler of SIGCHLD raises, wherever the program is."""

    def interrupted(seconds: float) -> None:
        raise RuntimeError("DataLoader worker is killed")

    monkeypatch.setattr(time, "sleep", interrupted)
    try:
        raise ConnectionResetError("its pipe")
    except ConnectionResetError as error:
        text = leaving._traceback(error)
    assert "its pipe" in text and "DataLoader worker is killed" in text


def test_slurm_finds_host_and_port_by_itself(tmp_path, monkeypatch):
    fake = tmp_path / "scontrol"
    fake.write_text('#!/bin/sh\n[ "$*" = "show hostnames 127.0.0.[1-2]" ] && echo 127.0.0.1\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    job = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "3"}
    job |= {"SLURM_NODELIST": "127.0.0.[1-2]", "PATH": path}
    variables = [
        {**job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(5 + rank)} for rank in range(2)
    ]
    ranks = run_ranks(tmp_path / "ranks", rank_work.slurm, 4, variables=variables)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    for k, rank in enumerate(ranks):
        assert rank.value["batch"] == 2 and rank.value["rank"] == k and rank.value["total"] == 3
        assert rank.value["local_rank"] == 5 + k
        assert rank.value["port"] == str(dist_utils.port_for(f"{os.getpid()}.3"))


def test_the_rank_on_a_machine_is_not_that_among_all(workplace, tmp_path):
    """As on two machines with a process each."""
    port = free_port()
    variables = [{**torchrun_variables(rank, 2, port), "LOCAL_RANK": "0"} for rank in range(2)]
    options = arguments(workplace, tmp_path, "--launcher", "pytorch")
    ranks = run_ranks(tmp_path / "ranks", rank_work.start_command, options, variables=variables)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    for k, rank in enumerate(ranks):
        assert rank.value == {"rank": k, "local_rank": 0, "num_ranks": 2, "batch_size": 2}


def test_ranks_of_one_parent_meet_without_a_port(tmp_path):
    variables = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
    ranks = run_ranks(tmp_path, rank_work.meet_without_port, variables=variables)
    assert [rank.value for rank in ranks] == [3, 3], ranks[0].text + ranks[1].text


@pytest.fixture
def outside_of_slurm(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOCAL_RANK", "0")  # so that it is restored
    monkeypatch.delenv("LOCAL_RANK")


def test_mistakes_of_slurm_are_named(outside_of_slurm, monkeypatch):
    with pytest.raises(ConfigError, match="SLURM_PROCID is not set; start this with srun"):
        dist_utils.init_dist_slurm(2, None, None, "gloo")
    job = {"PROCID": "0", "NTASKS": "1", "LOCALID": "0", "NODELIST": "a[1-2]", "JOB_ID": "7"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that they are restored
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"`scontrol show hostnames a\[1-2\]` does not tell"):
        dist_utils.init_dist_slurm(2, None, None, "gloo")


def test_mistakes_of_torchrun_are_named(outside_of_slurm, monkeypatch):
    with pytest.raises(ConfigError, match=r"RANK and WORLD_SIZE are not set; .* with torchrun"):
        dist_utils.init_dist_pytorch(2, None, None, "gloo")
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", str(free_port()))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    message = r"--batch_size 3 is the total .* divisible by their number, 2"
    with pytest.raises(ConfigError, match=message):
        dist_utils.init_dist_pytorch(3, None, None, "gloo")
    message = r"cannot meet at 127\.0\.0\.1, port .*--tcp_port"
    with pytest.raises(ConfigError, match=message):  # the other one never comes
        dist_utils.init_dist_pytorch(2, None, None, "gloo", timeout=0.5)


def test_ports_of_jobs_differ_and_are_free_to_use():
    ports = {dist_utils.port_for(f"{job}.0") for job in range(100)}
    assert len(ports) > 95 and all(20000 <= port < 30000 for port in ports)


@pytest.mark.parametrize("number", ["two", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_named(monkeypatch, number):
    monkeypatch.setenv("WORLD_SIZE", number)
    with pytest.raises(ConfigError, match=f"WORLD_SIZE: expected a number .* got '{number}'"):
        dist_utils.number_of_processes("WORLD_SIZE")
