"""What a source holds, before any pixel is read: columns, since a set has 220,025 patches or a thousand times more."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
import xxhash

from fastpath.errors import DataError
from fastpath.store.format import UNLABELLED


@dataclass(frozen=True, slots=True)
class FileNames(Sequence[str]):
    """Names of files that are named after their ids, made when asked for: a list of them would double a listing.

    Attributes:
        prefix: What stands before each id.
        ids: The ids.
        suffixes: What may stand after an id.
        suffix_N: uint8, which of `suffixes` does.
    """

    prefix: str
    ids: Sequence[str]
    suffixes: tuple[str, ...]
    suffix_N: np.ndarray

    @classmethod
    def of(cls, prefix: str, ids: Sequence[str], suffix_of: Mapping[str, str]) -> FileNames:
        """Join ids to what follows them in their files' names."""
        suffixes = tuple(sorted(set(suffix_of.values())))
        number = {suffix: at for at, suffix in enumerate(suffixes)}
        numbers = (number[suffix_of[name]] for name in ids)
        return cls(prefix, ids, suffixes, np.fromiter(numbers, np.uint8, len(ids)))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> FileNames: ...
    def __getitem__(self, at: int | slice) -> str | FileNames:
        """Return one name, or the names of a slice."""
        if isinstance(at, slice):
            return replace(self, ids=self.ids[at], suffix_N=self.suffix_N[at])
        return f"{self.prefix}{self.ids[at]}{self.suffixes[self.suffix_N[at]]}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The patches of a source, in the order they will have in the store.

    Attributes:
        kind: The kind of source.
        root: What `names` are relative to.
        reader: How to get from a name to pixels: key of `ingest.readers.READERS`, or of its kind's `Source.readers`.
        names: Where each patch is, relative to `root`.
        ids: Unique names of patches.
        labels_N: int8: 1 where the centre holds tumour, 0 where not, -1 where unknown.
        groups: The slide (or patient) of each, or None where unknown.
        sites: Where each is from (hospital, laboratory, scanner), or None where unknown.
        about: What the manifest should say of the source besides its kind.
        stamps_N: uint64, differing when a patch's file was written again, where the listing tells and asking anew would
            be a request for each; None where `ingest.readers` asks the file system.
        notices: What the user should know of how it was listed; no part of what is listed.
    """

    kind: str
    root: Path
    reader: str
    names: Sequence[str]
    ids: Sequence[str]
    labels_N: np.ndarray
    groups: Sequence[str] | None = None
    about: Mapping[str, str | int] = field(default_factory=dict)
    stamps_N: np.ndarray | None = None
    notices: tuple[str, ...] = ()
    sites: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Listing:
        """Return the listing of some rows, in the order given."""
        rows = np.asarray(rows, dtype=np.int64).tolist()
        return replace(
            self,
            names=[self.names[row] for row in rows],
            ids=[self.ids[row] for row in rows],
            labels_N=self.labels_N[rows],
            groups=None if self.groups is None else [self.groups[row] for row in rows],
            stamps_N=None if self.stamps_N is None else self.stamps_N[rows],
            sites=None if self.sites is None else [self.sites[row] for row in rows],
        )

    def fingerprint(self) -> str:
        """Return 32 hex digits that differ when any name, id, label, group or site differs."""
        digest = xxhash.xxh3_128(f"{self.kind}\n{self.reader}\n".encode())
        for column in (self.names, self.ids, self.groups or (), *(() if self.sites is None else (self.sites,))):
            for first in range(0, len(column), 1 << 16):
                digest.update(("\0".join(column[first : first + (1 << 16)]) + "\0").encode("utf-8", "surrogateescape"))
            digest.update(b"\1")
        digest.update(self.labels_N.tobytes())
        return digest.hexdigest()


Read = Callable[[str, Counter[str]], np.ndarray]
"""From a name and a counter of notes to uint8 [H, W, 3]; raises DataError."""
Stamp = Callable[[str], str]
"""What the file system says of a name's file: differs when it was written again; empty where it is missing."""
OpenReader = Callable[[Path], tuple[Read, Stamp]]
"""From the root of a listing to what reads, and what stamps, its patches by name."""


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of source: what one of `sources.KINDS` does.

    Attributes:
        holds: Whether a path that exists looks like one; asked in the order of `KINDS`.
        list: From a path, a table of labels (None where none was given) and the folders that links may lead into to
            what is there, without groups that lie in a table of their own.
        takes_labels: Whether a table of labels may be given.
        readers: By `Listing.reader`, how its patches are read, where none of `ingest.readers.READERS` does it.
    """

    holds: Callable[[Path], bool]
    list: Callable[[Path, Path | None, Sequence[Path]], Listing]
    takes_labels: bool = False
    readers: Mapping[str, OpenReader] = field(default_factory=dict)


def stamp_of(path: str) -> str:
    """Return what tells a file from what it was; empty where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path object costs more than the call)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def unlabelled(count: int) -> np.ndarray:
    """Return labels of patches nobody has labelled: int8 [count] of -1."""
    return np.full(count, UNLABELLED, np.int8)


def check_ids(ids: Sequence[str], location: object, place: Callable[[int], str] | None = None) -> None:
    """Refuse ids that could not name a file, or that name two patches.

    Args:
        ids: The ids.
        location: What they are of, for messages.
        place: Names the place of one of them; None names `location`.

    Raises:
        DataError: An id is empty, has a path separator or control character, or comes twice.
    """
    for row, name in enumerate(ids):
        if not name or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
            problem = f"found id {name!r}, wanted a plain name without separators"
            raise DataError(place(row) if place else location, problem, "correct or remove that entry")
    hashes = np.fromiter(map(hash, ids), np.int64, len(ids))  # a set of all ids would take five times the memory
    hashes.sort()
    if (hashes[1:] == hashes[:-1]).any():
        _refuse_repeats(ids, location, place)


def _refuse_repeats(ids: Sequence[str], location: object, place: Callable[[int], str] | None) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name in seen:
            named = place(row) if place else location
            before = f" (before in {place(seen[name]).removeprefix(f'{location} ')})" if place else ""
            raise DataError(named, f"found id '{name}' twice, wanted each id once{before}", "remove one of the two")
        seen[name] = row
