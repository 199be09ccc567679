"""On a card, each residency feeds the same bytes, also while training keeps the device busy."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from fastpath import runtime
from fastpath.config import parse
from fastpath.data import residency
from fastpath.data.loader import eval_loader, train_loader
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Samples
from fastpath.workflows import pack

pytestmark = pytest.mark.gpu
STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
KINDS: tuple[residency.Residency, ...] = ("device", "host")


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("gpu_residency") / "store"
    pack.pack_source(kaggle_folder, path)
    return open_store(path)


@pytest.mark.parametrize("size", [224, 48])
def test_batches_are_the_same_in_every_residency_while_the_device_is_busy(
    store: Store, cuda: runtime.Runtime, size: int
) -> None:
    config, rows = parse({"data": {"image_size_px": size, "batch_size": 16}}), np.arange(len(store))
    load = torch.randn(2048, 2048, device=cuda.device)
    seen = {}
    for kind in KINDS:
        pixels = residency.make_pixel_source(store, rows, kind, cuda)
        kept = []
        with closing(train_loader(Samples(store, rows, STATS), config, cuda, pixels=pixels)) as loader:
            for epoch in range(4):
                for batch in loader.epoch(epoch):
                    load = torch.tanh(load @ load)  # queued on the training stream, ahead of what reads the batch
                    kept.append((batch.images_NCHW.sum((1, 2, 3)), batch.images_NCHW[:, :, ::7, ::7].clone()))
        with closing(eval_loader(Samples(store, rows, STATS), config, cuda, pixels=pixels)) as loader:
            kept += [(batch.images_NCHW.sum((1, 2, 3)), batch.images_NCHW[:, :, ::7, ::7].clone()) for batch in loader]
        seen[kind] = kept
    for ours, theirs in zip(*seen.values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_the_pixels_of_each_residency_are_the_stores(store: Store, cuda: runtime.Runtime) -> None:
    rows = np.arange(len(store))
    for kind in KINDS:
        pixels = residency.make_pixel_source(store, rows, kind, cuda)
        taken = [pixels.fetch(rows[start : start + 8], 1) for start in range(0, len(rows) - 8, 3)]
        cuda.synchronize()
        for number, images in enumerate(taken):
            inside = residency.inner(images.cpu().numpy(), 1)
            np.testing.assert_array_equal(inside, store.gather(rows[number * 3 : number * 3 + 8]))


def test_the_card_is_chosen_where_the_split_fits(store: Store, cuda: runtime.Runtime) -> None:
    assert residency.budget("auto", len(store), store.patch_size_px, cuda).residency == "device"
    assert residency.budget("auto", 10**9, store.patch_size_px, cuda).residency == "host"


def test_a_run_under_torchrun_uses_every_card(store: Store, cuda: runtime.Runtime, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torch.accelerator.device_count()}"]
    settings = ("model.name=test_resnet", "model.pretrained=false", "data.image_size_px=64", "train.epochs=2")
    changes = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, *launcher, "-m", "fastpath", "train", str(store.path), "-o", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *changes, "--device", "cuda", "--amp"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()) == 2
