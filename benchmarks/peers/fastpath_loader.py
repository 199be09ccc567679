"""fastpath's own loader, under the same clock as its peers."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.common import MEAN, STD, Batches, Task, Work, main
from fastpath.config import Config, DataConfig
from fastpath.data import loader
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples

COLOUR = "colour as one affine map fitted to the jitter"
GEOMETRY = "geometry as one warp of the stored pixels"
WORKS = {"": Work(differs=(COLOUR, GEOMETRY))}


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch."""
    store, stats = open_store(task.store), ChannelStats(MEAN, STD)
    rows = np.arange(len(store))
    config = Config(data=DataConfig(image_size_px=task.image_size_px, batch_size=task.batch_size))
    runtime = resolve("cpu", num_threads=task.threads)
    if task.mode == "val":
        validation = loader.eval_loader(Samples(store, rows, stats), config, runtime)
        while True:
            for batch in validation:
                yield batch.images_NCHW, batch.labels_N
    training = loader.train_loader(Samples(store, rows, stats), config, runtime)
    epoch = 0
    while True:
        for batch in training.epoch(epoch):
            yield batch.images_NCHW, batch.labels_N
        epoch += 1


if __name__ == "__main__":
    main(load, WORKS, ["fastpath", "nvidia-dali-cuda120", "opencv-python-headless", "torch"])
