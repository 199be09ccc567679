"""Rebuild a store's damaged shards from the source they were packed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath.errors import DataError, FastpathError, StoreError
from fastpath.ingest.sources import list_source
from fastpath.ingest.sources.listing import Read
from fastpath.store import format as fmt
from fastpath.store.check import Damage, clear_leftovers
from fastpath.store.reader import Store, open_store
from fastpath.system.files import durably
from fastpath.workflows.verify import verify

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What was rebuilt and what is still wrong.

    Attributes:
        store: The store.
        repaired: Shards rebuilt, byte for byte what the manifest says.
        damages: What is still wrong; empty where all is well.
    """

    store: Path
    repaired: list[str]
    damages: list[Damage]


def repair_store(
    path: Path,
    source: Path,
    *,
    kind: str | None = None,
    follow: Sequence[Path] = (),
    workers: int | None = None,
    advance: Advance | None = None,
) -> RepairResult:
    """Rebuild damaged shards.

    A shard is replaced only by one that has the hash the manifest gives, so a source that has changed cannot make
    things worse.

    Args:
        path: The store.
        source: What it was packed from.
        kind: Kind of the source; None looks.
        follow: Folders outside the source that symbolic links in it may lead into.
        workers: Worker processes of the check before and after.
        advance: Called with patches checked and in all, first before and then after the repair.

    Raises:
        StoreError: Manifest or index are damaged, so nobody knows what the shards held.
        DataError: The source cannot be listed.
    """
    store = open_store(path, checked=False)
    if store.remote is not None:
        raise StoreError(store, "found a store behind a URL, wanted one on disk to repair", "repair it where it lies")
    for damage in verify.check_statements(store):
        raise StoreError(store.path / damage.file, damage.problem, "pack again: the index is not in the source")
    clear_leftovers(store)
    listing = list_source(source, kind=kind, follow=follow)
    read = verify.as_packed(store, listing.reader, listing.root)
    name_of = dict(zip(listing.ids, listing.names, strict=True))
    numbers = {entry.file: number for number, entry in enumerate(store.manifest.shards)}
    before = verify.verify_store(path, workers=workers, advance=advance).damages
    repaired, still = [], []
    for damage in before:
        if damage.file not in numbers:
            still.append(damage)
            continue
        problem = _rebuild(store, numbers[damage.file], read, name_of)
        if problem:
            still.append(Damage(damage.file, problem, damage.rows, damage.ids))
        else:
            repaired.append(damage.file)
    return RepairResult(store.path, repaired, still)


def _rebuild(store: Store, number: int, read: Read, name_of: dict[str, str]) -> str:
    """Replace one shard; return why that could not be done, or nothing."""
    entry, shape = store.manifest.shards[number], store.manifest.patch_shape
    try:
        images_NHWC = store.block(number, 0, entry.rows)  # keeps the rows that the index does not list
    except FastpathError:
        images_NHWC = np.zeros((entry.rows, *shape), np.uint8)
    listed = np.flatnonzero(store.column("shard") == number)
    places = store.column("row")[listed]
    for row, place in zip(listed.tolist(), places.tolist(), strict=True):
        name = name_of.get(str(store.ids_N[row]))
        if name is None:
            return f"id '{store.ids_N[row]}' is not in the source"
        try:
            images_NHWC[place] = read(name, Counter())
        except (DataError, ValueError) as error:
            return f"its source '{name}' does not give the patch again ({error})"
    header = fmt.npy_header((entry.rows, *shape))
    digest = xxhash.xxh3_128(header)
    digest.update(images_NHWC.data)
    if digest.hexdigest() != entry.hash:
        return f"the source gives other pixels now: found hash {digest.hexdigest()}, wanted {entry.hash}"
    with durably(store.path / entry.file) as file:
        file.write(header)
        file.write(images_NHWC.data)
    return ""
