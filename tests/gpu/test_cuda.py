"""What only a card can show: the CUDA graph's batches are the CPU's, and a step trains there in mixed precision."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastpath import runtime
from fastpath.config import Config, parse
from fastpath.data.loader import eval_loader, train_loader
from fastpath.engine.optim import make_optimizer
from fastpath.engine.step import train_step
from fastpath.model.freeze import parameter_groups
from fastpath.model.registry import build
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Samples
from fastpath.workflows import pack

pytestmark = pytest.mark.gpu
STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
RINGS = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
POLICIES: dict[str, dict[str, Any]] = {
    "notebook": {},
    "clamp": {"border": "clamp"},
    "reflect": {"border": "reflect"},
    "none": {"policy": "none"},
    "d4": {"policy": "d4"},
    "strong": {"policy": "strong"},
    "ring": {"policy": "ring"},
    "everything": {"policy": "strong", "border": "black", **RINGS},
}
EXACT = {"notebook", "clamp", "reflect", "none", "d4"}


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("gpu") / "store"
    pack.pack_source(kaggle_folder, path)
    return open_store(path)


def settings(size: int, policy: str) -> Config:
    return parse({"data": {"image_size_px": size, "batch_size": 32, "augment": POLICIES[policy]}})


@pytest.mark.parametrize("size", [224, 96, 48])
@pytest.mark.parametrize("policy", POLICIES)
def test_cuda_batches_equal_cpu_batches_of_the_same_plan(
    store: Store, cuda: runtime.Runtime, size: int, policy: str
) -> None:
    config, rows = settings(size, policy), np.arange(len(store))
    on_cpu, on_cuda = (
        train_loader(Samples(store, rows, STATS), config, runtime_) for runtime_ in (runtime.resolve("cpu"), cuda)
    )
    with closing(on_cpu), closing(on_cuda):
        for ours, theirs in zip(on_cpu.epoch(1), on_cuda.epoch(1), strict=True):
            assert theirs.images_NCHW.device.type == "cuda"
            assert theirs.images_NCHW.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(theirs.indices_N.cpu(), ours.indices_N)
            # A quarter of a grey level: the two back ends may round interpolation weights differently.
            if policy in EXACT:
                torch.testing.assert_close(theirs.images_NCHW.cpu(), ours.images_NCHW, atol=5e-3, rtol=0)
            else:  # artefacts are rounded to bytes, and JPEG's transform is another implementation there
                assert (theirs.images_NCHW.cpu() - ours.images_NCHW).abs().mean() < 1e-2


def test_evaluation_batches_equal_the_cpus(store: Store, cuda: runtime.Runtime) -> None:
    config, rows = settings(224, "notebook"), np.arange(len(store))
    on_cpu = eval_loader(Samples(store, rows, STATS), config, runtime.resolve("cpu"))
    on_cuda = eval_loader(Samples(store, rows, STATS), config, cuda)
    for ours, theirs in zip(on_cpu, on_cuda, strict=True):
        torch.testing.assert_close(theirs.images_NCHW.cpu(), ours.images_NCHW, atol=5e-3, rtol=0)


def test_batches_stay_valid_while_later_ones_are_made(store: Store, cuda: runtime.Runtime) -> None:
    with closing(train_loader(Samples(store, np.arange(len(store)), STATS), settings(96, "notebook"), cuda)) as loader:
        kept = list(loader.epoch(0))
        copies = [batch.images_NCHW.clone() for batch in kept]
        list(loader.epoch(1))
    assert all(torch.equal(batch.images_NCHW, copy) for batch, copy in zip(kept, copies, strict=True))


def test_a_mixed_precision_step_learns(store: Store, cuda: runtime.Runtime) -> None:
    model_config = {"name": "resnet18", "pretrained": False, "trainable": "all"}
    config = parse(
        {"data": {"image_size_px": 96, "batch_size": 32}, "model": model_config, "optim": {"lr_trunk": 1e-3}}
    )
    cuda.seed(0)
    model = build(config.model, 96)
    cuda.prepare(model).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), config.optim), cuda.grad_scaler()
    with closing(train_loader(Samples(store, np.arange(len(store)), STATS), config, cuda)) as loader:
        batch = next(loader.epoch(0))
        losses = [float(train_step(model, batch, optimizer, scaler, cuda)) for _ in range(20)]
    assert cuda.precision in {"bfloat16", "float16"}
    assert losses[-1] < losses[0]
