"""What the doctor says of a folder of one's own data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcdet.cli import custom
from pcdet.doctor.__main__ import default_data_path, examine, main
from tiny_custom import make_tiny_custom


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = make_tiny_custom(tmp_path_factory.mktemp("own") / "data")
    custom.main(["prepare", str(root), "--model", "second", "--size", "small", "--workers", "1"])
    return root


@pytest.fixture
def data(prepared, tmp_path) -> Path:
    """A folder in which all is well: links to a prepared one."""
    root = tmp_path / "data"
    for path in sorted(prepared.rglob("*")):
        target = root / path.relative_to(prepared)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    return root


def of_data(root: Path) -> dict[str, tuple[str, str]]:
    """State and advice of the findings about the data, by name."""
    findings = examine(root)
    names = [finding.name for finding in findings]
    own = findings[names.index("data folder") :]
    return {finding.name: (finding.state, finding.advice) for finding in own}


def test_all_is_well(data):
    found = of_data(data)
    assert {advice for _, advice in found.values()} == {""}
    assert found["data folder"][0] == f"{data}, one's own data"
    assert found["columns"][0] == "x, y, z, intensity (from 0000.npy)"
    assert found["points, labels"][0] == "5 scans, 5 labelled frames"
    (data / "gt_database" / "0000_Car_9.bin").touch()  # of a label that was taken away
    found = of_data(data)
    assert found["custom_infos_train.pkl"][0] == "4 frames, format 1"
    assert found["custom_dbinfos_train.pkl"][0] == "there; lists 16 objects"
    assert "objects of 5 frames" in found["labelled frames"][0]
    findings = examine(data, str(data / "second_custom.yaml"))
    assert any("out of range" in finding.state for finding in findings)


def rewrite(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        (lambda root: (root / "points/0003.npy").unlink(), "points, labels", "1 labelled frames"),
        (
            lambda root: (root / "labels/a b.txt").touch(),
            "points, labels",
            "expected names of frames without blanks, got 'a b': rename it",
        ),
        (
            lambda root: (root / "ImageSets/val.txt").unlink(),
            "ImageSets/val.txt",
            "is missing: to draw it, run `pcdet-custom prepare",
        ),
        (
            lambda root: (root / "custom_infos_val.pkl").unlink(),
            "custom_infos_val.pkl",
            "is missing: run `pcdet-custom prepare",
        ),
        (
            lambda root: rewrite(root / "labels/0001.txt", "1 2 3 4 2 1.5 0 Car\n"),
            "custom_infos_train.pkl",
            "labels/0001.txt: changed since the infos were made",
        ),
        (
            lambda root: rewrite(root / "ImageSets/train.txt", "0000\n0001\n"),
            "custom_infos_train.pkl",
            "holds 4 frames and ImageSets/train.txt 2",
        ),
        (
            lambda root: (root / "custom_dbinfos_train.pkl").unlink(),
            "custom_dbinfos_train.pkl",
            "is missing: run `pcdet-custom prepare",
        ),
        (
            lambda root: rewrite(root / "custom_dbinfos_train.pkl", "database"),
            "custom_dbinfos_train.pkl",
            "not a pickle of plain data",
        ),
        (
            lambda root: rewrite(root / "dataset.yaml", "COLUMNS: 4\n"),
            "columns",
            "dataset.yaml: expected the key POINT_COLUMNS alone",
        ),
    ],
)
def test_what_is_amiss_is_told(data, change, name, told):
    (data / "dataset.yaml").write_text("POINT_COLUMNS: [x, y, z, intensity]\n")
    change(data)
    assert told in of_data(data)[name][1]


def test_the_yaml_leads_to_the_folder(prepared, capsys):
    yaml = prepared / "second_custom.yaml"
    assert default_data_path(str(yaml)) == prepared
    assert main(["--cfg_file", str(yaml)]) == 0
    assert "one's own data" in capsys.readouterr().out


def test_commands_name_the_folder_as_a_shell_takes_it(data):
    root = data.rename(data.parent / "my data")
    (root / "custom_infos_val.pkl").unlink()
    told = of_data(root)["custom_infos_val.pkl"][1]
    assert told.endswith(f"run `pcdet-custom prepare '{root}'`")
