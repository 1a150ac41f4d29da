"""Examples of the docs: Python is run, command lines are read by their parsers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from inference.test_detector import make_checkpoint, scan
from pcdet.cli import convert, demo, export, release, test, train
from tiny_kitti import calib_text

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "pcdet-convert": convert,
    "pcdet-release": release,
    "pcdet-export": export,
    "tools/demo.py": demo,
    "tools/test.py": test,
    "tools/train.py": train,
}
PAGES = ("checkpoints", "export")


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def command_lines(page: str) -> list[list[str]]:
    """Words of the indented command lines, those that go on in another line joined."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    text = text.replace("\\\n", " ")
    lines = [shlex.split(line) for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE)]
    return [words[words[0] == "python" :] for words in lines]


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
    assert len(python_blocks("detector")) == 2 and len(command_lines("checkpoints")) >= 8


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_understood(page):
    for words in command_lines(page):
        COMMANDS[words[0]].parse_args(words[1:])
