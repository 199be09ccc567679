"""Pack a source into a store: list, fill shards in parallel, describe them, rename."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xxhash

from fastpath import __version__
from fastpath.errors import DataError, UsageError
from fastpath.ingest.describe import Description, describe
from fastpath.ingest.fill import OnError, ShardJob, fill_shard, stamp_of_sources
from fastpath.ingest.quality import Flag
from fastpath.ingest.readers import open_reader
from fastpath.ingest.sources import list_source
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.pcam import official_parts
from fastpath.ingest.sources.tables import Orphans
from fastpath.ingest.sources.unlabelled import refuse_forgotten
from fastpath.ingest.split import leak_notice, write_split
from fastpath.ingest.stain import Stain, noted
from fastpath.runs import output_place
from fastpath.store import format as fmt
from fastpath.store import place
from fastpath.store.reader import Store, open_store
from fastpath.store.staging import Finished, Staging, settle, stage
from fastpath.system.process_pool import default_workers, run_jobs, warm_up
from fastpath.urls import located

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PackOptions:
    """What decides a store's content besides the source.

    Attributes:
        kind: Kind of source; None looks.
        labels: Table of `id,label`; None takes the source's own.
        groups: Table of `id,wsi`; None takes the source's own.
        orphans: What to do with patches the group table does not name.
        on_error: What to do with patches that cannot be read.
        drop: Leave patches with any of these flags out of the index.
        only: Table of ids: pack those.
        resize_px: Side to bring every patch to; 0 leaves them as they are.
        stain: How to normalise every patch's stains, at that side.
        part: Pack the i-th of n parts only, (i, n) with i from 1, to be merged with the others.
        shard_bytes: Size of a shard; None follows from the number of patches.
        follow: Folders outside the source that symbolic links in it may lead into.
    """

    kind: str | None = None
    labels: Path | None = None
    groups: Path | None = None
    orphans: Orphans = "refuse"
    on_error: OnError = "fail"
    drop: tuple[Flag, ...] = ()
    only: Path | None = None
    resize_px: int = 0
    stain: Stain = "none"
    part: tuple[int, int] | None = None
    shard_bytes: int | None = None
    follow: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class PackResult:
    """What was packed.

    Attributes:
        store: Where it is.
        kind: Kind of source.
        num_patches: Patches in the store.
        class_counts: Patches by label.
        num_groups: Distinct groups, 0 where unknown.
        num_shards: Shard files.
        num_resumed: Patches in shards that an earlier run had finished.
        skipped: Files left out, each with the reason.
        num_dropped: Patches left out for their flags.
        flag_counts: Patches by quality flag, those left out included.
        split: Kind of the split that was written; empty where there is none.
        notices: What the user should know.
        fingerprint: Names the store's content.
    """

    store: Path
    kind: str
    num_patches: int
    class_counts: dict[str, int]
    num_groups: int
    num_shards: int
    num_resumed: int
    skipped: list[tuple[str, str]]
    num_dropped: int
    flag_counts: dict[str, int]
    split: str
    notices: list[str]
    fingerprint: str


def pack_source(
    source: Path,
    output: Path,
    options: PackOptions | None = None,
    *,
    workers: int | None = None,
    engine: Executor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    advance: Advance | None = None,
) -> PackResult:
    """Pack a source into a store.

    The store appears under its name only when it is whole. The same source and options give the same bytes,
    whatever the number of workers and however often the work was interrupted.

    Args:
        source: A folder of patches, in the Kaggle layout or not.
        output: The store to write.
        options: What decides its content.
        workers: Worker processes; None takes up to one a core, by the amount of work.
        engine: Where to fill shards instead, any `concurrent.futures.Executor` that sees the same files.
        resume: Insist on continuing an interrupted run of the same plan.
        overwrite: Replace a store that is there.
        advance: Called with patches done and in all.

    Raises:
        UsageError: Source, tables, patches or target are not as they should be.
        FastpathError: The disk is full, or a worker died.
    """
    options = options or PackOptions()
    source, output = located(source), Path(os.path.abspath(output))  # noqa: PTH100 (resolve would follow a link)
    tables = [table for table in (options.labels, options.groups, options.only) if table is not None]
    place.check_apart(output, [source, *tables, *options.follow])
    output_place.check_new(output)
    settle(output)
    replaces = place.vacancy(output, overwrite=overwrite)
    if engine is None and workers != 1:
        warm_up()
    listing, patch_shape, rows = _plan(source, options)
    plan = f"{__version__} {listing.fingerprint()} {patch_shape} {rows} {options.resize_px} {options.stain}"
    jobs = _jobs(listing, output, rows, patch_shape, options)
    again = "run the same command with --resume"
    with stage(
        output, xxhash.xxh3_128_hexdigest(plan.encode()), len(jobs), replaces=replaces, resume=resume, again=again
    ) as staging:
        finished = _reusable(jobs, staging)
        _check_space(jobs, finished, staging)
        wanted = [job for job in jobs if job.number not in finished]
        workers = workers or default_workers(len(listing) * int(np.prod(patch_shape)))
        _fill(wanted, sum(finished.values()), workers, engine, advance)
        description = describe(listing, len(jobs), staging, patch_shape, drop=options.drop)
        num_resumed, notices_ = sum(finished.values()), list(listing.notices)
        del listing, jobs, wanted  # hundreds of bytes a patch, which nothing needs from here on
        split, notices = ("", []) if options.part else default_split(staging.store)
        staging.commit(replaces)
    return _result(open_store(output), description, num_resumed, split, notices_ + notices)


def _plan(source: Path, options: PackOptions) -> tuple[Listing, tuple[int, int, int], int]:
    """List what is to be packed, and settle the shape of a patch and the rows of a shard."""
    listing = list_source(
        source,
        kind=options.kind,
        labels=options.labels,
        groups=options.groups,
        orphans=options.orphans,
        only=options.only,
        follow=options.follow,
    )
    refuse_forgotten(listing, source)
    patch_shape = _first_shape(listing, options)
    rows = fmt.rows_per_shard(len(listing), int(np.prod(patch_shape)), options.shard_bytes)
    if options.resize_px:
        listing = replace(listing, about={**listing.about, "resize_px": options.resize_px})
    if options.stain != "none":
        listing = replace(listing, about=noted(listing.about, options.stain, source))
    if options.part:
        listing = _part(listing, rows, *options.part)
    return listing, patch_shape, rows


def _part(listing: Listing, rows: int, number: int, count: int) -> Listing:
    """Take whole shards of a listing, so that merged parts are the very store that one pack would have written."""
    num_shards = -(-len(listing) // rows)
    first, last = num_shards * (number - 1) // count * rows, num_shards * number // count * rows
    if first >= last:
        raise UsageError("--part", f"found {count} parts for {num_shards} shards", "use fewer parts, or --shard-mb")
    taken = listing.take(np.arange(first, min(last, len(listing))))
    return replace(taken, about={**taken.about, "part": f"{number}/{count}"})


def _first_shape(listing: Listing, options: PackOptions) -> tuple[int, int, int]:
    """Shape of the first patch that can be read; every other must have it."""
    read, _ = open_reader(listing.reader, listing.root, options.resize_px)
    for name in listing.names:
        try:
            height, width, channels = read(name, Counter()).shape
        except DataError:
            if options.on_error == "fail":
                raise
            continue
        if height != width:
            location = listing.root / name
            raise DataError(location, f"found {width} by {height} pixels, wanted a square", "cut square patches")
        return height, width, channels
    raise DataError(listing.root, "found no patch that can be read", "check the files")


def _jobs(
    listing: Listing, target: Path, rows: int, patch_shape: tuple[int, int, int], options: PackOptions
) -> list[ShardJob]:
    return [
        ShardJob(
            number=number,
            target=target,
            root=listing.root,
            reader=listing.reader,
            names=listing.names[first : first + rows],
            ids=listing.ids[first : first + rows],
            first=first,
            patch_shape=patch_shape,
            on_error=options.on_error,
            resize_px=options.resize_px,
            stain=options.stain,
            stamps=None if listing.stamps_N is None else tuple(listing.stamps_N[first : first + rows].tolist()),
        )
        for number, first in enumerate(range(0, len(listing), rows))
    ]


def _reusable(jobs: Sequence[ShardJob], staging: Staging) -> dict[int, int]:
    """Patches of each shard that an earlier run finished and whose source files have not been touched since."""
    reusable = {}
    for job in jobs:
        result = staging.recorded(job.number)
        if result is None or (result[0].skipped and job.on_error == "fail") or not _is_of(job, *result):
            continue
        if result[0].stamp == stamp_of_sources(job) and staging.finished(job.number):
            reusable[job.number] = len(job.names)
    return reusable


def _is_of(job: ShardJob, finished: Finished, rows_N: np.ndarray) -> bool:
    """Whether a record speaks of all of a job's patches and of no others."""
    places = rows_N["position"] - job.first
    within = bool(((places >= 0) & (places < len(job.names))).all() and (np.diff(places) > 0).all())
    return within and len(rows_N) + len(finished.skipped) == len(job.names)


def _check_space(jobs: Sequence[ShardJob], finished: dict[int, int], staging: Staging) -> None:
    rows = sum(len(job.names) for job in jobs if job.number not in finished)
    staging.check_room(rows * int(np.prod(jobs[0].patch_shape)))


def _fill(jobs: Sequence[ShardJob], done: int, workers: int, engine: Executor | None, advance: Advance | None) -> None:
    """Fill shards; the first error ends it, after the shards in hand are written."""
    total = done + sum(len(job.names) for job in jobs)
    if advance:
        advance(done, total)
    # The index will need it, and while workers fill shards this process has nothing to do. Python waits for the thread
    # before it ends: one that it cut off amid a C++ library would abort the process.
    threading.Thread(target=importlib.import_module, args=("pyarrow.parquet",)).start()
    with contextlib.closing(run_jobs(fill_shard, jobs, workers=workers, engine=engine)) as ends:
        for _, count in ends:
            done += count
            if advance:
                advance(done, total)


def default_split(path: Path) -> tuple[str, list[str]]:
    """Write the split a store starts with, where labels allow one."""
    store = open_store(path)
    if store.manifest.class_counts["unlabelled"]:
        return "", []
    try:
        named = store.manifest.source["kind"] in ("pcam", "store", "merge")  # others' ids are not worth the memory
        table = write_split(store, "official" if named and official_parts(store.ids_N) else None)
    except DataError as error:
        return "", [f"no split was written: {error.problem}"]
    notice = leak_notice(store, table)
    return table.kind, [notice] if notice else []


def _result(store: Store, description: Description, num_resumed: int, split: str, notices: list[str]) -> PackResult:
    manifest = store.manifest
    noted = [f"{count} files: {name.replace('_', ' ')}" for name, count in description.notes.items()]
    return PackResult(
        store=store.path,
        kind=str(manifest.source["kind"]),
        num_patches=len(store),
        class_counts=manifest.class_counts,
        num_groups=manifest.num_groups,
        num_shards=len(manifest.shards),
        num_resumed=num_resumed,
        skipped=description.skipped,
        num_dropped=description.num_dropped,
        flag_counts=description.flag_counts,
        split=split,
        notices=notices + noted,
        fingerprint=store.fingerprint,
    )
