"""One shard against the manifest and the index: its bytes, and every patch's hash and measures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath.errors import StoreError
from fastpath.ingest.stats import measure
from fastpath.store import format as fmt
from fastpath.store.check import Damage
from fastpath.store.reader import Store
from fastpath.system.files import open_regular

BLOCK_BYTES = 1 << 20  # read and measured at once, while it is in the core's cache


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """A shard and what is said of it.

    Attributes:
        path: The file.
        entry: What the manifest says of it.
        patch_shape: Height, width, channels.
        places_N: int32, row within the shard of each patch that the index lists there, ascending.
        rows_N: Their rows in the store.
        ids_N: Their ids.
        said_N: What the index says of their pixels (`format.ROW`).
    """

    path: Path
    entry: fmt.ShardEntry
    patch_shape: tuple[int, int, int]
    places_N: np.ndarray
    rows_N: np.ndarray
    ids_N: np.ndarray
    said_N: np.ndarray


def shard_checks(store: Store, said_N: np.ndarray | None) -> list[ShardCheck]:
    """Return the check of each shard.

    Args:
        store: The store.
        said_N: What its index says of the pixels; None where the index is damaged, so that only hashes are looked at.
    """
    nothing, shards = np.zeros(0, np.int64), store.manifest.shards
    if said_N is None:
        about = (nothing, nothing, nothing, np.zeros(0, fmt.ROW))
        return [ShardCheck(store.path / each.file, each, store.manifest.patch_shape, *about) for each in shards]
    shard_N, row_N, checks = store.column("shard"), store.column("row"), []
    order = np.lexsort((row_N, shard_N))
    ends = np.searchsorted(shard_N[order], np.arange(len(shards)), side="right")
    for entry, at in zip(shards, np.split(order, ends[:-1]), strict=True):
        shape = store.manifest.patch_shape
        checks.append(ShardCheck(store.path / entry.file, entry, shape, row_N[at], at, store.ids_N[at], said_N[at]))
    return checks


def check_shard(job: ShardCheck) -> list[Damage]:
    """Check one shard in one pass over its file. Runs in a worker."""
    try:
        found_hash, other_pixels, other_measures = _compare(job)
    except StoreError as error:
        return [Damage(job.entry.file, error.problem)]
    except OSError as error:
        return [Damage(job.entry.file, f"cannot be read ({error.strerror})")]
    if found_hash != job.entry.hash:
        if not len(other_pixels):
            problem = "found other bytes than the manifest's hash, in no row that the index lists"
            return [Damage(job.entry.file, problem)]
        return [
            Damage(job.entry.file, f"{len(other_pixels)} rows differ from their hashes", *_named(job, other_pixels))
        ]
    damages = []
    if len(other_pixels):
        problem = f"{len(other_pixels)} rows of {job.entry.file} have another hash than the pixels there"
        damages.append(Damage(fmt.INDEX, problem, *_named(job, other_pixels)))
    if len(other_measures):
        problem = f"{len(other_measures)} rows of {job.entry.file} have other measures than the pixels there"
        damages.append(Damage(fmt.INDEX, problem, *_named(job, other_measures)))
    return damages


def _named(job: ShardCheck, at: np.ndarray) -> tuple[tuple[int, ...], tuple[str, ...]]:
    order = at[np.argsort(job.rows_N[at])]
    return tuple(job.rows_N[order].tolist()), tuple(job.ids_N[order])


def _compare(job: ShardCheck) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the file's hash, and which of the listed patches have another pixel hash, or other measures only."""
    digest, pixels, measures = xxhash.xxh3_128(), [], []
    for start, block_NHWC in _blocks(job, digest):
        first, last = np.searchsorted(job.places_N, (start, start + len(block_NHWC)))
        images_NHWC, said_N = block_NHWC[job.places_N[first:last] - start], job.said_N[first:last]
        if not len(said_N):
            continue
        hashes = b"".join(xxhash.xxh3_128_digest(patch.data) for patch in images_NHWC)
        other_N = np.frombuffer(hashes, "V16") != said_N["hash"]
        pixels.append(first + np.flatnonzero(other_N))
        measures.append(first + np.flatnonzero(~other_N & _others(images_NHWC, said_N)))
    none = np.zeros(0, np.int64)
    return digest.hexdigest(), np.concatenate([none, *pixels]), np.concatenate([none, *measures])


def _others(images_NHWC: np.ndarray, said_N: np.ndarray) -> np.ndarray:
    """Return which patches do not measure what is said of them, bool [N]."""
    result = measure(images_NHWC)
    other_N: np.ndarray = (result.sums_N3 != said_N["sums"]).any(axis=1)
    other_N |= (result.squares_N3 != said_N["squares"]).any(axis=1) | (result.phash_N != said_N["phash"])
    other_N |= ~np.isclose(result.sharpness_N, said_N["sharpness"], rtol=1e-6, atol=0)
    return other_N


def _blocks(job: ShardCheck, digest: xxhash.xxh3_128) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the shard's pixels, a block of rows after another, each with its first row; hash all of the file.

    Raises:
        StoreError: It is no regular file, or not of the size that the manifest gives.
    """
    patch_bytes = int(np.prod(job.patch_shape))
    together = max(1, BLOCK_BYTES // patch_bytes)
    wanted_bytes = fmt.HEADER_BYTES + job.entry.rows * patch_bytes
    with open_regular(job.path, follow=False, kind=StoreError) as file:
        found_bytes = os.fstat(file.fileno()).st_size
        if found_bytes != wanted_bytes:
            raise StoreError(job.path, f"found {found_bytes} bytes, wanted {wanted_bytes}", "repair it")
        header = file.read(fmt.HEADER_BYTES)
        if header != fmt.npy_header((job.entry.rows, *job.patch_shape)):  # a false manifest can give its hash
            raise StoreError(job.path, "found another header than that of its rows and size", "repair it")
        digest.update(header)
        for start in range(0, job.entry.rows, together):
            block = np.empty((min(together, job.entry.rows - start), *job.patch_shape), np.uint8)
            if os.preadv(file.fileno(), (block.data,), fmt.HEADER_BYTES + start * patch_bytes) != block.nbytes:
                raise StoreError(job.path, "was cut while it was read", "repair it")
            digest.update(block.data)
            yield start, block
