"""What a user reads when an extension is missing or broken."""

from __future__ import annotations

import pytest

from pcdet.ops.common import load_extension


def test_not_compiled():
    with pytest.raises(ImportError, match=r"pcdet\.ops\.nothing is not compiled; run `pip install"):
        load_extension("pcdet.ops.nothing")


def test_does_not_load():
    with pytest.raises(ImportError, match=r"does not load with torch .*; compile it again"):
        load_extension("pcdet.ops.common")  # not a library at all
