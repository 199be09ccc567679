"""Prove that a store holds what it says: every file, every row, every count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath.errors import StoreError
from fastpath.shards import format as fmt
from fastpath.shards.reader import Store


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as the manifest says.

    Attributes:
        file: File of the store.
        problem: What was found and what was wanted.
        rows: Rows of the store that it concerns, where that can be told.
        ids: Their ids.
    """

    file: str
    problem: str
    rows: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()


def check_shard(path: Path, number: int) -> list[Damage]:
    """Check one shard: its file's hash, and where that differs, which rows are to blame. Runs in a worker.

    Args:
        path: The store.
        number: The shard.
    """
    store = _open(path)
    entry = store.manifest.shards[number]
    try:
        if fmt.hash_file(path / entry.file) == entry.hash:
            return []
    except OSError as error:
        return [Damage(entry.file, f"cannot be read ({error.strerror})")]
    try:
        rows = _damaged_rows(store, number)
    except StoreError as error:  # the header is hit, or the index too: no row can be told from another
        return [Damage(entry.file, f"found other bytes than the manifest's hash ({error.problem})")]
    if not rows:
        return [Damage(entry.file, "found other bytes than the manifest's hash, in no row that the index lists")]
    return [Damage(entry.file, f"{len(rows)} rows differ from their hashes", tuple(rows), tuple(store.ids_N[rows]))]


def _open(path: Path) -> Store:
    return Store(path, fmt.load_document(path / fmt.MANIFEST, fmt.Manifest))


def _damaged_rows(store: Store, number: int) -> list[int]:
    """Rows of the store in one shard whose pixels do not have the index's hash."""
    shard = store.shard(number)
    listed = np.flatnonzero(store.column("shard") == number)
    within, hashes = store.column("row")[listed], store.column("hash")[listed]
    return [
        int(row)
        for row, place, wanted in zip(listed, within, hashes, strict=True)
        if xxhash.xxh3_128_digest(np.ascontiguousarray(shard[place]).data) != wanted
    ]


def check_index(store: Store) -> list[Damage]:
    """Check the index against the manifest: hash, counts, fingerprint, and that every row has its own place."""
    try:
        frame = store.index
    except StoreError as error:
        return [Damage(fmt.INDEX, error.problem)]
    damages = []
    groups = None if store.groups_N is None else store.groups_N.tolist()
    found = fmt.fingerprint(store.ids_N.tolist(), store.labels_N, groups, b"".join(frame["hash"]))
    if found != store.fingerprint:
        damages.append(Damage(fmt.INDEX, f"found fingerprint {found}, wanted {store.fingerprint}"))
    sizes = np.array([entry.rows for entry in store.manifest.shards])
    shard, row = frame["shard"].to_numpy(), frame["row"].to_numpy()
    if frame["id"].duplicated().any() or frame[["shard", "row"]].duplicated().any():
        damages.append(Damage(fmt.INDEX, "found an id or a place twice"))
    if not ((shard >= 0) & (shard < len(sizes))).all() or not ((row >= 0) & (row < sizes[shard])).all():
        damages.append(Damage(fmt.INDEX, "found rows outside the shards"))
    return damages


def check_strangers(store: Store) -> list[Damage]:
    """Name files that do not belong to the store, such as what an interrupted copy leaves."""
    known = {fmt.MANIFEST, fmt.INDEX, fmt.SPLIT} | {entry.file for entry in store.manifest.shards}
    strangers = sorted(path.name for path in store.path.iterdir() if path.name not in known)
    return [Damage(name, "is not a file of the store") for name in strangers]
