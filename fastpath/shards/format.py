"""The packed store's disk format, version 1: every name, type and checksum that a file of a store has.

A store is a directory of `shard-NNNNN.npy` (C-order uint8 [n, H, W, 3]: `numpy.load` reads it with no help from
here), `index.parquet` (one row a patch), `manifest.json` (what the store is, a hash of every other file) and
`split.json` (who is trained on). docs/shard-format.md says the same in prose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError

from fastpath.errors import StoreError

FORMAT_VERSION = 1
MANIFEST, INDEX, SPLIT = "manifest.json", "index.parquet", "split.json"
UNLABELLED = -1

# Shards are a 32nd of a store, so that every worker has some and a kill loses little, within bounds: below
# 4 MiB the fsync of each would dominate, above 64 MiB a worker would hold a core alone at the end. The size
# follows from the number of patches only, never from the number of workers: the bytes must not depend on those.
SHARDS_WANTED = 32
SHARD_BYTES_MIN, SHARD_BYTES_MAX = 4 << 20, 64 << 20

# One row of what a worker learns of a patch from its pixels. `position` counts records of the source's listing.
ROW = np.dtype(
    [
        ("position", "<i8"),
        ("hash", "V16"),  # xxh3-128 of the raw bytes
        ("sums", "<i8", 3),
        ("squares", "<i8", 3),
        ("sharpness", "<f4"),
        ("phash", "<u8"),
        ("flags", "<i4"),
    ]
)


class Strict(BaseModel):
    """Base of what is read from disk: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class ShardEntry(Strict):
    """One shard file."""

    file: str
    """Name within the store."""
    rows: int
    """Patches it holds, listed in the index or not."""
    hash: str
    """xxh3-128 of the whole file, 32 hex digits; `xxhsum -H2` prints the same."""


class Manifest(Strict):
    """What a store holds. Neither paths nor times: the same input gives the same bytes anywhere, any day."""

    format: Literal["fastpath-store"] = "fastpath-store"
    format_version: int = FORMAT_VERSION
    """Raised when an older reader would misread the files."""
    patch_shape: tuple[int, int, int]
    """Height, width, channels; uint8, red green blue."""
    num_patches: int
    """Rows of the index."""
    class_counts: dict[str, int]
    """Patches by label: "0", "1", and "unlabelled"."""
    num_groups: int
    """Distinct groups (slides); 0 where groups are unknown."""
    mean_3: tuple[float, float, float]
    """Exact channel means over all patches, in units of 0 to 1."""
    std_3: tuple[float, float, float]
    """Exact channel standard deviations (population) over all pixels, in units of 0 to 1."""
    fingerprint: str
    """xxh3-128 over every id, label, group and pixel hash in row order: what the store holds, not how."""
    flag_counts: dict[str, int]
    """Patches of the index by quality flag."""
    source: dict[str, str | int]
    """Kind of source, and what was done to its files where that was not nothing."""
    index_hash: str
    """xxh3-128 of index.parquet."""
    shards: list[ShardEntry]
    """In row order."""
    software: dict[str, str]
    """Versions that wrote the store."""


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.npy"


def rows_per_shard(num_patches: int, patch_bytes: int, shard_bytes: int | None = None) -> int:
    """Return how many patches a full shard holds.

    Args:
        num_patches: Patches of the source.
        patch_bytes: Bytes of one patch.
        shard_bytes: Wanted size of a shard; None follows from the number of patches.
    """
    if shard_bytes is None:
        shard_bytes = min(max(num_patches * patch_bytes // SHARDS_WANTED, SHARD_BYTES_MIN), SHARD_BYTES_MAX)
    return max(1, shard_bytes // patch_bytes)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the NPY version 1 header of a C-order uint8 array; its length does not depend on `shape[0]`."""
    description = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}), }}"
    length = 128 - 10
    assert len(description) < length
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + description.ljust(length - 1).encode() + b"\n"


def fingerprint(
    ids: Sequence[str], labels_N: np.ndarray, groups: Sequence[str | None] | None, hashes: bytes | memoryview
) -> str:
    """Return 32 hex digits that differ when any id, label, group or pixel of a store differs, or their order."""
    digest = xxhash.xxh3_128()
    _update_lines(digest, ids)
    digest.update(np.ascontiguousarray(labels_N, dtype=np.int8).tobytes())
    _update_lines(digest, groups or ())
    digest.update(hashes)
    return digest.hexdigest()


def _update_lines(digest: xxhash.xxh3_128, values: Sequence[str | None], together: int = 1 << 16) -> None:
    """Hash values joined by line ends, without ever holding all of the joined text."""
    for first in range(0, len(values), together):
        text = "\n".join(value or "" for value in values[first : first + together])
        digest.update((("\n" if first else "") + text).encode())


def hash_file(path: Path, start: int = 0) -> str:
    """Return the xxh3-128 of a file from byte `start`, as 32 hex digits."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


Document = TypeVar("Document", bound=Strict)


def dump_document(document: Strict) -> bytes:
    """Return the canonical JSON of a manifest or split table, with a checksum of itself as its last key."""
    values: dict[str, Any] = document.model_dump(mode="json")
    values["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())
    return (json.dumps(values, indent=1) + "\n").encode()


def load_document(path: Path, kind: type[Document]) -> Document:
    """Read a manifest or split table of a store and prove that no byte of it has changed.

    Raises:
        StoreError: The file is missing, is not of this kind or version, or fails its checksum.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        problem = f"is not a packed store ({path.name}: {error.strerror})"
        raise StoreError(path.parent, problem, "pack one first") from None
    return parse_document(text, kind, path)


def parse_document(text: bytes, kind: type[Document], where: Path) -> Document:
    """Parse what `dump_document` made; raises as `load_document`."""
    remedy = "run 'fastpath verify', then pack or split again"
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("found JSON that is not an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(where, f"cannot be read as JSON ({error})", remedy) from None
    version = values.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        problem = f"found format version {version}, wanted at most {FORMAT_VERSION}"
        raise StoreError(where, problem, "upgrade fastpath, or pack again with this one")
    values.pop("checksum", None)
    try:
        document = kind.model_validate_json(json.dumps(values))
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StoreError(where, f"is not a packed store's {where.name} ({found})", remedy) from None
    if dump_document(document) != text:
        raise StoreError(where, "is damaged: it does not match its own checksum", remedy)
    return document
