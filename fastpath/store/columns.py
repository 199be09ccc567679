"""What a store's index says of each patch, an array a column; read when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastpath.store import format as fmt
from fastpath.store.index import Index

if TYPE_CHECKING:
    import pandas as pd


class Columns:
    """The columns of a store, in row order.

    Attributes:
        manifest: What the store says of itself.
    """

    def __init__(self, manifest: fmt.Manifest, index: Index) -> None:
        self.manifest, self._index = manifest, index

    def __len__(self) -> int:
        return self.manifest.num_patches

    def check_index(self) -> None:
        """Check that every row has a name of its own, a label and a place, as opening a store does.

        Raises:
            StoreError: The index is not the manifest's, or holds what no index may.
        """
        self._index.check()

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index, one row a patch, in row order; columns as docs/shard-format.md lists them."""
        frame: pd.DataFrame = self._index.read().to_pandas()
        return frame

    def column(self, name: str) -> np.ndarray:
        """Return one column of the index: an array of its type, or of str or bytes objects."""
        return self._index.column(name)

    @cached_property
    def ids_N(self) -> np.ndarray:
        """Names, an object array of str."""
        return self.column("id")

    @cached_property
    def labels_N(self) -> np.ndarray:
        """Labels, int8; -1 where unknown."""
        return self.column("label")

    @property
    def packed_groups_N(self) -> np.ndarray | None:
        """Slides that the index names, an object array of str, or None where it names none."""
        return self.column("group") if self.manifest.num_groups else None

    @cached_property
    def sites_N(self) -> np.ndarray | None:
        """Sites, an object array of str, or None where they are unknown."""
        return self.column("site") if self._index.has_sites else None

    @property
    def hash_halves_N2(self) -> np.ndarray:
        """Each patch's pixel hash as two numbers, uint64 [N, 2]: a sixth of what bytes objects take."""
        column = self._index.read(["hash"])["hash"].combine_chunks()
        halves = np.frombuffer(column.buffers()[1], "<u8").reshape(-1, 2)
        return halves[column.offset : column.offset + len(column)]

    @cached_property
    def sums_N3(self) -> np.ndarray:
        """Each patch's exact sum of pixel values by channel, int64 [N, 3]."""
        return self._by_channel("sum")

    @cached_property
    def squares_N3(self) -> np.ndarray:
        """Each patch's exact sum of squared pixel values by channel, int64 [N, 3]."""
        return self._by_channel("squares")

    def _by_channel(self, kind: str) -> np.ndarray:
        found_N3 = np.empty((len(self), 3), np.int64)
        for channel, letter in enumerate("rgb"):
            found_N3[:, channel] = self.column(f"{kind}_{letter}")
        return found_N3

    @cached_property
    def mean_rgb_N3(self) -> np.ndarray:
        """Each patch's channel means, float32 [N, 3], 0 to 255."""
        mean: np.ndarray = self.sums_N3 / (self.manifest.patch_shape[0] * self.manifest.patch_shape[1])
        return mean.astype(np.float32)


def locate(ids_N: np.ndarray, wanted: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """Return the rows of patches by id, int64, in the order wanted, and the ids that none of them has.

    Args:
        ids_N: Ids by row.
        wanted: Ids looked for.
    """
    row_of = {str(name): row for row, name in enumerate(ids_N)}
    rows_of_ids = [(str(name), row_of.get(str(name))) for name in wanted]
    rows = np.array([row for _, row in rows_of_ids if row is not None], np.int64)
    return rows, [name for name, row in rows_of_ids if row is None]


def rows_of(store: Columns) -> np.ndarray:
    """Return what a store's index says of its patches' pixels, `format.ROW` [N]."""
    rows = np.zeros(len(store), fmt.ROW)
    rows["hash"] = np.frombuffer(store.hash_halves_N2.tobytes(), "V16")
    rows["sums"], rows["squares"] = store.sums_N3, store.squares_N3
    for name in ("sharpness", "phash", "flags"):
        rows[name] = store.column(name)
    return rows
