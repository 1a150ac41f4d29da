"""The made-up label set of the benchmark: its sizes, its repeatability, and AP on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kitti_eval_oracle import Object, evaluate_slowly
from kitti_eval_sets import annos_of, assert_same_ap

from pcdet.evaluation import evaluate, evaluate_folders

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def write_label_set(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    from benchmark_utils.evaluation import write_label_set

    return write_label_set


def read_plainly(folder: Path) -> list:
    frames = []
    for path in sorted((folder / "gt").iterdir()):
        kinds = []
        for kind in ("gt", "det"):
            rows = [line.split() for line in (folder / kind / path.name).read_text().splitlines()]
            kinds.append([Object(row[0], *map(float, row[1:])) for row in rows])
        frames.append(tuple(kinds))
    return frames


def test_sizes_and_repeatability(write_label_set, tmp_path):
    for name in ("a", "b"):
        write_label_set(tmp_path / name, 30, 270, 340, rng=np.random.default_rng(5))
    for kind, lines, fields in (("gt", 270, 15), ("det", 340, 16)):
        paths = sorted((tmp_path / "a" / kind).iterdir())
        assert [path.name for path in paths] == [f"{frame:06d}.txt" for frame in range(30)]
        text = [path.read_text() for path in paths]
        assert text == [(tmp_path / "b" / kind / path.name).read_text() for path in paths]
        rows = "".join(text).splitlines()
        assert len(rows) == lines
        assert {len(row.split()) for row in rows} == {fields}


def test_ap_of_folders_and_of_annotations_equals_the_plain_rules(write_label_set, tmp_path):
    write_label_set(tmp_path, 150, 1350, 1700, rng=np.random.default_rng(6))
    frames = read_plainly(tmp_path)
    want = evaluate_slowly(frames)
    result = evaluate_folders(tmp_path / "gt", tmp_path / "det")
    assert_same_ap(result.to_json(), want)
    assert_same_ap(evaluate(*annos_of(frames)).to_json(), want)
    assert 30 < result.ap("R40", "bev", "Car")[1] < 95
