"""docs/troubleshooting.md quotes the program: its words are in the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!symptom|---)(.+?) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
QUOTES = [quote for _, said, _ in ROWS for quote in re.findall("`([^`]+)`", said)]


def squeezed(text: str) -> str:
    """With … for the marks of a format, and one blank for several."""
    text = re.sub(r"%[-+.\d]*[a-z]", "…", text.replace("%%", "\0"))
    return re.sub(r"\s+", " ", text.replace("\0", "%"))


@pytest.fixture(scope="module")
def texts() -> str:
    """All texts of the sources, a line each, with … for what is put into them."""
    lines = []
    for path in (ROOT / "setup.py", *sorted((ROOT / "pcdet").rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "") for part in node.values)
                lines.append("".join(p if isinstance(p, str) else "…" for p in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(map(squeezed, lines))


def test_the_most_common_reports_are_there():
    assert len(ROWS) >= 30 and sum("`" in said for _, said, _ in ROWS) >= 20


@pytest.mark.parametrize("quote", QUOTES)
def test_the_program_says_so(quote, texts):
    assert quote in texts
