"""Stores behind a URL: what is needed is fetched once, checked against the manifest, and kept on the local disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from fastpath.errors import IntegrityError, StoreError, UsageError
from fastpath.shards import format as fmt

CACHE_VARIABLE = "FASTPATH_CACHE"
_proven: set[tuple[Path, str]] = set()  # files of the cache that this process has seen to have their hash
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")


def as_url(path: Path | str) -> str | None:
    """Return the URL that a path is the remains of (`Path` makes one slash of two), or None where it is a path."""
    found = _URL.fullmatch(str(path))
    return f"{found[1]}://{found[2]}" if found else None


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path within it.

    Raises:
        UsageError: fsspec, or what it needs for this kind of URL, is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        remedy = "run: pip install 'fastpath[remote]', and s3fs or gcsfs for s3:// or gs://"
        raise UsageError(url, f"cannot be opened ({error})", remedy) from None
    return system, root


@dataclass(frozen=True, slots=True)
class Remote:
    """A store behind a URL and the directory its files are kept in.

    Attributes:
        url: The store.
        cache: Local directory of this very content.
        manifest: What the store says of itself.
    """

    url: str
    cache: Path
    manifest: fmt.Manifest

    def fetch(self, name: str, wanted_hash: str, wanted_bytes: int | None = None) -> None:
        """Bring one file into the cache, unless it is there; nothing appears under its name unchecked.

        What an earlier process left is hashed once, when this one first needs it, and fetched again where a disk or a
        hand has changed it.

        Raises:
            StoreError: It cannot be fetched.
            IntegrityError: It does not have the manifest's size or hash.
        """
        path = self.cache / name
        if _is_whole(path, wanted_hash, wanted_bytes):
            return
        content = _read(self.url, name)
        found = xxhash.xxh3_128_hexdigest(content)
        if found != wanted_hash or wanted_bytes not in (None, len(content)):
            problem = f"found {len(content)} bytes of hash {found}, wanted {wanted_bytes or 'those'} of {wanted_hash}"
            raise IntegrityError(f"{self.url}/{name}", problem, "run 'fastpath verify' where the store lies")
        _keep(path, content)
        _proven.add((path, wanted_hash))


def _is_whole(path: Path, wanted_hash: str, wanted_bytes: int | None) -> bool:
    """Whether a file lies in the cache and is what it should be."""
    if not path.exists() or wanted_bytes not in (None, path.stat().st_size):
        return False
    if (path, wanted_hash) not in _proven:
        if fmt.hash_file(path) != wanted_hash:
            return False
        _proven.add((path, wanted_hash))
    return True


def open_remote(url: str) -> Remote:
    """Fetch a store's manifest, index and split; shards come when they are read.

    Raises:
        StoreError: There is no store, or it is damaged or of a newer format.
    """
    url = url.rstrip("/")
    text = _read(url, fmt.MANIFEST)
    manifest = fmt.parse_document(text, fmt.Manifest, Path(fmt.MANIFEST))
    base = Path(os.environ.get(CACHE_VARIABLE, Path.home() / ".cache" / "fastpath"))
    # The shards' names and sizes are part of what is kept, not only the content that the fingerprint names.
    cache = base / "stores" / xxhash.xxh3_128_hexdigest(text)
    cache.mkdir(parents=True, exist_ok=True)
    remote = Remote(url, cache, manifest)
    _keep(cache / fmt.MANIFEST, text)
    remote.fetch(fmt.INDEX, manifest.index_hash)
    system, root = file_system(url)
    if system.exists(f"{root}/{fmt.SPLIT}"):
        _keep(cache / fmt.SPLIT, _read(url, fmt.SPLIT))
    else:
        (cache / fmt.SPLIT).unlink(missing_ok=True)
    return remote


def _read(url: str, name: str) -> bytes:
    system, root = file_system(url)
    try:
        content: bytes = system.cat_file(f"{root}/{name}")
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(url, f"is not a packed store ({name}: {reason})", "check the URL and your rights") from None
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write a file of the cache; several processes may do so at once."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
