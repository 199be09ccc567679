"""The packed store as a user of another library would read it: NumPy's memory maps and a table of labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Packed:
    """A store's patches and labels, without fastpath.

    Attributes:
        labels_N: int64.
        patch_px: Side of a patch.
        weights_N: One over the size of each patch's class, float64, summing to 1: the notebook's sampler.
    """

    def __init__(self, store: Path) -> None:
        manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
        index = pd.read_parquet(store / "index.parquet", columns=["label", "shard", "row"])
        # Copy on write: torch warns of arrays that cannot be written to.
        self._shards = [np.asarray(np.load(store / entry["file"], mmap_mode="c")) for entry in manifest["shards"]]
        self.patch_px = int(manifest["patch_shape"][0])
        self._places = list(zip(index["shard"].tolist(), index["row"].tolist(), strict=True))
        self.labels_N: NDArray[np.int64] = index["label"].to_numpy(dtype=np.int64)
        weights_N = 1.0 / np.bincount(self.labels_N)[self.labels_N]
        self.weights_N: NDArray[np.float64] = weights_N / weights_N.sum()

    def __len__(self) -> int:
        return len(self._places)

    def patch(self, row: int) -> NDArray[np.uint8]:
        """Return one patch, uint8 [H, W, 3], a view of the map."""
        shard, place = self._places[row]
        patch: NDArray[np.uint8] = self._shards[shard][place]
        return patch

    def gather(self, rows_N: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of many, uint8 [N, H, W, 3]."""
        return np.stack([self.patch(row) for row in rows_N.tolist()])

    def batches_of_rows(self, mode: str, batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of batch after batch without end: weighted draws for `train`, else in order."""
        random, bounds_N, start = np.random.default_rng(), np.cumsum(self.weights_N), 0
        while mode == "train":
            drawn_N = np.searchsorted(bounds_N, random.random(batch_size), side="right")
            yield np.minimum(drawn_N, len(self) - 1)  # the bounds end a rounding error short of 1
        while True:
            yield np.arange(start, start + batch_size) % len(self)
            start = (start + batch_size) % len(self)
