"""What the soak test measures, and how it judges."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest
from easydict import EasyDict

from pcdet.config import cfg_from_list, cfg_from_yaml_file, find_yaml
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.models import build_network
from pcdet.utils.errors import ConfigError
from soak import GrowthError, Sample, as_line, judge, parse_args, small_settings, take_sample

MB = 1 << 20


def samples(own=lambda k: 0, workers=lambda k: 0, handles=lambda k: 0):
    """Twenty samples; the functions say what is added at each."""
    return [
        Sample(100 * k, (500 + own(k)) * MB, (300 + workers(k)) * MB, 2, 40 + handles(k))
        for k in range(1, 21)
    ]


def test_its_settings_make_a_small_network():
    config = cfg_from_yaml_file(find_yaml("second_demo.yaml"), EasyDict())
    cfg_from_list(small_settings(), config)
    frames = DatasetTemplate()
    frames.configure(config.DATA_CONFIG, config.CLASS_NAMES, training=False)
    model = build_network(frames, config)
    assert sum(value.numel() for value in model.parameters()) < 50_000


def test_a_steady_run_passes():
    wobble = samples(own=lambda k: 5 * (k % 3), workers=lambda k: -3 * (k % 2))
    assert "of 2000 steps: process" in judge(wobble, max_growth=16)


def test_caches_that_fill_at_first_are_no_growth():
    assert judge(samples(own=lambda k: 100 if k > 3 else 0), max_growth=16)


@pytest.mark.parametrize("what", ["own", "workers"])
def test_memory_that_grows_is_found(what):
    with pytest.raises(GrowthError, match=rf"{'process' if what == 'own' else what} \+20\.0 MB"):
        judge(samples(**{what: lambda k: 2 * k}), max_growth=16)


def test_handles_that_grow_are_found():
    with pytest.raises(GrowthError, match=r"file handles \+5"):
        judge(samples(handles=lambda k: k // 2), max_growth=16)


def test_too_few_samples():
    with pytest.raises(ConfigError, match="eight"):
        judge(samples()[:7], 16)
    with pytest.raises(ConfigError, match="eight times"):
        parse_args(["--steps", "100"])


def hold(connection):
    kept = bytearray(50 * MB)
    connection.send(len(kept))
    connection.recv()


def test_memory_of_children_and_handles_are_seen(tmp_path):
    before = take_sample(0)
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=hold, args=(there,))
    child.start()
    here.recv()
    with (tmp_path / "file").open("w"):
        after = take_sample(1)
    here.send(None)
    child.join()
    assert after.workers == before.workers + 1
    assert after.worker_memory - before.worker_memory > 50 * MB
    assert after.handles > before.handles + 2  # the file, the pipe's ends, and the child's own
    assert "step     1" in as_line(replace(after, step=1))
