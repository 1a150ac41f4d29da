"""From a batch of the loader to detections on the host."""

from __future__ import annotations

import torch

from models.model_fixture import random_batch, small_model
from pcdet.engine.detect import detect, to_host
from pcdet.models import example_convert_to_torch, unused_arrays


def test_detections_are_those_of_the_model():
    model = small_model("second").eval()
    model.post_processor.score_thresh = 0.0
    batch = random_batch(name="second")
    with torch.no_grad():
        expected, counts = model(example_convert_to_torch(batch))
    found, recall = detect(model, batch)
    assert recall == counts
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert len(one["scores"])
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert torch.equal(one[name], other[name]), name


def test_frames_without_detections_stay_in_their_place():
    empty = {"boxes": torch.zeros(0, 7), "scores": torch.zeros(0), "labels": torch.zeros(0).long()}
    one = {"boxes": torch.ones(1, 7), "scores": torch.ones(1), "labels": torch.tensor([3])}
    found = to_host([empty, one, empty])
    assert [len(frame["boxes"]) for frame in found] == [0, 1, 0]
    assert found[1]["labels"].tolist() == [3]
    assert found[0]["boxes"].shape == (0, 7)


def test_bfloat16_finds_about_the_same():
    model, batch = small_model("second").eval(), random_batch(name="second")
    model.post_processor.score_thresh = 0.0
    (exact, *_), _ = detect(model, batch)
    (rough, *_), _ = detect(model, batch, torch.bfloat16)
    best = exact["scores"][0]
    torch.testing.assert_close(rough["scores"][0], best, rtol=0, atol=0.05)


def test_what_a_detector_does_not_read_is_unused():
    assert {"points", "voxel_centers", "seg_labels"} <= unused_arrays(small_model("second"))
    assert "voxel_centers" not in unused_arrays(small_model("pointpillar"))
    assert "seg_labels" not in unused_arrays(small_model("PartA2"))
