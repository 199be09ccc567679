"""From the records of all finished shards to the index and the manifest that make them a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.quality import Flag, counts, flags_of, parse
from fastpath.ingest.quality import names as flag_names
from fastpath.ingest.sources.listing import Listing
from fastpath.store import format as fmt
from fastpath.store.staging import Staging
from fastpath.store.writer import Contents, write_index, write_manifest


@dataclass(frozen=True, slots=True)
class Description:
    """What came of the patches of a source.

    Attributes:
        skipped: Files that could not be read, each with the reason.
        num_dropped: Patches left out of the index for their flags.
        flag_counts: Patches by quality flag, those left out included.
        notes: Files by what was left aside of them, such as an alpha channel.
    """

    skipped: list[tuple[str, str]]
    num_dropped: int
    flag_counts: dict[str, int]
    notes: dict[str, int]


def describe(
    listing: Listing,
    num_shards: int,
    staging: Staging,
    patch_shape: tuple[int, int, int],
    *,
    drop: Sequence[Flag] = (),
) -> Description:
    """Write `index.parquet` and `manifest.json` into a staged store whose shards are all finished.

    Args:
        listing: The source.
        num_shards: Its shards.
        staging: Where they are.
        patch_shape: Height, width, channels.
        drop: Leave patches with any of these flags out of the index. Their pixels stay in the shards until the
            store is packed again.

    Raises:
        DataError: No patch is left.
    """
    shards, skipped, notes = [], [], Counter[str]()
    spill = staging.work / "rows.tmp"  # on disk, so that what is held in memory does not grow with it
    with spill.open("wb") as file:
        for number in range(num_shards):
            result = staging.recorded(number)
            assert result is not None, number
            record, rows = result
            shards.append(fmt.ShardEntry(file=fmt.shard_name(number), rows=record.rows, hash=record.hash))
            skipped += record.skipped
            notes.update(record.notes)
            rows.tofile(file)
    sizes = [entry.rows for entry in shards]
    rows_N: np.ndarray = np.memmap(spill, fmt.ROW, "r+") if any(sizes) else np.zeros(0, fmt.ROW)
    labels_N = listing.labels_N[rows_N["position"]]
    rows_N["flags"] = flags_of(rows_N, patch_shape[0] * patch_shape[1], labels_N)
    keep_N = (rows_N["flags"] & int(sum(drop))) == 0
    if not keep_N.any():
        raise DataError(listing.root, f"found no patch to keep of {len(listing)}", "check the files and --drop")
    contents = _contents(listing, sizes, rows_N, keep_N)
    dropped = ",".join(name for name in flag_names() if parse(name) in drop)
    source: dict[str, str | int] = {"kind": listing.kind, **listing.about}
    source |= ({"drop": dropped} if dropped else {}) | dict(sorted(notes.items()))
    source |= {"skipped": len(skipped), "dropped": int((~keep_N).sum())}
    write_manifest(
        staging.store,
        contents,
        patch_shape=patch_shape,
        shards=shards,
        flag_counts=counts(contents.rows_N["flags"]),
        source=source,
        index_hash=write_index(staging.store / fmt.INDEX, contents),
    )
    return Description(skipped, int((~keep_N).sum()), counts(rows_N["flags"]), dict(sorted(notes.items())))


def _contents(listing: Listing, sizes: Sequence[int], rows_N: np.ndarray, keep_N: np.ndarray) -> Contents:
    """Join what the listing says of the kept patches to where they lie and what was measured of them."""
    shard_N = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    row_N = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    all_kept = bool(keep_N.all())
    kept = listing if all_kept and len(rows_N) == len(listing) else listing.take(rows_N["position"][keep_N])
    return Contents(
        ids=kept.ids,
        labels_N=kept.labels_N,
        groups=kept.groups,
        sites=kept.sites,
        shard_N=shard_N if all_kept else shard_N[keep_N],
        row_N=row_N if all_kept else row_N[keep_N],
        rows_N=rows_N if all_kept else rows_N[keep_N],
    )
