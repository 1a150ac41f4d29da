"""Exported networks: onnxruntime and torch.export against torch, and boxes by NumPy alone."""

from __future__ import annotations

import ast
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from inference.test_detector import make_checkpoint, scan
from models.model_fixture import narrow_config
from pcdet import Detector
from pcdet.cli import export
from pcdet.export import files, standalone
from pcdet.export.networks import exportable, settings_of
from pcdet.inference.network import build_from_config
from pcdet.utils.errors import ConfigError, PcdetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module", params=[1, 4])
def pillars(request, folder):
    """The checkpoint of a PointPillar, its folder of exported files, and the batch size."""
    ckpt, out = make_checkpoint(folder, "pointpillar"), folder / f"batch_{request.param}"
    low = ("--set", "MODEL.TEST.SCORE_THRESH", "0.5")
    export.main([str(ckpt), "--out", str(out), "--batch_size", str(request.param), *low])
    return ckpt, out, request.param


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_files_and_what_they_tell(pillars):
    _, out, batch_size = pillars
    names = {"pointpillar.onnx", "pointpillar.pt2", "pointpillar.json", "postprocess.py"}
    assert {path.name for path in out.iterdir()} == names
    model = onnx.load(out / "pointpillar.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == files.OPSET
    settings = standalone.read_settings(out / "pointpillar.json")
    assert {p.key: json.loads(p.value) for p in model.metadata_props}["pcdet"] == settings
    assert settings["batch_size"] == batch_size and settings["opset"] == files.OPSET
    assert settings["class_names"] == ["Car", "Pedestrian", "Cyclist"]
    assert settings["voxel_size"] == [0.16, 0.16, 4] and "whole network" in settings["part"]
    anchors = settings["anchors"]
    assert len(anchors["x"]) * len(anchors["y"]) * len(anchors["per_location"]) == 40 * 40 * 6
    assert (out / "postprocess.py").read_bytes() == Path(standalone.__file__).read_bytes()


@pytest.mark.parametrize("voting", [0.0, 0.3])
def test_the_boxes_are_those_of_the_detector(pillars, voting):
    ckpt, out, batch_size = pillars
    settings = {**standalone.read_settings(out / "pointpillar.json"), "box_voting": voting}
    scans = [scan(k, count=1000 + 500 * k) for k in range(batch_size)]
    outputs = session(out / "pointpillar.onnx").run(None, standalone.make_pillars(scans, settings))
    found = standalone.find_boxes(outputs, settings)
    detector = Detector.from_checkpoint(ckpt, device="cpu", score_thresh=0.5)
    detector._model.post_processor.box_voting = voting
    expected = detector(scans)
    assert len(found) == batch_size and sum(len(e) for e in expected) > 10
    for (boxes, scores, labels), wanted in zip(found, expected):
        # Scores that are equal but for rounding may change places.
        assert len(boxes) == len(wanted)
        order = [np.abs(boxes[:, :3] - box[:3]).sum(axis=1).argmin() for box in wanted.boxes]
        np.testing.assert_allclose(boxes[order], wanted.boxes, atol=1e-4)
        np.testing.assert_allclose(scores[order], wanted.scores, atol=1e-5)
        np.testing.assert_array_equal(labels[order], wanted.labels)


def test_classes_may_have_anchors_in_places_of_their_own():
    cfg = narrow_config("pointpillar")
    z = cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[1].anchor_range[2]
    other = [1, -3, z, 9, 5, z]
    cfg.MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR[1].anchor_range = other
    network = build_from_config(cfg)
    anchors = network.model.rpn_head.target_assigner.anchors.reshape(-1, 7).numpy()
    settings, index = settings_of(network, 1), np.arange(len(anchors))
    boxes = standalone._decode(index, np.zeros_like(anchors), None, settings)
    np.testing.assert_allclose(boxes, anchors, atol=1e-6)


def test_frames_without_points(pillars):
    _, out, batch_size = pillars
    settings = standalone.read_settings(out / "pointpillar.json")
    inputs = standalone.make_pillars([np.zeros((0, 4))] * batch_size, settings)
    outputs = session(out / "pointpillar.onnx").run(None, inputs)
    assert len(standalone.find_boxes(outputs, settings)) == batch_size
    with pytest.raises(ValueError, match="scans expected, got 0"):
        standalone.make_pillars([], settings)


def test_frames_without_points_give_what_the_network_gives():
    network = build_from_config(narrow_config("pointpillar"))
    model = network.model.eval()
    model.vfe.pfn_layers[-1].norm.bias.data.fill_(1.0)
    inputs = standalone.make_pillars([np.zeros((0, 4))], settings_of(network, 1))
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    names = ("voxels", "num_points", "voxel_centers")
    empty = dict(zip(names, (*(t[:0] for t in tensors[:2]), torch.zeros(0, 3))))
    with torch.no_grad():
        image = model.head_input(model.encode_voxels(empty), tensors[2][:0], 1)
        expected = model.rpn_head(image)
        for one, other in zip(exportable(network, 1).module(*tensors), expected.values()):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_torch_export_gives_the_same(pillars):
    ckpt, out, batch_size = pillars
    settings = standalone.read_settings(out / "pointpillar.json")
    inputs = standalone.make_pillars([scan(k) for k in range(batch_size)], settings)
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    program = torch.export.load(out / "pointpillar.pt2")
    network = build_from_config(narrow_config("pointpillar"))
    network.model.load_params_from_file(ckpt)
    with torch.no_grad():
        expected = exportable(network, batch_size).module(*tensors)
        for one, other in zip(program.module()(*tensors), expected):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["second", "PartA2"])
def test_the_dense_part_of_networks_with_sparse_layers(folder, name):
    ckpt, out = make_checkpoint(folder, name), folder / name
    export.main([str(ckpt), "--out", str(out)])
    settings = standalone.read_settings(out / f"{name}.json")
    assert "Left out: the sparse 3D convolutions" in settings["part"]
    assert ("second stage" in settings["part"]) == (name == "PartA2")
    network = build_from_config(narrow_config(name))
    network.model.load_params_from_file(ckpt)
    shape = settings["inputs"]["spatial_features"][1:]
    run = session(out / f"{name}.onnx")
    for count in (1, 3):
        image = torch.rand(count, *shape)
        with torch.no_grad():
            expected = network.model.eval().rpn_head(image)
        for key, value in zip(
            settings["outputs"], run.run(None, {"spatial_features": image.numpy()})
        ):
            np.testing.assert_allclose(value, expected[key].numpy(), atol=1e-4)


def test_the_standalone_file_needs_numpy_alone():
    tree = ast.parse(Path(standalone.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    }
    others = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert others == {"numpy"}


def test_boxes_that_are_no_numbers_are_dropped(pillars):
    _, out, _ = pillars
    settings = standalone.read_settings(out / "pointpillar.json")
    anchors = 40 * 40 * 6
    outputs = [np.zeros((1, anchors * n), np.float32) for n in (3, 7, 2)]
    outputs[0][0, :-3], outputs[0][0, -3:], outputs[1][0, :-7] = 9, 10, np.nan
    ((boxes, scores, _),) = standalone.find_boxes(outputs, settings)
    assert len(boxes) == len(scores) == 1 and np.isfinite(boxes).all()


def test_shared_area_by_hand():
    """Two squares of side 2: moved by 1, turned by an eighth, and apart."""

    def corners(x, angle):
        return standalone._corners(np.array([[x, 0, 0, 2, 2, 1, angle]]))[0]

    assert standalone._shared(corners(0, 0), corners(1, 0)) == pytest.approx(2)
    octagon = 4 - 4 * (np.sqrt(2) - 1) ** 2
    assert standalone._shared(corners(0, 0), corners(0, np.pi / 4)) == pytest.approx(octagon)
    assert standalone._shared(corners(0, 0), corners(5, 0.3)) == 0


def test_a_graph_that_computes_something_else_is_told(pillars):
    _, out, batch_size = pillars
    network = build_from_config(narrow_config("pointpillar"))  # other weights
    part = exportable(network, batch_size)
    settings = standalone.read_settings(out / "pointpillar.json")
    with pytest.raises(PcdetError, match=r"pointpillar\.onnx: \w+ differs from torch's by"):
        files.check(part, out / "pointpillar.onnx", settings)
    with torch.no_grad():
        next(part.module.parameters()).fill_(torch.nan)
    with pytest.raises(PcdetError, match="differs from torch's by nan"):
        files.check(part, out / "pointpillar.onnx", settings)


def test_files_that_fail_the_check_replace_nothing(pillars, monkeypatch):
    ckpt, out, _ = pillars
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(files, "TOLERANCE", -1.0)
    with pytest.raises(PcdetError, match=r"differs from torch's by"):
        export.main([str(ckpt), "--out", str(out)])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(
        ConfigError, match=r"--name: expected the name of a file in --out, got '\.\./a"
    ):
        export.main([str(ckpt), "--out", str(out), "--name", "../a"])


def test_torchs_exporter_says_nothing_of_what_is_not_needed(caplog, recwarn):
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    with files._quiet_exporter():
        logger.warning("torchvision is not installed")
        warnings.warn("of itself", stacklevel=1)
    assert not caplog.records and not recwarn.list
    logger.warning("again")
    assert caplog.records


def test_what_cannot_be_exported_is_told(monkeypatch, tmp_path):
    cfg = narrow_config("pointpillar")
    cfg.MODEL.TEST.NMS_TYPE = "nms_normal_gpu"
    network = build_from_config(cfg)
    with pytest.raises(ConfigError, match=r"MODEL\.TEST\.NMS_TYPE: nms_gpu expected"):
        files.export(network, tmp_path, "a", 1)
    with pytest.raises(ConfigError, match="--batch_size 4: only PointPillars take it"):
        files.export(build_from_config(narrow_config("second")), tmp_path, "a", 4)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", type(torch.__version__)("2.4.1+cpu"))
        with pytest.raises(ConfigError, match=r"torch 2\.5 or later, and this is 2\.4"):
            files.export(network, tmp_path / "folder", "a", 1)
    assert not (tmp_path / "folder").exists()
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install onnx onnxscript onnxruntime"):
        files.export(network, tmp_path, "a", 1)
