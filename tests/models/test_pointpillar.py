"""PointPillar: PCDet's numbers, its encoder and scatter by hand, legal extremes, gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from models.model_fixture import (
    fake_dataset,
    load_config,
    narrow_config,
    random_batch,
    small_dataset,
    small_model,
)
from models.pcdet_numbers import (
    FRAME,
    Recorder,
    check_names_and_shapes,
    check_stages,
    load_ruled_weights,
)
from pcdet.datasets.kitti.kitti_dataset import KittiDataset, create_kitti_infos
from pcdet.models import build_network, example_convert_to_torch, model_fn_decorator
from pcdet.models.bbox_heads.bev_network import BEVNetwork
from pcdet.models.model_utils.first_convolution import FirstConvolution
from pcdet.models.rpn import PointPillarsScatter
from pcdet.models.vfe import PillarFeatureNetOld2
from pcdet.ops.sparse_conv import SparseTensor
from pcdet.utils.errors import ConfigError


@pytest.fixture(scope="module")
def ruled_pointpillar(reference):
    """PointPillar with the weights that the reference numbers were made with."""
    cfg = load_config("pointpillar")
    model = build_network(fake_dataset(cfg), cfg).eval()
    load_ruled_weights(model, reference, "pointpillar")
    return model


@pytest.fixture(scope="module")
def eval_batch(kitti_mini, reference, tmp_path_factory) -> dict:
    """The frame of the reference numbers in test mode, its pillars sorted by coordinate."""
    folder = tmp_path_factory.mktemp("infos")
    create_kitti_infos(kitti_mini, folder, workers=1)
    cfg = load_config("pointpillar")
    cfg.DATA_CONFIG.TEST.INFO_PATH = [str(folder / "kitti_infos_trainval.pkl")]
    dataset = KittiDataset(kitti_mini, cfg.CLASS_NAMES, "val", False, cfg=cfg)
    sample = dataset[dataset.sample_ids.index(FRAME)]
    order = np.lexsort(sample["coordinates"].T[::-1])
    for name in ("voxels", "num_points", "coordinates", "voxel_centers"):
        sample[name] = sample[name][order]
    items = reference("eval_items_pointpillar.npz")
    np.testing.assert_array_equal(sample["coordinates"], items[f"{FRAME}/coordinates"])
    np.testing.assert_array_equal(sample["num_points"], items[f"{FRAME}/num_points"])
    sums = sample["voxels"].sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(sums, items[f"{FRAME}/voxel_sum"], atol=1e-5)
    return example_convert_to_torch(dataset.collate_batch([sample]))


def test_names_and_shapes_of_the_state_dict(ruled_pointpillar, reference):
    check_names_and_shapes(ruled_pointpillar, reference("state_dict_pointpillar.txt"))


@torch.inference_mode()
def test_outputs_equal_pcdet_on_a_real_frame(ruled_pointpillar, eval_batch, reference):
    expected = reference("forward_eval_pointpillar.npz")
    model, head = ruled_pointpillar, ruled_pointpillar.rpn_head
    levels = ("2x", "4x", "8x")
    recorder = Recorder(
        {f"head_spatial_features_{k}": block for k, block in zip(levels, head.blocks)}
    )
    features = model.encode_voxels(eval_batch)
    image = model.rpn_net(features, eval_batch["coordinates"], 1)
    predictions = head(image)
    stages = {
        "vfe_sorted": features,
        "head_spatial_features_last": BEVNetwork.forward(head, image),
        **{f"rpn_{name}": value for name, value in predictions.items()},
        **recorder.outputs,
    }
    check_stages(expected, stages)
    # Random weights give residuals of up to 20, so sizes of up to exp(20): relative where large.
    boxes = head.decode(predictions, 0, torch.arange(len(head.anchors)))
    check_stages(expected, {"decoded_boxes_all": boxes}, rtol=2e-4)
    best, label = predictions["cls_preds"].reshape(-1, 3).max(dim=1)
    top, index = best.topk(50)
    np.testing.assert_array_equal(index.numpy(), expected[f"{FRAME}/top50/anchor_idx"])
    np.testing.assert_allclose(top.numpy(), expected[f"{FRAME}/top50/raw_score"], atol=2e-4)
    np.testing.assert_array_equal(label[index].numpy() + 1, expected[f"{FRAME}/top50/label"])
    np.testing.assert_allclose(
        boxes[index].numpy(), expected[f"{FRAME}/top50/boxes"], rtol=2e-4, atol=2e-4
    )


@torch.inference_mode()
def test_final_boxes_equal_pcdet_on_a_real_frame(ruled_pointpillar, eval_batch, reference):
    expected = reference("forward_eval_pointpillar.npz")
    final = ruled_pointpillar(eval_batch)[0][0]
    assert len(final["boxes"]) == 500
    # Beyond the first ones a score that moves by 1e-5 may decide which of two boxes stays.
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_allclose(
            final[name][:50].numpy(),
            expected[f"{FRAME}/final_nms0/{name}"][:50],
            rtol=2e-4,
            atol=2e-4,
        )


def encode_pillar_by_hand(vfe, points: torch.Tensor, center: torch.Tensor, rows: int):
    """One pillar, point by point."""
    layer = vfe.pfn_layers[0]
    mean = points[:, :3].mean(dim=0)
    decorated = [
        torch.cat((point, point[:3] - mean, point[:3] - center, point[:3].norm().view(1)))
        for point in points
    ]
    decorated += [torch.zeros(11)] * (rows - len(points))
    norm = layer.norm
    outputs = []
    for row in decorated:
        value = layer.linear.weight @ row
        value = (value - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
        outputs.append(torch.relu(value * norm.weight + norm.bias))
    return torch.stack(outputs).amax(dim=0)


def test_encoder_by_hand():
    torch.manual_seed(0)
    vfe = PillarFeatureNetOld2(4, num_filters=[8], with_distance=True).eval()
    norm = vfe.pfn_layers[0].norm
    for value in (norm.weight.data, norm.bias.data, norm.running_mean):
        value.normal_()
    voxels, num_points = torch.randn(3, 5, 4), torch.tensor([5, 2, 1])
    centers = torch.randn(3, 3)
    for k, count in enumerate(num_points):
        voxels[k, count:] = 0
    encoded = vfe(voxels, num_points, centers)
    for k, count in enumerate(num_points):
        expected = encode_pillar_by_hand(vfe, voxels[k, :count], centers[k], 5)
        torch.testing.assert_close(encoded[k], expected)


def test_encoder_of_two_layers_without_norm():
    vfe = PillarFeatureNetOld2(4, use_norm=False, num_filters=(8, 16))
    assert vfe.pfn_layers[0].linear.weight.shape == (4, 10)
    assert vfe.pfn_layers[1].linear.bias.shape == (16,)
    voxels, num_points = torch.randn(6, 5, 4), torch.full((6,), 5)
    first, second = (layer.linear for layer in vfe.pfn_layers)
    xyz = voxels[..., :3]
    decorated = torch.cat((voxels, xyz - xyz.mean(dim=1, keepdim=True), xyz), dim=-1)
    own = torch.relu(first(decorated))
    shared = own.amax(dim=1, keepdim=True).expand_as(own)
    expected = torch.relu(second(torch.cat((own, shared), dim=-1))).amax(dim=1)
    torch.testing.assert_close(vfe(voxels, num_points, torch.zeros(6, 3)), expected)
    with pytest.raises(ValueError, match="at least one layer"):
        PillarFeatureNetOld2(4, num_filters=[])


@pytest.mark.parametrize("options", [{"num_filters": (4, 6)}, {"use_norm": False}])
def test_rows_without_a_point_are_encoded_once(options, monkeypatch):
    """In training, statistics and gradients are those of all rows."""
    torch.manual_seed(2)
    encoder = PillarFeatureNetOld2(4, **options).double()
    num_points = torch.tensor([1, 5, 0, 3, 4, 5])
    voxels = torch.randn(6, 5, 4, dtype=torch.float64)
    voxels *= (torch.arange(5) < num_points.unsqueeze(1)).unsqueeze(2)
    grad, rows, results = torch.randn(6, encoder.output_features, dtype=torch.float64), [], []
    encoder.pfn_layers[0].linear.register_forward_hook(lambda _, x, out: rows.append(len(out)))
    for as_on_a_gpu in (False, True):
        # What is compiled takes all rows, as a GPU does.
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda answer=as_on_a_gpu: answer)
        net, inputs = copy.deepcopy(encoder), voxels.clone().requires_grad_()
        features = net(inputs, num_points, torch.zeros(6, 3, dtype=torch.float64))
        features.backward(grad)
        tested = net.eval()(inputs, num_points, torch.zeros(6, 3, dtype=torch.float64))
        grads = [p.grad for p in (inputs, *net.parameters())]
        results.append([features, tested, *net.buffers(), *grads])
    torch.testing.assert_close(*results)
    # Of all pillars but the two that are full there is a row that holds no point.
    assert rows == [*[int(num_points.sum()) + 4] * 2, *[30] * 2]


def test_scatter_puts_pillars_at_their_places():
    scatter = PointPillarsScatter(2, (4, 3, 1))
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    image = scatter(features, torch.tensor([[0, 0, 1, 3], [1, 0, 2, 0]]), 3)
    assert image.shape == (3, 2, 3, 4)
    assert image[0, :, 1, 3].tolist() == [1, 2]
    assert image[1, :, 2, 0].tolist() == [3, 4]
    # The last frame has no pillar; its place in the batch stays.
    assert image.sum() == 10 and not image[2].any()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
def test_first_convolution_around_the_pillars_alone(stride, bias):
    """To the borders; frames and images without pillars are bias."""
    torch.manual_seed(0)
    convolution = FirstConvolution(3, 5, 3, stride, padding=1, bias=bias).double()
    places = torch.tensor([[0, 0, 0, 0], [0, 0, 5, 6], [0, 0, 2, 3], [2, 0, 2, 4], [2, 0, 3, 4]])
    for sites in (places, places[:0]):
        features = torch.randn(len(sites), 3, dtype=torch.float64, requires_grad=True)
        scatter = PointPillarsScatter(3, (7, 6, 1))
        expected, found = (convolution(of(features, sites, 3)) for of in (scatter, scatter.cells))
        torch.testing.assert_close(found, expected)
        inputs, grad = (features, *convolution.parameters()), torch.randn_like(expected)
        pairs = (torch.autograd.grad(image, inputs, grad) for image in (found, expected))
        for one, other in zip(*pairs):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("name", "value"), [("groups", 3), ("padding", "same"), ("padding_mode", "reflect")]
)
def test_first_convolution_of_what_cells_cannot_have(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value!r}"):
        FirstConvolution(3, 6, 3, **{name: value})


def test_head_gets_pillars_or_their_image():
    """The pillars on a CPU, but where the head or the backbone needs the image; alike in effect."""
    model = small_model("pointpillar")
    batch = example_convert_to_torch(random_batch(name="pointpillar"))
    features, places = model.encode_voxels(batch), batch["coordinates"]
    pillars = model.head_input(features, places, 2)
    assert isinstance(pillars, SparseTensor)
    model.rpn_head.concat_input = True
    image = model.head_input(features, places, 2)
    assert torch.equal(pillars.dense().squeeze(2), image)
    model.rpn_head.concat_input = False
    for one, other in zip(model.rpn_head.levels(pillars), model.rpn_head.levels(image)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

    class Doubling(PointPillarsScatter):
        def forward(self, *arguments):
            return 2 * super().forward(*arguments)

    model.rpn_net.__class__ = Doubling
    assert torch.equal(model.head_input(features, places, 2), 2 * image)


def test_voxels_that_are_no_pillars_are_refused():
    cfg = narrow_config("pointpillar")
    with pytest.raises(ConfigError, match="one voxel along z expected, got 40"):
        build_network(fake_dataset(cfg, (80, 80, 40)), cfg)


def test_an_encoder_of_voxels_is_refused():
    cfg = narrow_config("pointpillar")
    cfg.MODEL.VFE = {"NAME": "MeanVoxelFeatureExtractor", "ARGS": {}}
    cfg.MODEL.RPN.RPN_HEAD.ARGS.num_input_features = 4
    with pytest.raises(ConfigError, match="PointPillar needs an encoder of pillars, got MeanVoxel"):
        build_network(small_dataset(cfg), cfg)


def test_training_step_gives_finite_gradients_everywhere(device):
    model = small_model("pointpillar").to(device).train()
    result = model_fn_decorator()(model, random_batch(name="pointpillar"))
    result.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("counts", [(0, 0), (0, 150), (150, 0)])
def test_frames_without_pillars_are_legal(counts):
    model = small_model("pointpillar")
    batch = random_batch(counts, name="pointpillar")
    model_fn_decorator()(model.train(), batch).loss.backward()
    with torch.inference_mode():
        detections, _ = model.eval()(example_convert_to_torch(batch))
    assert len(detections) == 2


def test_a_frame_is_detected_alike_alone_and_in_a_batch():
    cfg = narrow_config("pointpillar")
    cfg.MODEL.TEST.SCORE_THRESH = 0.0
    torch.manual_seed(0)
    model = build_network(small_dataset(cfg), cfg).eval()
    batch = random_batch((100, 200), name="pointpillar")
    names = ("voxels", "num_points", "coordinates", "voxel_centers")
    alone = {k: batch[k][batch["coordinates"][:, 0] == 0] for k in names}
    alone["batch_size"] = 1
    with torch.inference_mode():
        together = model(example_convert_to_torch(batch))[0][0]
        single = model(example_convert_to_torch(alone))[0][0]
    for name in ("boxes", "scores"):
        torch.testing.assert_close(single[name], together[name], atol=1e-4, rtol=1e-4)
