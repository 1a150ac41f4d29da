"""Detector: each kind of input, conventions, thresholds, threads, and voxels made by sorting."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.model_fixture import SMALL_RANGE, narrow_config
from pcdet import Detector
from pcdet.config import cfg
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.inference.network import build_from_config, load_network
from pcdet.inference.results import CONVENTIONS
from pcdet.inference.voxelize import voxelize
from pcdet.models import example_convert_to_torch
from pcdet.run.resume import plain_config
from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar
from pcdet.utils.checkpoint_utils import save_checkpoint
from pcdet.utils.errors import CheckpointError, ConfigError, DataError
from tiny_kitti import calib_text


def scan(seed: int, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, high = np.array(SMALL_RANGE[:3]), np.array(SMALL_RANGE[3:])
    # Near the ground and in few places, as in a street.
    points = rng.uniform(low, high, (count, 3)) * [1, 1, 0.2]
    return np.hstack((points, rng.uniform(0, 1, (count, 1)))).astype(np.float32)


def make_checkpoint(folder, name="second", stored=True):
    cfg_ = narrow_config(name)
    torch.manual_seed(0)
    model = build_from_config(cfg_).model
    with torch.no_grad():  # scores that spread around a half
        model.rpn_head.conv_cls.weight.mul_(30)
        model.rpn_head.conv_cls.bias.zero_()
    path = folder / f"{name}.pth"
    state = {"model_state": model.state_dict()}
    save_checkpoint({**state, **({"config": plain_config(cfg_)} if stored else {})}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="module", params=["second", "pointpillar", "PartA2"])
def path(request, folder):
    return make_checkpoint(folder, request.param)


@pytest.fixture(scope="module")
def detector(folder):
    return Detector.from_checkpoint(make_checkpoint(folder), device="cpu", score_thresh=0.5)


def same(one, other, exactly=True) -> None:
    assert one.names == other.names and len(one)
    atol = 0 if exactly else 1e-4
    np.testing.assert_allclose(one.lidar_boxes, other.lidar_boxes, rtol=0, atol=atol)
    np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=atol)


def test_it_finds_what_the_network_finds(path):
    """The long way: configuration, sample, batch, network."""
    detector = Detector.from_checkpoint(path, device="cpu")
    config = narrow_config(path.stem)
    config.MODEL.TEST.USE_RAW_SCORE = False
    network = build_from_config(config)
    network.model.load_params_from_file(path)
    frame = {"sample_idx": "0", "points": scan(1), "calib": None}
    samples = network.samples
    batch = samples.collate_batch([samples.prepare_data(frame, has_label=False)])
    with torch.inference_mode():
        (expected,), _ = network.model.eval()(example_convert_to_torch(batch))
    found = detector(scan(1))
    assert len(found) == len(expected["scores"]) > 0
    # Rounded elsewhere: the detector's normalisation is part of its convolutions.
    np.testing.assert_allclose(found.boxes, expected["boxes"].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected["scores"].numpy(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected["labels"].numpy())
    assert found.names == [config.CLASS_NAMES[label - 1] for label in found.labels]
    assert ((found.scores > 0) & (found.scores < 1)).all()


def test_every_form_of_a_scan_gives_the_same(detector, tmp_path):
    points = scan(2)
    expected = detector(points)
    points.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "b.npy", points.astype(np.float64))
    forms = [torch.from_numpy(points), tmp_path / "a.bin", str(tmp_path / "b.npy")]
    forms += [np.hstack((points, points[:, :1])), points.astype(np.float64)]
    for form in forms:
        same(detector(form), expected)
    assert detector(tmp_path / "a.bin").frame_id == "a"
    together = detector([points, scan(3)])
    assert isinstance(together, list)
    same(together[0], expected, exactly=False)
    assert [len(result) for result in detector.stream(tmp_path, progress=False)] == [
        len(expected)
    ] * 2


def test_streams_in_batches_without_holding_them_all(detector):
    taken = []

    def source():
        for k in range(5):
            taken.append(k)
            yield scan(k)

    stream = detector.stream(source(), batch_size=2, progress=False)
    first = next(stream)
    assert taken == [0, 1]
    rest = list(stream)
    assert [result.frame_id for result in (first, *rest)] == list("01234")
    same(rest[-1], detector(scan(4)), exactly=False)
    with pytest.raises(ConfigError, match="scans: expected a folder, or what gives scans"):
        next(detector.stream(None))


def test_a_scan_that_cannot_be_read_costs_no_other(detector):
    scans, errors = [scan(0), np.zeros(5), scan(2)], []
    found = detector.stream(scans, 3, progress=False, unreadable=errors.append)
    assert [result.frame_id for result in found] == ["0", "2"]
    assert len(errors) == 1 and "scan 1" in str(errors[0])
    stream = detector.stream(scans, 3, progress=False)
    assert next(stream).frame_id == "0"
    with pytest.raises(DataError, match="scan 1"):
        next(stream)


def test_conventions(folder):
    path, points = make_checkpoint(folder), scan(2)
    found = {
        name: Detector.from_checkpoint(path, device="cpu", score_thresh=0.5, convention=name)(
            points
        )
        for name in CONVENTIONS
    }
    ours, theirs = found["kitti_lidar"].boxes, found["openpcdet"].boxes
    np.testing.assert_allclose(theirs[:, :2], ours[:, :2])
    np.testing.assert_allclose(theirs[:, 2], ours[:, 2] + ours[:, 5] / 2, atol=1e-5)
    np.testing.assert_allclose(theirs[:, 3:6], ours[:, [4, 3, 5]])
    turn = theirs[:, 6] + ours[:, 6] + np.pi / 2
    np.testing.assert_allclose(np.sin(turn), 0, atol=1e-4)
    np.testing.assert_allclose(np.cos(turn), 1, atol=1e-4)
    assert found["corners"].boxes.shape == (len(ours), 8, 3)
    np.testing.assert_array_equal(found["corners"].boxes, boxes3d_to_corners3d_lidar(ours))
    np.testing.assert_array_equal(found["corners"].boxes_as("openpcdet"), theirs)
    with pytest.raises(ConfigError, match=r"convention: unknown name 'nuscenes'; choose one of"):
        Detector.from_checkpoint(path, convention="nuscenes")


def test_a_threshold_for_each_class_holds_before_suppression(folder):
    path, points = make_checkpoint(folder), scan(2)
    low = Detector.from_checkpoint(path, device="cpu", score_thresh=np.float32(0.4))
    only = {"Car": 1.0, "Pedestrian": 1.0, "Cyclist": 0.4}
    cyclists = Detector.from_checkpoint(path, device="cpu", score_thresh=only)(points)
    assert set(cyclists.names) == {"Cyclist"} and len(set(low(points).names)) > 1
    # Without cars over them, as many cyclists as among all classes at least.
    assert len(cyclists) >= low(points).names.count("Cyclist")
    with pytest.raises(ConfigError, match=r"no such classes: \['car'\]; there are \['Car'"):
        Detector.from_checkpoint(path, score_thresh={"car": 0.5})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        *(({"score_thresh": t}, "score_thresh: a probability from 0 to 1 expected, or one by class")
          for t in (50, -1, float("nan"), "abc", [0.1, 0.2, 0.3], {"Car": None})),
        ({"score_thresh": True}, "score_thresh: a probability"),
        *(({"amp": a}, r"amp: one of \['auto', 'none', 'bf16', 'fp16'\] expected")
          for a in ("half", torch.bfloat16, True)),
        ({"cfg": {"CLASS_NAMES": ["Car"]}}, r"lacks \['DATA_CONFIG', 'MODEL'\]; give a whole one"),
        ({"convention": "kitti"}, "convention: unknown name 'kitti'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_told(folder, arguments, told):
    with pytest.raises(ConfigError, match=told):
        Detector.from_checkpoint(make_checkpoint(folder), device="cpu", **arguments)


def test_weights_that_are_not_finite_are_refused(folder, tmp_path):
    checkpoint = torch.load(make_checkpoint(folder), weights_only=False)
    checkpoint["model_state"]["rpn_head.conv_cls.bias"][0] = torch.nan
    torch.save(checkpoint, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"nan\.pth: 1 of its entries hold NaN or infinity"):
        Detector.from_checkpoint(tmp_path / "nan.pth", device="cpu")


@pytest.mark.parametrize("batch_size", [0, 1.5, "2"])
def test_a_batch_is_a_whole_number_of_scans(detector, batch_size):
    with pytest.raises(ConfigError, match="batch_size: a whole number from 1 on expected"):
        next(detector.stream([np.zeros((1, 4), np.float32)], batch_size=batch_size))
    with pytest.raises(ConfigError, match="convention: unknown name 'kitti'"):
        detector(np.zeros((1, 4), np.float32)).boxes_as("kitti")


def test_threads_may_share_a_detector(detector):
    scans = [scan(k) for k in range(8)]
    alone = [detector(points) for points in scans]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector, scans))
    for one, other in zip(alone, together):
        same(one, other)


def test_pictures_and_kitti_lines(detector, tmp_path):
    result = detector(scan(2))
    picture = result.draw(tmp_path / "frame.png")
    assert (tmp_path / "frame.png").read_bytes().startswith(b"\x89PNG")
    assert picture.ndim == 3 and picture.dtype == np.uint8
    (tmp_path / "calib.txt").write_text(calib_text())
    lines = result.to_kitti(tmp_path / "calib.txt", path=tmp_path / "0.txt")
    assert (tmp_path / "0.txt").read_text().splitlines() == lines
    assert len(lines[0].split()) == 16 and lines[0].split()[0] == result.names[0]
    assert float(lines[0].split()[-1]) == pytest.approx(result.scores[0], abs=1e-6)
    assert result.rows()[0]["box3d_lidar"] == result.lidar_boxes[0].tolist()


@pytest.mark.parametrize(
    ("points", "told"),
    [
        (np.zeros((4, 900)), r"scan 0: .*\(N, 4\), a row for each, .*\(4, 900\)"),
        (np.zeros((5, 2)), r"scan 0: expected points of shape \(N, 4\).*\(5, 2\)"),
        (np.zeros(5), r"got an array of shape \(5,\)"),
        (np.array([["a"] * 4]), "type <U1"),
        (torch.ones(5, 4, dtype=torch.bool), "type bool"),
        (torch.ones(5, 4, dtype=torch.complex64), "type complex64"),
    ],
)
def test_what_is_no_scan_is_told(detector, points, told):
    with pytest.raises(DataError, match=told):
        detector(points)


def test_scans_without_points_or_intensity(detector):
    assert len(detector(np.zeros((0, 4)))) >= 0
    points = scan(2)
    points[:, 3] = 0
    same(detector(points[:, :3]), detector(points))
    assert detector([]) == []
    points[5, 0] = np.nan
    assert len(detector(points))


def test_a_checkpoint_without_configuration_needs_a_yaml(folder, tmp_path):
    path = make_checkpoint(tmp_path, stored=False)
    with pytest.raises(CheckpointError, match=r"second\.pth: it holds no configuration"):
        Detector.from_checkpoint(path)
    assert Detector.from_checkpoint(path, cfg=narrow_config(), device="cpu").class_names


def test_detectors_may_share_a_network(folder):
    network, _ = load_network(make_checkpoint(folder), None)
    network.samples.num_stored_features = 5  # as of files with a column more than the network uses
    first, second = (Detector(network, device="cpu") for _ in range(2))
    assert first._num_stored == second._num_stored == 5


def test_the_global_configuration_is_not_touched(folder):
    cfg.clear()
    Detector.from_checkpoint(make_checkpoint(folder), device="cpu")(scan(0))
    assert dict(cfg) == {}


def test_the_package_alone_imports_no_torch():
    code = "import sys, pcdet; assert 'torch' not in sys.modules; pcdet.Detector"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_detecting_loads_no_compiler(folder):
    """That of torch takes two seconds, as does all else until the first frame, Numba a half."""
    path = make_checkpoint(folder, "pointpillar")
    code = (
        "import sys, numpy as np; from pcdet import Detector\n"
        f"Detector.from_checkpoint({str(path)!r}, device='cpu')(np.ones((300, 4), np.float32))\n"
        "assert 'torch' in sys.modules and not {'torch._dynamo', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("max_points", "max_voxels"), [(5, 20000), (2, 300), (1, 1)])
def test_voxels_by_sorting_are_those_of_the_generator(max_points, max_voxels):
    generator = VoxelGenerator([0.4, 0.4, 0.5], SMALL_RANGE, max_points, max_voxels)
    points = scan(5) * np.float32([1.2, 1.2, 1, 1])
    expected = generator.generate(points)
    made = voxelize(torch.from_numpy(points), generator)
    for one, other in zip(expected, made):
        np.testing.assert_array_equal(one, other.numpy())
        assert one.dtype == other.numpy().dtype
    nothing = voxelize(torch.zeros(0, 4), generator)
    assert nothing.voxels.shape == (0, max_points, 4) and nothing.coordinates.shape == (0, 3)


@pytest.mark.parametrize("name", ["second", "pointpillar"])
def test_batches_made_on_the_device_give_the_same(folder, name):
    detector = Detector.from_checkpoint(make_checkpoint(folder, name), device="cpu")
    scans = [scan(k) for k in range(2)]
    named = [(str(k), points) for k, points in enumerate(scans)]
    usual = example_convert_to_torch(detector._batch(named))
    by_sorting = detector._batch_of_tensors([torch.from_numpy(points) for points in scans])
    for key in ("voxels", "num_points", "coordinates"):
        assert torch.equal(usual[key], by_sorting[key]), key
    if name == "pointpillar":
        assert torch.equal(usual["voxel_centers"], by_sorting["voxel_centers"])
