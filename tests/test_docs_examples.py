"""Examples of the docs: Python is run, command lines are read by their parsers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from inference.test_detector import make_checkpoint, scan
from pcdet.cli import convert, custom, demo, export, release, test, train, view
from pcdet.datasets.kitti import command_line
from pcdet.simulator import __main__ as simulator
from tiny_kitti import calib_text

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "pcdet-convert": convert.parse_args,
    "pcdet-custom": custom.parse_args,
    "pcdet-export": export.parse_args,
    "pcdet-release": release.parse_args,
    "pcdet-view": view.parse_args,
    "pcdet.datasets.kitti.kitti_dataset": lambda words: command_line.parse_args(words, ""),
    "pcdet.simulator": simulator.parse_args,
    "tools/demo.py": demo.parse_args,
    "tools/test.py": test.parse_args,
    "tools/train.py": train.parse_args,
    "tools/scripts/dist_test.sh": lambda words: test.parse_args(words[1:]),
    "tools/scripts/dist_train.sh": lambda words: train.parse_args(words[1:]),
}
# How many of their command lines each page has, at least.
PAGES = {"README": 10, "checkpoints": 8, "distributed": 2, "export": 1, "own_data": 6, "viewer": 5}
# A line that begins with a command, to the comment behind three blanks or more.
LINE = re.compile(
    r"^ *(?:\$ )?(?:[A-Z_]+=\d+ )*(?:python (?:-m )?|bash )?"
    r"((?:pcdet[-.]|tools/(?!scripts/slurm))\S* .*?)(?: {3,}.*)?$",
    re.MULTILINE,
)


def text_of(page: str) -> str:
    folder = ROOT if page == "README" else ROOT / "docs"
    text = (folder / f"{page}.md").read_text(encoding="utf-8")
    return re.sub(r"\\\n\s*", "", text)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def command_lines(page: str) -> list[list[str]]:
    """Words of the command lines, those that go on in another line joined."""
    lines = [shlex.split(line, comments=True) for line in LINE.findall(text_of(page))]
    return [words for words in lines if words[1:2] != ["..."]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the examples name, in the working folder."""
    make_checkpoint(tmp_path).rename(tmp_path / "checkpoint.pth")
    (tmp_path / "scans").mkdir()
    for k in range(3):
        scan(k).tofile(tmp_path / "scans" / f"{k}.bin")
    scan(0).tofile(tmp_path / "scan.bin")
    (tmp_path / "calib.txt").write_text(calib_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_detectors_examples_run(folder):
    for block in python_blocks("detector"):
        exec(compile(block, "docs/detector.md", "exec"), {})
    assert (folder / "frame.png").is_file() and (folder / "frame.txt").is_file()


def test_the_exports_examples_run(folder, monkeypatch):
    path = make_checkpoint(folder, "pointpillar")
    export.main([str(path), "--out", str(folder)])
    monkeypatch.syspath_prepend(folder)
    plain, int8 = python_blocks("export")
    names: dict = {}
    exec(compile(plain, "docs/export.md", "exec"), names)
    assert len(names["names"]) == len(names["boxes"])
    exec(compile(int8, "docs/export.md", "exec"), {})
    session = onnxruntime.InferenceSession(folder / "pointpillar_int8.onnx")
    quantised = session.run(None, names["make_pillars"]([scan(0)], names["settings"]))
    for one, other in zip(quantised, names["outputs"]):
        assert np.abs(one - other).max() < 0.1 * np.ptp(other)


def test_there_are_examples():
    assert len(python_blocks("detector")) == 2


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_understood(page):
    lines = command_lines(page)
    assert len(lines) >= PAGES[page]
    for words in lines:
        COMMANDS[words[0]](words[1:])
