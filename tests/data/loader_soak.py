"""A program: train and validate for many epochs; print, as JSON, resident memory and open files after each.

    python loader_soak.py STORE EPOCHS RESIDENCY

A process of its own, since memory that other tests of one process hold or give back would be counted as the loader's.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np

from fastpath import runtime
from fastpath.config import Config, DataConfig
from fastpath.data import loader, residency
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))


def own_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def soak(path: Path, num_epochs: int, residence: residency.Residency) -> tuple[list[int], list[int]]:
    rows = np.arange(64)
    store, here = open_store(path), runtime.resolve("cpu", num_threads=2)
    config = Config(data=DataConfig(image_size_px=32, batch_size=16))
    pixels = residency.make_pixel_source(store, rows, residence, here)
    memory, files = [], []
    with (
        closing(loader.train_loader(Samples(store, rows, STATS), config, here, pixels=pixels)) as train,
        closing(loader.eval_loader(Samples(store, rows[:20], STATS), config, here, pixels=pixels)) as val,
    ):
        for epoch in range(num_epochs):
            # Every tenth epoch is entered in its midst, as on resuming, which builds the pipeline anew.
            seen = sum(len(batch.labels_N) for batch in train.epoch(epoch, 2 * (epoch % 10 == 9)))
            assert seen in (64, 32)
            assert sum(len(batch.labels_N) for batch in val) == 20
            memory.append(own_bytes())
            files.append(open_files())
    return memory, files


if __name__ == "__main__":
    sys.stdout.write(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]), cast("residency.Residency", sys.argv[3]))))
