"""Stores behind a URL: what is needed is fetched once, checked against the manifest, and kept on the local disk.

Nothing that a server says names a file: those of the cache are named here, by the format's own rule.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import xxhash

from fastpath.errors import IntegrityError, StoreError, UsageError
from fastpath.store import cache_limit, transfer
from fastpath.store import format as fmt
from fastpath.store.split_document import BYTES_A_ROW, BYTES_MIN
from fastpath.store.transfer import Absent, place_of, server_of
from fastpath.system import files
from fastpath.urls import without_secrets

CACHE_VARIABLE = "FASTPATH_CACHE"
MANIFEST_BYTES_MAX = 16 << 20  # 100 a shard: of 64 MiB each, the shards of 10 TB
INDEX_BYTES_MIN, INDEX_BYTES_A_ROW = 1 << 20, 1 << 10  # names of files have at most 255 bytes; a row takes some 100
_proven: set[tuple[Path, str]] = set()  # files of the cache that this process has seen to have their hash
_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Remote:
    """A store behind a URL and the directory its files are kept in.

    Attributes:
        url: The store, with what the server wants to know of who asks.
        cache: Local directory of this very content.
        manifest: What the store says of itself.
    """

    url: str = field(repr=False)
    cache: Path
    manifest: fmt.Manifest

    @property
    def place(self) -> str:
        """The URL as it may be shown and kept."""
        return without_secrets(self.url)

    def fetch_index(self, *, anew: bool = False) -> None:
        """Bring the index into the cache; see `fetch_shard`."""
        most = INDEX_BYTES_MIN + INDEX_BYTES_A_ROW * max(0, self.manifest.num_patches)
        self._fetch(fmt.INDEX, self.manifest.index_hash, most, anew=anew)

    def fetch_shard(self, number: int, *, anew: bool = False) -> None:
        """Bring one shard into the cache, unless it is there; nothing appears under its name unchecked.

        What an earlier process left is hashed once, when this one first needs it, and fetched again where a disk or a
        hand has changed it.

        Args:
            number: Of the shard.
            anew: Ask the server whatever the cache holds.

        Raises:
            StoreError: The server has no such file.
            IntegrityError: It does not have the manifest's size or hash.
            FastpathError: It cannot be had.
        """
        wanted_hash, wanted_bytes = self.manifest.shards[number].hash, self.manifest.shard_bytes(number)
        self._fetch(fmt.shard_name(number), wanted_hash, wanted_bytes, wanted_bytes, anew=anew)

    def _fetch(self, name: str, wanted_hash: str, most: int, wanted_bytes: int | None = None, *, anew: bool) -> None:
        path, address = self.cache / name, place_of(self.url, name)
        if not anew and _is_whole(path, wanted_hash, wanted_bytes):
            return
        cache_limit.make_room(self.cache.parent, wanted_bytes or 0)
        _check_room(self.cache, wanted_bytes or 0)
        try:
            with files.durably(path) as file:
                hashed = _Hashed(file)
                transfer.fetch(server_of(self.url), name, most, hashed, IntegrityError)
                found_bytes, result = file.tell(), hashed.digest.hexdigest()
                if result != wanted_hash or wanted_bytes not in (None, found_bytes):
                    wanted = f"{wanted_bytes or 'those'} of {wanted_hash}"
                    problem = f"found {found_bytes} bytes of hash {result}, wanted {wanted}"
                    raise IntegrityError(address, problem, "run 'fastpath verify' where the store lies")
        except Absent:
            remedy = "run 'fastpath verify' where the store lies"
            raise StoreError(address, "was not found, though the manifest lists it", remedy) from None
        _proven.add((path, wanted_hash))

    def fetch_split(self) -> None:
        """Bring the split into the cache; where the store has none, the cache has none either."""
        path = self.cache / fmt.SPLIT
        most = BYTES_MIN + BYTES_A_ROW * max(0, self.manifest.num_patches)
        try:
            with files.durably(path) as file:
                transfer.fetch(server_of(self.url), fmt.SPLIT, most, _Hashed(file))
        except Absent:
            path.unlink(missing_ok=True)


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = xxhash.xxh3_128()

    def write(self, block: bytes, /) -> None:
        self._file.write(block)
        self.digest.update(block)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.digest = xxhash.xxh3_128()


def _check_room(cache: Path, wanted_bytes: int) -> None:
    free = shutil.disk_usage(cache).free
    if wanted_bytes > free:
        problem = f"found {free / 1e6:,.0f} MB free, wanted {wanted_bytes / 1e6:,.0f} MB for one shard"
        raise UsageError(cache, problem, f"make room, or set {CACHE_VARIABLE} to another disk")


def _is_whole(path: Path, wanted_hash: str, wanted_bytes: int | None) -> bool:
    """Whether a file lies in the cache and is what it should be."""
    if not path.exists() or wanted_bytes not in (None, path.stat().st_size):
        return False
    if (path, wanted_hash) not in _proven:
        if fmt.hash_file(path) != wanted_hash:
            return False
        _proven.add((path, wanted_hash))
    return True


def open_remote(url: str, *, anew: bool = False) -> Remote:
    """Fetch a store's manifest, index and split; shards come when they are read.

    Only for a URL that the user gave: it is remembered as one (`open_known`).

    Args:
        url: The store.
        anew: Ask the server for the index whatever the cache holds.

    Raises:
        StoreError: There is no store, or it is damaged or of a newer format.
        FastpathError: It cannot be had.
    """
    place = without_secrets(url)
    text = _manifest(url)
    manifest = fmt.parse_document(text, fmt.Manifest, Path(place_of(url, fmt.MANIFEST)))
    for number, entry in enumerate(manifest.shards):
        if entry.file != fmt.shard_name(number):
            problem = f"names shard {number} {entry.file[:80]!a}, wanted '{fmt.shard_name(number)}'"
            raise StoreError(place_of(url, fmt.MANIFEST), problem, "do not trust this store")
    # The shards' names and sizes are part of what is kept, not only the content that the fingerprint names.
    content = xxhash.xxh3_128_hexdigest(text)
    cache = _directory(f"stores/{content}")
    _hold(cache)
    remote = Remote(url, cache, manifest)
    files.write_durably(remote.cache / fmt.MANIFEST, text)
    remote.fetch_index(anew=anew)
    remote.fetch_split()
    files.write_durably(_note(place), content.encode())
    return remote


def open_known(place: str) -> Remote | None:
    """Return a store that was opened here before, by what may be kept of its URL; None where it never was.

    What the cache holds is taken as it is. The server is asked, without secrets, for what is missing only.

    Raises:
        StoreError: What is missing is not there.
        FastpathError: It cannot be had.
    """
    note = _note(without_secrets(place))
    if not note.exists():
        return None
    content = note.read_text(encoding="ascii", errors="replace")
    cache = note.parent.parent / "stores" / content
    try:
        if not _HASH.fullmatch(content):
            raise StoreError(note, "is no hash", "remove it")
        _hold(cache)
        remote = Remote(without_secrets(place), cache, fmt.load_document(cache / fmt.MANIFEST, fmt.Manifest))
    except StoreError:
        return open_remote(without_secrets(place))
    remote.fetch_index()
    return remote


def _manifest(url: str) -> bytes:
    location = without_secrets(url)
    try:
        text = transfer.read(server_of(url), fmt.MANIFEST, MANIFEST_BYTES_MAX)
    except Absent:
        raise StoreError(location, f"is not a packed store ({fmt.MANIFEST} was not found)", "check the URL") from None
    if text.lstrip()[:1] == b"<":
        problem = f"found a web page, wanted a store's {fmt.MANIFEST}"
        raise StoreError(place_of(url, fmt.MANIFEST), problem, "check the URL: the server may want a login")
    return text


def _directory(name: str) -> Path:
    base = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "fastpath")
    path = base / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.as_failure(path, error, "cannot be made", f"set {CACHE_VARIABLE} to another directory") from None
    return path


def _hold(cache: Path) -> None:
    try:
        cache_limit.hold(cache)
    except OSError as error:
        raise files.as_failure(cache, error, "cannot be made", f"set {CACHE_VARIABLE} to another directory") from None


def _note(place: str) -> Path:
    """Return the file that remembers a URL, by its hash: the cache names none."""
    return _directory("urls") / xxhash.xxh3_128_hexdigest(place.encode("utf-8", "surrogateescape"))
