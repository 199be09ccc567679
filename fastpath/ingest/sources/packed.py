"""An existing store as a source: to cut its shards anew, to take part of it, to leave out what it dropped."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import xxhash

from fastpath.errors import DataError
from fastpath.ingest.sources.listing import Listing, Read, Source, Stamp, stamp_of
from fastpath.store.format import MANIFEST
from fastpath.store.reader import Store, open_store
from fastpath.text import command_line


def list_store(path: Path) -> Listing:
    """List a store's index in its order.

    Raises:
        StoreError: It is not a store, or its index is damaged.
    """
    store = open_store(path)
    groups = None if store.groups_N is None else store.groups_N.tolist()
    sites = None if store.sites_N is None else store.sites_N.tolist()
    names = [str(row) for row in range(len(store))]
    about = {
        key: value for key, value in store.manifest.source.items() if key not in ("kind", "skipped", "dropped", "drop")
    }
    return Listing("store", path, "store", names, store.ids_N.tolist(), store.labels_N, groups, about, sites=sites)


def _open(root: Path) -> tuple[Read, Stamp]:
    @cache
    def store() -> Store:
        return open_store(root)

    @cache
    def hashes() -> np.ndarray:
        return store().column("hash")

    def read(name: str, _: Counter[str]) -> np.ndarray:
        row = int(name)
        patch: np.ndarray = store().gather(np.array([row]))[0]
        if xxhash.xxh3_128_digest(patch.data) != hashes()[row]:
            remedy = f"run: {command_line('fastpath', 'repair', root)} --source SOURCE"
            raise DataError(root, f"row {row} ('{store().ids_N[row]}') differs from its hash", remedy)
        return patch

    return read, lambda _: stamp_of(str(root / MANIFEST))


SOURCE = Source(
    lambda path: (path / MANIFEST).exists(), lambda path, labels, follow: list_store(path), readers={"store": _open}
)
