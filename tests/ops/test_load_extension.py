"""What a user reads when an extension is missing or broken."""

from __future__ import annotations

import importlib.util

import pytest

from pcdet.ops.common import load_extension
from pcdet.ops.plain_functions import load_functions


def test_not_compiled():
    with pytest.raises(ImportError, match=r"pcdet\.ops\.nothing is not compiled; run `pip install"):
        load_extension("pcdet.ops.nothing")


def test_plain_functions_do_not_load(tmp_path):
    with pytest.raises(ImportError, match=r"does not load; compile it again"):
        load_functions(str(tmp_path / "none.so"), {})
    older = importlib.util.find_spec("_ctypes").origin  # a library without the functions
    with pytest.raises(ImportError, match=r"does not load; compile it again: .*undefined symbol"):
        load_functions(older, {"pcdet_matched_scores": None})


def test_does_not_load():
    with pytest.raises(ImportError, match=r"does not load with torch .*; compile it again"):
        load_extension("pcdet.ops.common")  # not a library at all
