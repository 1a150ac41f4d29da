"""Writes the scene viewer: one HTML file that needs neither a server nor a network."""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from pcdet.utils import palette
from pcdet.utils.errors import DataError, PcdetError
from pcdet.utils.io_utils import atomic_write, read_file
from pcdet.utils.visualize_utils import EDGES, FRONT
from pcdet.viewer import packing
from pcdet.viewer.scene import OVERLAP_CHOICES, HitRules, Scene

ASSETS = Path(__file__).resolve().parent / "assets"
_SCRIPTS = ("outcomes.js", "drawing.js", "controls.js")
# k3d ships its JavaScript, which holds three.js, in its Python package.
_LIBRARY = Path("static") / "standalone.js"
_FONT_FILES = re.compile(rb"""(src:|,)url\(fonts/[^)]*\) format\([^)]*\)""")
# The page begins with this least score.
FIRST_SCORE = 0.3
_COLOURS = {
    "classes": palette.CLASSES,
    "found": palette.FOUND,
    "hit": palette.HIT,
    "detection": palette.HIT,
    "missed": palette.MISSED,
    "false positive": palette.FALSE_POSITIVE,
    "ignored": palette.IGNORED,
}


def write_page(
    scenes: Iterable[Scene], class_names: Sequence[str], path: str | Path, title: str
) -> int:
    """Write scenes as a page of its own.

    Args:
        scenes: drawn and packed one by one, so that many need little memory.
        class_names: the model's classes; their order decides the colours.
        path: of the .html file.
        title: of the page.

    Returns:
        The size of the file in bytes.

    Raises:
        DataError: there is no scene.
        PcdetError: k3d is not installed.
    """
    described, data, hits = [], [], HitRules()
    for k, scene in enumerate(scenes):
        described.append(packing.describe_scene(scene, class_names))
        hits = scene.hits
        for j, points in enumerate(packing.clouds_of(scene)):
            data.append(_block(f"points-{k}-{j}", packing.pack_points(points)))
        if scene.image is not None:
            data.append(_block(f"image-{k}", packing.image_url(scene.image)))
    if not described:
        raise DataError(f"{path}: no frame to show")
    index = {
        "scenes": described,
        "classes": list(class_names),
        "step": packing.STEP,
        "edges": EDGES.tolist(),
        "front": list(FRONT),
        "score": FIRST_SCORE,
        "colours": _COLOURS,
    }
    content = (
        Template(_asset("viewer.html"))
        .substitute(
            title=html.escape(title),
            css=_asset("viewer.css"),
            script="\n".join(_asset(name) for name in _SCRIPTS),
            library=packing.pack(library_source()),
            index=packing.pack_json(index),
            data="\n".join(data),
            **{choice: _overlap_words(hits, choice, class_names) for choice in OVERLAP_CHOICES},
        )
        .encode()
    )
    with atomic_write(path) as file:
        file.write(content)
    return len(content)


def library_source() -> bytes:
    """The JavaScript of the installed k3d, found without importing it and all of Jupyter.

    Raises:
        PcdetError: k3d is not installed.
    """
    spec = importlib.util.find_spec("k3d")
    if spec is None or spec.origin is None:
        raise PcdetError("the scene viewer needs the package k3d: pip install 'k3d>=3.2,<4'")
    source = read_file(Path(spec.origin).parent / _LIBRARY, "JavaScript of k3d")
    # Fonts for formulas lie beside it and not in it; no formula is drawn here.
    return _FONT_FILES.sub(b"", source)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _block(name: str, text: str) -> str:
    return f'<script type="application/octet-stream" id="{name}">{text}</script>'


def _overlap_words(hits: HitRules, choice: str, class_names: Sequence[str]) -> str:
    """Such as "0.7 / 0.5 / 0.5"."""
    return " / ".join(f"{hits.overlap(name, choice):g}" for name in class_names)
