"""The size that the cache of remote stores may have: the store that was used longest ago makes room, if nobody uses it.

A process holds a shared lock on the directory of every store that it has opened, until it ends; one that wants room
removes a directory only while it has that directory's lock for itself alone. A kill frees both.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastpath.errors import UsageError
from fastpath.store import format as fmt

LIMIT_VARIABLE = "FASTPATH_CACHE_GB"
_STORE = re.compile(r"[0-9a-f]{32}")
_held: dict[Path, int] = {}  # descriptors of directories that this process uses, by path


def hold(folder: Path) -> None:
    """Make the directory of a store, keep others from removing it while this process lives, and note that it is used.

    Raises:
        OSError: It cannot be made.
    """
    while not _is_held(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed as this process came
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # a file system without locks, on which nothing is removed
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            _held[folder] = descriptor
    os.utime(folder)


def make_room(stores: Path, wanted_bytes: int) -> None:
    """Remove stores, the one used longest ago first, until so many bytes more keep the cache within its limit.

    Those in use stay, be the cache larger than its limit for them.

    Args:
        stores: The directory of all stores of the cache.
        wanted_bytes: What is about to be added.

    Raises:
        UsageError: The limit is no number.
    """
    limit = _limit_bytes()
    if limit == math.inf:
        return
    sizes = {folder: _size(folder) for folder in stores.iterdir() if _STORE.fullmatch(folder.name)}
    total = sum(sizes.values()) + wanted_bytes
    for folder in sorted(sizes, key=_last_used):
        if total <= limit:
            return
        with _alone(folder) as free:
            if free:
                _remove(folder)
                total -= sizes[folder]


def _limit_bytes() -> float:
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return math.inf
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        problem = f"found '{text}', wanted a size in GB above 0"
        raise UsageError(LIMIT_VARIABLE, problem, "set it to 200, for example, or to nothing for no limit")
    return limit * 1e9


def _is_held(folder: Path) -> bool:
    """Whether this process holds the directory of this name, and not one that was removed."""
    descriptor = _held.get(folder)
    if descriptor is None:
        return False
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return True
    os.close(_held.pop(folder))
    return False


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a directory against all others; yields whether nobody uses it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # removed by another process, or not ours
        yield False
        return
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or the file system has no locks
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a store's files, the manifest first: without it the rest is none."""
    with suppress(OSError):
        (folder / fmt.MANIFEST).unlink(missing_ok=True)
        for path in list(folder.iterdir()):
            path.unlink()
        folder.rmdir()


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(folder))
    return 0


def _last_used(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
