"""The decorator of what numba compiles."""

from __future__ import annotations

from numba.core import caching

from pcdet.utils.compiling import compiled, is_kept


def half(x):
    return x / 2


def test_a_function_is_kept_where_its_folder_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    function = compiled(error_model="numpy")(half)
    assert not is_kept(function)
    assert function(3) == 1.5
    assert is_kept(function) and is_kept(compiled(error_model="numpy")(half))
    assert list(tmp_path.rglob("*.nbc"))


def test_without_a_folder_that_can_be_written_a_function_is_compiled_all_the_same(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    function = compiled(error_model="numpy")(half)
    assert function(3) == 1.5 and function.targetoptions["error_model"] == "numpy"
    assert not is_kept(function)
