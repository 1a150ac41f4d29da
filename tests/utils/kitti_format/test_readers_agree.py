"""What preparation and evaluation read of the same label file."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.label import NUM_LABEL_FIELDS, get_objects_from_label
from pcdet.utils.kitti_format.label_table import read_label_table

LINE = "Car 0.00 1 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE}\n",
        f"\ufeff{LINE}\n",
        f"{LINE} 0.5\n",
        f"{LINE}\n".replace(" 1 ", " 1.0 "),
        f"{LINE}\n".replace(" ", "\t"),
        f"{LINE}\r\n\r\n",
    ],
    ids=["plain", "BOM", "16th column", "1.0 as occlusion", "tabs", "CRLF"],
)
def test_both_read_the_same(tmp_path, text):
    path = tmp_path / "000000.txt"
    path.write_bytes(text.encode())
    (obj,) = get_objects_from_label(path)
    table = read_label_table([path], NUM_LABEL_FIELDS)
    assert obj.cls_type == table.names[0] == "Car"
    assert obj.occlusion == table.values[0, 1] == 1
    np.testing.assert_array_equal(table.values[0, 3:7].astype(np.float32), obj.box2d)
    assert obj.ry == table.values[0, -1] == -1.59


@pytest.mark.parametrize("text", [LINE.replace(" 1 ", " 0.5 "), f"{LINE} 0.5 7"])
def test_both_refuse_the_same(tmp_path, text):
    path = tmp_path / "000000.txt"
    path.write_text(text)
    for read in (get_objects_from_label, lambda p: read_label_table([p], NUM_LABEL_FIELDS)):
        with pytest.raises(DataError, match=r"000000\.txt:( line )?1: .*expected"):
            read(path)


def test_sizes_name_file_and_line(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_text(f"{LINE}\n{LINE.replace(' 3.64 ', ' -4.2 ')}\n")
    message = r"object 1 \(Car\): expected height, .* > 0, got .*-4\.2.*000000\.txt: line 2"
    with pytest.raises(DataError, match=message):
        get_objects_from_label(path, need_sizes=True)
