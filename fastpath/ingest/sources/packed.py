"""An existing store as a source: to cut its shards anew, to take part of it, to leave out what it dropped."""

from __future__ import annotations

from pathlib import Path

from fastpath.ingest.sources.listing import Listing
from fastpath.store.reader import open_store


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
