"""SA-SSD as a whole against the original's numbers on a real frame, in evaluation and training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.pcdet_numbers import FRAME, Recorder, check_stages, sorted_features
from models.sassd_numbers import frame_batch, in_plain_layout, original_state, ruled_model
from pcdet.models.rpn.sassd_auxiliary import CENTER_HEIGHTS
from pcdet.utils import checkpoint_formats

SPARSE_STAGES = ("conv0", "down0", "conv1", "down1", "conv2", "down2", "conv3")


def half_turns(difference: np.ndarray) -> np.ndarray:
    """Differences of boxes (..., 7) with those of the angle to the nearest full turn."""
    difference[..., 6] = (difference[..., 6] + np.pi) % (2 * np.pi) - np.pi
    return difference


class Evaluated:
    """What every stage of the detector gave for the frame, in evaluation mode."""

    @torch.inference_mode()
    def __init__(self, model, batch):
        net, head = model.rpn_net, model.rpn_head
        sparse = Recorder({name: getattr(net, name) for name in SPARSE_STAGES})
        convolutions = {f"fcn{k}": head.blocks[0][3 * k + 3] for k in range(7)}
        dense = Recorder({**convolutions, "fcn7": head.deblocks[0]})
        means = model.vfe(batch["voxels"], batch["num_points"])
        voxels = net(means, batch["coordinates"], 1)
        self.predictions, features = head(voxels.spatial_features)
        self.maps = model.extra_head(features)
        self.counts = head.anchor_mask.count(batch["coordinates"], 1)[0]
        self.occupied = head.anchor_mask(batch["coordinates"], 1)
        threshold = model.extra_head.guide_score_thresh
        (self.guided,) = head.guide(self.predictions, self.occupied, threshold)
        self.scores = model.extra_head.scores(self.maps, [self.guided["boxes"]])
        self.stages = {
            "vfe_sorted": means,
            **{f"sparse/{name}": sorted_features(x) for name, x in sparse.outputs.items()},
            "bev_in": voxels.spatial_features,
            **dense.outputs,
        }
        (self.final,), _ = model(batch)  # around the occupied cells alone


@pytest.fixture(scope="module")
def expected(reference_sassd):
    return reference_sassd("forward_eval_sassd.npz")


@pytest.fixture(scope="module")
def evaluated(reference, reference_sassd, tmp_path_factory):
    path = tmp_path_factory.mktemp("original")
    model = ruled_model(reference, reference_sassd, "evaluation", path).eval()
    return Evaluated(model, frame_batch(reference, reference_sassd("train_losses_sassd.npz")))


def test_stages(evaluated, expected):
    check_stages(expected, evaluated.stages, atol=2e-5)
    check_stages(expected, evaluated.predictions, atol=5e-5)
    check_stages(expected, {"psw_maps": evaluated.maps}, atol=1e-4)


def test_anchors_over_voxels(evaluated, expected):
    index = expected[f"{FRAME}/anchors/count_idx"]
    counts = evaluated.counts[torch.from_numpy(index).long()].numpy()
    np.testing.assert_array_equal(counts, expected[f"{FRAME}/anchors/count_val"])
    mask = np.unpackbits(expected[f"{FRAME}/anchors/mask_packbits"])[: len(evaluated.counts)]
    np.testing.assert_array_equal(evaluated.occupied[0].numpy(), mask.astype(bool))


def test_guided_boxes_and_their_scores(evaluated, expected):
    guided = evaluated.guided
    np.testing.assert_array_equal(guided["anchors"], expected[f"{FRAME}/guided/anchor_idx"])
    index = expected[f"{FRAME}/guided/boxes/idx"]
    found = guided["boxes"].numpy().reshape(-1)
    difference = np.zeros((len(index), 7))
    column = index % 7
    rows = np.arange(len(index))
    difference[rows, column] = found[index] - expected[f"{FRAME}/guided/boxes/val"]
    assert np.abs(half_turns(difference)).max() < 5e-5
    scores = evaluated.scores.numpy()
    np.testing.assert_allclose(scores, expected[f"{FRAME}/guided/psw_logit"], rtol=0, atol=1e-4)


def test_detections(evaluated, expected):
    final, safe = evaluated.final, int(expected[f"{FRAME}/final/safe"])
    assert len(final["boxes"]) == len(expected[f"{FRAME}/final/boxes"])
    difference = final["boxes"][:safe].numpy() - expected[f"{FRAME}/final/boxes"][:safe]
    assert np.abs(half_turns(difference)).max() < 1e-4
    scores = final["scores"][:safe].numpy()
    np.testing.assert_allclose(scores, expected[f"{FRAME}/final/scores"][:safe], rtol=0, atol=1e-4)


class Trained:
    """What a forward and backward pass in training mode gave for the frame."""

    def __init__(self, model, batch):
        head, aux = model.rpn_head, model.rpn_net.aux
        dense = Recorder(
            {
                "fcn6": head.blocks[0],
                "fcn7": head.deblocks[0],
                "psw_maps": model.extra_head.convs,
                "head": head,
                "points": aux,
                "voxels": model.rpn_net,
            }
        )
        losses, self.terms, _ = model(batch)
        losses["loss"].backward()
        predictions, _ = dense.outputs.pop("head")
        self.predictions = {name: value.detach() for name, value in predictions.items()}
        self.points, voxels = dense.outputs.pop("points"), dense.outputs.pop("voxels")
        self.maps = {name: value.detach() for name, value in dense.outputs.items()}
        self.model, self.batch = model, batch
        self.occupied = head.anchor_mask(batch["coordinates"], 1)
        self.targets = head.assign_targets(batch["gt_boxes"], self.occupied)
        self.means = model.vfe(batch["voxels"], batch["num_points"])[:, :3]
        self.order = torch.from_numpy(np.lexsort(batch["coordinates"].numpy().T[::-1]))
        frames = batch["coordinates"][:, 0]
        self.interpolated = {
            f"interp/level{stride}": aux.interpolate(self.means, frames, level, stride).detach()
            for level, stride in zip(voxels.levels, (2, 4, 8))
        }
        with torch.no_grad():
            guided = head.guide(predictions, self.occupied, model.extra_head.guide_score_thresh)
            frames = model.extra_head.with_ground_truth(guided, batch["gt_boxes"])
            boxes = [frame["boxes"] for frame in frames]
            self.guided = guided[0]["anchors"]
            self.scores = model.extra_head.scores(dense.outputs["psw_maps"], boxes)
            self.fits = model.extra_head.assign_targets(frames)


@pytest.fixture(scope="module")
def training(reference_sassd):
    return reference_sassd("train_losses_sassd.npz")


@pytest.fixture(scope="module")
def trained(reference, reference_sassd, training, tmp_path_factory):
    path = tmp_path_factory.mktemp("original")
    options = {"CENTER_TARGET_Z": "w"}
    model = ruled_model(reference, reference_sassd, "training", path, **options).train()
    in_plain_layout(model)
    return Trained(model, frame_batch(reference, training))


def check_samples(training, name: str, value: torch.Tensor, atol: float) -> None:
    picked = value.reshape(-1)[torch.from_numpy(training[f"{name}/idx"]).long()]
    np.testing.assert_allclose(picked, training[f"{name}/val"], rtol=0, atol=atol, err_msg=name)


def test_training_outputs(trained, training):
    for name, value in {**trained.predictions, **trained.maps, "psw_logit": trained.scores}.items():
        check_samples(training, name, value, atol=1e-4 * np.abs(training[f"{name}/val"]).max())


def test_points_of_the_auxiliary_network(trained, training):
    points = {name: value.detach() for name, value in trained.points.items()}
    for name, value in {**points, **trained.interpolated}.items():
        check_samples(training, name, value[trained.order], atol=1e-3)


@pytest.mark.parametrize(("key", "height"), [("original", "w"), ("height", "h")])
def test_targets_of_the_auxiliary_network(trained, training, key, height, monkeypatch):
    aux, batch = trained.model.rpn_net.aux, trained.batch
    monkeypatch.setattr(aux, "_height", CENTER_HEIGHTS[height])
    targets = aux.assign_targets(trained.means, batch["coordinates"], batch["gt_boxes"])
    labels, offsets = (value[trained.order] for value in targets.values())
    positive = torch.nonzero(labels).squeeze(1)
    np.testing.assert_array_equal(positive, training["aux/positive"])
    np.testing.assert_allclose(offsets[positive], training[f"aux/offset_{key}"], rtol=0, atol=1e-5)
    _, terms = aux.get_loss(trained.points, targets, 1)
    names = {"original": "aux_loss_reg", "height": "aux_loss_reg_with_height"}
    losses = dict(zip(training["loss/names"], training["loss/f64"]))
    assert terms["aux_loss_reg"].item() == pytest.approx(losses[names[key]], rel=2e-3)


def test_targets_of_anchors_and_boxes(trained, training):
    labels = trained.targets["box_cls_labels"][0]
    positive = training["rpn/0/positive"]
    np.testing.assert_array_equal(torch.nonzero(labels > 0).squeeze(1), positive)
    counts = [int((labels < 0).sum()), int((labels == 0).sum()), int((labels > 0).sum())]
    assert counts == training["rpn/0/counts_ignored_background_positive"].tolist()
    residuals = trained.targets["box_reg_targets"][0][torch.from_numpy(positive).long()]
    np.testing.assert_allclose(residuals, training["rpn/0/targets"], rtol=0, atol=1e-5)
    # The ground truth stands in front.
    assert len(trained.guided) + len(training["gt_boxes/0"]) == training["guided/0/num"]
    assert int(trained.guided.sum()) == training["guided/0/anchor_idx_sum"]
    np.testing.assert_array_equal(
        torch.nonzero(trained.fits).squeeze(1), training["psw/0/positive"]
    )


@pytest.mark.parametrize(
    ("name", "term", "rel"),
    [
        ("rpn_cls_loss", "rpn_loss_cls", 1e-4),
        ("rpn_loc_loss", "rpn_loss_loc", 1e-4),
        ("rpn_dir_loss", "rpn_loss_dir", 1e-4),
        ("loss_cls", "psw_loss_cls", 1e-4),
        ("aux_loss_cls", "aux_loss_cls", 2e-3),  # which of equally far sites counts is a matter
        ("aux_loss_reg", "aux_loss_reg", 2e-3),  # of taste: that much of 1 % of the points
    ],
)
def test_losses(trained, training, name, term, rel):
    losses = dict(zip(training["loss/names"], training["loss/f64"]))
    assert trained.terms[term].item() == pytest.approx(losses[name], rel=rel)


def names_here(reference, reference_sassd) -> dict[str, str]:
    """The original's names to those here."""
    state = original_state(reference, reference_sassd, "training")
    # Layout and order are kept: a name each.
    return dict(zip(state, checkpoint_formats.translate(state)))


def test_gradients(trained, training, reference, reference_sassd):
    """That of the boxes' convolution is 14 times smaller if guided boxes are detached."""
    names, gradients = names_here(reference, reference_sassd), {}
    parameters = dict(trained.model.named_parameters())
    assert len(training["grad/names"]) == len(parameters)
    for name, norm in zip(training["grad/names"], training["grad/l2"]):
        gradients[name] = float(parameters[names[name]].grad.double().norm()) / norm
    assert max(abs(ratio - 1) for ratio in gradients.values()) < 2e-2, gradients


def test_running_statistics(trained, training, reference, reference_sassd):
    names, state = names_here(reference, reference_sassd), trained.model.state_dict()
    norms = zip(training["bn_after_1_step/names"], training["bn_after_1_step/l2_original_f32"])
    for name, norm in norms:
        assert float(state[names[name]].norm()) == pytest.approx(norm, rel=1e-5), name
