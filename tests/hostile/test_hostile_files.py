"""Damaged files of every kind that a command reads: the right result, or an error that names them.

A short run; `make fuzz` makes the long one (fuzz.py).
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.kinds import KINDS, data_folder, outcome
from hostile.mutations import mutate, mutations_for
from pcdet.utils.errors import PcdetError

EXAMPLES = 8


def strategy(form: str):
    name = st.sampled_from(list(mutations_for(form)))
    one = st.tuples(name, st.floats(0, 1), st.integers(0, 1 << 20))
    return st.lists(one, min_size=1, max_size=3)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")  # of torch and NumPy, about what is refused afterwards
def test_damaged_files(name):
    kind = KINDS[name]
    good = (data_folder() / kind.path).read_bytes()
    suppressed = [HealthCheck.too_slow]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=suppressed)
    @given(strategy(kind.form))
    def check(mutations):
        outcome(kind, mutate(good, kind.form, mutations))

    assert outcome(kind, None) == "right"
    check()


def in_place_of(path, what):
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link to nothing":
        path.symlink_to(path.with_name("nothing"))
    elif what == "device":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "link to nothing", "device"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_file(name, what):
    """None of them may be waited for, or read without end."""
    kind, root = KINDS[name], data_folder()
    if kind.optional and what in ("nothing", "link to nothing"):
        pytest.skip("an optional file: its reader goes on without it")
    path = root / kind.path
    aside = path.rename(path.with_name("aside"))
    try:
        in_place_of(path, what)
        with pytest.raises(PcdetError) as error:
            kind.read(root)
        assert path.name in str(error.value) or path.stem in str(error.value)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)
