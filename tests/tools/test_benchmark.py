"""What the benchmark does with a folder of data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

import benchmark
from benchmark_utils import infos
from benchmark_utils.common import Row
from benchmark_utils.memory import PeakMemory
from benchmark_utils.work import Ceilings, Work, counted
from pcdet.models.model_utils.first_convolution import FirstConvolution
from pcdet.ops.sparse_conv import SparseSequential, SparseTensor, SubMConv3d
from pcdet.utils.device_utils import default_device


def test_a_large_set_is_measured_on_some_of_its_frames(tmp_path, monkeypatch):
    """Each pass over all of KITTI would take minutes, and there are many."""
    for kind, suffix in (("label_2", "txt"), ("calib", "txt"), ("velodyne", "bin")):
        (tmp_path / "training" / kind).mkdir(parents=True)
        for k in range(500):
            (tmp_path / "training" / kind / f"{k:06d}.{suffix}").touch()
    counts, hulls, processes = [], [], []

    def get_infos(num_workers, sample_id_list):
        counts.append(len(set(sample_id_list)))
        processes.append(num_workers)

    dataset = SimpleNamespace(
        root_split_path=tmp_path / "training",
        get_infos=get_infos,
        create_groundtruth_database=lambda save_path, num_workers: None,
        get_lidar=lambda frame: np.zeros((0, 4), np.float32),
        get_calib=lambda frame: None,
    )
    monkeypatch.setattr(infos, "BaseKittiDataset", lambda folder: dataset)
    monkeypatch.setattr(infos, "_plain_count", lambda dataset, frame: hulls.append(frame))
    monkeypatch.setattr(infos, "estimate_road_plane", lambda points, calib, rng: None)
    monkeypatch.setattr(infos, "available_cores", lambda: 3)
    rows = list(infos.stages(tmp_path))
    assert [row.note.partition(";")[0] for row in rows[2:4]] == ["3 processes"] * 2
    # What is compared with one process is one itself.
    assert len(rows) == 5 and processes[0] == 1 and processes[-1] == 3
    assert set(counts) == {30, 240} and len(set(hulls)) == 30


def test_memory_is_that_since_the_last_reset():
    memory = PeakMemory()
    held = torch.ones(2**24, device=default_device())  # 64 MiB, written to
    del held
    assert 60 * 2**20 < memory.taken() < 100 * 2**20
    memory.reset()
    assert (memory.taken() or 0) < 20 * 2**20


def test_what_computes_on_the_cpu_alone_has_no_memory_of_the_gpu(monkeypatch, capsys):
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(infos, "stages", lambda data_dir: [Row("reading", 2.0)])
    monkeypatch.setattr("pcdet.utils.log_utils.machine_line", str)
    benchmark.main(["--stages", "infos"])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["reading", "2.00", "ms", "-"]
    assert torch.backends.cudnn.benchmark  # as in a training


def test_work_is_counted_from_the_shapes_of_the_layers():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),  # 2 x 4 x 5 places of 3 x 8 x 9
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False),  # 2 x 4 x 5 places of 8 x 4 x 4
    )
    with counted(network) as work:
        network(torch.zeros(2, 3, 8, 10))
    network(torch.zeros(2, 3, 8, 10))  # not counted any more
    assert [flop for flop, _ in work.layers] == [2 * 40 * 216, 0, 2 * 40 * 128]
    numbers = [480 + 320 + 216, 320 + 320, 320 + 640 + 128]
    assert [size for _, size in work.layers] == [4 * n for n in numbers]
    ceilings = Ceilings(copy=1e9, product={torch.float32: 1e9})
    assert ceilings.floor_ms(Work([(5e6, 2e6), (1e6, 3e6)]), torch.float32) == 8.0


def test_a_sparse_layer_costs_a_product_for_each_pair():
    sites = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2], [0, 5, 5, 5]])
    layer = SparseSequential(SubMConv3d(2, 4, 3, bias=False))
    with counted(layer) as work:
        layer(SparseTensor(torch.ones(3, 2), sites, [8, 8, 8], 1))
    # Each voxel with itself, and two neighbours with each other.
    assert work.flop == 2 * 5 * 2 * 4
    assert work.bytes == 4 * (3 * 2 + 3 * 4 + 27 * 2 * 4)


def test_a_first_convolution_costs_a_product_for_each_pair_of_its_cells():
    cells = SparseTensor(torch.ones(2, 3), torch.tensor([[0, 0, 0, 0], [0, 0, 2, 2]]), [1, 4, 4], 1)
    layer = FirstConvolution(3, 5, 3, stride=2, padding=1, bias=False)
    with counted(nn.Sequential(layer)) as work:
        layer(cells)
        layer(torch.zeros(1, 3, 4, 4))
    # Cell 0, 0 is seen by one output, 2, 2 by one as well; of an image, four outputs see nine each.
    assert [flop for flop, _ in work.layers] == [2 * 2 * 15, 2 * 4 * 9 * 15]
