"""Scans of every form, what is refused, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.utils.errors import DataError
from pcdet.utils.point_files import SCAN_SUFFIXES, list_scans, read_points, read_rows
from scan_files import made_scan, write_pcd, write_ply

SCAN = made_scan()
RING = (np.arange(len(SCAN)) % 64)[:, None]
TIME = np.linspace(0, 0.1, len(SCAN))[:, None]
NORMALS = np.random.default_rng(1).normal(size=(len(SCAN), 3)) / 2


def columns_of(name: str) -> np.ndarray:
    xyz, intensity = SCAN[:, :3], SCAN[:, 3:]
    return {
        "3": xyz,
        "4": SCAN,
        "4, intensity 0": np.c_[xyz, 0 * intensity],
        "4, intensity to 255": np.c_[xyz, np.rint(255 * intensity)],
        "4, two returns": np.repeat(SCAN, 2, axis=0),
        "4, in front": SCAN[SCAN[:, 0] > 0],
        "5, ring": np.c_[xyz, 255 * intensity, RING],
        "5, time": np.c_[xyz, intensity, TIME],
        "6, normals": np.c_[xyz, NORMALS],
        "6, ring and time": np.c_[xyz, intensity, RING, TIME],
        "7, normals": np.c_[xyz, intensity, NORMALS],
        "8": np.c_[xyz, intensity, RING, TIME, 0 * TIME, 0 * TIME],
        "9": np.c_[xyz, intensity, RING, TIME, 0 * TIME, RING, RING],
    }[name].astype(np.float32)


ALL = ["3", "4", "4, intensity 0", "4, intensity to 255", "4, two returns", "4, in front"]
ALL += ["5, ring", "5, time", "6, normals", "6, ring and time", "7, normals", "8", "9"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("claimed", [3, 4, 5, 6])
def test_rows_cut_at_the_wrong_places_are_refused_whatever_the_size(tmp_path, name, claimed):
    rows = columns_of(name)
    rows = rows[: len(rows) // 60 * 60]  # a multiple of any number of columns
    rows.tofile(tmp_path / "scan.bin")
    if claimed == rows.shape[1]:
        np.testing.assert_array_equal(read_points(tmp_path / "scan.bin", claimed), rows)
    else:
        count = rows.shape[1]
        remedy = (
            "add an intensity" if count == 3 else f"`--set .*NUM_POINT_FEATURES.total {count}` "
        )
        told = rf"scan\.bin: .*looks like {count} columns: {remedy}"
        with pytest.raises(DataError, match=told):
            read_points(tmp_path / "scan.bin", claimed)


def test_a_size_that_does_not_divide_tells_the_columns_too(tmp_path):
    columns_of("5, ring")[:999].tofile(tmp_path / "scan.bin")
    with pytest.raises(DataError, match=r"multiple of 16 bytes.* looks like 5 columns: `--set"):
        read_points(tmp_path / "scan.bin", 4)


@pytest.mark.parametrize(
    ("content", "likeness"),
    [
        (SCAN.astype(np.float64).tobytes(), "looks like 4 columns of float64"),
        (SCAN[:999, :3].astype(np.float64).tobytes(), "looks like 3 columns of float64"),
        (SCAN.astype(">f4").tobytes(), "looks like 4 columns of float32 in big-endian order"),
        (SCAN.astype(">f8").tobytes(), "looks like 4 columns of float64 in big-endian order"),
        (np.tile(SCAN, (3, 1)).T.tobytes(), "looks like all x, then all y"),
        (bytes(8) + SCAN.tobytes() + bytes(8), "looks like a header or 4 columns in another order"),
        (SCAN[:, [0, 1, 3, 2]].tobytes(), "4 columns in another order, not x, y, z first"),
        (SCAN.tobytes()[:-3], "multiple of 16 bytes.* looks like 4 columns, cut short"),
        (b"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n" * 4, r"a \.pcd file"),
        (b"ply\nformat ascii 1.0\n" + bytes(300), r"a \.ply file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "a Git LFS pointer: fetch the file itself",
        ),
        (b"\x93NUMPY\x01\x00" + bytes(312), r"a \.npy file"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (b"1.0 2.0 3.0 0.5\n" * 40, "looks like text"),
        (np.random.default_rng(0).bytes(64000), "looks like no scan"),
        (np.zeros((1000, 4), np.float32).tobytes(), "x is 0 in all points"),
        (np.full((1000, 4), np.nan, np.float32).tobytes(), "not finite"),
        (np.c_[SCAN[:, :2], 0 * SCAN[:, 3:], SCAN[:, 3:]].tobytes(), "z is 0 in all points"),
    ],
)
def test_what_is_no_scan_is_called_by_its_name(tmp_path, content, likeness):
    (tmp_path / "scan.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"scan\.bin: .*{likeness}"):
        read_points(tmp_path / "scan.bin", 4)


def test_what_may_be_a_scan_is_left_to_others(tmp_path):
    """No points, few points, some or most of an organised cloud without; coordinates of a map."""
    damaged, organised = SCAN.copy(), SCAN.copy()
    damaged[::10] = np.nan
    organised[np.random.default_rng(0).uniform(size=len(SCAN)) < 0.8] = np.nan
    far = SCAN + np.float32([724706.22, 5649433.6, 275.16, 0])
    for points in (SCAN[:0], SCAN[:3], 0 * SCAN[:10], damaged, organised, far, 1000 * SCAN):
        points.tofile(tmp_path / "scan.bin")
        np.testing.assert_array_equal(read_points(tmp_path / "scan.bin", 4), points)


def test_rows_of_an_object_may_be_any(tmp_path):
    rows = np.zeros((100, 4), np.float32)
    rows.tofile(tmp_path / "object.bin")
    np.testing.assert_array_equal(read_rows(tmp_path / "object.bin", 4), rows)


@pytest.mark.parametrize("form", ["float32", "float64", "in one row", "fields", "Fortran order"])
def test_numpy(tmp_path, form):
    array = {
        "float32": SCAN,
        "float64": SCAN.astype(np.float64),
        "in one row": SCAN.ravel(),
        "fields": np.rec.fromarrays(SCAN.T[[3, 1, 0, 2]], names="intensity,y,x,z"),
        "Fortran order": np.asfortranarray(SCAN),
    }[form]
    np.save(tmp_path / "scan.npy", array)
    np.testing.assert_array_equal(read_points(tmp_path / "scan.npy", 4), SCAN)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (SCAN[:, :3], r"got an array of shape \(6000, 3\)"),
        (SCAN.T, r"shape \(4, 6000\): transpose it"),
        (columns_of("5, ring").ravel(), "looks like 5 columns: `--set"),
        (SCAN > 0, "expected an array of numbers, got bool"),
        (0 * SCAN, "x is 0 in all points"),
        (np.rec.fromarrays(SCAN.T, names="a,b,c,d"), "got the fields a b c d"),
    ],
)
def test_numpy_that_does_not_fit(tmp_path, array, message):
    np.save(tmp_path / "scan.npy", array)
    with pytest.raises(DataError, match=rf"scan\.npy: .*{message}"):
        read_points(tmp_path / "scan.npy", 4)


def test_archives_and_pickles_of_numpy_are_refused(tmp_path):
    np.savez(tmp_path / "scan.npz", points=SCAN)
    (tmp_path / "scan.npz").rename(tmp_path / "archive.npy")
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"archive\.npy: .*archive"):
        read_points(tmp_path / "archive.npy", 4)
    with pytest.raises(DataError, match=r"pickle\.npy: no array of numbers"):
        read_points(tmp_path / "pickle.npy", 4)


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path, form):
    rows = columns_of("5, ring")
    write_pcd(tmp_path / "scan.pcd", rows[:, [0, 1, 2, 4, 3]], form, "x y z ring intensity")
    np.testing.assert_array_equal(read_points(tmp_path / "scan.pcd", 5), rows)
    np.testing.assert_array_equal(read_points(tmp_path / "scan.pcd", 4), rows[:, :4])
    np.testing.assert_array_equal(read_points(tmp_path / "scan.pcd", 3), rows[:, :3])


@pytest.mark.parametrize("suffix", [".pcd", ".ply", ".npy"])
def test_columns_are_taken_by_their_names(tmp_path, suffix):
    rows = columns_of("5, ring")
    names, path = "ring x z y Reflectivity", tmp_path / f"scan{suffix}"
    stored = rows[:, [4, 0, 2, 1, 3]]
    if suffix == ".pcd":
        write_pcd(path, stored, "binary", names)
    elif suffix == ".ply":
        write_ply(path, stored, "ascii", names)
    else:
        row = np.dtype([(name, "<f4") for name in names.split()])
        np.save(path, np.ascontiguousarray(stored).view(row)[:, 0])
    for columns, expected in (
        (("x", "y", "z", "intensity"), [0, 1, 2, 3]),
        (("x", "y", "z", "reflectivity", "channel"), [0, 1, 2, 3, 4]),
        (("x", "y", "z", "ring", "intensity"), [0, 1, 2, 4, 3]),
        (("x", "y", "z", "intensity", "column_4"), [0, 1, 2, 3, 4]),
    ):
        points = read_points(path, len(columns), columns)
        np.testing.assert_array_equal(points, rows[:, expected], err_msg=str(columns))
    told = (
        f"scan{suffix}: no field time and no field intensity2, of the columns x, y, z, time, "
        r"intensity2 \(POINT_COLUMNS\); its fields are ring, x, z, y, reflectivity"
    )
    with pytest.raises(DataError, match=told):
        read_points(path, 5, ("x", "y", "z", "time", "intensity2"))


def test_a_field_is_taken_once_and_an_exact_name_goes_first(tmp_path):
    rows = columns_of("5, ring")
    write_pcd(tmp_path / "scan.pcd", rows, "binary", "x y z reflectivity intensity")
    columns = ("x", "y", "z", "intensity", "reflectivity")
    points = read_points(tmp_path / "scan.pcd", 5, columns)
    np.testing.assert_array_equal(points, rows[:, [0, 1, 2, 4, 3]])
    with pytest.raises(DataError, match="no field i, of"):
        read_points(tmp_path / "scan.pcd", 6, (*columns, "i"))
    write_pcd(tmp_path / "scan.pcd", rows, "binary", "x y z X intensity")
    with pytest.raises(DataError, match="expected each field once, got x y z X intensity"):
        read_points(tmp_path / "scan.pcd", 4)


def test_pcd_with_padding_and_fields_of_several_numbers(tmp_path):
    row = np.dtype(
        [("x", "<f4"), ("p", "u1", 4), ("y", "<f4"), ("z", "<f8"), ("q", "u1"), ("i", "<u2")]
    )
    rows = np.zeros(len(SCAN), row)
    rows["x"], rows["y"], rows["z"] = SCAN[:, :3].T
    rows["i"] = 1000 * SCAN[:, 3]
    header = (
        "VERSION .7\nFIELDS x _ y z _ intensity\nSIZE 4 1 4 8 1 2\nTYPE F U F F U U\n"
        f"COUNT 1 4 1 1 1 1\nWIDTH {len(SCAN)}\nHEIGHT 1\nPOINTS {len(SCAN)}\nDATA binary\n"
    )
    (tmp_path / "scan.pcd").write_bytes(header.encode() + rows.tobytes())
    points = read_points(tmp_path / "scan.pcd", 4)
    np.testing.assert_array_equal(points[:, :3], SCAN[:, :3])
    np.testing.assert_array_equal(points[:, 3], rows["i"])
    with pytest.raises(DataError, match="expected x, y, z and 2 more numbers"):
        read_points(tmp_path / "scan.pcd", 5)


def test_pcd_without_a_number(tmp_path):
    (tmp_path / "scan.pcd").write_bytes(
        b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 0 0 0\nWIDTH 9\nHEIGHT 1\nDATA binary\n"
    )
    with pytest.raises(DataError, match="expected fields of points, got COUNT 0 0 0"):
        read_points(tmp_path / "scan.pcd", 4)


@pytest.mark.parametrize("kind", ["M8[ns]", "c8", "(2,)f4", "U3"])
def test_fields_that_are_no_numbers_are_no_columns(tmp_path, kind):
    rows = np.zeros(len(SCAN), [("x", "f4"), ("y", "f4"), ("z", "f4"), ("t", kind)])
    rows["x"], rows["y"], rows["z"] = SCAN[:, :3].T
    np.save(tmp_path / "scan.npy", rows)
    with pytest.raises(DataError, match="expected a number of each point in the field t"):
        read_points(tmp_path / "scan.npy", 4)
    np.testing.assert_array_equal(read_points(tmp_path / "scan.npy", 3), SCAN[:, :3])


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(tmp_path, form):
    write_ply(tmp_path / "scan.ply", SCAN, form, "x y z scalar_Intensity")
    np.testing.assert_array_equal(read_points(tmp_path / "scan.ply", 4), SCAN)


@pytest.mark.parametrize("name", ["scan.pcd", "scan.ply"])
@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_truncated_files_with_headers(tmp_path, name, form):
    path = tmp_path / name
    if name == "scan.pcd":
        write_pcd(path, SCAN, form, "x y z intensity")
    else:
        write_ply(path, SCAN, form.replace("binary", "binary_little_endian"), "x y z i")
    path.write_bytes(path.read_bytes()[: -len(SCAN)])
    with pytest.raises(DataError, match=rf"{name}: expected .* got \d+"):
        read_points(path, 4)


HEADS = {
    ".pcd": "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 2\nDATA {}\n",
    ".ply": "ply\nformat {} 1.0\nelement vertex 2\n"
    "property float x\nproperty float y\nproperty float z\nend_header\n",
}


@pytest.mark.parametrize("suffix", HEADS)
@pytest.mark.parametrize(
    ("form", "body", "message"),
    [
        ("ascii", b"1 2 3 4 5\n" * 2, "expected 3 numbers in a row, .* the first row has 5"),
        ("ascii", b"1 2 3\n" * 4, "expected 2 rows of 3 numbers, .* header says, got 12 numbers"),
        ("binary", b"points" * 8, "the header says 2 points, 4 follow: correct the header"),
    ],
)
def test_a_header_that_does_not_fit_the_rows_is_refused(tmp_path, suffix, form, body, message):
    name = form.replace("binary", "binary_little_endian") if suffix == ".ply" else form
    (tmp_path / f"scan{suffix}").write_bytes(HEADS[suffix].format(name).encode() + body)
    with pytest.raises(DataError, match=rf"scan\{suffix}: {message}"):
        read_points(tmp_path / f"scan{suffix}", 3)


def test_blank_lines_and_padding_behind_the_points_are_none(tmp_path):
    for form, padding in (("ascii", b"\n \r\n\n"), ("binary", bytes(4096))):
        write_pcd(tmp_path / "scan.pcd", SCAN, form, "x y z intensity")
        with (tmp_path / "scan.pcd").open("ab") as file:
            file.write(padding)
        np.testing.assert_array_equal(read_points(tmp_path / "scan.pcd", 4), SCAN)


def test_width_times_height_must_be_the_number_of_points(tmp_path):
    path = tmp_path / "scan.pcd"
    write_pcd(path, SCAN, "binary", "x y z intensity")
    path.write_bytes(path.read_bytes().replace(b"HEIGHT 1", b"HEIGHT 2"))
    with pytest.raises(DataError, match="POINTS 6000, and WIDTH 6000 times HEIGHT 2, which is 120"):
        read_points(path, 4)


@pytest.mark.parametrize("suffix", SCAN_SUFFIXES)
def test_a_suffix_that_is_wrong_is_told(tmp_path, suffix):
    (tmp_path / f"scan{suffix}").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 2)
    with pytest.raises(DataError, match="it looks like a Git LFS pointer"):
        read_points(tmp_path / f"scan{suffix}", 4)


def test_list_scans(tmp_path):
    with pytest.raises(DataError, match=r"expected scans in it, files \*\.bin, \*\.npy"):
        list_scans(tmp_path)
    with pytest.raises(DataError, match=r"missing\.bin: scan cannot be read"):
        list_scans(tmp_path / "missing.bin")
    for name in ("b.bin", "a.PCD", "c.txt", "d.npy", "e.ply", "._b.bin"):
        (tmp_path / name).touch()
    assert [path.name for path in list_scans(tmp_path)] == ["a.PCD", "b.bin", "d.npy", "e.ply"]
    assert list_scans(tmp_path / "c.txt") == [tmp_path / "c.txt"]
