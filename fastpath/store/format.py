"""The packed store's disk format, version 1: every name, type and checksum that a file of a store has.

A store is a directory of `shard-NNNNN.npy` (C-order uint8 [n, H, W, 3]: `numpy.load` reads it with no help from
here), `index.parquet` (one row a patch), `manifest.json` (what the store is, a hash of every other file) and
`split.json` (who is trained on). docs/shard-format.md says the same in prose.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fastpath.errors import StoreError
from fastpath.system.files import open_regular, read_regular

FORMAT_VERSION = 1
MANIFEST, INDEX, SPLIT = "manifest.json", "index.parquet", "split.json"
UNLABELLED = -1

# Shards are a 32nd of a store, so that every worker has some and a kill loses little, within bounds: below
# 4 MiB the fsync of each would dominate, above 64 MiB a worker would hold a core alone at the end. The size
# follows from the number of patches only, never from the number of workers: the bytes must not depend on those.
SHARDS_WANTED = 32
SHARD_BYTES_MIN, SHARD_BYTES_MAX = 4 << 20, 64 << 20

# What no store exceeds, so that a forged or damaged one costs a look and not the machine's memory.
SIDE_MAX_PX = 4096  # of a patch
SHARDS_MAX = 100_000  # five digits; 6.4 TB of shards of the usual size
ROWS_MAX = 2**31 - 1  # of a shard: the index counts them in int32
ID_BYTES_MAX, GROUP_BYTES_MAX = 1024, 4096
DOCUMENT_BYTES_MAX, VALUES_MAX = 16 << 20, 4 * SHARDS_MAX  # of a manifest: that of 100,000 shards has fewer

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


def _printable(text: str) -> str:
    """Let text through that a terminal shows as it stands and that takes one line."""
    if not text.isprintable():
        raise ValueError("control characters")
    return text


Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=SHARDS_MAX * ROWS_MAX)]
Word = Annotated[str, Field(max_length=1024), AfterValidator(_printable)]


class ShardEntry(Strict):
    """One shard file."""

    file: str
    """Name within the store; its number is the entry's position, so that a name leads nowhere else."""
    rows: Annotated[int, Field(ge=0, le=ROWS_MAX)]
    """Patches it holds, listed in the index or not."""
    hash: Hash
    """xxh3-128 of the whole file, 32 hex digits; `xxhsum -H2` prints the same."""


class Manifest(Strict):
    """What a store holds. Neither paths nor times: the same input gives the same bytes anywhere, any day."""

    format: Literal["fastpath-store"] = "fastpath-store"
    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    """Raised when an older reader would misread the files."""
    patch_shape: tuple[int, int, int]
    """Height, width, channels; uint8, red green blue. Patches are square."""
    num_patches: Annotated[int, Field(ge=1, le=SHARDS_MAX * ROWS_MAX)]
    """Rows of the index."""
    class_counts: dict[str, Count]
    """Patches by label: "0", "1", and "unlabelled"."""
    num_groups: Count
    """Distinct groups (slides); 0 where groups are unknown."""
    mean_3: tuple[Share, Share, Share]
    """Exact channel means over all patches, in units of 0 to 1."""
    std_3: tuple[Share, Share, Share]
    """Exact channel standard deviations (population) over all pixels, in units of 0 to 1."""
    fingerprint: Hash
    """xxh3-128 over every id, label, group and pixel hash in row order: what the store holds, not how."""
    flag_counts: dict[Word, Count]
    """Patches of the index by quality flag."""
    source: dict[Word, Word | Count]
    """Kind of source, and what was done to its files where that was not nothing."""
    index_hash: Hash
    """xxh3-128 of index.parquet."""
    shards: Annotated[list[ShardEntry], Field(min_length=1, max_length=SHARDS_MAX)]
    """In row order."""
    software: dict[Word, Word]
    """Versions that wrote the store."""

    def shard_bytes(self, number: int) -> int:
        """Return the size of a shard's file, header included."""
        return HEADER_BYTES + self.shards[number].rows * math.prod(self.patch_shape)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        """Refuse names of shards but their own, and numbers that cannot be of one store."""
        for number, entry in enumerate(self.shards):
            if entry.file != shard_name(number):
                raise ValueError(f"found shard {entry.file[:80]!r}, wanted {shard_name(number)!r}")
        height, width, channels = self.patch_shape
        if not 1 <= height <= SIDE_MAX_PX or height != width or channels != 3:
            raise ValueError(f"found patches of {self.patch_shape}, wanted squares of 1 to {SIDE_MAX_PX} px by 3")
        counted = sum(self.class_counts.values())
        if set(self.class_counts) != {"0", "1", "unlabelled"} or counted != self.num_patches:
            raise ValueError(f"found {counted} patches by class, wanted {self.num_patches}")
        if max(self.num_groups, *self.flag_counts.values(), 0) > self.num_patches:
            raise ValueError(f"found more groups or flags of a kind than {self.num_patches} patches")
        return self


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.npy"


def rows_per_shard(num_patches: int, patch_bytes: int, shard_bytes: int | None = None) -> int:
    """Return how many patches a full shard holds.

    Args:
        num_patches: Patches of the source.
        patch_bytes: Bytes of one patch.
        shard_bytes: Wanted size of a shard; None follows from the number of patches. Where there would be more than
            `SHARDS_MAX`, they are larger.
    """
    if shard_bytes is None:
        shard_bytes = min(max(num_patches * patch_bytes // SHARDS_WANTED, SHARD_BYTES_MIN), SHARD_BYTES_MAX)
    return max(1, shard_bytes // patch_bytes, -(-num_patches // SHARDS_MAX))


Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change of a file: other ones mean that it was written or replaced."""


def stamp_of(result: os.stat_result) -> Stamp:
    """Return what tells a file from the same name written anew."""
    return result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns


HEADER_BYTES = 128  # of a shard


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the NPY version 1 header of a C-order uint8 array; its length does not depend on `shape[0]`."""
    description = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}), }}"
    length = HEADER_BYTES - 10
    assert len(description) < length
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + description.ljust(length - 1).encode() + b"\n"


def fingerprint(
    ids: Sequence[str],
    labels_N: np.ndarray,
    groups: Sequence[str | None] | None,
    hashes: bytes | memoryview,
    sites: Sequence[str] | None = None,
) -> str:
    """Return 32 hex digits that differ when any id, label, group, site or pixel of a store differs, or their order.

    A store without sites has the one that it had before there were sites.
    """
    digest = xxhash.xxh3_128()
    _update_lines(digest, ids)
    digest.update(np.ascontiguousarray(labels_N, dtype=np.int8).tobytes())
    _update_lines(digest, groups or ())
    digest.update(hashes)
    _update_lines(digest, sites or ())
    return digest.hexdigest()


def _update_lines(digest: xxhash.xxh3_128, values: Sequence[str | None], together: int = 1 << 16) -> None:
    """Hash values joined by line ends, without ever holding all of the joined text."""
    for first in range(0, len(values), together):
        text = "\n".join(value or "" for value in values[first : first + together])
        digest.update((("\n" if first else "") + text).encode())


def hash_file(path: Path, *, follow: bool = False) -> str:
    """Return the xxh3-128 of a file, as 32 hex digits.

    Args:
        path: The file.
        follow: Whether it may be a symbolic link; no within a store.

    Raises:
        StoreError: It is no regular file, or cannot be read.
    """
    digest = xxhash.xxh3_128()
    with open_regular(path, follow=follow, kind=StoreError) as file:
        try:
            while block := file.read(1 << 20):
                digest.update(block)
        except OSError as error:
            raise StoreError(path, f"cannot be read ({error.strerror})", "check the disk") from None
    return digest.hexdigest()


Document = TypeVar("Document", bound=Strict)


def dump_document(document: Strict) -> bytes:
    """Return the canonical JSON of a manifest or split table, with a checksum of itself as its last key."""
    values: dict[str, Any] = document.model_dump(mode="json")
    values["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())
    return (json.dumps(values, indent=1) + "\n").encode()


def load_document(
    path: Path, kind: type[Document], bytes_max: int = DOCUMENT_BYTES_MAX, *, follow: bool = False
) -> Document:
    """Read a manifest or split table of a store and prove that no byte of it has changed.

    Args:
        path: The file.
        kind: What it holds.
        bytes_max: Its size at most.
        follow: Whether it may be a symbolic link; no within a store.

    Raises:
        StoreError: The file is missing, no regular one or too large, is not of this kind or version, or fails its
            checksum.
    """
    try:
        text = read_regular(path, bytes_max=bytes_max, follow=follow, kind=StoreError)
    except StoreError as error:
        if follow:
            raise
        problem = f"is not a packed store ({path.name} {error.problem})"
        raise StoreError(path.parent, problem, "pack one first") from None
    return parse_document(text, kind, path)


def parse_document(text: bytes, kind: type[Document], path: Path) -> Document:
    """Parse what `dump_document` made; raises as `load_document`."""
    remedy = "run 'fastpath verify', then pack or split again"
    if text.count(b",") > VALUES_MAX:  # each could be an error of its own to be told of
        raise StoreError(path, f"holds more than {VALUES_MAX} values", remedy)
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("found JSON that is not an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(path, f"cannot be read as JSON ({one_line(str(error))})", remedy) from None
    version = values.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        problem = f"found format version {version}, wanted at most {FORMAT_VERSION}"
        raise StoreError(path, problem, "upgrade fastpath, or pack again with this one")
    values.pop("checksum", None)
    try:
        document = kind.model_validate_json(json.dumps(values))
    except (ValidationError, ValueError) as error:
        result = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
            result = place + first["msg"].removeprefix("Value error, ")
        raise StoreError(path, f"is not a packed store's {path.name} ({one_line(result)})", remedy) from None
    if dump_document(document) != text:
        raise StoreError(path, "is damaged: it does not match its own checksum", remedy)
    return document


def one_line(text: str, longest: int = 300) -> str:
    """Return text of a stranger's file as a terminal may show it."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if len(plain) <= longest else plain[:longest] + "…"
