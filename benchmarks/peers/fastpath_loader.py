"""fastpath's own loader, under the same clock as its peers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.peers.common import MEAN, STD, Task, main
from fastpath.config import Config, DataConfig
from fastpath.data import loader
from fastpath.runtime import resolve
from fastpath.shards.reader import open_store
from fastpath.types import ChannelStats


def load(task: Task) -> Iterator[int]:
    """Yield the size of each batch, epoch after epoch."""
    store, stats = open_store(task.store), ChannelStats(MEAN, STD)
    rows = np.arange(len(store))
    config = Config(data=DataConfig(image_size_px=task.image_size_px, batch_size=task.batch_size))
    runtime = resolve("cpu", num_threads=task.threads)
    if task.mode == "val":
        validation = loader.eval_loader(store, rows, stats, config, runtime)
        while True:
            for batch in validation:
                yield len(batch.indices_N)
    training = loader.train_loader(store, rows, stats, config, runtime)
    epoch = 0
    while True:
        for batch in training.epoch(epoch):
            yield len(batch.indices_N)
        epoch += 1


if __name__ == "__main__":
    main(load)
