"""Every kind of broken input has a defined answer: an error that names the place, or AP."""

from __future__ import annotations

import numpy as np
import pytest
from kitti_eval_sets import anno_of, annos_of, assert_same_ap, make_object, random_frames, write_set

from pcdet.evaluation import evaluate, evaluate_folders
from pcdet.evaluation.__main__ import main
from pcdet.evaluation.reading import DET_FIELDS, GT_FIELDS, read_labels
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.kitti_format.label_table import _parse_block, _parse_lines
from pcdet.utils.kitti_format.split import read_split

GT = "Car 0.00 0 1.55 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 1.62"
DET = "Car -1 -1 1.55 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 1.62 0.9"


@pytest.fixture
def folder(tmp_path):
    """Two frames, each with one car that is found."""
    for kind, line in (("gt", GT), ("det", DET)):
        (tmp_path / kind).mkdir()
        for frame in ("000000", "000001"):
            (tmp_path / kind / f"{frame}.txt").write_text(line + "\n")
    return tmp_path


def run(folder, **options):
    return evaluate_folders(folder / "gt", folder / "det", **options)


def replace(line: str, field: int, value: str) -> str:
    fields = line.split()
    fields[field - 1] = value
    return " ".join(fields)


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("gt", GT + " 0.5 7", "expected the 15 fields of a ground truth, got 17"),
        ("gt", GT.rsplit(" ", 1)[0], "expected the 15 fields of a ground truth, got 14"),
        ("det", DET + " 7", "expected the 16 fields of a detection, got 17"),
        ("det", DET.rsplit(" ", 1)[0], "expected the 16 fields of a detection, got 15"),
        ("det", replace(DET, 6, "abc"), "finite number in field 6, got 'abc'"),
        ("det", replace(DET, 6, "12abc"), "finite number in field 6, got '12abc'"),
        ("det", replace(DET, 6, "1-2"), "finite number in field 6, got '1-2'"),
        ("det", replace(DET, 6, "1_000"), "finite number in field 6, got '1_000'"),
        ("det", replace(DET, 6, "0x1A"), "finite number in field 6, got '0x1A'"),
        ("det", replace(DET, 6, "1,5"), "finite number in field 6, got '1,5'"),
        ("det", replace(DET, 16, "nan"), "finite number in field 16, got 'nan'"),
        ("gt", replace(GT, 15, "NaN"), "finite number in field 15, got 'NaN'"),
        ("det", replace(DET, 16, "-inf"), "finite number in field 16, got '-inf'"),
        ("det", replace(DET, 16, "1e999"), "finite number in field 16, got '1e999'"),
        ("gt", replace(GT, 3, "0.5"), "integer occlusion in field 3, got '0.5'"),
        ("gt", replace(GT, 3, "1e0"), "integer occlusion in field 3, got '1e0'"),
        ("gt", replace(GT, 1, "\ufeffCar"), "expected a class name in field 1"),
        ("gt", replace(GT, 1, "C" * 100), "expected a class name in field 1"),
        ("gt", "\0" * 50, "expected the 15 fields of a ground truth, got 1"),
    ],
)
def test_a_bad_line_is_named_with_its_file(folder, kind, line, message):
    path = folder / kind / "000001.txt"
    path.write_text(path.read_text() + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        run(folder)
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "line", "told"),
    [
        (
            "det",
            replace(DET, 15, "92.8"),
            "det: rotation_y of 1 of 3 objects is beyond three turns",
        ),
        ("gt", replace(GT, 15, "-92.8"), "gt: rotation_y of 1 of 3 objects is beyond three turns"),
        ("gt", replace(replace(GT, 1, "DontCare"), 15, "-1000"), None),
        ("det", replace(DET, 15, "-10"), None),
        ("det", replace(DET, 15, "7.9"), None),
    ],
)
def test_degrees_are_told_and_evaluated(folder, kind, line, told, capsys):
    path = folder / kind / "000001.txt"
    path.write_text(f"{path.read_text()}{line}\n")
    assert main(["--gt", str(folder / "gt"), "--det", str(folder / "det")]) == 0
    warned = capsys.readouterr().err
    assert told in warned if told else not warned


def test_two_wrongs_do_not_make_a_right(folder):
    """A field with two numbers and one with none leave the count of numbers as it should be."""
    path = folder / "det" / "000000.txt"
    path.write_text(replace(replace(DET, 6, "1-2"), 16, "x") + "\n")
    with pytest.raises(DataError, match=r"000000.txt:1: .*field 6"):
        run(folder)


@pytest.mark.parametrize(
    "text",
    [
        "{line}",  # no newline at the end
        "{line}\r\n",
        "\r\n{line}\r\n\r\n",
        "\n\n  \t {line} \t \n\n",
        "{tabs}\n",
    ],
)
@pytest.mark.parametrize("kind", ["gt", "det"])
def test_line_ends_and_blanks_do_not_matter(folder, kind, text):
    want = run(folder).to_json()
    line = GT if kind == "gt" else DET
    for name in ("000000", "000001"):
        content = text.format(line=line, tabs=line.replace(" ", "\t"))
        (folder / kind / f"{name}.txt").write_bytes(content.encode())
    assert_same_ap(run(folder).to_json(), want, tolerance=0)


@pytest.mark.parametrize("name", ["car", "CAR", "cAr"])
@pytest.mark.parametrize("kind", ["gt", "det"])
def test_case_of_a_class_does_not_matter(folder, kind, name):
    want = run(folder).to_json()
    path = folder / kind / "000000.txt"
    path.write_text(path.read_text().replace("Car", name))
    assert_same_ap(run(folder).to_json(), want, tolerance=0)
    assert_same_ap(
        {"R40": {"3d": {"Car": run(folder, class_names=[name]).ap("R40", "3d", name)}}},
        {"R40": {"3d": {"Car": want["R40"]["3d"]["Car"]}}},
        tolerance=0,
    )


def test_an_empty_file_is_a_frame_without_objects(folder):
    (folder / "det" / "000001.txt").write_text("")
    result = run(folder)
    assert result.num_frames == 2
    assert result.num_valid["Car"] == (2, 2, 2)
    assert result.curves["bbox", "Car"][0].num_found == 1


def test_nothing_but_empty_files(folder):
    for kind in ("gt", "det"):
        for frame in ("000000", "000001"):
            (folder / kind / f"{frame}.txt").write_text("")
    result = run(folder)
    assert result.ap("R40", "bbox", "Car") is None
    assert "no detections of the class Car" in result.table()


@pytest.mark.parametrize(("kind", "missing"), [("gt", "label"), ("det", "result")])
def test_a_frame_missing_in_one_folder(folder, kind, missing):
    (folder / kind / "000001.txt").unlink()
    message = f"{kind}: no {missing} file for 1 of 2 frames, the first is 000001"
    with pytest.raises(DataError, match=message):
        run(folder)
    split = folder / "split.txt"
    split.write_text("000000\n")
    assert run(folder, split_file=split).num_frames == 1
    split.write_text("000000\n000001\n")
    with pytest.raises(DataError, match=message):
        run(folder, split_file=split)


def test_split_that_names_an_unknown_frame(folder):
    split = folder / "split.txt"
    split.write_text("000000\n000099\n")
    with pytest.raises(DataError, match="no label file for 1 of 2 frames, the first is 000099 of"):
        run(folder, split_file=split)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (
            "000000\n000001\n000000\n",
            "split.txt:3: frame 000000 is named a second time, first in line 1",
        ),
        ("000000 000001\n", "split.txt:1: expected one frame name"),
    ],
)
def test_bad_split_file(folder, text, message):
    split = folder / "split.txt"
    split.write_text(text)
    with pytest.raises(DataError, match=message):
        read_split(split)


def test_split_file_with_crlf_and_blank_lines(folder):
    split = folder / "split.txt"
    split.write_bytes(b"000001\r\n\r\n000000")
    assert read_split(split) == ["000001", "000000"]


@pytest.mark.parametrize("kind", ["gt", "det"])
def test_folder_without_files_and_no_folder(folder, kind):
    for path in (folder / kind).iterdir():
        path.unlink()
    with pytest.raises(DataError, match="the folder holds none"):
        run(folder)
    (folder / kind).rmdir()
    with pytest.raises(DataError, match="expected a folder"):
        run(folder)


def test_label_folder_of_a_test_split_says_why_there_is_no_ap(folder):
    for path in (folder / "gt").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="as for KITTI's test split, there is no AP"):
        run(folder)


def test_results_are_not_compared_with_themselves(folder):
    (folder / "link").symlink_to(folder / "det")
    with pytest.raises(DataError, match="det: expected a folder of results beside one of labels"):
        evaluate_folders(folder / "link", folder / "det")


def test_output_that_cannot_be_written(folder, capsys):
    (folder / "file").write_text("")
    options = ["--json", str(folder / "file" / "ap.json")]
    assert main(["--gt", str(folder / "gt"), "--det", str(folder / "det"), *options]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_missing_split_file(folder):
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read"):
        run(folder, split_file=folder / "nowhere.txt")


def test_error_on_the_command_line(folder, capsys):
    (folder / "det" / "000001.txt").write_text("Car 1 2\n")
    assert main(["--gt", str(folder / "gt"), "--det", str(folder / "det")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "000001.txt:1: expected the 16 fields" in captured.err


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("kind", "fields"), [("gt", GT_FIELDS), ("det", DET_FIELDS)])
def test_both_parsers_read_the_same_bits(tmp_path, seed, kind, fields):
    folder = write_set(random_frames(seed), tmp_path) / kind
    paths = sorted(folder.iterdir())
    contents = [path.read_bytes() for path in paths]
    for one, other in zip(_parse_block(contents, fields), _parse_lines(paths, contents, fields)):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "text", ["1e-3", "+.5", "5.", "-0", "123456789.123456789", "4.9e-324", "0.1000000000000000055"]
)
def test_numbers_are_read_to_the_last_bit(tmp_path, text):
    (tmp_path / "000000.txt").write_text(replace(DET, 4, text))
    assert read_labels(tmp_path, ["000000"], DET_FIELDS).alpha[0] == float(text)


def test_more_files_than_one_block(tmp_path, monkeypatch):
    folder = write_set(random_frames(1), tmp_path)
    names = sorted(path.stem for path in (folder / "det").iterdir())
    want = read_labels(folder / "det", names, DET_FIELDS)
    monkeypatch.setattr("pcdet.utils.kitti_format.label_table._FILES_PER_BLOCK", 3)
    got = read_labels(folder / "det", names, DET_FIELDS)
    for key, value in vars(want).items():
        assert np.array_equal(value, getattr(got, key))


def test_lists_of_different_length():
    gt, det = annos_of([([make_object()], [make_object()])] * 3)
    with pytest.raises(DataError, match=r"expected detections for the 3 frames .* got 2"):
        evaluate(gt, det[:2])


@pytest.mark.parametrize("key", ["name", "alpha", "bbox", "score"])
def test_annotation_without_a_key(key):
    gt, det = annos_of([([make_object()], [make_object()])] * 2)
    del det[1][key]
    with pytest.raises(DataError, match=f"detections, frame 1: the annotation has no '{key}'"):
        evaluate(gt, det)


def test_annotation_with_arrays_of_different_length():
    gt, det = annos_of([([make_object()], [make_object()])])
    gt[0]["location"] = np.zeros((2, 3))
    with pytest.raises(DataError, match=r"frame 0: expected 3 numbers in 'location' .* got 6"):
        evaluate(gt, det)


@pytest.mark.parametrize("key", ["score", "bbox", "location"])
def test_annotation_with_nan(key):
    gt, det = annos_of([([], []), ([], [make_object(), make_object()])])
    det[1][key][1] = np.nan
    with pytest.raises(DataError, match=f"detections, frame 1, object 1: .*'{key}'"):
        evaluate(gt, det)


def test_annotations_as_networks_make_them():
    """float32 arrays, and frames in which nothing was found."""
    gt, det = annos_of([([make_object()], [make_object()]), ([], [])])
    det = [
        {key: value.astype(np.float32) if key != "name" else value for key, value in one.items()}
        for one in det
    ]
    assert evaluate(gt, det).num_valid["Car"] == (1, 1, 1)
    assert evaluate([], []).num_frames == 0
    nothing = [anno_of([])] * 2
    assert evaluate(nothing, nothing).ap("R40", "3d", "Car") is None


def test_labels_of_some_frames_only():
    gt, det = annos_of([([make_object()], [make_object()])] * 2)
    with pytest.raises(DataError, match="frame 1: it has no labels"):
        evaluate([gt[0], None], det)
    with pytest.raises(DataError, match="detections, frame 1: expected an annotation, got None"):
        evaluate(gt, [det[0], None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": "Car"}, "expected a list of names"),
        ({"class_names": []}, "at least one class"),
        ({"class_names": ["Car", "car"]}, "named twice"),
        ({"class_names": ["DontCare"]}, "has no AP"),
        ({"class_names": ["a b"]}, "without blanks"),
        ({"class_names": ["Unicorn"]}, "class 'Unicorn' has none"),
        ({"overlaps": [0.5]}, "one for each of the 3 classes"),
        ({"overlaps": 0.5}, "one for each of the 3 classes"),
        ({"overlaps": [0.5, "x", 0.5]}, r"in \[0, 1\) for 'Pedestrian', got 'x'"),
        ({"overlaps": {"Car": 0.7}}, "class 'Pedestrian' has none"),
        ({"overlaps": [0.5, 0.5, 1.0]}, r"in \[0, 1\) for 'Cyclist', got 1.0"),
        ({"metrics": ["2d"]}, "unknown '2d'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        evaluate([], [], **options)
