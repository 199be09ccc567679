"""Prove that a store holds what it says, and that it says what its source holds."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastpath.errors import DataError, FastpathError, IntegrityError, StoreError
from fastpath.ingest.check_split import wrong_in_split
from fastpath.ingest.quality import counts, wrong_flags
from fastpath.ingest.readers import open_reader
from fastpath.ingest.sources import list_source
from fastpath.ingest.sources.listing import Listing, Read
from fastpath.store import format as fmt
from fastpath.store.check import Damage, check_index, check_strangers
from fastpath.store.columns import rows_of
from fastpath.store.reader import Store, open_store
from fastpath.store.split_document import read_document
from fastpath.system.process_pool import default_workers, run_jobs
from fastpath.workflows.verify.verify_shards import check_shard, shard_checks

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was checked and found.

    Attributes:
        store: The store.
        num_patches: Patches checked.
        num_shards: Shards checked.
        compared: Patches whose pixels were compared with the source.
        not_in_store: Patches of the source that the store does not list, left out when it was packed.
        damages: What is wrong; empty where all is well.
    """

    store: Path
    num_patches: int
    num_shards: int
    compared: int
    not_in_store: int
    damages: list[Damage]


def verify_store(
    path: Path,
    *,
    source: Path | None = None,
    kind: str | None = None,
    follow: Sequence[Path] = (),
    workers: int | None = None,
    advance: Advance | None = None,
) -> VerifyResult:
    """Check a store's files, compute anew what it says of itself, and compare it with the source where one is given.

    Args:
        path: The store.
        source: What it was packed from; None compares nothing.
        kind: Kind of the source; None looks.
        follow: Folders outside the source that symbolic links in it may lead into.
        workers: Worker processes; None takes up to one a core, by the amount of work.
        advance: Called with patches done and in all.

    Raises:
        StoreError: There is no manifest that can be read, so nothing can be said.
        DataError: The source cannot be listed.
    """
    store = open_store(path, checked=False)
    lost = _fetched(store)
    damages = check_statements(store)
    said_N = None if damages else rows_of(store)
    damages += _check_split(store, sound=said_N is not None) + ([] if store.remote else check_strangers(store))
    damages += [damage for each in lost.values() for damage in each]
    jobs = [job for number, job in enumerate(shard_checks(store, said_N)) if number not in lost]
    checks: list[partial[list[Damage]]] = [partial(check_shard, job) for job in jobs]
    compared = not_in_store = 0
    if source is not None and said_N is not None:
        listing = list_source(source, kind=kind, follow=follow)
        place = {name: row for row, name in enumerate(listing.ids)}
        known = np.array([place.get(name, -1) for name in store.ids_N], dtype=np.int64)
        checks += _comparisons(store, listing, known)
        compared, not_in_store = int((known >= 0).sum()), len(set(listing.ids) - set(store.ids_N))
        damages += _without_source(store, known)
    workers = workers or default_workers(len(store) * int(np.prod(store.manifest.patch_shape)))
    damages += _run(checks, workers, len(store), advance)
    return VerifyResult(Path(str(store)), len(store), len(store.manifest.shards), compared, not_in_store, damages)


def _fetched(store: Store) -> dict[int, list[Damage]]:
    """Fetch every file of a store behind a URL anew, for the cache may hold what the server no longer does.

    Returns:
        What is wrong with each shard that could not be had as the manifest tells of it; those are not in the cache.

    Raises:
        FastpathError: The server does not answer, so nothing can be said.
    """
    lost: dict[int, list[Damage]] = {}
    if store.remote is None:
        return lost
    store.remote.fetch_index(anew=True)
    for number, entry in enumerate(store.manifest.shards):
        try:
            store.remote.fetch_shard(number, anew=True)
        except (IntegrityError, StoreError) as error:
            (store.path / entry.file).unlink(missing_ok=True)
            lost[number] = [Damage(entry.file, error.problem)]
    return lost


def _run(checks: list[partial[list[Damage]]], workers: int, num_patches: int, advance: Advance | None) -> list[Damage]:
    """Run all checks and return what they found in a fixed order."""
    by_shard: dict[int, list[Damage]] = {}
    with contextlib.closing(run_jobs(_call, checks, workers=workers)) as ends:
        for number, damages in ends:
            by_shard[number] = damages
            if advance:
                advance(num_patches * len(by_shard) // len(checks), num_patches)
    return [damage for number in sorted(by_shard) for damage in by_shard[number]]


def _call(check: partial[list[Damage]]) -> list[Damage]:
    return check()


def check_statements(store: Store) -> list[Damage]:
    """Check what index and manifest say of each other, without a look at pixels."""
    return check_index(store) or _check_flags(store)


def _check_flags(store: Store) -> list[Damage]:
    """Decide anew those quality flags that follow from the index alone."""
    said_N = rows_of(store)
    rows = np.flatnonzero(wrong_flags(said_N, store.patch_size_px**2, store.labels_N))
    if len(rows):
        ids = tuple(store.ids_N[rows])
        return [Damage(fmt.INDEX, f"{len(rows)} rows have other flags than they should", tuple(rows.tolist()), ids)]
    recorded, wanted = store.manifest.flag_counts, counts(said_N["flags"])
    if recorded != wanted:
        return [Damage(fmt.MANIFEST, f"found flag_counts {recorded}, wanted {wanted}")]
    return []


def _check_split(store: Store, *, sound: bool) -> list[Damage]:
    if not os.path.lexists(store.path / fmt.SPLIT):
        return []
    try:
        problem = wrong_in_split(store) if sound else ""
        read_document(store)
    except FastpathError as error:
        problem = error.problem
    return [Damage(fmt.SPLIT, problem)] if problem else []


def _without_source(store: Store, known: np.ndarray) -> list[Damage]:
    lost = np.flatnonzero(known < 0)
    if not len(lost):
        return []
    problem = f"{len(lost)} patches are not in the source"
    return [Damage(fmt.INDEX, problem, tuple(lost.tolist()), tuple(store.ids_N[lost]))]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows of one shard and where the source has them.

    Attributes:
        store: The store.
        number: The shard.
        reader: How to read the source.
        root: Root of the source.
        rows: Rows of the store.
        places: Their rows within the shard.
        names: Their names in the source.
        ids: Their ids.
    """

    store: Path
    number: int
    reader: str
    root: Path
    rows: tuple[int, ...]
    places: tuple[int, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]


def _comparisons(store: Store, listing: Listing, known: np.ndarray) -> list[partial[list[Damage]]]:
    shard_N, row_N, checks = store.column("shard"), store.column("row"), []
    for number in range(len(store.manifest.shards)):
        rows = np.flatnonzero((shard_N == number) & (known >= 0))
        comparison = Comparison(
            store=store.path,
            number=number,
            reader=listing.reader,
            root=listing.root,
            rows=tuple(rows.tolist()),
            places=tuple(row_N[rows].tolist()),
            names=tuple(listing.names[place] for place in known[rows]),
            ids=tuple(store.ids_N[rows]),
        )
        checks.append(partial(compare_shard, comparison))
    return checks


def compare_shard(job: Comparison) -> list[Damage]:
    """Compare the pixels of one shard with the source's. Runs in a worker."""
    store = open_store(job.store, checked=False)
    read = as_packed(store, job.reader, job.root)
    entry = store.manifest.shards[job.number].file
    different, damages = [], []
    for position, name in enumerate(job.names):
        place = job.places[position]
        try:
            patch = store.block(job.number, place, place + 1)[0]
        except FastpathError:
            return []  # the check of the shard itself names it
        try:
            same = np.array_equal(read(name, Counter()), patch)
        except DataError as error:
            problem = f"its source '{name}' {error.problem}"
            damages.append(Damage(entry, problem, (job.rows[position],), (job.ids[position],)))
            continue
        if not same:
            different.append(position)
    if different:
        rows, ids = tuple(job.rows[at] for at in different), tuple(job.ids[at] for at in different)
        damages.append(Damage(entry, f"{len(different)} rows differ from the source", rows, ids))
    return damages


def as_packed(store: Store, reader: str, root: Path) -> Read:
    """Return the function that reads a patch of the source and does to it what was done on packing.

    Args:
        store: The store that was packed.
        reader: `Listing.reader` of the source.
        root: `Listing.root`.
    """
    resize_px, stain = int(store.manifest.source.get("resize_px", 0)), store.stain
    if reader == "store" and open_store(root).stain == stain:
        stain = "none"  # the store that this one was packed from has it done
    read, _ = open_reader(reader, root, resize_px, stain)
    return read
