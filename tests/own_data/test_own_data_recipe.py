"""Range, voxels, anchors and yaml from the labels of a folder."""

from __future__ import annotations

import time

import numpy as np
import pytest
import yaml
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file, find_yaml
from pcdet.datasets.custom.folder import CustomFolder
from pcdet.datasets.custom.infos import infos_path, load_infos
from pcdet.own_data.anchors import ROTATIONS, best_anchor_overlaps, choose_anchors, length_groups
from pcdet.own_data.facts import folder_warnings
from pcdet.own_data.grid import choose_grid
from pcdet.own_data.objects import ObjectTable
from pcdet.own_data.prepare import choose_classes, read_folder, write_infos
from pcdet.own_data.splits import complete_splits, write_drawn
from pcdet.own_data.yaml_text import yaml_text
from pcdet.utils.box_utils import nearest_iou_similarity
from pcdet.utils.errors import DataError
from tiny_custom import make_tiny_custom


def table(boxes, name="Car"):
    boxes = np.array(boxes, dtype=np.float64)
    count = len(boxes)
    return ObjectTable(["0"], np.zeros(count, int), np.array([name] * count), boxes, np.ones(count))


def car(x, y, z=-1.7, length=4.0):
    return [x, y, z, 1.6, length, 1.5, 0]


def template(name):
    return cfg_from_yaml_file(find_yaml(f"{name}.yaml"), EasyDict())


@pytest.mark.parametrize("name", ["second", "second_demo", "pointpillar", "PartA2", "PartA2_demo"])
@pytest.mark.parametrize("boxes", [[car(5, 2), car(60, -30)], [car(-40, 3), car(33, -25)]])
def test_the_range_holds_the_objects_in_sides_that_fit(name, boxes):
    config = template(name)
    grid = choose_grid(table(boxes), config)
    low, high = np.array(grid.range[:3]), np.array(grid.range[3:])
    for box in boxes:
        assert (low < np.subtract(box[:3], [0, 0, 0.3])).all() and (
            np.add(box[:3], [0, 0, 1.5]) < high
        ).all()
    assert low[1] == -high[1]  # a flip must not move objects out of it
    strides = 1 if name == "pointpillar" else 8
    strides *= int(np.prod(config.MODEL.RPN.RPN_HEAD.ARGS.layer_strides))
    np.testing.assert_allclose((high - low) / grid.voxel_size, grid.cells, atol=1e-3)
    assert grid.cells[0] % strides == 0 and grid.cells[1] % strides == 0
    usual = config.DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE
    assert grid.voxel_size[0] >= usual[0] and grid.voxel_size[2] >= usual[2]


def test_the_network_sees_no_more_than_it_must():
    front = choose_grid(table([car(5, 2), car(60, -30)]), template("second"))
    assert front.range[0] == 0 and "none behind" in front.reasons["range"]
    around = choose_grid(table([car(-40, 2), car(60, -30)]), template("second"))
    assert around.range[0] < -41 and "1 of them behind" in around.reasons["range"]


def test_a_few_objects_of_many_may_lie_outside():
    boxes = [car(x, y) for x in range(5, 40) for y in range(-10, 10)] + [car(9000, 0)]
    grid = choose_grid(table(boxes), template("second"))
    assert grid.range[3] < 50 and grid.range[0] == 0
    assert "of which lie in it" in grid.reasons["range"]


def test_objects_in_map_coordinates_are_refused():
    with pytest.raises(DataError, match=r"within 100 m of the sensor, the nearest at 5423100 m: "):
        choose_grid(table([car(500000, 5400003), car(500010, 5400000)]), template("second"))


def test_heights_follow_the_sensor():
    grid = choose_grid(table([car(10, 0, z=-5.2), car(20, 0, z=-4.8)]), template("second"))
    assert grid.range[2] == pytest.approx(-5.7) and grid.range[5] == pytest.approx(-1.7)
    mistyped = choose_grid(
        table([car(10, 0, z=-5.2), car(20, 0, z=895), car(20, 0, z=-4.8)]), template("second")
    )
    assert mistyped.range[2::3] == grid.range[2::3]
    tall = [10, 0, -2, 2.5, 10, 6.0, 0]
    grid = choose_grid(table([tall]), template("second"))
    assert grid.range[5] >= 4.5 and grid.cells[2] == 40


def test_anchors_are_medians():
    boxes = [car(5, 0, z=-1.5, length=3.8), car(9, 0, length=4.0), car(12, 3, z=-1.9, length=9.0)]
    choice = choose_anchors(table(boxes), 0.4)
    assert choice.sizes == [[1.6, 4.0, 1.5]] and choice.bottom == -1.7
    assert (choice.matched, choice.unmatched) == (0.6, 0.45)


def test_two_groups_of_lengths_make_two_anchors():
    rng = np.random.default_rng(0)
    lengths = np.concatenate((rng.normal(4, 0.2, 30), rng.normal(9, 0.5, 10)))
    short, long = length_groups(lengths)
    assert (lengths[short] < 6).all() and (lengths[long] > 6).all() and len(long) == 10
    choice = choose_anchors(table([car(10, k, length=v) for k, v in enumerate(lengths)]), 0.4)
    assert len(choice.sizes) == 2 and choice.sizes[0][1] < 4.3 < 8.5 < choice.sizes[1][1]
    assert "two groups" in choice.reasons["sizes"]


@pytest.mark.parametrize("seed", range(3))
def test_groups_and_overlaps_are_those_of_a_plain_count(seed):
    rng = np.random.default_rng(seed)
    lengths = np.sort(np.concatenate((rng.normal(4, 0.3, 40), rng.normal(5 + 3 * seed, 0.5, 20))))
    costs = {k: k * lengths[:k].var() + (60 - k) * lengths[k:].var() for k in range(6, 55)}
    cut = min(costs, key=costs.get)
    assert [len(group) for group in length_groups(lengths)] in ([60], [cut, 60 - cut])
    boxes = np.array([[*rng.uniform(-30, 30, 2), -1, 1.6, v, 1.5, v] for v in lengths])
    sizes = np.array([[1.6, 4.0, 1.5], [2.0, 9.0, 3.0]])
    expected = []
    for box in boxes:
        place = [*np.round(box[:2] / 0.4) * 0.4, -1]
        anchors = np.array([[*place, *size, turn] for size in sizes for turn in ROTATIONS])
        expected.append(nearest_iou_similarity(box[None], anchors).max())
    np.testing.assert_allclose(best_anchor_overlaps(boxes, sizes, 0.4), expected, atol=1e-12)


def test_a_hundred_thousand_objects_are_divided_at_once():
    lengths = np.random.default_rng(0).permutation(np.repeat([4.0, 9.0], 50_000))
    start = time.perf_counter()
    assert [len(group) for group in length_groups(lengths)] == [50_000, 50_000]
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    "lengths",
    [[4.0], [4.0] * 20, np.random.default_rng(1).normal(4, 0.4, 50), [*([4.0] * 30), 9.0, 9.1]],
)
def test_one_group_stays_one(lengths):
    (group,) = length_groups(np.array(lengths))
    assert len(group) == len(lengths)


def test_small_objects_get_thresholds_that_they_reach():
    rng = np.random.default_rng(0)
    people = [[*rng.uniform(-20, 20, 2), -1.7, 0.5, 0.5, 1.7, 0] for _ in range(200)]
    choice = choose_anchors(table(people), 0.8)
    best = best_anchor_overlaps(np.array(people), np.array([[0.5, 0.5, 1.7]]), 0.8)
    assert choice.matched == 0.3 and choice.unmatched < choice.matched
    # By hand: an offset of a quarter of the side along both axes leaves (3/4)^2 of the area.
    box = np.array([[0.125, 0.125, 0, 0.5, 0.5, 1.7, 0]])
    shared = 0.375**2
    overlap = best_anchor_overlaps(box, np.array([[0.5, 0.5, 1.7]]), 10.0)[0]
    assert overlap == pytest.approx(shared / (2 * 0.25 - shared)) and len(best) == 200


def test_yaml_text_is_read_back_as_it_was():
    config = {
        "A": {"b": [1, 2.5, -1e-7], "c": None, "d": True, "e": "it's", "f": {}},
        "G": [{"h": [[1.0, 2]], "i": 0}, {"h": [], "i": 1}],
        "OVERLAPS": {"1": 0.5, "yes": 0.5, "null": 0.7, "it's": 0.5, "[a": 0.5, "叉车": 0.5},
    }
    comments = {"A.b": "from here " * 20, "G.1.h": "of the second", "G.0": "the first"}
    text = yaml_text(config, comments, "head")
    assert yaml.safe_load(text) == config
    assert text.startswith("# head\n") and "# of the second\n    - h: []" in text
    assert max(map(len, text.splitlines())) <= 100


def test_splits_are_drawn_once_and_said(tmp_path):
    folder = CustomFolder(make_tiny_custom(tmp_path, frames=10))
    splits, note = complete_splits(folder)
    assert len(splits["train"]) == 8 and len(splits["val"]) == 2
    assert sorted(splits["train"] + splits["val"]) == folder.labelled_frames()
    assert "drawn at random with seed 0" in note
    assert not (tmp_path / "ImageSets").exists()
    write_drawn(folder, splits)
    assert complete_splits(folder, seed=9) == (splits, "")


def test_a_missing_split_gets_the_other_frames(tmp_path):
    folder = CustomFolder(make_tiny_custom(tmp_path, frames=4))
    lists = tmp_path / "ImageSets"
    lists.mkdir()
    (lists / "train.txt").write_text("0001\n0003\n")
    splits, note = complete_splits(folder)
    assert splits["val"] == ["0000", "0002"] and "val.txt are new" in note
    (lists / "val.txt").write_text("0003\n")
    with pytest.raises(DataError, match=r"val\.txt: 1 of its frames are in train\.txt, too"):
        complete_splits(folder)
    (lists / "val.txt").unlink()
    (lists / "train.txt").write_text("0000\n0001\n0002\n0003\n")
    with pytest.raises(DataError, match="lists all labelled frames"):
        complete_splits(folder)
    (lists / "train.txt").write_text("0001\n0009\n")
    with pytest.raises(DataError, match=r"train\.txt: 1 of its frames have no labels.* is 0009: "):
        complete_splits(folder)


def test_frames_held_out_for_a_test_are_never_drawn(tmp_path):
    folder = CustomFolder(make_tiny_custom(tmp_path, frames=6))
    lists = tmp_path / "ImageSets"
    lists.mkdir()
    (lists / "test.txt").write_text("0000\n0002\n0005\n")
    splits, _ = complete_splits(folder)
    assert sorted(splits["train"] + splits["val"]) == ["0001", "0003", "0004"]
    (lists / "train.txt").write_text("0001\n0004\n")
    assert complete_splits(folder)[0]["val"] == ["0003"]
    (lists / "train.txt").write_text("0001\n0005\n")
    with pytest.raises(DataError, match=r"test\.txt: 1 of its frames are in train\.txt, too"):
        complete_splits(folder)
    told = "1 frames are in train.txt and in test.txt, as 0005"
    assert told in list(folder_warnings(folder, ["Car"]))


def test_labels_of_a_test_are_read_if_all_its_frames_have_some(tmp_path, caplog):
    root = make_tiny_custom(tmp_path, frames=5)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "test.txt").write_text("0000\n0001\n")
    write_infos(read_folder(root, workers=1), workers=1)
    assert [len(i["annos"]["name"]) for i in load_infos(infos_path(root, "test"), True)] == [4, 4]
    (root / "labels" / "0001.txt").unlink()
    write_infos(read_folder(root, workers=1), workers=1)
    assert not any("annos" in info for info in load_infos(infos_path(root, "test"), False))
    assert "test.txt: 1 of its 2 frames have no labels, as 0001" in caplog.text


def test_classes_that_are_left_out_are_told_in_order(tmp_path, caplog):
    root, rare = make_tiny_custom(tmp_path, frames=6), ["Bin", "Cone", "Dog", "Hut", "Post", "Tub"]
    for path in sorted((root / "labels").iterdir())[:2]:
        lines = [f"5 5 -1.5 1 1 1.4 0 {name}\n" for name in rare]
        path.write_text(path.read_text() + "".join(lines))
    assert choose_classes(read_folder(root, workers=1), None) == ["Car", "Forklift"]
    told = [line.split(":")[0] for line in caplog.messages if ": left out" in line]
    assert told == [f"class {name}" for name in rare]


def test_one_frame_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="two frames at least"):
        complete_splits(CustomFolder(make_tiny_custom(tmp_path, frames=1)))
