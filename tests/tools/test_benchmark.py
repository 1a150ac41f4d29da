"""What the benchmark does with a folder of data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from benchmark_utils import infos


def test_a_large_set_is_measured_on_some_of_its_frames(tmp_path, monkeypatch):
    """Each pass over all of KITTI would take minutes, and there are many."""
    (tmp_path / "training" / "label_2").mkdir(parents=True)
    for k in range(500):
        (tmp_path / "training" / "label_2" / f"{k:06d}.txt").touch()
    counts, hulls = [], []
    dataset = SimpleNamespace(
        get_infos=lambda num_workers, sample_id_list: counts.append(len(set(sample_id_list))),
        create_groundtruth_database=lambda save_path, num_workers: None,
        get_lidar=lambda frame: np.zeros((0, 4), np.float32),
        get_calib=lambda frame: None,
    )
    monkeypatch.setattr(infos, "BaseKittiDataset", lambda folder: dataset)
    monkeypatch.setattr(infos, "_plain_count", lambda dataset, frame: hulls.append(frame))
    monkeypatch.setattr(infos, "estimate_road_plane", lambda points, calib, rng: None)
    assert len(list(infos.stages(tmp_path))) == 5
    assert set(counts) == {30, 240} and len(set(hulls)) == 30
