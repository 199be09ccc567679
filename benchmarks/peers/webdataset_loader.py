"""WebDataset: tar shards of raw patches, one set of shards a class, mixed evenly; pixels by torchvision v2."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader, default_collate

from benchmarks.peers.common import Batches, Task, Work, main
from benchmarks.peers.packed import Packed
from benchmarks.peers.torch_transforms import REORDERED, tensor_of, transform_for

SHARD, SHUFFLED = 256, 1000
SAMPLING = "weighted sampling by mixing one stream a class"
SHUFFLING = "shuffles shards and a buffer of 1,000, not the set"
WORKS = {"": Work(differs=(SAMPLING, SHUFFLING)), "reordered": Work(differs=(SAMPLING, SHUFFLING, REORDERED))}


def prepared(task: Task) -> Path:
    """Write the patches of each class as tar shards beside the store, once; returns their folder."""
    folder = task.store.with_name(f"{task.store.name}.webdataset")
    if folder.exists():
        return folder
    packed, partial = Packed(task.store), folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for label in (0, 1):
        rows = np.flatnonzero(packed.labels_N == label).tolist()
        with webdataset.ShardWriter(f"{partial}/{label}-%05d.tar", maxcount=SHARD, verbose=0) as writer:
            for row in rows:
                writer.write({"__key__": f"{row:08d}", "npy": packed.patch(row), "cls": label})
    return partial.rename(folder)


def load(task: Task) -> Batches:
    """Yield batches without end in training, epoch after epoch in validation."""
    folder, transform = prepared(task), transform_for(task)
    shards = [sorted(map(str, folder.glob(f"{label}-*.tar"))) for label in (0, 1)]

    def tensor(patch: np.ndarray) -> torch.Tensor:
        return transform(tensor_of(patch))

    def stream(urls: list[str]) -> Any:  # noqa: ANN401 (WebDataset is untyped)
        train = task.mode == "train"
        patches = webdataset.WebDataset(urls, resampled=train, shardshuffle=False)
        return (patches.shuffle(SHUFFLED) if train else patches).decode().to_tuple("npy", "cls")

    if task.mode == "train":
        source = webdataset.RandomMix([stream(urls) for urls in shards], [0.5, 0.5])
    else:
        source = stream(shards[0] + shards[1])
    stages = [webdataset.map_tuple(tensor, int), webdataset.batched(task.batch_size, collation_fn=default_collate)]
    pipeline = webdataset.DataPipeline(source, *stages)
    loader = DataLoader(pipeline, batch_size=None, num_workers=task.threads, persistent_workers=True)
    while True:
        yield from loader


if __name__ == "__main__":
    main(load, WORKS, ["webdataset", "torch", "torchvision"])
