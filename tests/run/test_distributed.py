"""Several processes: the same results as one."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch

import kill_and_resume
import rank_work
from command_line import arguments, train_arguments
from pcdet.cli import test as test_command
from pcdet.cli import testing
from pcdet.utils.io_utils import load_pickle
from ranks import free_port, run_ranks


def test_two_ranks_with_a_frame_each_have_the_gradients_of_one_with_both(tmp_path):
    """Also where one frame holds nothing, for means over RoIs, and with synchronised norms."""
    original = rank_work.ProposalTargetLayer.sample
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = rank_work.all_gradients()
    torch.set_num_threads(threads)
    rank_work.ProposalTargetLayer.sample = original
    ranks = run_ranks(tmp_path, rank_work.distributed_gradients)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    # The second stage makes up a cell for each RoI of an empty frame, and learns nothing from them.
    made_up = {("PartA2", rank_work.FRAMES[1], synchronised) for synchronised in (False, True)}
    assert made_up < expected.keys()
    for key, gradients in expected.items():
        largest = max(value.abs().max() for value in gradients.values())
        for name, value in gradients.items():
            ours, other = (rank.value[key][name] for rank in ranks)
            assert torch.equal(ours, other), (key, name)
            bound = 1e-4 * value.abs().max() + 1e-6 * largest
            assert key in made_up or (ours - value).abs().max() <= bound, (key, name)


def test_running_statistics_are_sent_and_constants_are_not(tmp_path):
    ranks = run_ranks(tmp_path, rank_work.broadcast_buffers)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    for rank in ranks:
        sent, every = set(rank.value["sent"]), set(rank.value["all"])
        assert any(name.endswith("running_mean") for name in sent)
        assert not any("running" in name for name in every - sent)
        assert "rpn_head.target_assigner.anchors" in every - sent


def test_measured_statistics_are_those_of_all_ranks(tmp_path):
    values = torch.randn(2, 50, 3) * torch.tensor([1.0, 2.0, 3.0]) + torch.arange(3)
    values[1] += 5.0
    ranks = run_ranks(tmp_path, rank_work.averaged_statistics, values)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    within = values.var(dim=1).mean(dim=0)
    means = values.mean(dim=1)
    for rank in ranks:
        mean, variance = rank.value
        torch.testing.assert_close(mean, means.mean(dim=0))
        torch.testing.assert_close(variance, within + means.var(dim=0, unbiased=False))


def test_a_scaled_loss_that_is_not_finite_halts_all_ranks_at_once(tmp_path):
    ranks = run_ranks(tmp_path, rank_work.scaled_steps)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    for rank in ranks:
        assert rank.value == [(False, 4.0), (True, 2.0), (True, 1.0)]


def test_training_and_testing_on_two_ranks(workplace, tmp_path):
    """Same weights on both, rank 0 alone writes, and the report of one process."""
    low = ("--set", "MODEL.TEST.SCORE_THRESH", "0.001")
    commands = []
    for rank in range(2):
        output = tmp_path / f"output{rank}"
        own = train_arguments(workplace, output, "--epochs", "1", "--launcher", "pytorch")
        own.remove("--fix_random_seed")  # they have to agree on a seed
        commands.append(own)
        more = ("--launcher", "pytorch", "--split", "trainval", "--eval_tag", "two")
        commands.append(arguments(workplace, output, *more, *low))
    ranks = run_ranks(tmp_path / "ranks", rank_work.train_and_test, commands, free_port())
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    assert not (tmp_path / "output1").exists()
    (before0, after0), (before1, after1) = ranks[0].value, ranks[1].value
    assert before0 == before1 and after0 == after1 and before0 != after0

    one = ("--split", "trainval", "--eval_tag", "one")
    test_command.main(arguments(workplace, tmp_path / "output0", *one, *low))
    results = tmp_path / "output0" / "small" / "default" / "eval" / "epoch_1" / "trainval"
    single, merged = (load_pickle(results / tag / "result.pkl") for tag in ("one", "two"))
    assert [anno["sample_idx"] for anno in merged] == [anno["sample_idx"] for anno in single]
    assert len(single) == 6 and sum(len(anno["name"]) for anno in single) > 0
    for ours, theirs in zip(merged, single):
        np.testing.assert_array_equal(ours["name"], theirs["name"])
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-6)
    reports = [(results / tag / "report.txt").read_text() for tag in ("one", "two")]
    assert reports[0] == reports[1]


def test_ap_of_two_ranks_is_that_of_one(workplace, tmp_path, monkeypatch):
    """With detections that reach an AP."""
    monkeypatch.setattr(testing, "build_network", rank_work.Seer)
    (tmp_path / "any.pth").touch()
    common = ("--split", "trainval", "--ckpt", str(tmp_path / "any.pth"))
    outputs = [tmp_path / name for name in ("one", "two", "rank1")]
    commands = [
        arguments(workplace, output, *common, "--launcher", "pytorch") for output in outputs[1:]
    ]
    ranks = run_ranks(tmp_path / "ranks", rank_work.ap_of_seer, commands)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text + ranks[1].text
    test_command.main(arguments(workplace, outputs[0], *common))
    reports = [
        (output / "small/default/eval/any/trainval/default/report.txt").read_text()
        for output in outputs[:2]
    ]
    assert reports[0] == reports[1]
    records = [json.loads((o / "small/default/run.json").read_text()) for o in outputs[:2]]
    one, two = (record["best"]["trainval"] for record in records)
    assert one["results"] == two["results"] and one["value"] > 3
    assert one["results"]["recall/rcnn_0.5"] == 0
    assert not outputs[2].exists()


@pytest.mark.slow
def test_two_ranks_that_were_stopped_within_an_epoch_go_on_exactly(workplace, tmp_path):
    """The signal comes to one of them; both stop at the same step."""
    runs = {}
    for name, stops in (("straight", [None]), ("stopped", [3, None])):
        options = ("--epochs", "2", "--launcher", "pytorch")
        command = train_arguments(workplace, tmp_path / name, *options)
        runs[name] = tmp_path / name / "small" / "default"
        for stop_at in stops:
            ranks = run_ranks(tmp_path / "ranks", rank_work.train_command, command, stop_at)
            code = 0 if stop_at is None else 128 + signal.SIGTERM
            assert [rank.code for rank in ranks] == [code, code], ranks[0].text + ranks[1].text
            if stop_at is not None:
                state = torch.load(runs[name] / "ckpt" / "latest_model.pth", weights_only=True)
                assert (state["epoch"], state["it"], state["epoch_it"]) == (1, 3, 1)
    assert f"resuming from {runs['stopped'] / 'ckpt' / 'latest_model.pth'}" in ranks[0].text
    assert kill_and_resume.differences(runs["straight"], runs["stopped"]) == []
