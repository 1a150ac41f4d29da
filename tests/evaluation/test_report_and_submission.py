"""The printed report, JSON, tags, plots, the command, and the files for the server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kitti_eval_sets import (
    NUMBERS,
    anno_of,
    annos_of,
    assert_same_ap,
    make_object,
    unpack,
    write_set,
)

from pcdet.evaluation import (
    evaluate,
    evaluate_folders,
    get_official_eval_result,
    official_results,
    result_lines,
    rules,
    write_submission,
)
from pcdet.evaluation.__main__ import main
from pcdet.evaluation.plots import plot_figures, save_plots
from pcdet.evaluation.submission import check_line
from pcdet.utils.errors import ConfigError, DataError
from pcdet.viewer import report as report_page

ROOT = Path(__file__).resolve().parents[2]


def report(gts, dets, number=41) -> str:
    return evaluate(*annos_of([(gts, dets)] * number)).table()


def test_table_names_what_it_shows():
    car = make_object()
    lines = report([car], [car]).splitlines()
    assert lines[0] == "KITTI object evaluation of 41 frames"
    assert lines[2].startswith("AP_R40 in percent (40 recall points")
    header = "class metric overlap easy moderate hard valid objects (easy / moderate / hard)"
    assert lines[3].split() == header.split()
    row = "Car 2D > 0.70 100.0000 100.0000 100.0000 41 / 41 / 41"
    assert lines[5].split() == row.split()
    assert sum(line.startswith("AP_R11") for line in lines) == 1


@pytest.mark.parametrize(
    ("gts", "dets", "message"),
    [
        (["Car"], [], "Car, all: not evaluated: no detections of the class Car"),
        ([], ["Car"], "Car, all: AP 0: no valid ground truth"),
    ],
)
def test_reason_of_a_class_on_one_side_only(gts, dets, message):
    text = report([make_object(name) for name in gts], [make_object(name) for name in dets])
    assert message in text


def no_2d(**changes):
    return make_object(box=(-1.0, -1.0, -1.0, -1.0), **changes)


@pytest.mark.parametrize(
    ("det", "message"),
    [
        (no_2d(), "Car, 2D, AOS: not evaluated: 41 detections without a 2D box"),
        (
            no_2d(),
            "Car, BEV, 3D: AP 0: the 41 detections have no 2D box",
        ),
        (make_object(x=-1000.0), "Car, BEV, 3D: not evaluated: 41 detections without a 3D box"),
        (make_object(y=-1000.0), "Car, 3D: not evaluated: 41 detections without a 3D box"),
        (
            make_object(alpha=-10.0),
            "Car, AOS: not evaluated: 41 detections (of any class) have alpha -10",
        ),
        (
            make_object(box=(100.0, 100.0, 200.0, 139.0)),
            "2D easy, AOS easy, BEV easy, 3D easy: AP 0: all 41 detections are below the minimum "
            "height of 40 pixels",
        ),
        (
            make_object(x=30.0),
            "Car, BEV, 3D: AP 0: no detection overlaps a valid ground truth by more than 0.7",
        ),
    ],
)
def test_reason_of_missing_and_zero_ap(det, message):
    assert message in report([make_object()], [det])


def test_reason_of_one_object_that_is_found():
    text = report([make_object()], [make_object()], number=1)
    assert "R40 0: too few of 1 objects found to reach a sample after recall 0" in text


def test_reason_of_orientations_that_are_all_wrong():
    text = report([make_object(alpha=0.0)], [make_object(alpha=np.pi)])
    assert "Car, AOS: AP 0: every detection that hits points the opposite way" in text


def test_no_reasons_where_all_is_well():
    objects = [
        make_object(name, (200.0 * i, 100.0, 200.0 * i + 90, 180.0), x=12.0 * i)
        for i, name in enumerate(("Car", "Pedestrian", "Cyclist"))
    ]
    assert "Why" not in report(objects, objects)


@pytest.mark.parametrize("gt", [None, [None, None]])
def test_split_without_labels(gt):
    _, det = annos_of([([], [make_object()])] * 2)
    result = evaluate(gt, det)
    assert not result.has_labels
    assert result.ap("R40", "bbox", "Car") is None
    text = result.table()
    assert "labels missing for the split" in text
    assert "AP_R40" not in text
    assert plot_figures(result) == {}
    table, tags = get_official_eval_result(gt, det, ["Car"])
    assert table == evaluate(gt, det, ["Car"]).table()
    assert set(tags.values()) == {None}


def test_the_cards_of_a_report_leave_out_what_is_not_evaluated():
    car, walker = make_object(), make_object("Pedestrian", (400.0, 100.0, 490.0, 180.0), x=9.0)
    gt, det = annos_of([([car, walker], [car])] * 41)
    cards = report_page._cards(evaluate(gt, det, ["Car", "Pedestrian"]))
    assert re.findall("<b>(.*?)<br>", cards) == [
        "100.00</b>mean of 1 of 2 classes",
        "100.00</b>Car",
        "-</b>Pedestrian",
    ]


def test_a_class_without_an_overlap_leaves_the_others_their_ap():
    car, bus = make_object(), make_object("Bus", (400.0, 100.0, 490.0, 180.0))
    gt, det = annos_of([([car, bus], [car, bus])] * 41)
    table, tags = get_official_eval_result(gt, det, ["Bus", "Car"])
    known_table, known_tags = get_official_eval_result(gt, det, ["Car"])
    assert tags == known_tags
    assert tags["Car_3d/easy_R40"] == pytest.approx(100)
    line = "Bus: not evaluated: KITTI has an overlap for car, pedestrian, cyclist, van, truck"
    assert table.count(line) == 1
    assert line not in known_table
    table, tags = get_official_eval_result(gt, det, ["Bus"])
    assert line in table and "41 frames" in table
    assert tags == {}
    strict, _ = official_results(gt, det, ["Bus"])
    assert plot_figures(strict) == {}


@pytest.mark.parametrize(
    ("overlaps", "told"),
    [({"Buss": 0.4}, "'Buss' is not in CLASS_NAMES"), ({"Car": 0.5}, "'Car' has 0.7 by KITTI's")],
)
def test_an_overlap_that_would_be_ignored_is_refused(overlaps, told):
    assert rules.overlap_sets({"Bus": 0.4}, ["Car", "Bus"])[0][0]["bus"] == 0.4
    with pytest.raises(ConfigError, match=f"EVAL_OVERLAPS: class {told}"):
        rules.overlap_sets(overlaps, ["Car", "Bus"])


def test_tags_and_the_looser_overlaps():
    car = make_object()
    near = make_object(x=0.6)  # overlap between 0.5 and 0.7
    gt, det = annos_of([([car], [near])] * 41)
    table, tags = get_official_eval_result(gt, det, ["Car"])
    assert tags["Car_image/easy_R40"] == pytest.approx(100)
    assert tags["Car_3d/moderate_R40"] == 0
    assert tags["Car_3d_0.50/moderate_R40"] == pytest.approx(100)
    assert tags["Car_bev_0.50/hard_R11"] == pytest.approx(100)
    assert "Car_image_0.50/easy_R40" not in tags
    assert len(tags) == 2 * 3 * (4 + 2)
    assert "> 0.70" in table and "> 0.50" in table


def test_json_and_plots_of_the_command(tmp_path, capsys):
    folder = unpack("small_a", tmp_path)
    options = ["--json", str(tmp_path / "ap.json"), "--plots", str(tmp_path / "plots")]
    assert main(["--gt", str(folder / "gt"), "--det", str(folder / "det"), *options]) == 0
    got = json.loads((tmp_path / "ap.json").read_text())
    assert_same_ap(got, {key: NUMBERS["small_a"][key] for key in ("R40", "R11")})
    assert list(got) == ["R40", "R11"]
    assert list(got["R40"]) == ["bbox", "aos", "bev", "3d"]
    plots = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert plots == ["Car.png", "Cyclist.png", "Pedestrian.png"]
    assert (tmp_path / "plots" / "Car.png").read_bytes().startswith(b"\x89PNG")
    assert "AP_R40" in capsys.readouterr().out


def test_json_has_null_where_the_official_program_has_nan(tmp_path):
    van, car = (make_object(name, (0.0, 0.0, 60.0, 41.0)) for name in ("Van", "Car"))
    small = make_object("Car", (0.0, 0.0, 60.0, 39.5), score=0.9)
    found = make_object("Car", (0.0, 0.0, 60.0, 41.0), score=0.8)
    folder = write_set([([van, car], [small, found]), *[([car], [car])] * 60], tmp_path)
    options = ["--json", str(tmp_path / "ap.json"), "--classes", "Car"]
    assert main(["--gt", str(folder / "gt"), "--det", str(folder / "det"), *options]) == 0
    text = (tmp_path / "ap.json").read_text()
    assert "NaN" not in text and json.loads(text)["R11"]["bbox"]["Car"][0] is None


def test_classes_and_overlaps_of_the_command(tmp_path, capsys):
    folder = unpack("small_a", tmp_path)
    command = ["--gt", str(folder / "gt"), "--det", str(folder / "det")]
    command += ["--json", str(tmp_path / "ap.json"), "--classes", "Van", "car"]
    assert main([*command, "--overlaps", "0.4", "0.5"]) == 0
    got = json.loads((tmp_path / "ap.json").read_text())
    want = evaluate_folders(
        folder / "gt", folder / "det", class_names=["Van", "car"], overlaps=[0.4, 0.5]
    )
    assert_same_ap(got, want.to_json(), tolerance=0)
    assert "> 0.40" in capsys.readouterr().out
    assert main([*command, "--overlaps", "0.4"]) == 1
    assert "error: overlaps: expected one for each of the 2" in capsys.readouterr().err


def test_runs_as_a_module(tmp_path):
    folder = unpack("edge_few_gt", tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pcdet.evaluation",
            "--gt",
            folder / "gt",
            "--det",
            folder / "det",
            "--json",
            tmp_path / "ap.json",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    got = json.loads((tmp_path / "ap.json").read_text())
    assert_same_ap(got, {key: NUMBERS["edge_few_gt"][key] for key in ("R40", "R11")})


def test_figures_show_the_curves(tmp_path):
    folder = unpack("small_b", tmp_path)
    result = evaluate_folders(folder / "gt", folder / "det")
    figures = plot_figures(result)
    assert list(figures) == [f"{name}/precision_recall" for name in result.class_names]
    panels = figures["Car/precision_recall"].axes
    assert [panel.get_title() for panel in panels] == ["2D", "AOS", "BEV", "3D"]
    line = panels[3].lines[1]
    assert np.array_equal(line.get_ydata(), result.curves["3d", "Car"][1].samples)
    assert [text.get_text() for text in figures["Cyclist/precision_recall"].axes[0].texts] == [
        "not evaluated"
    ]
    assert [path.name for path in save_plots(result, tmp_path / "plots")] == [
        f"{name}.png" for name in result.class_names
    ]


# Files for the server


def submit(tmp_path, dets, ids=("000003", "000007"), shape=(375, 1242)):
    return write_submission([anno_of(d) for d in dets], list(ids), [shape] * len(dets), tmp_path)


def test_submission_has_one_file_a_frame(tmp_path):
    path = submit(tmp_path, [[make_object(score=0.123456)], []])
    assert path == tmp_path / "submission.zip"
    names = ["000003.txt", "000007.txt"]
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == names
    line = "Car -1 -1 0.1000 100.0000 100.0000 200.0000 180.0000 1.5000 1.6000 3.9000 "
    line += "0.0000 1.7000 20.0000 0.3000 0.123456000\n"
    assert (tmp_path / "data" / "000003.txt").read_text() == line
    assert (tmp_path / "data" / "000007.txt").read_bytes() == b""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == names  # in the root, as the server wants them
        assert archive.read("000003.txt").decode() == line
        assert archive.testzip() is None


def test_submission_is_the_same_bytes_each_time(tmp_path):
    paths = [submit(tmp_path / part, [[make_object()], []]) for part in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    again = submit(tmp_path / "a", [[make_object()], []])
    assert again.read_bytes() == paths[1].read_bytes()


def test_submission_is_read_back_by_the_evaluator(tmp_path):
    car = make_object()
    submit(tmp_path, [[car], []])
    (tmp_path / "gt").mkdir()
    for name, text in (
        ("000003", "Car 0 0 0.1 100 100 200 180 1.5 1.6 3.9 0 1.7 20 0.3\n"),
        ("000007", ""),
    ):
        (tmp_path / "gt" / f"{name}.txt").write_text(text)
    result = evaluate_folders(tmp_path / "gt", tmp_path / "data")
    assert result.curves["3d", "Car"][0].samples[0] == 1


@pytest.mark.parametrize(
    ("det", "message"),
    [
        (make_object(score=float("nan")), "000003.txt:1: expected a finite decimal .* field 16"),
        (make_object(x=float("inf")), "000003.txt:1: expected a finite decimal .* field 12"),
        (make_object(box=(-0.5, 0.0, 10.0, 10.0)), "2D box inside the image of 1242 x 375"),
        (make_object(box=(0.0, 0.0, 1242.0, 10.0)), "2D box inside the image"),
        (make_object(box=(0.0, 0.0, 10.0, 374.5)), "2D box inside the image"),
        (make_object(box=(20.0, 0.0, 10.0, 30.0)), "2D box inside the image"),
        (make_object(name="Big Car"), "expected 16 fields, got 17"),
        (make_object(name=""), "expected 16 fields"),
        (make_object(width=-1.0), "expected positive sizes"),
    ],
)
def test_submission_refuses_a_bad_line_and_writes_nothing(tmp_path, det, message):
    with pytest.raises(DataError, match=message):
        submit(tmp_path, [[det], []])
    assert list(tmp_path.iterdir()) == []


def test_submission_refuses_other_frames(tmp_path):
    submit(tmp_path, [[], []])
    with pytest.raises(DataError, match=r"holds 1 result files .* first is 000007\.txt"):
        submit(tmp_path, [[], []], ids=("000003", "000008"))
    with pytest.raises(DataError, match="of the same frames, got 2, 1 and 2"):
        submit(tmp_path, [[], []], ids=("000003",))
    with pytest.raises(DataError, match="000003 comes twice"):
        submit(tmp_path / "new", [[], []], ids=("000003", "000003"))
    with pytest.raises(DataError, match="six digits, got '3'"):
        submit(tmp_path / "new", [[], []], ids=("3", "000003"))


def test_numbers_have_no_exponent_and_no_negative_zero():
    line = result_lines(anno_of([make_object(x=-1e-7, alpha=1e-5, score=1e-8)]))[0]
    assert "e-" not in line
    assert "-0.0000" not in line
    near = np.float32(0.999_999_9)
    scores = [near, np.nextafter(near, np.float32(1))]
    lines = result_lines(anno_of([make_object(score=score) for score in scores]))
    assert [np.float32(one.split()[-1]) for one in lines] == scores
    check_line(line, (375, 1242), "line")
    with pytest.raises(DataError, match="decimal number in field 4, got '1e-5'"):
        check_line(line.replace("0.0000 100", "1e-5 100", 1), (375, 1242), "line")


def test_angles_are_written_within_half_a_turn():
    objects = [make_object(alpha=7.0, rotation=-4.0), make_object(alpha=-10.0, rotation=3.0)]
    first, second = (line.split() for line in result_lines(anno_of(objects)))
    assert float(first[3]) == pytest.approx(7 - 2 * np.pi, abs=1e-4)
    assert float(first[14]) == pytest.approx(2 * np.pi - 4, abs=1e-4)
    assert (float(second[3]), float(second[14])) == (-10, 3)
