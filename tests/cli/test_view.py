"""The command view.py, and the report of test.py, on a small data set with made-up detections."""

from __future__ import annotations

import argparse
import base64
import html
import json
import re
import zlib
from contextlib import nullcontext

import numpy as np
import pytest

from command_line import arguments
from pcdet.cli import test as test_command
from pcdet.cli import view
from pcdet.cli.start import read_config
from pcdet.datasets import build_dataloader
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import load_pickle, save_pickle
from pcdet.viewer.sources import scenes_of_split

FOUND_KEYS = ("name", "alpha", "bbox", "dimensions", "location", "rotation_y")


@pytest.fixture(scope="module")
def run_dir(workplace, tmp_path_factory):
    """A run whose test found all objects of the first frame and none of the second."""
    folder = tmp_path_factory.mktemp("view") / "small" / "default"
    infos = load_pickle(workplace / "kitti" / "kitti_infos_val.pkl")
    annos = [detections_like_labels(info, keep=k == 0) for k, info in enumerate(infos)]
    for epoch in (1, 2):
        save_pickle(annos, folder / "eval" / f"epoch_{epoch}" / "val" / "default" / "result.pkl")
    return folder


def detections_like_labels(info, keep):
    annos = info["annos"]
    rows = np.flatnonzero(annos["name"] != "DontCare") if keep else np.zeros(0, int)
    found = {key: annos[key][rows] for key in FOUND_KEYS}
    found["boxes_lidar"] = annos["gt_boxes_lidar"][rows]
    return {
        **found,
        "score": np.full(len(rows), 2.0),
        "sample_idx": info["point_cloud"]["lidar_idx"],
    }


def options(workplace, run_dir, *more):
    return [
        *("--cfg_file", str(workplace / "small.yaml"), "--data_dir", str(workplace / "kitti")),
        *("--output_dir", str(run_dir.parents[1]), *more),
    ]


def scenes_in(path):
    text = path.read_text(encoding="utf-8")
    packed = re.search(r'id="index">(.*?)</script>', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))["scenes"]


def test_labels_and_the_newest_results_are_shown(workplace, run_dir, tmp_path):
    view.main(options(workplace, run_dir, "--out", str(tmp_path / "view.html")))
    scenes = scenes_in(tmp_path / "view.html")
    assert [scene["name"] for scene in scenes] == ["000004", "000005"]
    assert [pane["title"] for pane in scenes[0]["panes"]] == ["small/default, epoch 2"]
    first, second = (scene["panes"][0]["boxes"] for scene in scenes)
    assert [box["truth"] for box in first] == [True] * 3 + [False] * 3
    assert [box["partner"]["strict"] for box in first[3:]] == [0, 1, 2]
    assert [box["truth"] for box in second] == [True] * 3
    assert max(box["points"] for box in first) >= 150
    assert scenes[0]["camera"]["shape"] == [375, 1242]


def test_two_results_are_compared_and_frames_can_be_named(workplace, run_dir, tmp_path):
    results = [str(run_dir / "eval" / f"epoch_{k}" / "val/default/result.pkl") for k in (1, 2)]
    more = ("--result", *results, "--ids", "000005", "--out", str(tmp_path / "view.html"))
    view.main(options(workplace, run_dir, *more))
    (scene,) = scenes_in(tmp_path / "view.html")
    titles = [pane["title"] for pane in scene["panes"]]
    assert titles == ["small/default, epoch 1", "small/default, epoch 2"]
    assert [pane["cloud"] for pane in scene["panes"]] == [0, 0]


def test_labels_alone_with_all_points_of_the_scan(workplace, run_dir, tmp_path):
    counts = []
    for more in ((), ("--whole_scan",)):
        path = tmp_path / "view.html"
        view.main(options(workplace, run_dir, "--labels_only", "--out", str(path), *more))
        assert not any(pane["detections"] for pane in scenes_in(path)[0]["panes"])
        packed = re.search(r'id="points-0-0">(.*?)</script>', path.read_text())[1]
        counts.append(len(zlib.decompress(base64.b64decode(packed))) // 7)
    assert counts[0] < counts[1] == 4000 + 3 * 150


def test_points_that_a_model_does_not_read_are_shown(workplace):
    read_config(argparse.Namespace(cfg_file=str(workplace / "small.yaml"), set_cfgs=[]))
    dataset = build_dataloader(workplace / "kitti", 1, dist=False, training=False)[0]
    dataset.unused = frozenset({"points"})
    (scene,) = scenes_of_split(dataset, [0], {}, scores_are_logits=False)
    seen = scene.panes[0].points
    assert "points" not in dataset[0] and 0 < len(seen) < len(dataset.get_lidar("000004"))


def test_training_samples_stand_beside_the_recorded_frames(workplace, run_dir, tmp_path):
    def show(name, *more):
        path = tmp_path / name
        wanted = ("--train_samples", "2", "--out", str(path), *more)
        view.main(options(workplace, run_dir, *wanted))
        return scenes_in(path)

    scenes = show("first.html")
    assert [scene["name"] for scene in scenes] == ["000000", "000003"]
    before, after = scenes[0]["panes"]
    assert (before["title"], after["title"]) == ("as recorded", "as training sees it")
    assert (before["cloud"], after["cloud"]) == (0, 1)
    moved = [box["corners"] for box in after["boxes"]]
    assert moved != [box["corners"] for box in before["boxes"]]
    assert show("again.html") == scenes
    assert show("later.html", "--epoch", "1") != scenes


def test_a_report_of_an_old_run(workplace, run_dir):
    test_command.main([*arguments(workplace, run_dir.parents[1], "--report"), "--html", "1"])
    page = html.unescape((run_dir / "report.html").read_text(encoding="utf-8"))
    assert "small/default, epoch 2" in page and "2 frames of the split" in page
    # The frame where nothing was found is the worst, and the one that the viewer's page holds.
    assert '<a href="scenes.html#frame=000005">000005</a></b>: 3 missed, 0 false positives' in page
    assert [scene["name"] for scene in scenes_in(run_dir / "scenes.html")] == ["000005"]
    assert "The run's folder has no run.json" in page
    assert not re.search(r'(src|href)="(?!data:|scenes\.html)', page)


def test_a_report_is_of_the_test_that_is_asked_for(workplace, run_dir):
    command = arguments(workplace, run_dir.parents[1], "--report", "--html", "0")
    test_command.main([*command, "--ckpt", "elsewhere/checkpoint_epoch_1.pth"])
    assert "small/default, epoch 1" in (run_dir / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match="no results of epoch_3 by --eval_tag b of the split 'val'"):
        test_command.main([*command, "--ckpt", "checkpoint_epoch_3.pth", "--eval_tag", "b"])
    with pytest.raises(ConfigError, match="--report detects nothing, so --pictures cannot"):
        test_command.main([*command, "--pictures", "3"])


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (("--ids", "000009"), ConfigError, r"--ids 000009: no such frame among the 2 of the split"),
        (("--frames", "0"), ConfigError, "--frames must be at least 1, got 0"),
        (("--result", "a", "b", "c"), ConfigError, "expected one file, or two to compare, got 3"),
        (("--train_samples", "1", "--result", "a"), ConfigError, "exclude each other"),
        (("--train_samples", "1", "--split", "val"), ConfigError, "exclude each other"),
        (("--train_samples", "1", "--whole_scan"), ConfigError, "exclude each other"),
        (("--epoch", "0"), ConfigError, "--epoch goes with --train_samples alone"),
        (("--labels_only", "--result", "a"), ConfigError, "exclude each other"),
        (("--frames", "3", "--ids", "000001"), ConfigError, "exclude each other"),
        (("--result", "none.pkl"), DataError, r"none\.pkl: .*cannot be read"),
    ],
)
def test_mistakes_are_told(workplace, run_dir, more, error, message):
    with pytest.raises(error, match=message):
        view.main(options(workplace, run_dir, *more))


def test_results_of_another_split_are_refused(workplace, run_dir, tmp_path):
    path = tmp_path / "result.pkl"
    empty = {"name": np.zeros(0), "score": np.zeros(0), "boxes_lidar": np.zeros((0, 7))}
    save_pickle([{"sample_idx": "000001", **empty}], path)
    with pytest.raises(
        DataError, match=r"expected the detections of the 2 frames of the split 'val'"
    ):
        view.main(options(workplace, run_dir, "--result", str(path)))


@pytest.mark.parametrize(
    "change",
    [
        lambda annos: {"annos": annos},
        lambda annos: [{"name": np.zeros(0)}] * 2,
        lambda annos: [{**annos[0], "score": annos[0]["score"] * np.nan}, annos[1]],
        lambda annos: [{**annos[0], "name": annos[0]["name"][1:]}, annos[1]],
        lambda annos: [{**annos[0], "boxes_lidar": annos[0]["boxes_lidar"][:, :6]}, annos[1]],
    ],
)
def test_what_is_no_result_is_told(workplace, run_dir, tmp_path, change):
    path = tmp_path / "result.pkl"
    annos = load_pickle(run_dir / "eval" / "epoch_1" / "val" / "default" / "result.pkl")
    save_pickle(change(annos), path)
    with pytest.raises(DataError, match=r"result\.pkl: expected the result\.pkl of a test"):
        view.main(options(workplace, run_dir, "--result", str(path)))


@pytest.mark.parametrize(
    ("scores", "is_raw", "message"),
    [
        ([0.5] * 60, "True", "expected logits, .* got probabilities: .*USE_RAW_SCORE False"),
        ([0.5, 1.5], "False", "expected probabilities, .* got logits: .*USE_RAW_SCORE True"),
        ([0.5] * 40, "True", None),  # too few to tell
        ([0.5] * 60, "False", None),
    ],
)
def test_scores_of_another_kind_are_told(workplace, run_dir, tmp_path, scores, is_raw, message):
    path = tmp_path / "result.pkl"
    annos = load_pickle(run_dir / "eval" / "epoch_1" / "val" / "default" / "result.pkl")
    boxes = np.repeat(annos[0]["boxes_lidar"][:1], len(scores), axis=0)
    same = {
        "score": np.array(scores),
        "name": np.array(["Car"] * len(scores)),
        "boxes_lidar": boxes,
    }
    save_pickle([{"sample_idx": anno["sample_idx"], **same} for anno in annos], path)
    more = ("--result", str(path), "--out", str(tmp_path / "view.html"))
    command = options(workplace, run_dir, *more, "--set", "MODEL.TEST.USE_RAW_SCORE", is_raw)
    with nullcontext() if message is None else pytest.raises(DataError, match=message):
        view.main(command)


def test_a_report_without_results_says_what_to_do(workplace, tmp_path):
    with pytest.raises(DataError, match="no results of the split 'val': test a checkpoint first"):
        test_command.main(arguments(workplace, tmp_path, "--report"))
