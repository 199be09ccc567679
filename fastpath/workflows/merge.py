"""Join stores into one: the parts of a pack that several machines shared, or stores of several sources."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath import __version__
from fastpath.errors import DataError, IntegrityError, StoreError, UsageError
from fastpath.ingest.quality import Flag, counts, flags_of, parse
from fastpath.ingest.sources.listing import check_ids
from fastpath.runs import output_place
from fastpath.store import format as fmt
from fastpath.store import place
from fastpath.store.columns import rows_of
from fastpath.store.reader import Store, open_store
from fastpath.store.staging import Staging, has_hash, settle, stage
from fastpath.store.writer import Contents, write_index, write_manifest
from fastpath.system.files import open_regular, temporary_name
from fastpath.text import command_line
from fastpath.workflows.pack import default_split
from fastpath.workflows.verify.verify import check_statements

Advance = Callable[[int, int], None]
COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What was joined.

    Attributes:
        store: Where it is.
        num_stores: Stores that went into it.
        num_patches: Patches in it.
        num_shards: Shard files.
        split: Kind of the split that was written; empty where there is none.
        notices: What the user should know.
        fingerprint: Names the store's content.
    """

    store: Path
    num_stores: int
    num_patches: int
    num_shards: int
    split: str
    notices: list[str]
    fingerprint: str


def merge_stores(paths: Sequence[Path], output: Path, *, advance: Advance | None = None) -> MergeResult:
    """Join stores in the order given; parts of one pack are put in their own order, and must all be there.

    Shards are copied, not decoded, and each copy is checked against its hash. The parts of a pack merge to the very
    bytes that one pack of the whole writes.

    Args:
        paths: The stores.
        output: The store to write.
        advance: Called with patches copied and in all.

    Raises:
        UsageError: The target is taken, parts are missing, or patch shapes or stain normalisations differ.
        DataError: Two stores have an id in common, or only some have groups or sites.
        IntegrityError: A shard does not have its hash.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 (resolve would follow a link)
    place.check_apart(output, paths)
    output_place.check_new(output)
    settle(output)
    place.vacancy(output, overwrite=False)
    stores = _in_order([open_store(path) for path in paths])
    for store in stores:
        _refuse_false(store)
    shapes = {store.manifest.patch_shape for store in stores}
    if len(shapes) != 1:
        raise UsageError(paths[0], f"found patches of {len(shapes)} sizes, wanted one", "pack with --resize")
    stains = sorted({store.stain for store in stores})
    if len(stains) != 1:
        problem = f"found stain normalisations {', '.join(stains)}, wanted one"
        raise UsageError(paths[0], problem, "pack all of them with the same --stain")
    plan = " ".join([__version__, "merge", *(store.fingerprint for store in stores)])
    num_shards = sum(len(store.manifest.shards) for store in stores)
    with stage(output, xxhash.xxh3_128_hexdigest(plan.encode()), num_shards) as staging:
        shards = _copy_shards(stores, staging, advance)
        contents, num_dropped = _leave_out(_join(stores), _dropped_flags(stores))
        write_manifest(
            staging.store,
            contents,
            patch_shape=shapes.pop(),
            shards=shards,
            flag_counts=counts(contents.rows_N["flags"]),
            source=_source(stores, num_dropped),
            index_hash=write_index(staging.store / fmt.INDEX, contents),
        )
        split, notices = default_split(staging.store)
        staging.commit()
    merged = open_store(output)
    return MergeResult(output, len(stores), len(merged), len(shards), split, notices, merged.fingerprint)


def _refuse_false(store: Store) -> None:
    """Refuse a store that says what is not so, or has a shard of another kind or size: none of it is written on.

    Raises:
        StoreError: Naming the file.
    """
    for damage in check_statements(store):
        raise StoreError(
            store.path / damage.file, damage.problem, f"run: {command_line('fastpath', 'verify', store.path)}"
        )
    for number in range(len(store.manifest.shards)):
        store.block(number, 0, 0)


def _in_order(stores: list[Store]) -> list[Store]:
    """Put the parts of a pack in their order."""
    parts = [str(store.manifest.source.get("part", "")) for store in stores]
    if not any(parts):
        return stores
    wanted = [f"{number + 1}/{len(stores)}" for number in range(len(stores))]
    if sorted(parts) != sorted(wanted):
        problem = f"found parts {', '.join(part or 'none' for part in parts)}, wanted {', '.join(wanted)}"
        raise UsageError("stores", problem, "give all parts of one pack and nothing else")
    return [stores[parts.index(part)] for part in wanted]


def _copy_shards(stores: Sequence[Store], staging: Staging, advance: Advance | None) -> list[fmt.ShardEntry]:
    """Copy all shards but those that an earlier run has copied."""
    sources = [(store, number) for store in stores for number in range(len(store.manifest.shards))]
    shards = [
        store.manifest.shards[number].model_copy(update={"file": fmt.shard_name(at)})
        for at, (store, number) in enumerate(sources)
    ]
    there = {shard.file for shard in shards if has_hash(staging.store / shard.file, shard.hash)}
    missing = sum(shard.rows for shard in shards if shard.file not in there)
    staging.check_room(missing * int(np.prod(stores[0].manifest.patch_shape)))
    done, total = 0, sum(len(store) for store in stores)
    for (store, number), shard in zip(sources, shards, strict=True):
        if shard.file not in there:
            _copy(store, number, staging.store / shard.file)
        done += shard.rows
        if advance:
            advance(min(done, total), total)
    return shards


def _copy(store: Store, number: int, target: Path) -> None:
    """Copy a shard; it is on disk, and has its hash, before it gets its name."""
    entry, temporary = store.manifest.shards[number], temporary_name(target)
    source = store.path / entry.file
    with open_regular(source, follow=False, kind=StoreError) as read, temporary.open("xb") as file:
        shutil.copyfileobj(read, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())
    if fmt.hash_file(temporary) != entry.hash:
        problem = "found other bytes than the manifest's hash"
        raise IntegrityError(source, problem, "run 'fastpath repair' on that store")
    temporary.replace(target)


def _join(stores: Sequence[Store]) -> Contents:
    """Join the indexes; flags that depend on company are decided anew."""
    ids = [name for store in stores for name in store.ids_N.tolist()]
    check_ids(ids, "stores")
    groups = _of_all([store.groups_N for store in stores], stores, "groups")
    sites = _of_all([store.sites_N for store in stores], stores, "sites")
    firsts = np.cumsum([0, *(len(store.manifest.shards) for store in stores)])
    rows_N = np.concatenate([rows_of(store) for store in stores])
    labels_N = np.concatenate([store.labels_N for store in stores])
    height, width, _ = stores[0].manifest.patch_shape
    rows_N["flags"] = flags_of(rows_N, height * width, labels_N)
    shard_N = [store.column("shard") + first for store, first in zip(stores, firsts, strict=False)]
    return Contents(
        ids=ids,
        labels_N=labels_N,
        groups=groups,
        sites=sites,
        shard_N=np.concatenate(shard_N),
        row_N=np.concatenate([store.column("row") for store in stores]),
        rows_N=rows_N,
    )


def _of_all(columns: Sequence[np.ndarray | None], stores: Sequence[Store], what: str) -> list[str] | None:
    """Join groups or sites, which all of the stores have or none."""
    known = [column for column in columns if column is not None]
    if known and len(known) < len(columns):
        lacking = next(store.path for store, column in zip(stores, columns, strict=True) if column is None)
        remedy = "pack it with --groups, a table of id, wsi" + (" and site" if what == "sites" else "")
        raise DataError(lacking, f"found no {what}, wanted them as the other stores have", remedy)
    return [value for column in known for value in column] if known else None


def _dropped_flags(stores: Sequence[Store]) -> int:
    """Flags that every store was packed without: what the merged store finds of them anew is left out too."""
    flags = int(sum(Flag))
    for store in stores:
        names = str(store.manifest.source.get("drop", ""))
        flags &= int(sum(parse(name) for name in names.split(",") if name))
    return flags


def _leave_out(contents: Contents, flags: int) -> tuple[Contents, int]:
    """Leave rows with any of these flags out of the index, and count them."""
    keep_N = (contents.rows_N["flags"] & flags) == 0
    if keep_N.all():
        return contents, 0
    kept = np.flatnonzero(keep_N).tolist()
    left = Contents(
        ids=[contents.ids[row] for row in kept],
        labels_N=contents.labels_N[keep_N],
        groups=None if contents.groups is None else [contents.groups[row] for row in kept],
        sites=None if contents.sites is None else [contents.sites[row] for row in kept],
        shard_N=contents.shard_N[keep_N],
        row_N=contents.row_N[keep_N],
        rows_N=contents.rows_N[keep_N],
    )
    return left, int((~keep_N).sum())


def _source(stores: Sequence[Store], num_dropped: int) -> dict[str, str | int]:
    """Say of the whole what the manifests say of the parts, and how many rows more were left out of it."""
    sources = [store.manifest.source for store in stores]
    kinds, sums = {str(source["kind"]) for source in sources}, Counter[str]()
    merged: dict[str, str | int] = {"kind": kinds.pop() if len(kinds) == 1 else "merge"}
    for source in sources:
        for key, value in source.items():
            if isinstance(value, int) and key != "resize_px":
                sums[key] += value
            elif key not in ("kind", "part"):
                merged[key] = value
    sums["dropped"] += num_dropped
    order = [key for source in sources for key in source if key in sums]
    return merged | {key: sums[key] for key in dict.fromkeys(order)}
