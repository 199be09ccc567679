"""Fill one shard from a source: read, check, measure and write its patches. Runs in a worker process."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import xxhash

from fastpath.errors import DataError
from fastpath.ingest.quality import Flag
from fastpath.ingest.readers import open_place, open_reader
from fastpath.ingest.sources.listing import Read
from fastpath.ingest.stats import measure
from fastpath.store import format as fmt
from fastpath.store.staging import Finished, Staging
from fastpath.store.writer import write_shard

OnError = Literal["fail", "skip"]
SHA1_ID = re.compile(r"[0-9a-f]{40}")
BLOCK_BYTES = 1 << 20  # patches are handled this many at a time; with less, the interpreter costs more than it saves


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One shard to fill.

    Attributes:
        number: The shard's number.
        target: The store it belongs to.
        root: Root of the source.
        reader: How to read the source.
        names: Where its patches are, relative to `root`.
        ids: Their ids.
        first: Position of the first of them in the whole listing.
        patch_shape: Height, width, channels that every patch must have.
        on_error: `fail` at a patch that cannot be read, or `skip` and record it.
        resize_px: Side to bring patches to; 0 leaves them as they are.
        stain: How to normalise their stains.
        stamps: What the listing says of their files (`Listing.stamps_N`); None asks the file system.
    """

    number: int
    target: Path
    root: Path
    reader: str
    names: Sequence[str]
    ids: Sequence[str]
    first: int
    patch_shape: tuple[int, int, int]
    on_error: OnError = "fail"
    resize_px: int = 0
    stain: str = "none"
    stamps: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Filling:
    """What accumulates while a shard is filled."""

    stamps: list[str] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def fill_shard(job: ShardJob) -> int:
    """Write one shard and its record; return how many source patches it dealt with.

    Raises:
        DataError: A patch is not as it should be and `on_error` is `fail`, or a file changed meanwhile.
    """
    filling = _Filling()
    staging = Staging(job.target)
    path = staging.store / fmt.shard_name(job.number)
    digest = write_shard(path, job.patch_shape, len(job.names), _blocks(job, filling))
    rows_N = np.concatenate([np.zeros(0, fmt.ROW), *filling.rows])
    finished = Finished(
        rows=len(rows_N),
        hash=digest,
        stamp=_stamp_of(filling.stamps) if job.stamps is None else stamp_of_sources(job),
        skipped=filling.skipped,
        notes=dict(sorted(filling.notes.items())),
    )
    staging.record(job.number, finished, rows_N)
    return len(job.names)


def stamp_of_sources(job: ShardJob) -> str:
    """Return 32 hex digits that differ when any of a shard's source files was written again."""
    if job.stamps is not None:
        return _stamp_of(list(map(str, job.stamps)))
    _, stamp = open_reader(job.reader, job.root)
    return _stamp_of(list(map(stamp, job.names)))


def _stamp_of(stamps: Sequence[str]) -> str:
    return xxhash.xxh3_128_hexdigest("\n".join(stamps).encode())


def _blocks(job: ShardJob, filling: _Filling) -> Iterator[np.ndarray]:
    """Yield a shard's patches in blocks, noting what each block teaches; the array is used again."""
    read, stamp = open_reader(job.reader, job.root, job.resize_px, job.stain)
    place, note = open_place(job.reader, job.root, job.resize_px, job.stain), filling.stamps.append
    size = max(1, BLOCK_BYTES // int(np.prod(job.patch_shape)))
    buffer = np.empty((size, *job.patch_shape), np.uint8)
    places = list(buffer)
    held: list[int] = []
    for position, name in enumerate(job.names):
        here = places[len(held)]
        result = place(name, here)
        note(result or stamp(name))
        if not result and not _copy(job, read, name, here, filling):
            continue
        held.append(position)
        if len(held) == size:
            filling.rows.append(_learn(buffer, [job.ids[row] for row in held], job.first + np.array(held)))
            yield buffer
            held = []
    if held:
        block = buffer[: len(held)]
        filling.rows.append(_learn(block, [job.ids[row] for row in held], job.first + np.array(held)))
        yield block


def _copy(job: ShardJob, read: Read, name: str, out: np.ndarray, filling: _Filling) -> bool:
    """Read one patch the general way; say whether there is one, or it was skipped."""
    try:
        patch = read(name, filling.notes)
        if patch.shape != job.patch_shape:
            raise _other_size(job.root / name, patch.shape, job.patch_shape)
    except DataError as error:
        if job.on_error == "fail":
            raise
        filling.skipped.append((name, error.problem))
        return False
    out[...] = patch
    return True


def _other_size(location: object, shape: tuple[int, ...], wanted: tuple[int, ...]) -> DataError:
    problem = f"found {shape[1]} by {shape[0]} pixels, wanted {wanted[1]} by {wanted[0]} like the first patch"
    return DataError(location, problem, "remove it, or leave it out with --on-error skip")


def _learn(images_NHWC: np.ndarray, ids: Sequence[str], positions_N: np.ndarray) -> np.ndarray:
    """Return what the index keeps of each patch, `format.ROW` [N]; flags of company come when all are known."""
    rows, measures = np.zeros(len(images_NHWC), fmt.ROW), measure(images_NHWC)
    rows["position"] = positions_N
    rows["sums"], rows["squares"] = measures.sums_N3, measures.squares_N3
    rows["sharpness"], rows["phash"] = measures.sharpness_N, measures.phash_N
    rows["hash"] = np.frombuffer(b"".join(xxhash.xxh3_128_digest(patch.data) for patch in images_NHWC), "V16")
    for row, name in enumerate(ids):
        if SHA1_ID.fullmatch(name) and hashlib.sha1(images_NHWC[row].data, usedforsecurity=False).hexdigest() != name:
            rows["flags"][row] = int(Flag.ID_MISMATCH)
    return rows
