"""Several stores read as one, with labels of its own: the patches of a run that trains on more than its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastpath.store.reader import Store


class JoinedStore:
    """Rows count through the stores in their order. Reads like a `Store`, as far as training does.

    Args:
        stores: Of patches of one size.
        labels_N: int8, one for each row, in place of the stores' own.

    Attributes:
        labels_N: As given.
        patch_size_px: Height and width of every patch, in pixels.
    """

    def __init__(self, stores: Sequence[Store], labels_N: np.ndarray) -> None:
        self._stores = list(stores)
        self._starts = np.cumsum([0, *(len(store) for store in stores)])
        assert len({store.patch_size_px for store in stores}) == 1, "patches of several sizes"
        assert len(labels_N) == self._starts[-1], f"{len(labels_N)} labels for {self._starts[-1]} rows"
        self.labels_N, self.patch_size_px = labels_N, stores[0].patch_size_px

    @property
    def ids_N(self) -> np.ndarray:
        """Names, an object array of str."""
        return np.concatenate([store.ids_N for store in self._stores])

    @property
    def local(self) -> bool:
        """Whether all shards are on this machine."""
        return all(store.local for store in self._stores)

    def parts(self, rows_N: np.ndarray) -> Iterator[tuple[Store, np.ndarray, np.ndarray]]:
        """Yield each store that rows lie in, with their places in `rows_N` and their rows there, both int64."""
        number_N = np.searchsorted(self._starts, rows_N, side="right") - 1
        for number, store in enumerate(self._stores):
            at = np.flatnonzero(number_N == number)
            if len(at):
                yield store, at, np.asarray(rows_N, np.int64)[at] - self._starts[number]

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        """Copy patches out of the stores; see `Store.gather`."""
        rows_N = np.asarray(indices_N, np.int64)
        if out_NHWC is None:
            out_NHWC = np.empty((len(rows_N), self.patch_size_px, self.patch_size_px, 3), np.uint8)
        for store, at, own_N in self.parts(rows_N):
            if len(at) == len(rows_N):
                return store.gather(own_N, out_NHWC)
            # Indexing by an array copies, so patches are written from a buffer of their own.
            out_NHWC[at] = store.gather(own_N)
        return out_NHWC

    def sampled(self, indices_N: np.ndarray, grid: slice) -> np.ndarray:
        """Copy some pixels of patches; see `Store.sampled`."""
        rows_N = np.asarray(indices_N, np.int64)
        side = len(range(*grid.indices(self.patch_size_px)))
        found_NKK3 = np.empty((len(rows_N), side, side, 3), np.uint8)
        for store, at, own_N in self.parts(rows_N):
            found_NKK3[at] = store.sampled(own_N, grid)
        return found_NKK3
