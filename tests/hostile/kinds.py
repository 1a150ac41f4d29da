"""The kinds of files that the commands read: a good one, and what reads it, checks included."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from easydict import EasyDict
from PIL import Image

from models.model_fixture import narrow_config
from pcdet.config import cfg_from_yaml_file
from pcdet.datasets.custom.label_file import read_objects
from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler
from pcdet.datasets.kitti.camera_view import read_image_shape
from pcdet.datasets.kitti.kitti_dataset import BaseKittiDataset, KittiDataset, create_kitti_infos
from pcdet.datasets.kitti.kitti_infos import object_annotations
from pcdet.evaluation import evaluate_folders
from pcdet.inference.network import build_from_config
from pcdet.utils import checkpoint_utils, openpcdet_weights
from pcdet.utils.errors import PcdetError
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import get_objects_from_label
from pcdet.utils.kitti_format.planes import read_road_plane
from pcdet.utils.point_files import read_points
from pcdet.utils.safetensors_file import write_safetensors
from scan_files import write_pcd, write_ply
from tiny_kitti import calibration, make_tiny_kitti

YAML = Path(__file__).resolve().parents[2] / "tools" / "cfgs" / "second.yaml"
CLASSES = ["Car", "Pedestrian", "Cyclist"]
QUIET = logging.getLogger("pcdet.hostile")
QUIET.setLevel(logging.CRITICAL)
PREPARE = {"filter_by_difficulty": [-1], "filter_by_min_points": ["Car:1"]}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        path: of the good file below the data folder.
        read: reads the file at that path, below the data folder it is given, and asserts that the
            result is right in itself; raises a PcdetError that names the file otherwise.
        form: selects further mutations, see `mutations_for`.
        optional: the file may be missing.
    """

    path: str
    read: Callable[[Path], Any]
    form: str = "bytes"
    optional: bool = False


@lru_cache(maxsize=1)
def data_folder() -> Path:
    """A small data set with infos, database, results and a checkpoint, for this process."""
    root = Path(tempfile.mkdtemp(prefix="pcdet_hostile_"))
    make_tiny_kitti(root)
    create_kitti_infos(root, root, workers=1)
    (root / "small.yaml").write_bytes(YAML.read_bytes())
    for name in ("000000", "000001"):
        labels = (root / "training" / "label_2" / f"{name}.txt").read_text().splitlines()
        for folder, ends in (("eval_gt", ""), ("eval_det", " 0.5")):
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{name}.txt").write_text("".join(f"{x}{ends}\n" for x in labels))
    _write_scans(root / "scans", read_points(root / "testing" / "velodyne" / "000000.bin", 4))
    (root / "eval_split.txt").write_text("000000\n000001\n")
    (root / "own_label.txt").write_text("10 2 -1 3.9 1.6 1.5 0.1 Car\n5 -2 -1 0.8 0.6 1.7 -3 Dog\n")
    Image.new("RGB", (64, 48), (200, 30, 90)).save(root / "a.jpg")
    model, optimizer = small_model()
    state = checkpoint_utils.checkpoint_state(model, optimizer, 3, 30)
    checkpoint_utils.save_checkpoint(state, root / "checkpoint_epoch_3.pth")
    write_safetensors({**state, "config": {"CLASS_NAMES": ["Car"]}}, root / "a.safetensors")
    # As PCDet's schedule leaves it.
    state["optimizer_state"]["param_groups"][0]["lr"] = np.float64(0.001)
    torch.save(state, root / "old.pth", _use_new_zipfile_serialization=False)
    network = narrow_second()
    theirs = openpcdet_weights.from_ours(network.state_dict(), network, "theirs.pth")
    checkpoint_utils.save_checkpoint({"model_state": theirs}, root / "theirs.pth", old_format=True)
    return root


def _write_scans(folder: Path, points: np.ndarray) -> None:
    """The same scan in the forms that have a header."""
    folder.mkdir()
    names = "x y z intensity"
    np.save(folder / "scan.npy", points)
    for form in ("ascii", "binary", "binary_compressed"):
        write_pcd(folder / f"{form}.pcd", points, form, names)
    for form in ("ascii", "binary_little_endian"):
        write_ply(folder / f"{form}.ply", points, form, names)


@lru_cache(maxsize=1)
def narrow_second() -> torch.nn.Module:
    """A SECOND that OpenPCDet's checkpoints can be read into."""
    return build_from_config(narrow_config()).model


def small_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A network with statistics, and an optimiser that has made a step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def outcome(kind: Kind, content: bytes | None) -> str:
    """Put `content` in the place of the good file and read it: "right" or "refused".

    Raises:
        AssertionError: the error does not name the file, or the result is wrong.
        Exception: whatever else a reader lets through.
    """
    root = data_folder()
    path = root / kind.path
    good = path.read_bytes()
    try:
        if content is not None:
            path.write_bytes(content)
        kind.read(root)
    except PcdetError as error:
        assert path.name in str(error), f"the error does not name {path.name}: {error}"
        assert len(str(error)) < 3000, "a message that fills the screen"
        return "refused"
    finally:
        path.write_bytes(good)
    return "right"


def _points(root: Path) -> None:
    points = BaseKittiDataset(root, "train").get_lidar("000000")
    assert points.shape == (len(points), 4) and np.isfinite(points).all()


def _scan(name: str) -> Callable[[Path], None]:
    def read(root: Path) -> None:
        points = read_points(root / name, 4)
        assert points.shape == (len(points), 4) and points.dtype == np.float32

    return read


def _calib(root: Path) -> None:
    calib = Calibration(root / "training" / "calib" / "000000.txt")
    points = calib.rect_to_lidar(np.ones((2, 3), np.float32))
    assert np.isfinite(points).all() and np.isfinite(calib.P2).all()


def _label(root: Path) -> None:
    objects = get_objects_from_label(root / "training" / "label_2" / "000000.txt")
    annos = object_annotations(objects, calibration())
    assert all(np.isfinite(v).all() for k, v in annos.items() if k != "name")


def _png(root: Path) -> None:
    dataset = BaseKittiDataset(root, "train")
    height, width = dataset.get_image_shape("000000")
    assert 0 < height * width <= 1 << 26


def _pixels(root: Path) -> None:
    dataset = BaseKittiDataset(root, "train")
    image = dataset.get_image("000000")
    assert image.shape == (*dataset.get_image_shape("000000"), 3)


def _jpeg(root: Path) -> None:
    """The pixels may be damaged, which libraries mend as they see fit."""
    height, width = read_image_shape(root / "a.jpg")
    assert 0 < height * width <= 1 << 26


def _own_label(root: Path) -> None:
    objects = read_objects(root / "own_label.txt")
    assert np.isfinite(objects.boxes).all() and objects.boxes.shape == (len(objects.names), 7)


def _image_set(root: Path) -> None:
    dataset = BaseKittiDataset(root, "train")
    dataset.check_listed()
    names = dataset.sample_id_list
    assert names and all("/" not in name and "\0" not in name for name in names)


def _plane(root: Path) -> None:
    plane = read_road_plane(root / "training" / "planes" / "000000.txt")
    assert plane[1] < 0 and abs(np.linalg.norm(plane[:3]) - 1) < 1e-6


@lru_cache(maxsize=1)
def _config() -> EasyDict:
    config = cfg_from_yaml_file(YAML, EasyDict())
    config.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.ENABLED = False
    return config


def _infos(root: Path) -> None:
    dataset = KittiDataset(root, CLASSES, "train", True, QUIET, _config())
    for k in range(min(len(dataset), 2)):
        frame = root / "training" / "velodyne" / f"{dataset.sample_ids[k]}.bin"
        if frame.exists():  # another frame's name is no damage of the infos
            sample = dataset[k]
            assert np.isfinite(sample["gt_boxes"]).all() and np.isfinite(sample["voxels"]).all()


def _database(root: Path) -> None:
    sampler = DataBaseSampler(
        [root / "kitti_dbinfos_train.pkl"], CLASSES, PREPARE, ["Car:9", "Cyclist:9"], logger=QUIET
    )
    rng = np.random.default_rng(0)
    found = sampler.sample_all(root, np.zeros((0, 7)), np.zeros(0, np.str_), rng=rng)
    assert found is None or np.isfinite(found["points"]).all()


def _objects_apart(root: Path) -> None:
    """As a database that PCDet made: without the packed file."""
    packed = root / "kitti_gt_points_train.npy"
    aside = packed.rename(root / "aside.npy")
    try:
        _database(root)
    finally:
        aside.rename(packed)


def _checkpoint(name: str) -> Callable[[Path], None]:
    def read(root: Path) -> None:
        model, optimizer = small_model()
        state = checkpoint_utils.load_checkpoint(root / name)
        checkpoint_utils.restore_training(model, optimizer, state, str(root / name), QUIET)

    return read


def _openpcdet(root: Path) -> None:
    """What fits of it goes into the same network each time."""
    checkpoint = checkpoint_utils.load_checkpoint(root / "theirs.pth")
    for strict in (False, True):
        checkpoint_utils.load_weights(
            narrow_second(), checkpoint, str(root / "theirs.pth"), QUIET, strict
        )


def _yaml(root: Path) -> None:
    config = cfg_from_yaml_file(root / "small.yaml", EasyDict())
    own = {"CLASS_NAMES", "DATA_CONFIG", "MODEL"}
    assert set(config) == own | {"TAG", "ROOT_DIR", "LOCAL_RANK"}


def _evaluate(root: Path) -> None:
    result = evaluate_folders(root / "eval_gt", root / "eval_det", root / "eval_split.txt")
    ap = result.ap("R40", "3d", "Car")
    assert ap is None or all(0 <= value <= 100 for value in ap)


KINDS = {
    "points": Kind("training/velodyne/000000.bin", _points),
    **{
        kind: Kind(name, _scan(name))
        for kind, name in {
            "scan": "testing/velodyne/000000.bin",
            "npy": "scans/scan.npy",
            "pcd_ascii": "scans/ascii.pcd",
            "pcd": "scans/binary.pcd",
            "pcd_compressed": "scans/binary_compressed.pcd",
            "ply_ascii": "scans/ascii.ply",
            "ply": "scans/binary_little_endian.ply",
        }.items()
    },
    "calib": Kind("training/calib/000000.txt", _calib),
    "label": Kind("training/label_2/000000.txt", _label),
    "png": Kind("training/image_2/000000.png", _png, "png"),
    "pixels": Kind("training/image_2/000000.png", _pixels, "png"),
    "jpeg": Kind("a.jpg", _jpeg),
    "own_label": Kind("own_label.txt", _own_label),
    "image_set": Kind("ImageSets/train.txt", _image_set),
    "plane": Kind("training/planes/000000.txt", _plane),
    "infos": Kind("kitti_infos_train.pkl", _infos, "pickle"),
    "dbinfos": Kind("kitti_dbinfos_train.pkl", _database, "pickle"),
    "packed_points": Kind("kitti_gt_points_train.npy", _database, optional=True),
    "object_points": Kind("gt_database/000000_Car_0.bin", _objects_apart),
    "checkpoint": Kind("checkpoint_epoch_3.pth", _checkpoint("checkpoint_epoch_3.pth"), "archive"),
    "safetensors": Kind("a.safetensors", _checkpoint("a.safetensors")),
    "openpcdet_checkpoint": Kind("theirs.pth", _openpcdet),
    "old_checkpoint": Kind("old.pth", _checkpoint("old.pth")),
    "yaml": Kind("small.yaml", _yaml, "yaml"),
    "eval_label": Kind("eval_gt/000000.txt", _evaluate),
    "eval_result": Kind("eval_det/000001.txt", _evaluate),
    "eval_split": Kind("eval_split.txt", _evaluate),
}
