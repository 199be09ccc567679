"""The benchmark's verdicts, and that it measures what it says on a small store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastpath.config import Config, parse
from fastpath.runs import lone_step
from fastpath.runtime import Runtime
from fastpath.types import Batch
from fastpath.workflows import pack
from fastpath.workflows.bench import bench

CPU = Runtime(torch.device("cpu"), num_threads=1)
CUDA_AMP = Runtime(torch.device("cuda", 0), "bfloat16")


@pytest.mark.parametrize(
    ("model", "train", "loader", "runtime", "phrase"),
    [
        (100.0, 99.0, 2000.0, CPU, "model-bound: training runs at 99%"),
        (100.0, 93.0, 2000.0, CPU, "nearly model-bound: 93%"),
        (100.0, 50.0, 60.0, CUDA_AMP, "loader-bound: training runs at 50%"),
        (None, None, 60.0, CPU, "fastpath bench ceiling"),
    ],
)
def test_the_verdict_names_what_limits_training(
    model: float | None, train: float | None, loader: float | None, runtime: Runtime, phrase: str
) -> None:
    verdict = bench.verdict(model, train, loader, runtime)
    assert verdict.startswith(phrase) or phrase in verdict


def test_a_store_that_reads_slowly_is_named_and_the_bound_is_told() -> None:
    slow_disk = bench.verdict(100.0, 50.0, 60.0, CPU, gather=62.0)
    assert slow_disk.startswith("input/output-bound: the store is read at 62 patches/s")
    assert bench.verdict(100.0, 50.0, 60.0, CPU, gather=6000.0).startswith("loader-bound")
    assert "80% of the device's bound" in bench.verdict(100.0, 99.0, 2000.0, CPU, bound=125.0)


def test_amp_is_advised_only_where_it_is_off() -> None:
    assert "--amp" in bench.verdict(100.0, 100.0, 1e4, CPU)
    assert "--amp" not in bench.verdict(100.0, 100.0, 1e4, CUDA_AMP)


@pytest.fixture
def small() -> Config:
    data = {"image_size_px": 32, "batch_size": 8}
    return parse({"data": data, "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}})


@pytest.mark.dali
def test_every_kind_measures_its_parts(kaggle_folder: Path, tmp_path: Path, small: Config) -> None:
    store = tmp_path / "store"
    pack.pack_source(kaggle_folder, store)
    progress: list[tuple[int, int]] = []
    benchmarks = {
        kind: bench.run_benchmark(kind, store, small, CPU, num_batches=2, advance=lambda *at: progress.append(at))
        for kind in ("loader", "train", "ceiling")
    }
    measured = {
        kind: [
            result.loader_images_per_s is not None,
            result.model_images_per_s is not None,
            result.train_images_per_s is not None,
        ]
        for kind, result in benchmarks.items()
    }
    assert measured == {"loader": [True, False, False], "train": [False, False, True], "ceiling": [True] * 3}
    ceiling = benchmarks["ceiling"]
    assert ceiling.bound_images_per_s is not None
    assert ceiling.model_images_per_s is not None
    assert ceiling.bound_images_per_s > ceiling.model_images_per_s
    assert ceiling.published_images_per_s is None
    assert progress[-1][0] == progress[-1][1] == 3 * (2 + bench.WARM_BATCHES)
    stall = benchmarks["ceiling"].stall_share
    assert stall is not None
    assert 0 <= stall <= 1
    assert (benchmarks["ceiling"].host_ms or 0) > 0
    bench.draw_benchmark(benchmarks["ceiling"], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.dali
def test_it_measures_the_step_that_a_run_would_take(
    kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    pack.pack_source(kaggle_folder, store)
    taken: list[tuple[int, Any]] = []

    def made(network: nn.Module, *_: object, **options: Any) -> Callable[[Batch], None]:
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        return lambda _batch: taken.append((norms, options))

    monkeypatch.setattr(lone_step, "make_step", made)
    model = {"name": "test_resnet", "pretrained": False, "trainable": "head", "batchnorm": "folded"}
    train = {"label_smoothing": 0.1, "accumulate": 2, "cuda_graph": False}
    config = parse({"data": {"image_size_px": 32, "batch_size": 8}, "model": model, "train": train})
    bench.run_benchmark("train", store, config, CPU, num_batches=1)
    assert set(map(str, taken)) == {str((0, train))}
