"""Samples and batches: order and types, randomness, frames with nothing in them, errors."""

from __future__ import annotations

import copy
import logging
import math

import numpy as np
import pytest
import torch
from easydict import EasyDict

from pcdet.datasets.dataset import DatasetTemplate
from pcdet.utils.errors import ConfigError, DataError

DATA_CONFIG = {
    "DATASET": "KittiDataset",
    "DATA_DIR": "data/kitti",
    "FOV_POINTS_ONLY": True,
    "NUM_POINT_FEATURES": {"total": 5, "use": 4},
    "POINT_CLOUD_RANGE": [0, -10, -3, 20, 10, 1],
    "MASK_POINTS_BY_RANGE": True,
    "TRAIN": {"INFO_PATH": [], "SHUFFLE_POINTS": True, "MAX_NUMBER_OF_VOXELS": 500},
    "TEST": {"INFO_PATH": [], "SHUFFLE_POINTS": False, "MAX_NUMBER_OF_VOXELS": 5000},
    "AUGMENTATION": {
        "NOISE_PER_OBJECT": {
            "ENABLED": True,
            "GT_LOC_NOISE_STD": [1.0, 1.0, 0.1],
            "GT_ROT_UNIFORM_NOISE": [-0.78, 0.78],
        },
        "NOISE_GLOBAL_SCENE": {
            "ENABLED": True,
            "GLOBAL_ROT_UNIFORM_NOISE": [-0.78, 0.78],
            "GLOBAL_SCALING_UNIFORM_NOISE": [0.95, 1.05],
        },
        "DB_SAMPLER": {
            "ENABLED": False,
            "DB_INFO_PATH": ["data/kitti/kitti_dbinfos_train.pkl"],
            "PREPARE": {"filter_by_difficulty": [-1], "filter_by_min_points": ["Car:5"]},
            "RATE": 1.0,
            "SAMPLE_GROUPS": ["Car:15"],
            "USE_ROAD_PLANE": False,
        },
    },
    "VOXEL_GENERATOR": {"MAX_POINTS_PER_VOXEL": 3, "VOXEL_SIZE": [0.5, 0.5, 1.0]},
}
CLASSES = ["Car", "Cyclist"]
PART_TARGETS = {"GENERATED_ON": "dataset", "GT_EXTEND_WIDTH": 0.2}


def make_dataset(training, changes=(), part_targets=None, seed=0):
    """A configured template; `changes` are pairs of a key path and its new value."""
    config = EasyDict(copy.deepcopy(DATA_CONFIG))
    for path, value in changes:
        *parents, key = path.split(".")
        section = config
        for parent in parents:
            section = section[parent]
        section[key] = value
    dataset = DatasetTemplate()
    dataset.configure(config, CLASSES, training, part_targets=part_targets, seed=seed)
    return dataset


def make_frame(num_points=3000, names=("Van", "Car", "DontCare", "Cyclist")):
    rng = np.random.default_rng(0)
    points = rng.uniform((-5, -15, -4, 0, 0), (25, 15, 2, 1, 1), (num_points, 5))
    boxes = np.array([[4.0 + 4 * k, 3 * k - 4, -1.5, 1.6, 3.9, 1.5, k] for k in range(len(names))])
    return {
        "sample_idx": "000007",
        "points": points.astype(np.float32),
        "calib": None,
        "gt_boxes_lidar": boxes.reshape(-1, 7),
        "gt_names": np.array(names, dtype=str),
        "image_shape": np.array([375, 1242], np.int32),
    }


OFF = tuple(
    (f"AUGMENTATION.{name}.ENABLED", False) for name in ("NOISE_PER_OBJECT", "NOISE_GLOBAL_SCENE")
)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_test_mode():
    frame = make_frame()
    dataset = make_dataset(training=False)
    sample = dataset.prepare_data(frame)
    np.testing.assert_array_equal(sample["gt_boxes"][:, :7], frame["gt_boxes_lidar"][[1, 3]])
    assert sample["gt_boxes"][:, 7].tolist() == [1, 2]
    low, high = np.array([[0, -10, -3], [20, 10, 1]])
    inside = ((frame["points"][:, :3] >= low) & (frame["points"][:, :3] <= high)).all(axis=1)
    np.testing.assert_array_equal(sample["points"], frame["points"][inside, :4])  # in z as well
    voxels = dataset.voxel_generator.generate(frame["points"][:, :4])
    for key, expected in zip(("voxels", "coordinates", "num_points"), voxels):
        np.testing.assert_array_equal(sample[key], expected)
    size, low = dataset.voxel_generator.voxel_size, dataset.voxel_generator.point_cloud_range[:3]
    centers = (sample["coordinates"][:, ::-1] + 0.5) * size + low
    np.testing.assert_allclose(sample["voxel_centers"], centers)
    assert sample["sample_idx"] == "000007"
    assert "seg_labels" not in sample


@pytest.mark.parametrize("training", [True, False])
def test_a_label_that_counts_as_a_class_does_so_in_training_alone(training):
    """CLASSES are Car and Cyclist; the frame has a Van, a Car and a Cyclist."""
    frame = make_frame()
    dataset = make_dataset(training, (*OFF, ("CLASS_MAP", {"Van": "Car"})))
    labels = dataset.prepare_data(frame)["gt_boxes"][:, 7].tolist()
    assert labels == ([1, 1, 2] if training else [1, 2])
    assert frame["gt_names"].tolist() == ["Van", "Car", "DontCare", "Cyclist"]
    dataset = make_dataset(training, OFF)
    assert dataset.prepare_data(frame)["gt_boxes"][:, 7].tolist() == [1, 2]


def test_a_class_map_to_an_unknown_class_is_named():
    with pytest.raises(ConfigError, match=r"CLASS_MAP.Van: expected one of CLASS_NAMES, .*'Cra'"):
        make_dataset(True, [("CLASS_MAP", {"Van": "Cra"})])


@pytest.mark.parametrize("training", [True, False])
def test_a_training_and_a_test_may_keep_as_many_points_of_a_voxel_as_each_needs(training):
    dataset = make_dataset(training, [("TEST.MAX_POINTS_PER_VOXEL", 40)])
    sample = dataset.prepare_data(make_frame(), has_label=training)
    assert sample["voxels"].shape[1] == (3 if training else 40)


def test_types():
    types = {
        "voxels": np.float32,
        "coordinates": np.int32,
        "num_points": np.int32,
        "voxel_centers": np.float64,
        "points": np.float32,
        "gt_boxes": np.float64,
        "seg_labels": np.int32,
        "part_labels": np.float32,
        "image_shape": np.int32,
    }
    for training in (True, False):
        sample = make_dataset(training, part_targets=PART_TARGETS).prepare_data(make_frame())
        assert {key: sample[key].dtype for key in types} == types


def test_training_mode_without_augmentation():
    frame = make_frame()
    frame["gt_boxes_lidar"][1, 6] = 4.0
    frame["gt_boxes_lidar"][3, 1] = 30.0  # out of the range
    sample = make_dataset(True, OFF).prepare_data(frame, rng=np.random.default_rng(0))
    expected = frame["gt_boxes_lidar"][1].copy()
    expected[6] = 4.0 - 2 * np.pi
    np.testing.assert_allclose(sample["gt_boxes"], [[*expected, 1]])
    points = make_dataset(False).prepare_data(frame)["points"]
    assert not np.array_equal(sample["points"], points)  # shuffled
    np.testing.assert_array_equal(np.sort(sample["points"], axis=0), np.sort(points, axis=0))
    assert len(sample["voxels"]) == 500  # TRAIN's number


@pytest.mark.parametrize("training", [True, False])
def test_arguments_are_not_modified(training):
    frame = make_frame()
    before = copy.deepcopy(frame)
    make_dataset(training).prepare_data(frame)
    assert_same(frame, before)


def test_augmentation_keeps_the_objects_of_the_classes():
    dataset = make_dataset(True, [("POINT_CLOUD_RANGE", [-50, -50, -9, 50, 50, 9])])
    sample = dataset.prepare_data(make_frame(), rng=np.random.default_rng(1))
    assert sample["gt_boxes"][:, 7].tolist() == [1, 2]
    assert not np.isin(sample["gt_boxes"][:, 0], make_frame()["gt_boxes_lidar"][:, 0]).any()
    assert (np.abs(sample["gt_boxes"][:, 6]) <= np.pi).all()


def test_seed_epoch_and_index_decide():
    frame, dataset = make_frame(), make_dataset(True)

    def sample(data, epoch, index):
        data.set_epoch(epoch)
        return data.prepare_data(frame, rng=data.sample_rng(index))

    first = sample(dataset, 3, 5)
    for data, epoch, index in (
        (dataset, 4, 5),
        (dataset, 3, 6),
        (make_dataset(True, seed=1), 3, 5),
    ):
        assert not np.array_equal(sample(data, epoch, index)["points"], first["points"])
    assert_same(sample(dataset, 3, 5), first)
    assert_same(sample(make_dataset(True), 3, 5), first)


def test_seed_is_that_of_torch_if_not_given():
    torch.manual_seed(123)
    assert make_dataset(True, seed=None).seed == 123


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("names", [(), ("DontCare",), ("Van",)])
@pytest.mark.parametrize("num_points", [0, 2000])
def test_frames_with_nothing_in_them(training, names, num_points):
    dataset = make_dataset(training, part_targets=PART_TARGETS)
    sample = dataset.prepare_data(make_frame(num_points, names))
    assert sample["gt_boxes"].shape == (0, 8)
    if not num_points:
        shapes = {"voxels": (0, 3, 4), "coordinates": (0, 3), "num_points": (0,)}
        shapes.update(voxel_centers=(0, 3), points=(0, 4), seg_labels=(0,), part_labels=(0, 3))
        assert {key: sample[key].shape for key in shapes} == shapes
    batch = dataset.collate_batch([sample, sample])
    assert batch["gt_boxes"].shape == (2, 0, 8)
    assert batch["num_voxels"].tolist() == [len(sample["voxels"])] * 2


def test_without_label():
    frame = make_frame()
    del frame["gt_boxes_lidar"], frame["gt_names"]
    for training in (True, False):
        dataset = make_dataset(training, part_targets=PART_TARGETS)
        sample = dataset.prepare_data(frame, has_label=False)
        assert "gt_boxes" not in sample
        assert "gt_boxes" not in dataset.collate_batch([sample])
        labelled = {**dataset.prepare_data(make_frame()), "sample_idx": "000008"}
        for mixed in ([sample, labelled], [labelled, sample]):
            ids = " and ".join(one["sample_idx"] for one in mixed)
            with pytest.raises(DataError, match=rf"samples {ids}: .*\['gt_boxes', .* in one of"):
                dataset.collate_batch(mixed)


def test_points_that_are_not_finite_are_dropped(caplog):
    frame = make_frame(100)
    frame["points"][3, 0], frame["points"][5, 3] = np.nan, np.inf
    with caplog.at_level(logging.WARNING):
        sample = make_dataset(False).prepare_data(frame)
    assert "sample 000007: dropped 2 of 100 points" in caplog.text
    assert np.isfinite(sample["points"]).all()
    assert np.isfinite(sample["voxels"]).all()


def test_part_targets():
    dataset = make_dataset(False, part_targets=PART_TARGETS)
    sample = dataset.prepare_data(make_frame())
    seg, part, reg = dataset.generate_voxel_part_targets(
        sample["voxel_centers"], sample["gt_boxes"][:, :7], sample["gt_boxes"][:, 7].astype(int)
    )
    np.testing.assert_array_equal(sample["seg_labels"], seg)
    np.testing.assert_array_equal(sample["part_labels"], part)
    assert reg is None
    assert set(seg.tolist()) == {-1, 0, 1, 2}
    with pytest.raises(ConfigError, match="GENERATED_ON: dataset"):
        make_dataset(False).generate_voxel_part_targets(sample["voxel_centers"], [], [])


def test_collate_batch():
    dataset = make_dataset(False, part_targets=PART_TARGETS)
    frames = [make_frame(1000), make_frame(0), make_frame(2000, ("Car",))]
    samples = [dataset.prepare_data(frame) for frame in frames]
    batch = dataset.collate_batch(samples)
    counts = [len(sample["voxels"]) for sample in samples]
    assert batch["batch_size"] == 3
    assert batch["num_voxels"].tolist() == counts
    assert batch["num_voxels"].dtype == np.int32
    np.testing.assert_array_equal(batch["coordinates"][:, 0], np.repeat([0, 1, 2], counts))
    for key in ("voxels", "num_points", "voxel_centers", "seg_labels", "part_labels"):
        np.testing.assert_array_equal(batch[key], np.concatenate([s[key] for s in samples]))
    assert batch["coordinates"].dtype == np.int32
    assert batch["points"].dtype == np.float32
    for k, sample in enumerate(samples):
        rows = batch["points"][batch["points"][:, 0] == k]
        np.testing.assert_array_equal(rows[:, 1:], sample["points"])
    assert batch["gt_boxes"].dtype == np.float32
    assert batch["gt_boxes"].shape == (3, 2, 8)
    np.testing.assert_array_equal(batch["gt_boxes"][0], samples[0]["gt_boxes"].astype(np.float32))
    assert batch["gt_boxes"][2, :, 7].tolist() == [1, 0]
    assert batch["image_shape"].tolist() == [[375, 1242]] * 3
    assert batch["sample_idx"] == ["000007"] * 3


def test_a_loader_that_pins_gets_tensors_of_their_final_type():
    dataset = make_dataset(False, part_targets=PART_TARGETS)
    samples = [dataset.prepare_data(make_frame(1000)), dataset.prepare_data(make_frame(0))]
    arrays, tensors = dataset.collate_batch(samples), dataset.collate_tensors(samples)
    assert arrays.keys() == tensors.keys()
    names = {name for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    assert names >= {"voxels", "num_points", "coordinates", "voxel_centers", "points", "gt_boxes"}
    for name in names:
        assert tensors[name].dtype in (torch.float32, torch.int32, torch.int64), name
        np.testing.assert_array_equal(
            tensors[name], arrays[name].astype(tensors[name].numpy().dtype)
        )
    assert isinstance(tensors["num_voxels"], np.ndarray)


def test_arrays_that_nobody_reads_are_left_out():
    dataset = make_dataset(True, part_targets=PART_TARGETS)
    whole = dataset.prepare_data(make_frame(), rng=np.random.default_rng(0))
    dataset.unused = frozenset({"points", "voxel_centers", "coordinates"})
    part = dataset.prepare_data(make_frame(), rng=np.random.default_rng(0))
    assert whole.keys() - part.keys() == {"points", "voxel_centers"}
    assert_same({name: whole[name] for name in part}, part)
    batch = dataset.collate_batch([part, part])
    assert len(batch["coordinates"]) == 2 * len(part["voxels"])
    assert not {"points", "voxel_centers"} & batch.keys()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("VOXELGENERATOR", {}, "DATA_CONFIG: unknown key 'VOXELGENERATOR'"),
        ("TRAIN", {"INFO_PATH": []}, "DATA_CONFIG.TRAIN: the key 'SHUFFLE_POINTS' is missing"),
        ("VOXEL_GENERATOR.VOXELSIZE", 1, "VOXEL_GENERATOR: unknown key 'VOXELSIZE'"),
        ("VOXEL_GENERATOR.VOXEL_SIZE", [1, 2], "VOXEL_SIZE: expected 3 numbers"),
        ("POINT_CLOUD_RANGE", "all", "POINT_CLOUD_RANGE: expected 6 numbers, got 'all'"),
        ("NUM_POINT_FEATURES.use", 6, "expected 3 <= use <= total"),
        ("AUGMENTATION.FLIP", True, "AUGMENTATION: unknown key 'FLIP'"),
        ("AUGMENTATION.NOISE_PER_OBJECT.ENABLE", True, "NOISE_PER_OBJECT: unknown key 'ENABLE'"),
        (
            "AUGMENTATION.NOISE_PER_OBJECT",
            None,
            "NOISE_PER_OBJECT: expected a section with keys .*ENABLED",
        ),
        ("AUGMENTATION.DB_SAMPLER.RATES", 1, "DB_SAMPLER: unknown key 'RATES'"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_config_errors(training, path, value, message):
    with pytest.raises(ConfigError, match=message):
        make_dataset(training, [(path, value)])


def test_a_scene_is_moved_and_sloped_if_the_yaml_says_so():
    scene = "AUGMENTATION.NOISE_GLOBAL_SCENE."
    still = [
        ("AUGMENTATION.NOISE_PER_OBJECT.ENABLED", False),
        (scene + "GLOBAL_ROT_UNIFORM_NOISE", [0.0, 0.0]),
        (scene + "GLOBAL_SCALING_UNIFORM_NOISE", [1.0, 1.0]),
    ]
    heights = make_frame()["gt_boxes_lidar"][[1, 3], 2]
    sample = make_dataset(True, still).prepare_data(make_frame(), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(sample["gt_boxes"][:, 2], heights)
    moved = [*still, (scene + "GLOBAL_TRANSLATION_NOISE_STD", [0.0, 0.0, 0.2])]
    sample = make_dataset(True, moved).prepare_data(make_frame(), rng=np.random.default_rng(0))
    shift = sample["gt_boxes"][:, 2] - heights
    assert 0.001 < abs(shift[0]) < 1
    np.testing.assert_allclose(shift, shift[0])
    sloped = [*still, (scene + "GLOBAL_SLOPE_NOISE_STD", [0.01, 0.0])]
    sample = make_dataset(True, sloped).prepare_data(make_frame(), rng=np.random.default_rng(0))
    rise = (sample["gt_boxes"][:, 2] - heights) / sample["gt_boxes"][:, 0]
    assert 0.0001 < abs(rise[0]) < 0.05
    np.testing.assert_allclose(rise, rise[0])
    sampler = ("AUGMENTATION.DB_SAMPLER.ENABLED", False)
    thin = [*still, sampler, (scene + "GLOBAL_DROPOUT_UNIFORM_NOISE", [0.4, 0.5])]
    full, thinned = (
        make_dataset(True, change).prepare_data(make_frame(), rng=np.random.default_rng(0))
        for change in ([*still, sampler], thin)
    )
    assert 0.3 < 1 - len(thinned["points"]) / len(full["points"]) < 0.6


def test_objects_are_scaled_only_where_the_yaml_says_so():
    key = "AUGMENTATION.NOISE_PER_OBJECT.GT_SCALING_UNIFORM_NOISE"
    changes = [("AUGMENTATION.NOISE_GLOBAL_SCENE.ENABLED", False), (key, [0.9, 0.9])]
    sizes = make_frame()["gt_boxes_lidar"][[1, 3], 3:6]
    for change, factor in ((changes[:1], 1.0), (changes, 0.9)):
        sample = make_dataset(True, change).prepare_data(make_frame(), rng=np.random.default_rng(0))
        np.testing.assert_allclose(sample["gt_boxes"][:, 3:6], factor * sizes)


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("NOISE_GLOBAL_SCENE.GLOBAL_TRANSLATION_NOISE_STD", [0.0, 0.0]),
        ("NOISE_GLOBAL_SCENE.GLOBAL_SLOPE_NOISE_STD", [0.0]),
        ("NOISE_PER_OBJECT.GT_LOC_NOISE_STD", [0.0, 0.0]),
        ("NOISE_GLOBAL_SCENE.GLOBAL_DROPOUT_UNIFORM_NOISE", [0.0]),
    ],
)
@pytest.mark.parametrize("value", [-0.1, math.inf])
def test_noise_must_be_0_or_more(key, others, value):
    with pytest.raises(
        ConfigError,
        match=rf"{key}: expected \d numbers (of at least 0( and below 1)?|from 0 to 10), got",
    ):
        make_dataset(True, [(f"AUGMENTATION.{key}", [*others, value])])


def test_whole_numbers_and_regions_make_no_difference():
    """Boxes may be integers; a region of DontCare has no sizes."""
    whole, frame = make_frame(), make_frame()
    frame["gt_boxes_lidar"] = frame["gt_boxes_lidar"].round()
    whole["gt_boxes_lidar"] = frame["gt_boxes_lidar"].astype(int)
    whole["gt_boxes_lidar"][2, 3:6] = -1
    for training in (True, False):
        samples = [
            make_dataset(training).prepare_data(one, rng=np.random.default_rng(0))
            for one in (frame, whole)
        ]
        assert_same(*samples)
        assert len(samples[0]["gt_boxes"])


def with_box_value(column, value):
    boxes = make_frame()["gt_boxes_lidar"]
    boxes[3, column] = value
    return {"gt_boxes_lidar": boxes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (with_box_value(*bad), r"finite numbers and sizes w, l, h > 0, got \[16")
            for bad in ((1, math.nan), (3, -2.0), (4, 0.0), (6, math.inf))
        ),
        ({"points": np.zeros((5, 4), np.float32)}, r"points of shape \(N, 5\).*got \(5, 4\)"),
        ({"gt_boxes_lidar": np.zeros((3, 7))}, r"shape \(M, 7\) with M = 4.*got \(3, 7\)"),
        ({"gt_boxes_lidar": np.zeros((4, 8))}, r"got \(4, 8\)"),
    ],
)
def test_data_errors_name_the_sample(change, message):
    with pytest.raises(DataError, match=f"sample 000007: .*expected .*{message}"):
        make_dataset(False).prepare_data({**make_frame(), **change})


def test_paths_of_the_yaml(tmp_path):
    dataset = make_dataset(False)
    dataset.root_path = tmp_path
    assert dataset.resolve_path("data/kitti/a/b.pkl") == tmp_path / "a" / "b.pkl"
    assert dataset.resolve_path("/x/y.pkl").as_posix() == "/x/y.pkl"
    other = dataset.resolve_path("data/kitti2/b.pkl")
    assert other.is_absolute()
    assert other.parts[-3:] == ("data", "kitti2", "b.pkl")
    # As `pcdet-custom prepare` writes them for a folder outside the repository.
    dataset = make_dataset(False, [("DATA_DIR", "/x/own")])
    dataset.root_path = tmp_path
    assert dataset.resolve_path("/x/own/a/b.pkl") == tmp_path / "a" / "b.pkl"
    assert dataset.resolve_path("/x/own2/b.pkl").as_posix() == "/x/own2/b.pkl"


def test_template_without_road_planes():
    changes = [(f"AUGMENTATION.DB_SAMPLER.{key}", True) for key in ("ENABLED", "USE_ROAD_PLANE")]
    changes.append(("AUGMENTATION.DB_SAMPLER.DB_INFO_PATH", []))
    with pytest.raises(NotImplementedError, match="DatasetTemplate has no road planes"):
        make_dataset(True, changes).prepare_data(make_frame())
