"""Atomic writes, and pickles that cannot run code."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import stat
import threading
from contextlib import nullcontext

import numpy as np
import pytest

from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.io_utils import LateErrors, atomic_write, load_pickle, read_text, save_pickle


def test_plain_data_and_arrays_survive(tmp_path):
    data = {
        "name": np.array(["Car", "Van"]),
        "box": np.arange(6.0).reshape(2, 3),
        "count": np.int32(3),
        "nested": [{"a": (1, 2.5, None, True, b"x")}],
    }
    save_pickle(data, tmp_path / "data.pkl")
    loaded = load_pickle(tmp_path / "data.pkl")
    np.testing.assert_array_equal(loaded["box"], data["box"])
    np.testing.assert_array_equal(loaded["name"], data["name"])
    assert loaded["count"] == 3 and loaded["nested"] == data["nested"]


@pytest.mark.parametrize("protocol", [3, 4, 5])  # what Python 3 writes
def test_every_pickle_protocol_is_read(tmp_path, protocol):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps([np.arange(3.0), np.float64(1.5), np.array(["a"])], protocol))
    np.testing.assert_array_equal(load_pickle(path)[0], np.arange(3.0))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("payload", [Hostile(), [Hostile()], np.array([Hostile()], object)])
def test_a_pickle_that_names_code_is_refused(tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps(payload))
    with pytest.raises(DataError, match=r"hostile\.pkl: not a pickle of plain data"):
        load_pickle(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2, 3])[:-3]])
def test_a_damaged_pickle_is_named(tmp_path, content):
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pkl"):
        load_pickle(path)


def test_a_missing_pickle_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.pkl: cannot be read"):
        load_pickle(tmp_path / "none.pkl")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"new and only half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_durable_write_waits_for_content_and_name(tmp_path, monkeypatch):
    path, waited, fsync = tmp_path / "file.bin", [], os.fsync

    def noted(handle: int) -> None:
        waited.append((os.fstat(handle).st_ino, path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    with atomic_write(path, durable=True) as file:
        file.write(b"x")
    assert waited == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize(("code", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_wait_for_names(tmp_path, monkeypatch, code, fails):
    def refused(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refused)
    expected = pytest.raises(OSError, match="error") if fails else nullcontext()
    with expected, atomic_write(tmp_path / "file.bin", durable=True) as file:
        file.write(b"x")
    assert (tmp_path / "file.bin").read_bytes() == b"x"


def test_written_files_have_the_usual_permissions(tmp_path):
    with atomic_write(tmp_path / "new" / "file.bin") as file:
        file.write(b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "new" / "file.bin").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_stays_and_a_pipe_takes_the_bytes(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to("file.bin")
    with atomic_write(tmp_path / "link.bin") as file:
        file.write(b"new")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "file.bin").read_bytes() == b"new"
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with atomic_write(pipe) as file:
        file.write(b"through")
    reader.join()
    assert read == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_named_as_it_was_given(tmp_path):
    with pytest.raises(IsADirectoryError) as error, atomic_write(tmp_path) as file:
        file.write(b"x")
    assert error.value.filename == str(tmp_path)
    path = tmp_path / "file.bin"
    with pytest.raises(OSError, match="No space left") as error, atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does
    assert error.value.filename == str(path) and not path.exists()
    assert str(error.value).endswith(f"No space left on device: '{path}'")


def test_text_is_utf_8(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffä\nb\n".encode())
    assert read_text(tmp_path / "a.txt") == "ä\nb\n"
    (tmp_path / "a.txt").write_bytes("a\nFußgänger\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt:2: expected text in UTF-8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("error", [OSError(28, "full", "a.png"), DataError("a"), ConfigError("a")])
def test_errors_of_what_is_written_besides_come_late(error):
    late = LateErrors(logging.getLogger("pcdet"))
    with late.noted():
        raise error
    with pytest.raises(DataError, match=r"^a.*not written: 1, all else was done"):
        late.raise_first()
