"""LitData: optimised chunks of raw patches, one data set a class, combined evenly; pixels by torchvision v2."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litdata
import numpy as np
import torch

from benchmarks.peers.common import Batches, Task, Work, main
from benchmarks.peers.packed import Packed
from benchmarks.peers.torch_transforms import REORDERED, tensor_of, transform_for

CHUNK = 256
SAMPLING = "weighted sampling by combining one data set a class"
SHUFFLING = "shuffles chunks and within them, not the set"
WORKS = {"": Work(differs=(SAMPLING, SHUFFLING)), "reordered": Work(differs=(SAMPLING, SHUFFLING, REORDERED))}


def sample(packed: Packed, row: int) -> dict[str, Any]:
    """Return what is stored of one patch."""
    return {"image": tensor_of(packed.patch(row)), "label": int(packed.labels_N[row])}


def prepared(task: Task) -> Path:
    """Write the patches of each class as an optimised data set beside the store, once; returns their folder."""
    folder = task.store.with_name(f"{task.store.name}.litdata")
    if folder.exists():
        return folder
    packed, partial = Packed(task.store), folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for label in (0, 1):
        litdata.optimize(
            functools.partial(sample, packed),
            inputs=np.flatnonzero(packed.labels_N == label).tolist(),
            output_dir=str(partial / str(label)),
            chunk_size=CHUNK,
            num_workers=1,
            verbose=False,
        )
    return partial.rename(folder)


def transformed(transform: Callable[[torch.Tensor], torch.Tensor], stored: dict[str, Any]) -> tuple[torch.Tensor, int]:
    """Return an image and its label."""
    return transform(stored["image"]), stored["label"]


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch."""
    folder, train = prepared(task), task.mode == "train"
    transform = functools.partial(transformed, transform_for(task))
    parts = [
        litdata.StreamingDataset(str(folder / label), shuffle=train, transform=transform, drop_last=False)
        for label in ("0", "1")
    ]
    weights = [0.5, 0.5] if train else None
    data = litdata.CombinedStreamingDataset(parts, weights=weights, iterate_over_all=not train)
    loader = litdata.StreamingDataLoader(
        data, batch_size=task.batch_size, num_workers=task.threads, persistent_workers=True
    )
    while True:
        yield from loader


if __name__ == "__main__":
    main(load, WORKS, ["litdata", "torch", "torchvision"])
